package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// stallTime is how long a connection that is in use may carry nothing, either
// way, until it counts as dead: completing an upload takes some servers minutes.
const stallTime = 5 * time.Minute

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// stalling makes a dialer's connections end when they carry nothing for so long.
func stalling(dial dialFunc, after time.Duration) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &stallConn{Conn: c, after: after}, nil
	}
}

// stallConn pushes its deadlines back with everything that it carries. A write
// also pushes back the read that waits for its answer.
type stallConn struct {
	net.Conn
	after time.Duration
}

func (c *stallConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.after)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	return n, c.explain(err)
}

func (c *stallConn) Write(p []byte) (int, error) {
	const piece = 64 << 10 // a line that is slow but moves is none that stalls
	done := 0
	for {
		if err := c.SetDeadline(time.Now().Add(c.after)); err != nil {
			return done, err
		}
		n, err := c.Conn.Write(p[done:min(len(p), done+piece)])
		done += n
		if err != nil || done == len(p) {
			return done, c.explain(err)
		}
	}
}

func (c *stallConn) explain(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%s has not moved a byte for %v: %w", c.RemoteAddr(), c.after, err)
	}
	return err
}
