package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"time"

	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
	"hooksmith/serve/web"
)

// Options are what a server needs beside its Config.
type Options struct {
	// Binaries has the boot binaries; it is not called if Config.IPXEDir names
	// a folder. What it returns is used as long as the server is.
	Binaries func(ctx context.Context) (fs.FS, error)
	// Verifier makes of Config.Signature, the file of a public key, what every set
	// of artifacts has to pass. It is called only if that is set.
	Verifier func(key string) (web.Verify, error)
	Version  string           // of the program, shown on the page
	Log      *slog.Logger     // nil: silent
	Now      func() time.Time // nil: time.Now

	// Anywhere lets a Plan be made where the interfaces are not: for previews
	// on another host. Such a Plan cannot be opened.
	Anywhere bool
}

// Plan is a configuration that has been held against the host, the hardware
// data, the binaries and the templates: all that can be said before a socket
// is bound.
type Plan struct {
	Config   Config // in force: defaults and what was found out filled in
	Binaries *ipxe.Binaries
	Machines int

	boots  *boots
	opt    Options
	verify web.Verify // nil: artifacts are served as they are
}

// anywhere stands for a server whose address is not known.
var anywhere = link{name: "(any)", address: netip.MustParseAddr("192.0.2.1"), subnet: netip.MustParsePrefix("192.0.2.0/24")}

// NewPlan checks a configuration against everything it names. The error says
// all that is wrong with one of them, and the first of them.
func NewPlan(ctx context.Context, c Config, opt Options) (*Plan, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	p := &Plan{Config: c.withDefaults(), boots: &boots{}, opt: opt}
	if err := p.Config.Validate(); err != nil {
		return nil, err
	}
	// 1. Where: interfaces, addresses, what they imply.
	if err := p.network(); err != nil {
		return nil, err
	}
	if err := p.opens(); err != nil {
		return nil, err
	}
	// 2. Who: the hardware data.
	var err error
	p.boots.hardware, err = hardware.Open(p.Config.Hardware, hardware.Options{Log: opt.Log, Now: opt.Now})
	if err != nil {
		return nil, fmt.Errorf("hardware data: %w", err)
	}
	p.Machines = p.boots.hardware.Index().Len()
	// 3. What they load: binaries, then kernel and initramfs.
	if err := p.binaries(ctx); err != nil {
		return nil, err
	}
	if err := checkArtifacts(p.Config.Artifacts); err != nil {
		return nil, err
	}
	if err := p.signature(); err != nil {
		return nil, err
	}
	// 4. What they run: every machine's script is made once.
	if p.boots.templates, err = readTemplates(p.Config.Templates); err != nil {
		return nil, err
	}
	p.boots.config = p.Config
	return p, p.boots.check(p.boots.hardware.All())
}

// Preview is what a machine would get, and why.
func (p *Plan) Preview(mac string) (ipxe.Preview, error) { return p.boots.preview(mac) }

// network finds the interfaces and fills in what they imply.
func (p *Plan) network() (err error) {
	c := &p.Config
	if p.boots.links, err = findLinks(c); err != nil {
		if !p.opt.Anywhere {
			return err
		}
		there := anywhere
		if c.Address != "" {
			there.address = netip.MustParseAddr(c.Address) // Validate has parsed it
		}
		p.boots.links = []link{there}
		return nil
	}
	if c.Address != "" {
		p.boots.address = netip.MustParseAddr(c.Address) // Validate has parsed it
	}
	c.Interfaces = nil
	for _, l := range p.boots.links {
		c.Interfaces = append(c.Interfaces, l.name)
	}
	if len(p.boots.links) == 1 {
		c.Address = p.boots.links[0].address.String()
	}
	if c.proxies() || c.DHCPMode == off {
		return nil
	}
	if len(c.Gateway) == 0 {
		c.Gateway = hostRouters(p.boots.links)
	}
	if len(c.DNS) == 0 {
		c.DNS = hostNameServers()
	}
	if c.givesPool() && len(c.Pool) == 0 {
		for _, l := range p.boots.links {
			first, last, ok := upperHalf(l.subnet)
			if span := first.String() + "-" + last.String(); ok && !slices.Contains(c.Pool, span) {
				c.Pool = append(c.Pool, span)
			}
		}
		if len(c.Pool) == 0 {
			return errors.New("pool: the subnets of the interfaces are too small to divide; name the addresses with --pool")
		}
	}
	return nil
}

// opens tries what of Open needs no socket and leaves nothing behind, so that
// --check does not call in order what cannot be served.
func (p *Plan) opens() error {
	c := &p.Config
	if p.opt.Anywhere {
		return nil
	}
	if c.DHCPMode != off {
		if _, err := p.subnets(); err != nil {
			return err
		}
	}
	if c.TokenFile == "" && !isLoopback(c.AdminAddress) {
		return &AdminOpenError{c.AdminAddress}
	}
	if c.TLSCert != "" {
		if _, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey); err != nil {
			return fmt.Errorf("tls-cert %s with tls-key %s: %w", c.TLSCert, c.TLSKey, err)
		}
	}
	return nil
}

func (p *Plan) binaries(ctx context.Context) (err error) {
	var fsys fs.FS
	if p.Config.IPXEDir != "" {
		st, err := os.Stat(p.Config.IPXEDir)
		if err == nil && !st.IsDir() {
			err = fmt.Errorf("%s is no folder", p.Config.IPXEDir)
		}
		if err != nil {
			return fmt.Errorf("ipxe-dir: %w", err)
		}
		fsys = os.DirFS(p.Config.IPXEDir)
	} else if fsys, err = p.opt.Binaries(ctx); err != nil {
		return err
	}
	if p.Binaries, err = ipxe.OpenBinaries(fsys); err != nil {
		if p.Config.IPXEDir != "" {
			err = fmt.Errorf("ipxe-dir: %s: %w", p.Config.IPXEDir, err)
		}
		return err
	}
	overrides, err := p.Config.overrides()
	if err != nil {
		return err
	}
	p.boots.rule, err = ipxe.NewRule(p.Binaries, ipxe.RuleOptions{Overrides: overrides, UserClasses: p.Config.UserClasses})
	return err
}

// UnsignedError says that the artifacts may not be served.
type UnsignedError struct {
	Folder, Key string
	Err         error
}

func (e *UnsignedError) Error() string {
	return fmt.Sprintf("artifacts: %s is not signed by %s: %v", e.Folder, e.Key, e.Err)
}
func (e *UnsignedError) Unwrap() error { return e.Err }

// signature verifies the artifacts that are there now. The web server does so
// again for what it opens, now and later.
func (p *Plan) signature() (err error) {
	c := &p.Config
	if c.Signature == "" || p.opt.Anywhere {
		return nil
	}
	if p.opt.Verifier == nil {
		return errors.New("require-signature: this program cannot verify signatures")
	}
	if p.verify, err = p.opt.Verifier(c.Signature); err != nil {
		return fmt.Errorf("require-signature: %w", err)
	}
	root, err := os.OpenRoot(c.Artifacts)
	if err != nil {
		return &NoArtifactsError{err}
	}
	defer root.Close()
	if _, err := p.verify(root.FS()); err != nil {
		return &UnsignedError{c.Artifacts, c.Signature, err}
	}
	return nil
}

// NoArtifactsError says that there is nothing to boot in the folder.
type NoArtifactsError struct{ Err error }

func (e *NoArtifactsError) Error() string { return fmt.Sprintf("artifacts: %v", e.Err) }
func (e *NoArtifactsError) Unwrap() error { return e.Err }

// checkArtifacts looks for a folder. Empty is allowed: it may be filled later.
func checkArtifacts(dir string) error {
	if dir == "" {
		return nil
	}
	st, err := os.Stat(dir)
	if err == nil && !st.IsDir() {
		err = fmt.Errorf("%s is no folder", dir)
	}
	if err != nil {
		return &NoArtifactsError{err}
	}
	return nil
}

// addrs parses what Validate has seen.
func addrs(texts []string) (all []netip.Addr) {
	for _, t := range texts {
		if a, err := netip.ParseAddr(t); err == nil {
			all = append(all, a)
		}
	}
	return all
}
