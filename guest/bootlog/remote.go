package bootlog

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

const (
	// waiting is how many messages are kept while there is no network yet.
	waiting = 256
	// again is how long a server that cannot be reached is left alone.
	again = time.Second
)

// Remote sends messages to a syslog server by UDP (RFC 5424, RFC 5426): what happens before a container can log, and why
// none does. Make one with NewRemote.
type Remote struct {
	address  string
	messages chan string
}

// NewRemote takes the value of the kernel argument syslog_host: a host, or HOST:PORT.
func NewRemote(host string) *Remote {
	address := host
	if _, _, err := net.SplitHostPort(host); err != nil {
		address = net.JoinHostPort(strings.Trim(host, "[]"), "514")
	}
	return &Remote{address, make(chan string, waiting)}
}

// Send takes a message to be sent. It never waits: with too many before it, the message is dropped.
func (r *Remote) Send(message string) {
	select {
	case r.messages <- message:
	default:
	}
}

// Run sends what comes, the first as soon as there is a way to the server, until ctx is done.
func (r *Remote) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case message := <-r.messages:
			r.deliver(ctx, message)
		}
	}
}

// deliver sends a message and all that wait behind it. Each time by a new socket: addresses and routes of the machine
// change while it boots.
func (r *Remote) deliver(ctx context.Context, message string) {
	conn := r.dial(ctx)
	if conn == nil {
		return
	}
	defer conn.Close()
	for {
		// Whether it arrives is not known anyway.
		_, _ = conn.Write(record(message))
		select {
		case message = <-r.messages:
		default:
			return
		}
	}
}

// dial waits until there is a route to the server; nil when ctx is done.
func (r *Remote) dial(ctx context.Context) net.Conn {
	var d net.Dialer
	for {
		conn, err := d.DialContext(ctx, "udp", r.address)
		if err == nil {
			return conn
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(again):
		}
	}
}

// record is a message as RFC 5424 has it, from facility daemon with severity informational. It has no time: this
// machine's clock may not be right yet.
func record(message string) []byte {
	const priority = 3<<3 | 6
	host, err := os.Hostname()
	if err != nil || host == "" || strings.ContainsFunc(host, func(c rune) bool { return c <= ' ' || c > '~' }) {
		host = "-"
	}
	return fmt.Appendf(nil, "<%d>1 - %s hookos - - - %s", priority, host, message)
}
