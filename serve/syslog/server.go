package syslog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Server holds the settings and the counts. The zero value of all but Handle
// works. One Server may serve several sockets at once: MaxQueue, MaxConns and
// the rates count for all of them together.
type Server struct {
	// Handle gets the records of a socket in the order in which they came, on
	// one goroutine per Serve or ServeTCP. It may be slow: then lines are
	// dropped, but no socket waits.
	Handle func(Record)

	Log *slog.Logger     // nil: silent
	Now func() time.Time // nil: time.Now

	MaxMessage      int           // bytes of one message, the rest is cut off; 0: 64 kB, also the most
	MaxQueue        int           // bytes of messages that wait for Handle; 0: 8 MB
	Rate            int           // messages per second of one source address, with four times that at once; 0: 2000
	MaxConns        int           // TCP connections at once; 0: 512
	MaxConnsPerAddr int           // of these from one address; 0: 16
	IdleTimeout     time.Duration // a TCP connection that says nothing is closed; 0: 30 min

	received, dropped, limited, cut, refused atomic.Uint64

	queued  atomic.Int64 // bytes
	limiter limiter
	places  places
	report  report
}

// Stats are totals since the start.
type Stats struct {
	Received uint64 // messages given to Handle or about to be
	Dropped  uint64 // messages dropped because Handle was slow
	Limited  uint64 // messages dropped because their source sent too many
	Cut      uint64 // messages longer than MaxMessage
	Refused  uint64 // TCP connections above the limits
	Conns    int    // TCP connections now
}

// Stats counts.
func (s *Server) Stats() Stats {
	return Stats{
		Received: s.received.Load(), Dropped: s.dropped.Load(), Limited: s.limited.Load(),
		Cut: s.cut.Load(), Refused: s.refused.Load(), Conns: s.places.count(),
	}
}

const mostMessage = 64 << 10

// engine is one running Serve or ServeTCP.
type engine struct {
	*Server
	log        *slog.Logger
	now        func() time.Time
	queue      *queue
	consumer   sync.WaitGroup
	maxMessage int
	maxQueue   int
	rate       int
	stop       atomic.Bool // the consumer is to leave what is queued
}

func (s *Server) start() (*engine, error) {
	switch {
	case s.Handle == nil:
		return nil, errors.New("syslog: Server.Handle is not set")
	case s.MaxMessage < 0 || s.MaxMessage > mostMessage:
		return nil, fmt.Errorf("syslog: MaxMessage %d is not in 0..%d", s.MaxMessage, mostMessage)
	}
	e := &engine{Server: s, log: s.Log, now: s.Now, queue: newQueue(s)}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if e.now == nil {
		e.now = time.Now
	}
	e.maxMessage = or(s.MaxMessage, mostMessage)
	e.maxQueue = or(s.MaxQueue, 8<<20)
	e.rate = or(s.Rate, 2000)
	e.consumer.Go(e.consume)
	return e, nil
}

func or[T int | time.Duration](value, fallback T) T {
	if value > 0 {
		return value
	}
	return fallback
}

// finish lets Handle see what was received, for as long as that is quick.
func (e *engine) finish() {
	const patience = time.Second
	timer := time.AfterFunc(patience, func() { e.stop.Store(true) })
	defer timer.Stop()
	e.queue.end()
	e.consumer.Wait()
	e.tell(true)
}

// accept takes one message off a socket's hands. It never waits.
func (e *engine) accept(text []byte, from netip.AddrPort) {
	now := e.now()
	switch {
	case !e.limiter.allow(from.Addr(), e.rate, now):
		e.limited.Add(1)
	case !e.queue.put(line{text, from, now}, e.maxQueue):
		e.dropped.Add(1)
	default:
		e.received.Add(1)
		return
	}
	e.tell(false)
}

func (e *engine) consume() {
	for {
		lines, ok := e.queue.take()
		if !ok {
			return
		}
		for _, l := range lines {
			if e.stop.Load() {
				e.received.Add(^uint64(0))
				e.dropped.Add(1)
			} else if r := Parse(l.text, l.when); r.Message != "" || r.App != "" || len(r.Data)+len(r.Fields) > 0 {
				r.From = l.from
				e.Handle(r)
			}
			e.queue.done(l)
		}
	}
}

// report remembers what the log was last told.
type report struct {
	mu   sync.Mutex
	when time.Time
	told Stats
}

// tell logs losses, at most every ten seconds.
func (e *engine) tell(final bool) {
	const every = 10 * time.Second
	e.report.mu.Lock()
	defer e.report.mu.Unlock()
	st, old := e.Stats(), e.report.told
	lost := st.Dropped + st.Limited + st.Refused - old.Dropped - old.Limited - old.Refused
	now := time.Now()
	if lost == 0 || !final && now.Sub(e.report.when) < every {
		return
	}
	e.report.when, e.report.told = now, st
	e.log.Warn("syslog messages were lost", "handler slow", st.Dropped-old.Dropped, "source above its rate", st.Limited-old.Limited,
		"connections refused", st.Refused-old.Refused)
}

// Serve receives datagrams until ctx ends or conn fails: nil in the first case.
// Each datagram is one message. When it returns, every goroutine has ended;
// what was received before is still given to Handle, unless that takes more
// than a second. conn stays the caller's to close.
func (s *Server) Serve(ctx context.Context, conn net.PacketConn) error {
	e, err := s.start()
	if err != nil {
		return err
	}
	defer e.finish()
	if c, ok := conn.(interface{ SetReadBuffer(int) error }); ok {
		_ = c.SetReadBuffer(4 << 20) // all machines boot at once; the kernel gives what it may
	}
	undo := atEnd(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		if undo() {
			conn.SetReadDeadline(time.Time{})
		}
	}()
	buffer := make([]byte, mostMessage)
	for {
		n, from, err := read(conn, buffer)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("receiving syslog on %v: %w", conn.LocalAddr(), err)
		}
		if n > e.maxMessage {
			n = e.maxMessage
			e.cut.Add(1)
		}
		e.accept(append([]byte(nil), buffer[:n]...), from)
	}
}

// atEnd runs f when ctx ends. undo takes that back, or waits for f and says that
// it ran.
func atEnd(ctx context.Context, f func()) (undo func() bool) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(done); f() })
	return func() bool {
		if stop() {
			return false
		}
		<-done
		return true
	}
}

func read(conn net.PacketConn, buffer []byte) (n int, from netip.AddrPort, err error) {
	if c, ok := conn.(*net.UDPConn); ok {
		n, from, err = c.ReadFromUDPAddrPort(buffer)
	} else {
		var addr net.Addr
		n, addr, err = conn.ReadFrom(buffer)
		from = addrPort(addr)
	}
	return n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err
}

// addrPort of a socket that is not IP is the zero value.
func addrPort(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.AddrPort()
	case *net.TCPAddr:
		return a.AddrPort()
	}
	return netip.AddrPort{}
}
