package web

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// What was written is in the kernel's buffer, some megabytes at most: a machine
// that dies then has not got it. So a download is done when the machine has
// acknowledged it, and of one that broke off only that is counted.

type connKey struct{}

// withConn is http.Server's ConnContext.
func withConn(ctx context.Context, conn net.Conn) context.Context {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	return context.WithValue(ctx, connKey{}, conn)
}

// outstanding is how much of what was written to a connection is not
// acknowledged.
func (c *tracked) outstanding() (n int64, alive, ok bool) {
	got, alive, ok := acked(c.Conn)
	return max(0, c.sent.Load()-got), alive, ok
}

// An iPXE starts the kernel as soon as it has the last byte, before it has
// acknowledged that: the machine then never does. So of little that stays
// unacknowledged at the very end it is believed, after a while, that it arrived.
const (
	lastWindow = 256 << 10 // as much as iPXE lets be sent
	lastQuiet  = 2 * time.Second
)

// awaitDelivery waits until everything written has arrived, as long as some of
// it does within stall. It returns how much has not.
func awaitDelivery(c *tracked, stall time.Duration) (left int64, late bool) {
	left, alive, ok := c.outstanding()
	moved := time.Now()
	for pause := 100 * time.Microsecond; ok && alive && left > 0; pause = min(2*pause, 20*time.Millisecond) {
		quiet := time.Since(moved)
		if quiet > lastQuiet && left <= lastWindow {
			return 0, false
		}
		if quiet > stall {
			return left, true
		}
		time.Sleep(pause)
		before := left
		if left, alive, ok = c.outstanding(); left < before {
			moved = time.Now()
		}
	}
	if !ok {
		return 0, false
	}
	return left, false
}
