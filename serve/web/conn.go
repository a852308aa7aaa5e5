package web

import (
	"container/list"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
)

// admission counts the connections of all listeners.
type admission struct {
	limits  Limits
	exempt  func(netip.Addr) bool
	refused func()

	mu     sync.Mutex
	freed  *sync.Cond
	open   int
	byAddr map[netip.Prefix]int
	idle   list.List // of *tracked, longest first
	queued int       // connections that wait to be served
}

func newAdmission(l Limits, exempt func(netip.Addr) bool, refused func()) *admission {
	a := &admission{limits: l, exempt: exempt, refused: refused, byAddr: map[netip.Prefix]int{}}
	a.freed = sync.NewCond(&a.mu)
	return a
}

// tracked is an admitted connection.
type tracked struct {
	net.Conn
	admission *admission
	network   netip.Prefix // invalid: not counted
	once      sync.Once
	idle      *list.Element
	sent      atomic.Int64
}

func (c *tracked) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// ReadFrom is the connection's own: sendfile.
func (c *tracked) ReadFrom(r io.Reader) (int64, error) {
	rf, ok := c.Conn.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	n, err := rf.ReadFrom(r)
	c.sent.Add(n)
	return n, err
}

// CloseWrite lets net/http end a connection without losing its last answer.
func (c *tracked) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return c.Conn.Close()
}

func (c *tracked) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { c.admission.leave(c) })
	return err
}

// gate is a listener under an admission.
type gate struct {
	net.Listener
	admission *admission
	closed    chan struct{}
	once      sync.Once
}

func (a *admission) listen(ln net.Listener) *gate {
	return &gate{Listener: ln, admission: a, closed: make(chan struct{})}
}

func (g *gate) Close() error {
	g.once.Do(func() {
		close(g.closed)
		g.admission.mu.Lock()
		g.admission.freed.Broadcast()
		g.admission.mu.Unlock()
	})
	return g.Listener.Close()
}

// Accept takes the next connection that may be served.
func (g *gate) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &tracked{Conn: conn, admission: g.admission, network: networkOf(conn.RemoteAddr())}
		if g.admission.enter(c, g.closed) {
			return c, nil
		}
		if t, ok := conn.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
		_ = conn.Close()
	}
}

// enter admits a connection, waiting while there are too many. False: its
// address has too many, or the listener was closed.
func (a *admission) enter(c *tracked, closed <-chan struct{}) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.exempt(c.network.Addr()) {
		c.network = netip.Prefix{}
	}
	if c.network.IsValid() && a.byAddr[c.network] >= a.limits.PerAddress {
		a.refused()
		return false
	}
	a.queued++
	defer func() { a.queued-- }()
	for a.open >= a.limits.Connections {
		if oldest := a.idle.Front(); oldest != nil {
			go oldest.Value.(*tracked).Close() // which takes mu
			a.forgetIdle(oldest.Value.(*tracked))
		}
		a.freed.Wait()
		select {
		case <-closed:
			return false
		default:
		}
	}
	a.open++
	if c.network.IsValid() {
		a.byAddr[c.network]++
	}
	return true
}

func (a *admission) leave(c *tracked) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forgetIdle(c)
	a.open--
	if n := a.byAddr[c.network]; n > 1 {
		a.byAddr[c.network] = n - 1
	} else {
		delete(a.byAddr, c.network)
	}
	a.freed.Broadcast()
}

func (a *admission) forgetIdle(c *tracked) {
	if c.idle != nil {
		a.idle.Remove(c.idle)
		c.idle = nil
	}
}

// state is http.Server's ConnState: it tells which connections only wait.
func (a *admission) state(conn net.Conn, s http.ConnState) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	c, ok := conn.(*tracked)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forgetIdle(c)
	if s == http.StateIdle {
		c.idle = a.idle.PushBack(c)
		if a.queued > 0 {
			a.freed.Broadcast()
		}
	}
}

func (a *admission) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.open
}

// networkOf is what counts as one client: an IPv4 address, or the /64 in
// which an IPv6 host chooses its own.
func networkOf(a net.Addr) netip.Prefix {
	addr := addrOf(a.String())
	if !addr.IsValid() {
		return netip.Prefix{}
	}
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits)
	return p
}
