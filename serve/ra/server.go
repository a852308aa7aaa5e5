package ra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Server holds the settings; the zero value works.
type Server struct {
	Log      *slog.Logger  // nil: silent
	Interval time.Duration // between advertisements that nobody asked for, 4 s to 30 min (RFC 4861, 6.2.1); 0: 200 s

	// Observe is told of every valid solicitation: which interface, and who
	// asked (a link-local address, or :: of a client that has none). It must
	// not block. Nil: nobody.
	Observe func(iface string, from netip.Addr)
}

const (
	// A link gets at most ten advertisements a second, however many ask: all
	// hear each. RFC 4861 asks routers for 3 s (6.2.6); our readers are
	// machines whose boot waits for it (iPXE asks again after an eighth of a
	// second), and the message is 24 bytes.
	gap = 100 * time.Millisecond
	// An interface may come up, or come back, at any time.
	lookEvery = 2 * time.Second
	// One that cannot send yet (its address is being checked) is tried again.
	retryAfter = 500 * time.Millisecond
	// Only after so long is that worth a word.
	addressTime = 10 * time.Second
)

// timing is when a link was last and is next advertised to.
type timing struct {
	last, due time.Time
	trouble   string    // what was logged last
	waits     time.Time // since when there is no address to send from
}

// early reports whether a link may yet get its address by itself.
func (t *timing) early(now time.Time) bool {
	if t.waits.IsZero() {
		t.waits = now
	}
	return now.Sub(t.waits) < addressTime
}

// asked brings the next advertisement forward.
func (t *timing) asked(now time.Time) {
	if at := t.last.Add(gap); at.Before(t.due) {
		t.due = later(at, now)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// solicitation is a valid one.
type solicitation struct {
	index int
	from  netip.Addr
}

// Serve advertises and answers until ctx ends or the socket fails: nil in the
// first case. When it returns, every goroutine has ended. The caller closes
// conn.
func (s *Server) Serve(ctx context.Context, conn *Conn) error {
	e := engine{Server: s, conn: conn, log: s.Log, interval: s.Interval}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if e.interval == 0 {
		e.interval = 200 * time.Second
	}
	if e.interval < 4*time.Second || e.interval > 30*time.Minute {
		return fmt.Errorf("router advertisements: an interval of %v is not in 4s..30m", e.interval)
	}
	heard := make(chan solicitation, 64)
	failed := make(chan error, 1)
	var reader sync.WaitGroup
	reader.Go(func() { failed <- e.listen(heard) })
	defer func() {
		conn.pc.SetReadDeadline(time.Unix(1, 0))
		reader.Wait()
		conn.pc.SetReadDeadline(time.Time{})
	}()
	return e.run(ctx, heard, failed)
}

// engine is one running Serve.
type engine struct {
	*Server
	conn     *Conn
	log      *slog.Logger
	interval time.Duration
}

func (e *engine) run(ctx context.Context, heard <-chan solicitation, failed <-chan error) error {
	timer, look := time.NewTimer(0), time.NewTicker(lookEvery)
	defer timer.Stop()
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return fmt.Errorf("receiving router solicitations: %w", err)
		case q := <-heard:
			e.answer(q)
		case <-look.C:
			e.look()
		case <-timer.C:
		}
		timer.Reset(time.Until(e.advertise()))
	}
}

// listen hears solicitations until the socket's deadline. It drops what comes
// too fast: the ones before are about to be answered.
func (e *engine) listen(heard chan<- solicitation) error {
	buffer := make([]byte, 2048)
	for {
		n, control, addr, err := e.conn.pc.ReadFrom(buffer)
		if err != nil {
			return err
		}
		from := source(addr)
		if control == nil {
			continue
		}
		if err := checkSolicitation(buffer[:n], control.HopLimit, from); err != nil {
			e.log.Debug("a router solicitation was ignored", "from", from, "reason", err)
			continue
		}
		select {
		case heard <- solicitation{control.IfIndex, from}:
		default:
		}
	}
}

func source(addr net.Addr) netip.Addr {
	a, ok := addr.(*net.IPAddr)
	if !ok {
		return netip.Addr{}
	}
	from, _ := netip.AddrFromSlice(a.IP)
	return from
}

func (e *engine) answer(q solicitation) {
	for _, l := range e.conn.links {
		if l.index == q.index {
			l.up = true // it could be heard
			l.asked(time.Now())
			if e.Observe != nil {
				e.Observe(l.name, q.from)
			}
		}
	}
}

// look finds interfaces that came up or came back; they are advertised to at
// once.
func (e *engine) look() {
	for _, l := range e.conn.links {
		index, up := l.index, l.up
		if err := l.join(e.conn); err != nil {
			l.up = false
			e.complain(l, err)
		} else if l.index != index || l.up && !up {
			l.asked(time.Now())
		}
	}
}

// advertise serves the links whose time has come and returns when the next one's is.
func (e *engine) advertise() (next time.Time) {
	now := time.Now()
	next = now.Add(e.interval)
	for _, l := range e.conn.links {
		if !now.Before(l.due) {
			e.send(l, now)
		}
		if l.due.Before(next) {
			next = l.due
		}
	}
	return next
}

func (e *engine) send(l *link, now time.Time) {
	if !l.up {
		l.due, l.waits = now.Add(e.interval), time.Time{}
		return
	}
	if err := l.advertise(e.conn); err != nil {
		if !errors.Is(err, errNoAddress) || !l.early(now) {
			e.complain(l, err)
		}
		l.due = now.Add(retryAfter)
		return
	}
	if l.trouble != "" {
		e.log.Info("router advertisements are sent again", "interface", l.name)
	}
	l.trouble, l.last, l.waits = "", now, time.Time{}
	l.due = now.Add(e.interval*3/4 + rand.N(e.interval/4))
}

// complain logs what keeps a link from being served, once until that changes.
func (e *engine) complain(l *link, err error) {
	if text := err.Error(); text != l.trouble {
		l.trouble = text
		e.log.Warn("no router advertisement could be sent", "interface", l.name, "error", err)
	}
}
