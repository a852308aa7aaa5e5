package tftp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// What ends a wait for the client, apart from a packet.
var (
	errTimeout = errors.New("no answer in time")
	errGone    = errors.New("the client closed its port")
	errStopped = errors.New("stopped")
)

// link is one transfer's way to its client. All but stop are for the transfer's goroutine.
type link interface {
	payload() int // largest UDP payload that reaches the client in one piece, as far as is known
	send(p []byte) error
	// blocks sends count DATA packets, numbered from first, of block bytes each; the last may be shorter or empty.
	blocks(first uint16, data []byte, block, count int) error
	recv(wait time.Duration) ([]byte, error) // valid until the next recv; errTimeout, errGone, errStopped
	arrived() int64                          // when the kernel received the first packet that recv returned, Unix nanoseconds, or 0; to be asked then
	stop()                                   // makes a recv return errStopped, from any goroutine, more than once
	close() []packet                         // what was still unread and is the server's: requests, packets of others
}

// A batch is what one system call sends. The kernel takes 64 segments of together one IP packet's length.
const (
	maxBatch      = 64
	maxBatchBytes = 65487
	chunkSize     = 64 << 10
)

// batchBlocks is how many blocks go in one batch.
func batchBlocks(block int) int { return max(1, min(maxBatch, maxBatchBytes/(block+4))) }

// buffer is the memory of one transfer, reused by later ones.
type buffer struct {
	chunk [chunkSize]byte
	in    [maxRequest + 1]byte // one more, so that an oversized packet shows
	vec   vectors
}

// origin is where a request came from and to.
type origin struct {
	client netip.AddrPort
	local  netip.Addr
	iface  int
	addr   net.Addr // of sockets that are not UDP; else nil
}

// key finds the transfer that a datagram belongs to.
type key struct {
	client netip.AddrPort
	local  netip.Addr
}

func (o origin) key() key { return key{o.client, o.local} }

// packet is one datagram of the listening socket.
type packet struct {
	origin
	data []byte
	came int64 // when it arrived, in Unix nanoseconds; 0: not known. Where one socket brings all of a client's, only their order counts
}

// listener is the socket that requests come to.
type listener interface {
	read() ([]packet, error) // valid until the next read
	reply(to origin, p []byte) error
	dial(e *engine, o origin, b *buffer) (link, error)
	close() // gives back what read and dial added to the socket; the socket stays open
}

// plain is a listener on any net.PacketConn: one packet a call, transfers share the socket.
type plain struct {
	conn net.PacketConn
	buf  [maxRequest + 1]byte
	one  [1]packet
}

func (l *plain) read() ([]packet, error) {
	n, addr, err := l.conn.ReadFrom(l.buf[:])
	if err != nil {
		return nil, err
	}
	l.one[0] = packet{origin: origin{client: addrPort(addr), addr: addr}, data: l.buf[:n], came: time.Now().UnixNano()}
	return l.one[:], nil
}

func (l *plain) reply(to origin, p []byte) error {
	_, err := l.conn.WriteTo(p, to.addr)
	return err
}

func (l *plain) dial(e *engine, o origin, b *buffer) (link, error) {
	return newMailbox(o, b, &plainSender{conn: l.conn, to: o.addr}), nil
}

func (l *plain) close() {}

// addrPort is the address of a packet in the one form that transfers are found by: IPv4 not mapped, no zone (the
// interface is known by its index).
func addrPort(a net.Addr) netip.AddrPort {
	var p netip.AddrPort
	if u, ok := a.(*net.UDPAddr); ok {
		p = u.AddrPort()
	} else {
		p, _ = netip.ParseAddrPort(a.String())
	}
	return netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port())
}

// plainSender builds and sends one packet at a time.
type plainSender struct {
	conn net.PacketConn
	to   net.Addr
	buf  []byte
}

func (s *plainSender) payload() int { return 1500 - 28 }

func (s *plainSender) send(p []byte) error {
	_, err := s.conn.WriteTo(p, s.to)
	return err
}

func (s *plainSender) blocks(first uint16, data []byte, block, count int) error {
	for i := range uint16(count) {
		part := data[:min(block, len(data))]
		data = data[len(part):]
		n := first + i
		s.buf = append(append(s.buf[:0], 0, opData, byte(n>>8), byte(n)), part...)
		if err := s.send(s.buf); err != nil {
			return err
		}
	}
	return nil
}

// transfers finds the running transfer of a client, and remembers for a while which have ended: a late acknowledgement
// of those is no stranger's, and an error 5 could hit the same client's next request.
type transfers struct {
	shards [16]shard
}

type shard struct {
	sync.RWMutex
	running map[key]*transfer
	ended   map[key]ending
}

// ending is what is kept of a transfer that has ended.
type ending struct {
	at       time.Time
	sent     bool // something of a file; where nothing was, an acknowledgement is a stranger's
	raw      []byte
	answered int64
}

const (
	endedFor  = 10 * time.Second
	endedKept = 256 // a shard
)

func newTransfers() *transfers {
	t := &transfers{}
	for i := range t.shards {
		t.shards[i].running = map[key]*transfer{}
		t.shards[i].ended = map[key]ending{}
	}
	return t
}

func (t *transfers) shard(k key) *shard {
	b := k.client.Addr().As16()
	return &t.shards[(uint16(b[15])+uint16(b[7])*3+k.client.Port())%uint16(len(t.shards))]
}

func (t *transfers) find(k key) *transfer {
	s := t.shard(k)
	s.RLock()
	defer s.RUnlock()
	return s.running[k]
}

// add makes x the transfer of its key unless there is one already, which it returns.
func (t *transfers) add(k key, x *transfer) *transfer {
	s := t.shard(k)
	s.Lock()
	defer s.Unlock()
	if old := s.running[k]; old != nil {
		return old
	}
	s.running[k] = x
	return nil
}

// remove takes the transfer of its key away and keeps how it ended, if something was sent.
func (t *transfers) remove(k key, end ending) {
	s := t.shard(k)
	s.Lock()
	defer s.Unlock()
	delete(s.running, k)
	if !end.sent {
		return
	}
	if len(s.ended) >= endedKept {
		for old, e := range s.ended {
			if end.at.Sub(e.at) > endedFor || len(s.ended) >= endedKept {
				delete(s.ended, old)
			}
		}
	}
	s.ended[k] = end
}

func (t *transfers) lately(k key, now time.Time) (ending, bool) {
	s := t.shard(k)
	s.RLock()
	defer s.RUnlock()
	e, ok := s.ended[k]
	return e, ok && now.Sub(e.at) < endedFor
}

func (t *transfers) endedLately(k key, now time.Time) bool {
	_, ok := t.lately(k, now)
	return ok
}

// copyOfEnded reports whether a request is a late copy of one whose transfer has ended already.
func (t *transfers) copyOfEnded(p packet, now time.Time) bool {
	e, ok := t.lately(p.key(), now)
	return ok && p.copyOf(e.raw, e.answered, now)
}

// copyOf reports whether a request came before the client's first answer in the transfer of the same request, 0 for none:
// then it is a copy of that one, however late it is read, while the client's next request comes after its answers. A
// clock that was set back makes all of that unknown.
func (p packet) copyOf(raw []byte, answered int64, now time.Time) bool {
	return p.came != 0 && p.came < answered && answered <= now.UnixNano() && bytes.Equal(p.data, raw)
}

// stopAll ends every running transfer.
func (t *transfers) stopAll() {
	for i := range t.shards {
		s := &t.shards[i]
		s.RLock()
		for _, x := range s.running {
			x.cancel()
		}
		s.RUnlock()
	}
}
