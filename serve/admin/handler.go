package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"hooksmith/serve/hardware"
	"hooksmith/serve/timeline"
)

// state is what the handler has beside its configuration.
type state struct {
	access  access
	page    *page
	started time.Time
	streams chan struct{} // a slot per live connection
	ending  context.Context
	stop    context.CancelFunc
}

func newHandler(config Config) (*Handler, error) {
	if config.Timeline == nil {
		return nil, errors.New("admin: Config.Timeline is missing")
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	config.Streams = cmp.Or(config.Streams, 64)
	config.Heartbeat = cmp.Or(config.Heartbeat, 15*time.Second)
	h := &Handler{config: config}
	h.access = newAccess(config)
	h.started = config.Now()
	h.streams = make(chan struct{}, config.Streams)
	h.ending, h.state.stop = context.WithCancel(context.Background())
	var err error
	if h.page, err = newPage(); err != nil {
		return nil, err
	}
	if config.Metrics != nil {
		if config.Metrics.taken.Swap(true) {
			return nil, errors.New("admin: these Metrics serve another handler already")
		}
		if err := config.Metrics.registry.Register(gauges{h}); err != nil {
			return nil, fmt.Errorf("admin: registering the gauges: %w", err)
		}
	}
	h.mux = h.routes()
	return h, nil
}

func (h *Handler) routes() http.Handler {
	private := http.NewServeMux()
	for pattern, f := range map[string]http.HandlerFunc{
		"GET /api/status":              h.apiStatus,
		"GET /api/machines":            h.apiMachines,
		"GET /api/machines/{mac}":      h.apiMachine,
		"GET /api/machines/{mac}/logs": h.apiLogs,
		"GET /api/leases":              h.apiLeases,
		"GET /api/hardware":            h.apiHardware,
		"GET /api/preview/{mac}":       h.apiPreview,
		"GET /api/events":              h.apiEvents,
		"/api/":                        h.apiNothing,
		"GET /{$}":                     h.pageMachines,
		"GET /machines/{mac}":          h.pageMachine,
		"GET /leases":                  h.pageLeases,
		"GET /server":                  h.pageServer,
		"POST /logout":                 h.access.logout,
	} {
		private.HandleFunc(pattern, f)
	}
	if m := h.config.Metrics; m != nil {
		private.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	}
	all := http.NewServeMux()
	all.HandleFunc("GET /healthz", h.healthz)
	all.HandleFunc("GET /readyz", h.readyz)
	all.HandleFunc("GET /login", h.pageLogin)
	all.HandleFunc("POST /login", h.login)
	all.Handle("/", h.access.guard(private))
	return h.access.sameSite(h.page.headers(all))
}

// healthz is whether the process lives.
func (h *Handler) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "ok\n")
}

// readyz is whether machines can boot; if not, the reasons.
func (h *Handler) readyz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	reasons := h.notReady()
	if len(reasons) == 0 {
		_, _ = io.WriteString(w, "ready\n")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, "not ready\n- "+strings.Join(reasons, "\n- ")+"\n")
}

func (h *Handler) notReady() []string {
	if h.config.NotReady == nil {
		return []string{}
	}
	return append([]string{}, h.config.NotReady()...)
}

func (h *Handler) hardwareState() *HardwareState {
	if h.config.HardwareStatus == nil {
		return nil
	}
	s := h.config.HardwareStatus()
	if s == nil {
		return nil
	}
	return &HardwareState{*s, s.Healthy()}
}

// server gathers what /api/status and the page show.
func (h *Handler) server() Server {
	s := Server{Title: h.config.Title, Version: h.config.Version, Started: h.started, Time: h.config.Now(), NotReady: h.notReady(),
		Timeline: h.config.Timeline.Status(), Hardware: h.hardwareState(), Interfaces: []Interface{}, Services: []Service{}, Settings: []Setting{}}
	s.Ready = len(s.NotReady) == 0
	if h.config.Interfaces != nil {
		s.Interfaces = append(s.Interfaces, h.config.Interfaces()...)
	}
	if h.config.Services != nil {
		s.Services = append(s.Services, h.config.Services()...)
	}
	if h.config.Settings != nil {
		s.Settings = append(s.Settings, h.config.Settings()...)
	}
	return s
}

// machines are those of the timeline, and those of the hardware data that were
// never heard of.
func (h *Handler) machines() []timeline.Machine {
	all := h.config.Timeline.Machines()
	if h.config.Hardware == nil {
		return all
	}
	seen := make(map[string]bool, len(all))
	for i := range all {
		seen[all[i].MAC] = true
	}
	for _, m := range h.config.Hardware() {
		if !seen[m.MAC] {
			all = append(all, unasked(m))
		}
	}
	return all
}

func unasked(m hardware.Machine) timeline.Machine {
	out := timeline.Machine{MAC: m.MAC, Hostname: m.Hostname, Known: true, Arch: m.Arch, State: timeline.Unasked, Problems: []timeline.Problem{}}
	if m.IP.IsValid() {
		out.IP = m.IP.Addr().String()
	}
	return out
}

// machine finds one by any spelling of its MAC address.
func (h *Handler) machine(text string) (d timeline.Detail, ok bool) {
	mac, err := hardware.NormalizeMAC(text)
	if err != nil {
		return d, false
	}
	if d, ok = h.config.Timeline.Machine(mac); ok || h.config.Hardware == nil {
		return d, ok
	}
	all := h.config.Hardware()
	i := slices.IndexFunc(all, func(m hardware.Machine) bool { return m.MAC == mac })
	if i < 0 {
		return d, false
	}
	return timeline.Detail{Machine: unasked(all[i]), History: []timeline.Boot{}}, true
}
