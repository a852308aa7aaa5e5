package syslog

import (
	"context"
	"log/slog"
	"net"
	"time"
)

// Server holds the settings and the counts. The zero value of all but Handle
// works. One Server may serve several sockets at once: MaxQueue, MaxConns and
// the rates count for all of them together.
type Server struct {
	// Handle gets the records of a socket in the order in which they came, on one
	// goroutine per Serve or ServeTCP. It may be slow: then lines are dropped.
	Handle func(Record)

	Log *slog.Logger     // nil: silent
	Now func() time.Time // nil: time.Now

	MaxMessage      int           // bytes of one message, the rest is cut off; 0: 64 kB, also the most
	MaxQueue        int           // bytes of text that wait for Handle; 0: 8 MB
	Rate            int           // messages per second of one source address, with four times that at once; 0: 2000
	MaxConns        int           // TCP connections at once; 0: 512
	MaxConnsPerAddr int           // of these from one address; 0: 16
	IdleTimeout     time.Duration // a TCP connection that says nothing is closed; 0: 30 min
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
func (s *Server) Stats() Stats { return Stats{} }

// Serve receives datagrams until ctx ends or conn fails: nil in the first case,
// when every goroutine has ended. Each datagram is one message. conn stays the
// caller's to close.
func (s *Server) Serve(ctx context.Context, conn net.PacketConn) error { return nil }

// ServeTCP accepts connections until ctx ends or l fails: nil in the first
// case, when every goroutine has ended. Messages are framed by octet counts or by line
// breaks (RFC 6587), each connection as its first byte says. l stays the caller's to close.
func (s *Server) ServeTCP(ctx context.Context, l net.Listener) error { return nil }

// Parse reads one message, without its framing. It takes everything.
func Parse(message []byte, received time.Time) Record { return Record{} }
