package admin

import (
	"time"

	"hooksmith/serve/event"
	"hooksmith/serve/timeline"
)

// Metrics counts what happens, in a registry of its own. No label has a value
// that comes from the network.
type Metrics struct{ metrics }

// NewMetrics makes the counters.
func NewMetrics() *Metrics { return newMetrics() }

// Event counts an event; it is an event.Sink.
func (m *Metrics) Event(e event.Event) { m.event(e) }

// Reached is for timeline.Options.Reached.
func (m *Metrics) Reached(stage timeline.Stage, after time.Duration) { m.reached(stage, after) }
