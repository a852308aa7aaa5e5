package admin

import (
	"context"
	"net/http"

	"hooksmith/serve/timeline"
)

// Client talks to a Handler: what `serve status` and `serve logs` use.
type Client struct {
	URL   string // of the admin address: http://127.0.0.1:8081
	Token string
	HTTP  *http.Client // nil: http.DefaultClient's transport without a timeout
}

// Status returns the server's condition.
func (c *Client) Status(ctx context.Context) (Server, error) { return c.status(ctx) }

// Machines returns all machines, the worst first.
func (c *Client) Machines(ctx context.Context) ([]timeline.Machine, error) { return c.machines(ctx) }

// Machine returns one machine with its earlier boots.
func (c *Client) Machine(ctx context.Context, mac string) (timeline.Detail, error) {
	return c.machine(ctx, mac)
}

// Logs calls f for every line that q picks; with follow it goes on until ctx is
// done or f returns an error, which Logs returns.
func (c *Client) Logs(ctx context.Context, mac string, q timeline.Query, follow bool, f func(timeline.Line) error) error {
	return c.logs(ctx, mac, q, follow, f)
}

// Watch calls f with all machines (or the one with this MAC address) at once and
// after every change, until ctx is done or f returns an error, which Watch
// returns. It connects again when the server goes away.
func (c *Client) Watch(ctx context.Context, mac string, f func([]timeline.Machine) error) error {
	return c.watch(ctx, mac, f)
}
