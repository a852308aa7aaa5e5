package syslog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// ServeTCP accepts connections until ctx ends or l fails: nil in the first
// case. Messages are framed by counts or by line breaks (RFC 6587), as each
// connection's first message says. When it returns, every connection is closed
// and every goroutine has ended; see Serve for what was received before. l
// stays the caller's to close, but a listener without SetDeadline is closed
// when ctx ends.
func (s *Server) ServeTCP(ctx context.Context, l net.Listener) error {
	e, err := s.start()
	if err != nil {
		return err
	}
	defer e.finish()
	ctx, cancel := context.WithCancel(ctx)
	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	defer interruptible(ctx, l)()
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case err == nil:
			conns.Go(func() { e.converse(ctx, conn) })
		case passing(err):
			e.log.Warn("a syslog connection was not accepted", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		default:
			return fmt.Errorf("accepting syslog connections on %v: %w", l.Addr(), err)
		}
	}
}

// interruptible lets Accept return when ctx ends, until undo is called.
func interruptible(ctx context.Context, l net.Listener) (undo func()) {
	d, ok := l.(interface{ SetDeadline(time.Time) error })
	if !ok {
		stop := atEnd(ctx, func() { l.Close() })
		return func() { stop() }
	}
	stop := atEnd(ctx, func() { d.SetDeadline(time.Unix(1, 0)) })
	return func() {
		if stop() {
			d.SetDeadline(time.Time{})
		}
	}
}

// passing: no more files for the moment, or a client that has gone already.
func passing(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOBUFS) ||
		errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.ECONNABORTED)
}

// converse reads one connection to its end.
func (e *engine) converse(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	from := addrPort(conn.RemoteAddr())
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	if !e.places.enter(from.Addr(), or(e.MaxConns, 512), or(e.MaxConnsPerAddr, 16)) {
		e.refused.Add(1)
		e.tell(false)
		return
	}
	defer e.places.leave(from.Addr())
	defer atEnd(ctx, func() { conn.Close() })()
	f := newFrames(idleReader{conn, or(e.IdleTimeout, 30*time.Minute)}, e.maxMessage)
	for {
		message, cut, err := f.next()
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, io.EOF) {
				e.log.Debug("a syslog connection ended", "from", from, "error", err)
			}
			return
		}
		if cut {
			e.cut.Add(1)
		}
		e.accept(message, from)
	}
}

// idleReader gives up on a connection that says nothing for so long.
type idleReader struct {
	net.Conn
	timeout time.Duration
}

func (r idleReader) Read(b []byte) (int, error) {
	if err := r.SetReadDeadline(time.Now().Add(r.timeout)); err != nil {
		return 0, err
	}
	return r.Conn.Read(b)
}
