package admin

import (
	"log/slog"
	"net/http"
	"time"

	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
	"hooksmith/serve/timeline"
)

// Config says what the handler shows and to whom. Timeline is required; a nil
// function means that there is nothing of the kind. The functions must be fast
// and safe for concurrent use.
type Config struct {
	Timeline *timeline.Timeline
	Log      *slog.Logger     // nil: silent
	Now      func() time.Time // nil: time.Now
	Version  string           // of the program, shown on the page
	Title    string           // of the page: the server's host name; "" is fine

	// Token, if there is one, is asked from everyone except at /healthz and
	// /readyz: as a bearer token, or once in the page's form.
	Token string
	// Hosts are the names by which browsers may address the server, without
	// port, against DNS rebinding; IP addresses and localhost are always
	// allowed. "*" allows any.
	Hosts []string
	// Streams is how many live connections there may be; 0: 64.
	Streams int
	// Heartbeat is the time between signs of life on a quiet stream; 0: 15 s.
	Heartbeat time.Duration

	Hardware       func() []hardware.Machine
	HardwareStatus func() *hardware.Status
	Leases         func() []Lease
	Preview        func(mac string) (ipxe.Preview, error) // an error is shown as it is
	Interfaces     func() []Interface
	Services       func() []Service
	Settings       func() []Setting
	// NotReady says why the server is not ready, one reason each; none: ready.
	NotReady func() []string

	Metrics *Metrics // nil: /metrics is not there
	// Figures are numbers that the parts of the server keep; asked for at each
	// scrape.
	Figures func() []Figure
}

// Figure is one number of /metrics. Those of one name must have the same Help
// and label names.
type Figure struct {
	Name, Help string // without hooksmith_ in front; a total ends in _total
	Labels     map[string]string
	Value      float64
}

// Lease is a row of the lease table.
type Lease struct {
	IP       string    `json:"ip"`
	MAC      string    `json:"mac"`
	Hostname string    `json:"hostname,omitempty"` // as the client says
	State    string    `json:"state"`              // active, expired, released, quarantined
	Expires  time.Time `json:"expires,omitzero"`
	Detail   string    `json:"detail,omitempty"`
}

// Interface is a network interface that the server answers on.
type Interface struct {
	Name      string   `json:"name"`
	Up        bool     `json:"up"`
	Addresses []string `json:"addresses"`
	Error     string   `json:"error,omitempty"` // what is wrong with it and what to do
}

// Service is a part of the server: DHCP, TFTP, HTTP...
type Service struct {
	Name    string `json:"name"`
	Address string `json:"address,omitempty"` // where it listens
	Detail  string `json:"detail,omitempty"`  // mode, what it serves
	Error   string `json:"error,omitempty"`
}

// Setting is a line of the effective configuration, without secrets.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Server is the answer of /api/status.
type Server struct {
	Title      string          `json:"title,omitempty"`
	Version    string          `json:"version,omitempty"`
	Started    time.Time       `json:"started"`
	Time       time.Time       `json:"time"`
	Ready      bool            `json:"ready"`
	NotReady   []string        `json:"notReady"`
	Timeline   timeline.Status `json:"timeline"`
	Interfaces []Interface     `json:"interfaces"`
	Services   []Service       `json:"services"`
	Settings   []Setting       `json:"settings"`
	Hardware   *HardwareState  `json:"hardware,omitempty"`
}

// HardwareState is the answer of /api/hardware: the files, and the machines
// that the files name.
type HardwareState struct {
	hardware.Status
	Healthy bool `json:"healthy"`
}

// Handler serves. Make it with New.
type Handler struct {
	config Config
	mux    http.Handler
	state
}

// New checks the configuration and makes the handler.
func New(config Config) (*Handler, error) { return newHandler(config) }

// ServeHTTP serves.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// Stop ends the live streams, which otherwise never end. Give it to
// http.Server.RegisterOnShutdown.
func (h *Handler) Stop() { h.state.stop() }
