package admin

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

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

type metrics struct {
	registry    *prometheus.Registry
	events      *prometheus.CounterVec
	transfers   *prometheus.CounterVec
	bytes       *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	retransmits prometheus.Counter
	stages      *prometheus.HistogramVec
	kinds       map[event.Kind]bool
	taken       atomic.Bool // by a handler, whose gauges are in the registry
}

func newMetrics() *Metrics {
	m := &Metrics{metrics: metrics{
		registry: prometheus.NewRegistry(),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hooksmith_events_total",
			Help: "What happened on the wire, by kind: discover, offer, tftp-done, ..."}, []string{"kind"}),
		transfers: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hooksmith_transfers_total",
			Help: "Downloads that ended."}, []string{"protocol", "result"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hooksmith_transfer_bytes_total",
			Help: "Bytes of files sent in downloads that ended."}, []string{"protocol"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "hooksmith_transfer_seconds",
			Help: "Time of complete downloads.", Buckets: []float64{.01, .03, .1, .3, 1, 3, 10, 30, 100, 300}}, []string{"protocol"}),
		retransmits: prometheus.NewCounter(prometheus.CounterOpts{Name: "hooksmith_tftp_retransmits_total",
			Help: "TFTP blocks that were sent again."}),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "hooksmith_boot_stage_seconds",
			Help: "Time from a boot's first sign until it reached a stage.", Buckets: []float64{.1, .3, 1, 3, 5, 10, 20, 30, 60, 120, 300, 900}}, []string{"stage"}),
		kinds: map[event.Kind]bool{},
	}}
	for _, k := range []event.Kind{event.Discover, event.Offer, event.Request, event.Ack, event.Nak, event.Decline, event.Release, event.Inform,
		event.Silence, event.RivalDHCP, event.TFTPProbe, event.TFTPStart, event.TFTPDone, event.TFTPAbort, event.HTTPStart, event.HTTPDone,
		event.HTTPAbort, event.Script, event.Loop, event.NoBinary, event.Unknown, event.Syslog, event.WorkerUp} {
		m.kinds[k] = true
		m.events.WithLabelValues(string(k)) // there from the start, at 0
	}
	for _, s := range timeline.Stages() {
		m.stages.WithLabelValues(string(s))
	}
	for _, p := range []string{"tftp", "http"} {
		m.bytes.WithLabelValues(p)
		for _, result := range []string{"done", "aborted", "probe"} {
			m.transfers.WithLabelValues(p, result)
		}
	}
	m.registry.MustRegister(m.events, m.transfers, m.bytes, m.seconds, m.retransmits, m.stages,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) event(e event.Event) {
	switch {
	case m.kinds[e.Kind]:
		m.events.WithLabelValues(string(e.Kind)).Inc()
	case e.Kind != event.TFTPProgress && e.Kind != event.HTTPProgress:
		m.events.WithLabelValues("other").Inc()
	}
	switch e.Kind {
	case event.TFTPProbe:
		m.transfers.WithLabelValues("tftp", "probe").Inc()
	case event.TFTPDone:
		m.transfer("tftp", "done", e)
	case event.TFTPAbort:
		m.transfer("tftp", "aborted", e)
	case event.HTTPDone:
		m.transfer("http", "done", e)
	case event.HTTPAbort:
		m.transfer("http", "aborted", e)
	}
}

func (m *metrics) transfer(protocol, result string, e event.Event) {
	m.transfers.WithLabelValues(protocol, result).Inc()
	m.bytes.WithLabelValues(protocol).Add(float64(max(e.Bytes, 0)))
	if result == "done" {
		m.seconds.WithLabelValues(protocol).Observe(e.Duration.Seconds())
	}
	if protocol == "tftp" {
		m.retransmits.Add(float64(max(e.Retransmits, 0)))
	}
}

func (m *metrics) reached(stage timeline.Stage, after time.Duration) {
	m.stages.WithLabelValues(string(stage)).Observe(after.Seconds())
}

// gauges tells at a scrape how things stand.
type gauges struct{ h *Handler }

type gauge struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func newGauge(name, help string, labels ...string) gauge {
	return gauge{prometheus.NewDesc("hooksmith_"+name, help, labels, nil), prometheus.GaugeValue}
}

// Describe sends nothing: the set is checked at a scrape instead.
func (g gauges) Describe(chan<- *prometheus.Desc) {}

// Collect sends the present state.
func (g gauges) Collect(out chan<- prometheus.Metric) {
	send := func(of gauge, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(of.desc, of.kind, v, labels...)
	}
	s := g.h.config.Timeline.Status()
	machines := newGauge("machines", "Machines by state.", "state")
	for _, state := range []timeline.State{timeline.Booting, timeline.Stuck, timeline.Up, timeline.Idle, timeline.Silent} {
		send(machines, float64(s.States[state]), string(state))
	}
	stages := newGauge("machines_stage", "Machines by the furthest stage of their last boot.", "stage")
	for _, stage := range timeline.Stages() {
		send(stages, float64(s.Stages[stage]), string(stage))
	}
	problems := newGauge("problems", "Machines with a problem, by its code.", "code")
	for _, code := range timeline.Codes() {
		send(problems, float64(s.Problems[code]), code)
	}
	send(newGauge("timeline_log_bytes", "Bytes of machines' logs held."), float64(s.LogBytes))
	send(newGauge("timeline_file_bytes", "Size of the timeline's state file."), float64(s.Disk.Bytes))
	send(newGauge("timeline_write_failing", "1 while the timeline's state file cannot be written."), truth(s.Disk.Error != ""))
	send(newGauge("timeline_evicted_machines", "Machines forgotten because there were too many."), float64(s.Evicted))
	send(newGauge("timeline_unplaced_events", "Events and log lines of no machine that is known."), float64(s.Unplaced))
	send(newGauge("ready", "1 if the server is ready, see /readyz."), truth(len(g.h.notReady()) == 0))
	send(newGauge("build_info", "The program's version.", "version"), 1, g.h.config.Version)
	if hw := g.h.hardwareState(); hw != nil {
		send(newGauge("hardware_machines", "Machines in the hardware data."), float64(hw.Machines))
		send(newGauge("hardware_healthy", "1 if the hardware files are used as they are."), truth(hw.Healthy))
	}
	g.leases(newGauge("leases", "Leases by state.", "state"), send)
	if g.h.config.Figures != nil {
		for _, f := range g.h.config.Figures() {
			send(f.gauge(), f.Value)
		}
	}
}

// gauge describes a figure.
func (f *Figure) gauge() gauge {
	of := gauge{prometheus.NewDesc("hooksmith_"+f.Name, f.Help, nil, f.Labels), prometheus.GaugeValue}
	if strings.HasSuffix(f.Name, "_total") {
		of.kind = prometheus.CounterValue
	}
	return of
}

// leases counts by the states that are usual; others are "other".
func (g gauges) leases(of gauge, send func(gauge, float64, ...string)) {
	if g.h.config.Leases == nil {
		return
	}
	counts := map[string]int{"active": 0, "expired": 0, "released": 0, "quarantined": 0, "other": 0}
	for _, l := range g.h.config.Leases() {
		state := l.State
		if _, ok := counts[state]; !ok {
			state = "other"
		}
		counts[state]++
	}
	for state, n := range counts {
		send(of, float64(n), state)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
