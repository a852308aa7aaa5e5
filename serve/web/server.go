package web

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"hooksmith/serve/event"
	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
)

// Policy says what a machine without a hardware record gets for a script.
type Policy int

// The policies.
const (
	Deny Policy = iota // a text on its screen: its MAC address, and what to add
	Auto               // the default script, as for a record that has only the MAC address
)

// Server holds the settings; the zero value of each works. They must not be
// changed once Handler or Serve was called. One Server may serve any number of
// listeners at once: limits and files in use are those of all of them.
type Server struct {
	// Artifacts is the folder at /hook/. It is looked up again when what stands
	// under its name changes, a symbolic link in it included. "": none.
	Artifacts string

	// Verify has to allow the files of a folder before they are served; what it
	// refuses stays out, and the files of before in use. Nil: no such thing.
	Verify Verify

	// Binaries are the iPXE binaries; nil: none.
	Binaries *ipxe.Binaries

	// Scripts returns the scripts of this moment, for clients that reached the
	// server at local: on a host with several networks the URL of the artifacts
	// differs. Whoever has one URL ignores the argument. Nil: no scripts.
	Scripts func(local netip.Addr) *ipxe.Scripts

	// Hardware finds machines; nil: every machine is unknown.
	Hardware *hardware.Store

	// MACOf knows the machine behind an address, from leases; nil: nobody does.
	MACOf func(ip netip.Addr) (mac string, ok bool)

	// Unknown is for machines that Hardware does not know.
	Unknown Policy

	// BaseURL is this server as machines reach it, without a path:
	// http://boot.example. "": as the client asking wrote it, else the address that
	// it reached.
	BaseURL string

	Sink           event.Sink     // nil: event.Discard
	Log            *slog.Logger   // nil: silent
	TrustedProxies []netip.Prefix // whose X-Forwarded-For is believed
	Limits         Limits

	once  sync.Once
	state *state
}

// Limits bound what clients can cost. The zero value works.
type Limits struct {
	Connections   int           // open at once; 0: 4096. Above it, idle ones give way, then new ones wait
	PerAddress    int           // of these, per IPv4 address or IPv6 /64; 0: 128. Above it, new ones are closed
	HeaderTimeout time.Duration // for the request; 0: 10 s
	IdleTimeout   time.Duration // of a kept connection; 0: 2 min
	Stall         time.Duration // for a client to take the next part of a response (at most 1 MiB), and
	MinRate       int64         // in addition what that part takes at so many bytes per second; 0: 30 s, 16384
	Grace         time.Duration // for running downloads when the server stops; 0: 10 s
}

// Stats counts since the server was made.
type Stats struct {
	Requests    int64 `json:"requests"`
	Scripts     int64 `json:"scripts"`     // handed out, messages included
	Files       int64 `json:"files"`       // downloads finished
	Aborted     int64 `json:"aborted"`     // downloads not finished
	Active      int64 `json:"active"`      // downloads at this moment
	Bytes       int64 `json:"bytes"`       // of files
	NotFound    int64 `json:"notFound"`    // answers 404
	Connections int64 `json:"connections"` // open at this moment
	Refused     int64 `json:"refused"`     // connections closed by PerAddress
	Stalled     int64 `json:"stalled"`     // downloads ended by Stall and MinRate
	FormerBuild int64 `json:"formerBuild"` // files of a former build, for machines that had begun with it
}

// ArtifactStatus is what stands in the artifacts' folder, for the page and for
// readiness.
type ArtifactStatus struct {
	Folder   string       `json:"folder"`
	Error    string       `json:"error,omitempty"` // the folder cannot be read
	Build    string       `json:"build,omitempty"` // build_id of hook.json
	Since    time.Time    `json:"since"`           // when these files were taken up
	Files    []FileStatus `json:"files"`
	Problems []string     `json:"problems,omitempty"` // a file is not what hook.json says
	Refused  string       `json:"refused,omitempty"`  // by Server.Verify: what stands there now, and why
}

// FileStatus is one file at /hook/.
type FileStatus struct {
	Name   string    `json:"name"`
	Size   int64     `json:"size"`
	Time   time.Time `json:"time"`
	SHA256 string    `json:"sha256,omitempty"` // "" while it is being computed
}

// Serve answers on ln until ctx ends, then lets running downloads end for
// Limits.Grace, closes everything and returns nil. An error is ln's. Serve closes
// ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, ln, nil)
}

// ServeTLS is Serve with HTTPS (HTTP/1.1 and 2). The certificate's files, PEM,
// are read again when they change; a pair that cannot be used is logged and the
// one before stays. Files that are unusable at first are an error.
func (s *Server) ServeTLS(ctx context.Context, ln net.Listener, certFile, keyFile string) error {
	cert, err := loadCertificate(certFile, keyFile, s.init().log)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	return s.serve(ctx, ln, cert)
}

// serve runs one listener. Cert is nil for HTTP.
func (s *Server) serve(ctx context.Context, ln net.Listener, cert *certificate) error {
	st := s.init()
	st.enter()
	defer st.leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	srv := st.server(ctx, s.Handler())
	var g errgroup.Group
	g.Go(func() error {
		defer cancel()
		gate := st.admission.listen(ln)
		defer gate.Close()
		var err error
		if cert == nil {
			err = srv.Serve(gate)
		} else {
			srv.TLSConfig = cert.config()
			err = srv.ServeTLS(gate, "", "")
		}
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	})
	g.Go(func() error {
		<-ctx.Done()
		grace, done := context.WithTimeout(context.WithoutCancel(ctx), st.limits.Grace)
		defer done()
		if srv.Shutdown(grace) != nil {
			return srv.Close() // downloads that do not end
		}
		return nil
	})
	g.Go(func() error {
		st.keep(ctx, cert)
		return nil
	})
	return g.Wait()
}

// server is one http.Server: without a timeout for whole requests, as a
// download may take long; sender has one for each piece.
func (st *state) server(ctx context.Context, h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: st.limits.HeaderTimeout,
		IdleTimeout:       st.limits.IdleTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(st.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnState:         st.admission.state,
		ConnContext:       withConn,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 32,
			SendPingTimeout:      st.limits.Stall,
			WriteByteTimeout:     st.limits.Stall,
		},
	}
}
