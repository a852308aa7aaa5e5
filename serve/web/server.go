package web

import (
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

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

	// Next takes every request that is for none of the boot server's paths: the
	// admin's, where both share a port. Nil: 404.
	Next http.Handler

	once  sync.Once
	state *state
}

// Limits bound what clients can cost. The zero value works.
type Limits struct {
	Connections   int           // open at once; 0: 4096. Above it, idle ones give way, then new ones wait
	PerAddress    int           // of these, per IPv4 address or IPv6 /64; 0: 128. Above it, new ones are closed
	HeaderTimeout time.Duration // for the request; 0: 10 s
	IdleTimeout   time.Duration // of a kept connection; 0: 2 min
	Stall         time.Duration // without any progress of a response; 0: 30 s
	MinRate       int64         // bytes per second that a client must take, beyond Stall; 0: 8192
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
}

// FileStatus is one file at /hook/.
type FileStatus struct {
	Name   string    `json:"name"`
	Size   int64     `json:"size"`
	Time   time.Time `json:"time"`
	SHA256 string    `json:"sha256,omitempty"` // "" while it is being computed
}
