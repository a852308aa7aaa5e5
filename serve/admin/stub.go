package admin

import (
	"context"
	"errors"
	"time"

	"hooksmith/serve/event"
	"hooksmith/serve/timeline"
)

type (
	state   struct{}
	metrics struct{}
)

func newHandler(config Config) (*Handler, error)             { return nil, errors.ErrUnsupported }
func newMetrics() *Metrics                                   { return &Metrics{} }
func (h *Handler) stop()                                     {}
func (m *metrics) event(e event.Event)                       {}
func (m *metrics) reached(s timeline.Stage, d time.Duration) {}

func (c *Client) status(ctx context.Context) (s Server, err error) { return s, errors.ErrUnsupported }
func (c *Client) machines(ctx context.Context) ([]timeline.Machine, error) {
	return nil, errors.ErrUnsupported
}
func (c *Client) machine(ctx context.Context, mac string) (d timeline.Detail, err error) {
	return d, errors.ErrUnsupported
}
func (c *Client) logs(ctx context.Context, mac string, q timeline.Query, follow bool, f func(timeline.Line) error) error {
	return errors.ErrUnsupported
}
func (c *Client) watch(ctx context.Context, mac string, f func([]timeline.Machine) error) error {
	return errors.ErrUnsupported
}
