package ra

import (
	"context"
	"log/slog"
	"net/netip"
	"time"
)

// Conn is a raw ICMPv6 socket that hears the router solicitations of some interfaces.
type Conn struct {
}

// Listen opens the socket; it needs CAP_NET_RAW. The interfaces must exist; they
// may go down, come up, go away and come back later.
func Listen(interfaces ...string) (*Conn, error) { return &Conn{}, nil }

// Close closes the socket.
func (c *Conn) Close() error { return nil }

// Server holds the settings; the zero value works.
type Server struct {
	Log      *slog.Logger  // nil: silent
	Interval time.Duration // between advertisements that nobody asked for, 4 s to 30 min (RFC 4861, 6.2.1); 0: 200 s

	// Observe is told of every solicitation that is answered: which interface, and who
	// asked (a link-local address, or :: of a client that has none). It must not
	// block. Nil: nobody.
	Observe func(iface string, from netip.Addr)
}

// Serve advertises and answers until ctx ends or the socket fails: nil in the
// first case. The caller closes conn.
func (s *Server) Serve(ctx context.Context, conn *Conn) error { return nil }
