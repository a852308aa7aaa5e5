package tftp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Server holds the settings. The zero value of all but Files works. Serve may run on several sockets at once; the
// limits count for each of them.
type Server struct {
	Files FileSystem

	// SinglePort answers from the listening port instead of a new one per transfer: for clients behind NAT, firewalls
	// and containers. On Linux that needs the right to bind the listening port again for each transfer
	// (CAP_NET_BIND_SERVICE below 1024); without it the transfers share one socket, which is slower, and the log says so.
	SinglePort bool

	MaxBlockSize int  // largest blksize granted, 8..65464; 0: as large as fits the path to the client without fragments
	Fragments    bool // grant up to MaxBlockSize even if that needs IP fragments
	MaxWindow    int  // largest windowsize granted; 0: 64

	// Timeout is the longest interval between retransmissions (0: 5 s); the interval follows the round trip time unless
	// the client sets it (RFC 2349). GiveUp ends a transfer whose client makes no progress for so long (0: 30 s), or for
	// three of its own intervals; a client that never answered is given up after a third of it.
	Timeout time.Duration
	GiveUp  time.Duration

	MaxTransfers int // at once; 0: 1024. Requests above it are dropped, so that clients ask again
	MaxPerClient int // of these for one IPv4 address or IPv6 /64; 0: 64
	RequestRate  int // requests per second of one client, with four times that at once; 0: 128

	Log     *slog.Logger // nil: silent
	Observe func(Event)  // called on the transfers' goroutines; must not block. nil: nobody

	oneSocket bool // tests: as if the listening port could not be bound again
}

// config is a Server with its defaults filled in.
type config struct {
	Server
	log     *slog.Logger
	observe func(Event)
}

func (s *Server) config() (config, error) {
	c := config{Server: *s, log: s.Log, observe: s.Observe}
	if c.Files == nil {
		return c, errors.New("tftp: Server.Files is not set")
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		value    *int
		fallback int
	}{{&c.MaxWindow, 64}, {&c.MaxTransfers, 1024}, {&c.MaxPerClient, 64}, {&c.RequestRate, 128}} {
		if *d.value == 0 {
			*d.value = d.fallback
		}
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.GiveUp == 0 {
		c.GiveUp = 30 * time.Second
	}
	return c, c.validate()
}

func (c *config) validate() error {
	switch {
	case c.MaxBlockSize != 0 && (c.MaxBlockSize < minBlock || c.MaxBlockSize > maxBlock):
		return fmt.Errorf("tftp: MaxBlockSize %d is not in %d..%d", c.MaxBlockSize, minBlock, maxBlock)
	case c.MaxWindow < 1 || c.MaxWindow > 65535:
		return fmt.Errorf("tftp: MaxWindow %d is not in 1..65535", c.MaxWindow)
	case c.MaxTransfers < 1 || c.MaxPerClient < 1 || c.RequestRate < 1:
		return errors.New("tftp: MaxTransfers, MaxPerClient and RequestRate must be positive")
	case c.Timeout < minInterval || c.GiveUp < c.Timeout:
		return fmt.Errorf("tftp: Timeout %v must be at least %v and not above GiveUp %v", c.Timeout, minInterval, c.GiveUp)
	}
	return nil
}

// engine is one running Serve.
type engine struct {
	config
	listener
	ctx       context.Context // of Serve: for Files.Open of transfers that requests start
	running   *transfers
	admission admission
	active    atomic.Int32
	group     sync.WaitGroup
	buffers   sync.Pool
	drops     dropLog
	slowOnce  sync.Once
}

// Serve answers requests on conn until ctx ends or conn fails: it returns nil in the first case, after every transfer has
// been stopped (its client is told) and its goroutine has ended. conn stays open and is the caller's to close; a
// *net.UDPConn is needed for replies from the right address and for speed.
func (s *Server) Serve(ctx context.Context, conn net.PacketConn) error {
	// 1. Settings and socket.
	c, err := s.config()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e := &engine{config: c, ctx: ctx, running: newTransfers()}
	e.admission = newAdmission(&c)
	e.buffers.New = func() any { return new(buffer) }
	if e.listener, err = listen(conn); err != nil {
		return fmt.Errorf("preparing the tftp socket %v: %w", conn.LocalAddr(), err)
	}
	defer e.listener.close()

	// 2. Requests, until the context or the socket ends.
	woken := make(chan struct{})
	context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)); close(woken) })
	err = e.receive(ctx)

	// 3. No transfer outlives this call, and the socket is left usable.
	cancel()
	<-woken
	e.running.stopAll()
	e.group.Wait()
	conn.SetReadDeadline(time.Time{})
	return err
}

// receive hands on datagrams. Errors of a UDP socket are mostly reports about single packets (ICMP) or an interface that
// is down for a while: only a closed socket ends the loop.
func (e *engine) receive(ctx context.Context) error {
	pause := time.Millisecond
	for {
		packets, err := e.read()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("reading tftp requests: %w", err)
		case err != nil:
			e.log.Warn("tftp socket", "error", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pause):
			}
			pause = min(2*pause, time.Second)
			continue
		}
		pause = time.Millisecond
		now := time.Now()
		for _, p := range packets {
			e.handle(p, now)
		}
	}
}

// handle sorts one datagram of the listening socket.
func (e *engine) handle(p packet, now time.Time) {
	if p.client.Port() == 0 {
		return
	}
	switch opcode(p.data) {
	case opRead, opWrite:
		e.request(p, now)
		return
	case opAck, opError:
		if t := e.running.find(p.key()); t != nil {
			t.deliver(p)
			return
		}
		if opcode(p.data) == opError {
			return // never answered: that could go on for ever
		}
	}
	if len(p.data) < 2 || e.running.endedLately(p.key(), now) {
		return
	}
	if opcode(p.data) <= opOACK {
		e.refuse(p.origin, now, &Error{CodeUnknownTID, "unknown transfer ID"})
		return
	}
	e.refuse(p.origin, now, &Error{CodeIllegal, "illegal TFTP operation"})
}

// refuse answers with an error, within the client's rate.
func (e *engine) refuse(o origin, now time.Time, answer *Error) bool {
	if !e.admission.request(o.client.Addr(), now) {
		e.drops.add(e.log, now, "requests above the rate", o.client)
		return false
	}
	e.answer(o, answer)
	return true
}

func (e *engine) answer(o origin, answer *Error) {
	if err := e.reply(o, errorPacket(answer)); err != nil {
		e.log.Debug("tftp error packet not sent", "client", o.client, "error", err)
	}
}
