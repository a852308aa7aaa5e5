package serve

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"

	"hooksmith/serve/dhcp"
	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
	"hooksmith/serve/lease"
)

// boots is what all parts need to know of the machines and of what they get:
// the same for TFTP, HTTP, DHCP and previews.
type boots struct {
	config    Config     // with defaults
	address   netip.Addr // that the configuration names; else every client is told the one that it reached
	links     []link
	templates []ipxe.Template
	hardware  *hardware.Store
	leases    *lease.Store // nil: no addresses are given here
	rule      *ipxe.Rule
	dhcp      *dhcp.Server // nil: no DHCP here

	mu      sync.Mutex
	scripts map[netip.Addr]*ipxe.Scripts // by the address that a client reached
	broken  error                        // what the hardware data of now and the templates disagree on
}

// maxTemplate bounds a template's file.
const maxTemplate = 1 << 20

// readTemplates reads the templates' files.
func readTemplates(all []Template) (out []ipxe.Template, err error) {
	for _, t := range all {
		if t.File != "" {
			if t.Text, err = readFile(t.File, maxTemplate); err != nil {
				return nil, fmt.Errorf("template %s: %w", t.Name, err)
			}
		}
		out = append(out, ipxe.Template{Name: t.Name, MAC: t.MAC, Selector: t.Selector, Text: t.Text})
	}
	return out, nil
}

// readFile reads a small file whole.
func readFile(path string, limit int64) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return string(b), err
}

// baseURL is this server for a client that reached it at local.
func (b *boots) baseURL(local netip.Addr) string {
	host := b.host(local).String()
	if b.config.HTTPPort == defaultHTTP {
		return "http://" + host
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(b.config.HTTPPort))
}

// host is the address to tell a client that reached local: that one, unless
// the configuration names one, or it is not one that machines have in common
// with it, as behind a reverse proxy on this host.
func (b *boots) host(local netip.Addr) netip.Addr {
	switch {
	case b.address.IsValid():
		return b.address
	case b.links[0].address == local:
		return local
	case !local.Is4() || local.IsUnspecified() || local.IsLoopback():
		return b.links[0].now()
	case len(b.links) == 1 && !b.links[0].has(local):
		return b.links[0].now()
	}
	return local
}

// entry is what the scripts need that every machine runs first.
func (b *boots) entry(local netip.Addr) ipxe.Entry {
	e := ipxe.Entry{Base: b.baseURL(local)}
	for _, m := range b.hardware.All() {
		if m.VLAN != 0 && !slices.Contains(e.VLANs, m.VLAN) {
			e.VLANs = append(e.VLANs, m.VLAN)
		}
	}
	return e
}

// scriptConfig is what the machines' scripts have in common.
func (b *boots) scriptConfig(local netip.Addr) ipxe.Config {
	c := &b.config
	s := ipxe.Config{
		HookURL: cmp.Or(c.HookURL, b.baseURL(local)+"/hook/"),
		Kernel:  c.Kernel, Initrd: c.Initrd,
		SyslogHost:    c.SyslogHost,
		GRPCAuthority: c.TinkServer, TLS: toSwitch(c.TinkTLS), InsecureTLS: toSwitch(c.TinkInsecure),
		WorkerImage: c.WorkerImage, Facility: c.Facility,
		Consoles: c.Consoles, ExtraArgs: c.KernelArgs,
		Retries: c.ScriptRetries,
	}
	if s.SyslogHost == "" && c.Syslog == on && c.SyslogPort == defaultSyslog { // machines log to that port only
		s.SyslogHost = b.host(local).String()
	}
	return s
}

// scriptsFor returns the scripts for clients that reached the server at local,
// which is an address of this host: there are few.
func (b *boots) scriptsFor(local netip.Addr) *ipxe.Scripts {
	b.mu.Lock()
	defer b.mu.Unlock()
	host := b.host(local)
	if s, ok := b.scripts[host]; ok {
		return s
	}
	s, err := ipxe.NewScripts(b.scriptConfig(host), b.templates)
	if err != nil {
		return b.scripts[b.links[0].address] // checked by check
	}
	b.scripts[host] = s
	return s
}

// check makes the scripts of every interface and renders those of every machine.
func (b *boots) check(machines []hardware.Machine) error {
	made := map[netip.Addr]*ipxe.Scripts{}
	for _, l := range b.links {
		s, err := ipxe.NewScripts(b.scriptConfig(l.address), b.templates)
		if err == nil {
			err = s.Check(machines)
		}
		if err != nil {
			return err
		}
		made[b.host(l.address)] = s
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.scripts == nil {
		b.scripts = made
	}
	return nil
}

// changed returns what is called with every change of the hardware data.
func (b *boots) changed(log *slog.Logger) func(hardware.Change) {
	return func(change hardware.Change) { b.recheck(log, change) }
}

// recheck makes every script again. Machines whose script cannot be made are
// told so on their screen; the others boot.
func (b *boots) recheck(log *slog.Logger, change hardware.Change) {
	err := b.check(change.New.All())
	b.mu.Lock()
	b.broken = err
	b.mu.Unlock()
	if err != nil {
		log.Error("hardware data and script templates do not fit together", "error", err)
		return
	}
	for _, note := range b.ownRecords(change.New.All()) {
		log.Warn(note)
	}
	log.Info("hardware data reloaded", "machines", change.New.Len(), "before", change.Old.Len())
}

// problem is what recheck found last.
func (b *boots) problem() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.broken
}

// macOf finds the machine behind an address: by its lease, by its record, or
// as this host's own neighbour, where another server gave the address.
func (b *boots) macOf(ip netip.Addr) string {
	ip = ip.Unmap()
	if b.dhcp != nil {
		if mac, ok := b.dhcp.MACOf(ip); ok {
			return mac
		}
	}
	if m, ok := b.hardware.LookupIP(ip); ok {
		return m.MAC
	}
	return neighbour(ip, func(device string) bool {
		return slices.ContainsFunc(b.links, func(l link) bool { return l.name == device })
	})
}

// UnknownError says that a machine gets nothing to boot because no hardware
// file has it.
type UnknownError struct {
	MAC, Unknown string
	Files        int // that were read
}

func (e *UnknownError) Error() string {
	if e.Files == 0 {
		return fmt.Sprintf("%s is unknown, for there is no hardware file, and --unknown is %s: it gets nothing to boot", e.MAC, e.Unknown)
	}
	return fmt.Sprintf("%s is in no hardware file, and --unknown is %s: it gets nothing to boot", e.MAC, e.Unknown)
}

// preview explains what a machine would get; one without a record gets what
// the settings give to unknown machines.
func (b *boots) preview(mac string) (ipxe.Preview, error) {
	mac, err := hardware.NormalizeMAC(mac)
	if err != nil {
		return ipxe.Preview{}, err
	}
	m, ok := b.hardware.Lookup(mac)
	if !ok && b.config.Unknown != auto {
		return ipxe.Preview{}, &UnknownError{mac, b.config.Unknown, len(b.config.Hardware)}
	}
	if !ok {
		m = &hardware.Machine{MAC: mac}
	}
	local := b.links[0].now()
	for _, l := range b.links {
		if l.contains(m.IP.Addr()) {
			local = l.now()
		}
	}
	return b.scriptsFor(local).Preview(m, b.rule), nil
}
