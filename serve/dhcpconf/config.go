package dhcpconf

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
)

// Config is what the texts are made of. Rule and Server are required.
type Config struct {
	Program string // with its version, for the first line
	Rule    *ipxe.Rule
	Server  netip.Addr // of the boot server, as machines reach it

	HTTPPort   int    // 0: 80
	ScriptPath string // of the script for every machine; "": /boot.ipxe
	BinaryPath string // folder of the binaries for UEFI HTTP boot; "": /ipxe/binary/
	Name       string // of the boot server in DNS, for the target dns; "": hooksmith

	Machines []hardware.Machine // for reservations, and for those that must not boot
	Subnet   netip.Prefix       // that machines are in; some targets need it
	Full     *Network           // a whole configuration instead of a fragment

	servers []netip.Addr // boot servers beside Server, of Compare
}

// Network is what a whole configuration says beside booting. The zero value
// works: the upper half of the subnet is given out, and no router is named.
type Network struct {
	Interface   string // "": eth0, to be changed
	Pool        [][2]netip.Addr
	Router      netip.Addr
	NameServers []netip.Addr
	TimeServers []netip.Addr
	Domain      string
	Lease       time.Duration // 0: 24 h
}

const (
	maxFile     = 127 // bytes that the field "file" of DHCP holds with its final NUL
	maxMachines = 100_000
	defaultPort = 80
	dayLease    = 24 * time.Hour
)

// Scopes of use of a text.
var (
	pathForm     = regexp.MustCompile(`^/[A-Za-z0-9._~/%+@=,:-]*$`)
	hostnameForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)
	deviceForm   = regexp.MustCompile(`^[A-Za-z0-9._@-]{1,15}$`)
	macForm      = regexp.MustCompile(`^[0-9a-f]{2}(:[0-9a-f]{2}){5}$`)
)

// Target names what is written for.
type Target struct {
	Name  string
	About string // in a few words
	write func(*job) (string, error)
	needs need
}

// need says what of a Config a target cannot do without.
type need int

const (
	nothing   need = iota
	subnet         // Config.Subnet
	scope          // that, and with Config.Full addresses to give out
	forFull        // both, with Config.Full
	noServers      // is no DHCP server: Config.Full means nothing
)

// Targets lists all targets, servers first.
func Targets() []Target {
	return []Target{
		{"dnsmasq", "dnsmasq that gives the addresses", writeDnsmasq, forFull},
		{"dnsmasq-proxy", "dnsmasq beside another DHCP server", writeProxy, subnet},
		{"kea", "Kea DHCPv4", writeKea, forFull},
		{"isc-dhcpd", "ISC dhcpd", writeISC, forFull},
		{"microsoft", "Microsoft DHCP, as PowerShell", writeMicrosoft, scope},
		{"dnsmasq-container", "dnsmasq in a container, as a shell script", writeContainer, subnet},
		{"ipxe", "an iPXE script that chains here", writeChain, noServers},
		{"pxelinux", "an entry of pxelinux.cfg", writePXELinux, noServers},
		{"grub", "a menu entry of GRUB", writeGRUB, noServers},
		{"dns", "the boot server's name", writeDNS, noServers},
	}
}

// Result is a text, and what it could not say.
type Result struct {
	Text  string
	Notes []string // for people: machines left out, and why
}

// job is one run of Generate: the Config checked, what follows from it, and
// the notes of the writer.
type job struct {
	Config
	table *table
	notes []string
}

// Generate writes the text for a target. The same Config gives the same text.
func Generate(target string, c Config) (*Result, error) {
	all := Targets()
	i := slices.IndexFunc(all, func(t Target) bool { return t.Name == target })
	if i < 0 {
		var names []string
		for _, t := range all {
			names = append(names, t.Name)
		}
		return nil, fmt.Errorf("no target %q; there are %s", target, strings.Join(names, ", "))
	}
	// 1. The values, and what the target needs of them.
	j := &job{Config: c.withDefaults()}
	if err := errors.Join(j.check(), j.enough(all[i])); err != nil {
		return nil, err
	}
	if c.Full != nil && c.Full.Interface == "" && all[i].needs != scope {
		j.notes = append(j.notes, "which interface the DHCP server answers on is not known: it says "+j.Full.Interface+" there; name it with --interface")
	}
	// 2. What the rule says.
	var err error
	if j.table, err = readRule(c.Rule); err != nil {
		return nil, err
	}
	if err := j.checkFiles(); err != nil {
		return nil, err
	}
	// 3. In the target's language.
	text, err := all[i].write(j)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", target, err)
	}
	return &Result{text, j.notes}, nil
}

func (c Config) withDefaults() Config {
	c.Program = cmp.Or(oneLine(c.Program), "hooksmith")
	c.HTTPPort = cmp.Or(c.HTTPPort, defaultPort)
	c.ScriptPath = cmp.Or(c.ScriptPath, "/boot.ipxe")
	c.BinaryPath = cmp.Or(c.BinaryPath, "/ipxe/binary/")
	c.Name = cmp.Or(c.Name, "hooksmith")
	if c.Full != nil {
		c.Full = c.Full.withDefaults()
	}
	return c
}

func (n *Network) withDefaults() *Network {
	full := *n
	full.Interface = cmp.Or(full.Interface, "eth0")
	full.Lease = cmp.Or(full.Lease, dayLease)
	return &full
}

// check looks at every value by itself: what goes into another program's
// configuration must not be able to mean something there.
func (c *Config) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Rule == nil {
		bad("no rule is given")
	}
	if !c.Server.Is4() || c.Server.IsUnspecified() || c.Server.IsMulticast() || c.Server.IsLoopback() || c.Server == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		bad("the boot server's address %v is no IPv4 address of a host", c.Server)
	}
	if c.HTTPPort < 1 || c.HTTPPort > 65535 {
		bad("HTTP port %d: want 1 to 65535", c.HTTPPort)
	}
	for name, path := range map[string]string{"script": c.ScriptPath, "binary": c.BinaryPath} {
		if !pathForm.MatchString(path) {
			bad("%s path %q: want a path that starts with / and has no spaces, quotes or variables", name, path)
		}
	}
	if !hostnameForm.MatchString(c.Name) || len(c.Name) > 253 {
		bad("%q is no DNS name", c.Name)
	}
	if c.Subnet.IsValid() && (!c.Subnet.Addr().Is4() || c.Subnet != c.Subnet.Masked() || c.Subnet.Bits() > 30) {
		bad("subnet %v: want an IPv4 network with room for hosts, as in 10.0.0.0/24", c.Subnet)
	}
	if c.Full != nil {
		errs = append(errs, c.Full.check(c.Subnet))
	}
	return errors.Join(append(errs, checkMachines(c.Machines))...)
}

// check looks at a network's values.
func (n *Network) check(subnet netip.Prefix) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !deviceForm.MatchString(n.Interface) {
		bad("interface %q is no name of a network interface", n.Interface)
	}
	for _, r := range n.Pool {
		if !subnet.Contains(r[0]) || !subnet.Contains(r[1]) || r[1].Less(r[0]) {
			bad("pool %v-%v is not in the subnet %v", r[0], r[1], subnet)
		}
	}
	if n.Router.IsValid() && subnet.IsValid() && !subnet.Contains(n.Router) {
		bad("router %v is not in the subnet %v", n.Router, subnet)
	}
	for _, a := range slices.Concat(n.NameServers, n.TimeServers) {
		if !a.Is4() {
			bad("server %v is no IPv4 address", a)
		}
	}
	if n.Domain != "" && !hostnameForm.MatchString(n.Domain) {
		bad("domain %q is no DNS name", n.Domain)
	}
	if n.Lease < time.Minute || n.Lease > 365*24*time.Hour {
		bad("lease time %s: want a minute to a year", n.Lease)
	}
	return errors.Join(errs...)
}

// checkMachines refuses records that did not come from a reader of ours, or
// passed it by mistake.
func checkMachines(all []hardware.Machine) error {
	if len(all) > maxMachines {
		return fmt.Errorf("%d machines are more than a DHCP configuration of one file should have (%d)", len(all), maxMachines)
	}
	var errs []error
	for _, m := range all {
		what := fmt.Sprintf("machine %q (%s)", m.MAC, oneLine(m.Source))
		if !macForm.MatchString(m.MAC) {
			errs = append(errs, fmt.Errorf("%s: want a MAC address as 52:54:00:12:34:56", what))
		}
		if m.Hostname != "" && (!hostnameForm.MatchString(m.Hostname) || len(m.Hostname) > 253) {
			errs = append(errs, fmt.Errorf("%s: %q is no host name (RFC 1123): change it in the hardware data", what, m.Hostname))
		}
		if m.Domain != "" && !hostnameForm.MatchString(m.Domain) {
			errs = append(errs, fmt.Errorf("%s: domain %q is no DNS name: change it in the hardware data", what, m.Domain))
		}
	}
	return errors.Join(errs...)
}

// enough tells what a target needs that is not there.
func (j *job) enough(t Target) error {
	full := t.needs == forFull && j.Full != nil
	if (full || t.needs == subnet || t.needs == scope) && !j.Subnet.IsValid() {
		return fmt.Errorf("%s: the subnet of the machines is needed: give it with --subnet, as in 10.0.0.0/24", t.Name)
	}
	if t.needs == noServers && j.Full != nil {
		return fmt.Errorf("%s: is no DHCP server's configuration, so there is no --full", t.Name)
	}
	if (full || t.needs == scope && j.Full != nil) && len(j.pools()) == 0 {
		return fmt.Errorf("%s: no address is left to give out: all that there are belong to machines and servers; name others with --pool", t.Name)
	}
	return nil
}

// checkFiles holds every boot file against what DHCP can carry.
func (j *job) checkFiles() error {
	files := []string{j.script()}
	for _, c := range j.table.choices {
		files = append(files, c.binary, j.binaryURL(c.binary), j.tftpURL(c.binary))
	}
	var errs []error
	for _, f := range files {
		if len(f) > maxFile {
			errs = append(errs, fmt.Errorf("boot file %s has %d bytes, and DHCP's field holds %d: shorten the path or the binary's name", f, len(f), maxFile))
		}
	}
	return errors.Join(errs...)
}
