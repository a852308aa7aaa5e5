package dhcpconf

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
)

// table is what an ipxe.Rule says of every client, in the shape that DHCP
// servers can be told.
type table struct {
	choices []choice // by their smallest architecture
	pi      *choice  // what a Raspberry Pi gets, which says that it is a BIOS; nil: nothing
	ours    []string // user classes that get the script
	stock   []string // user classes that get the script if they can fetch it
}

// choice is a binary and the firmware that gets it.
type choice struct {
	tag    string // short and unique, for names in configurations
	what   string // in words, for comments
	binary string
	archs  []uint16 // values of option 93, ascending
	http   []uint16 // those of them that fetch by HTTP whatever option 60 says
}

// tags are short names of platforms.
var tags = map[ipxe.Platform]string{
	ipxe.BIOS: "bios", ipxe.IA32: "ia32", ipxe.X64: "x64", ipxe.ARM32: "arm32", ipxe.ARM64: "arm64",
	ipxe.RISCV32: "riscv32", ipxe.RISCV64: "riscv64", ipxe.LOONG32: "loong32", ipxe.LOONG64: "loong64",
}

const (
	pxeClient  = "PXEClient"
	httpClient = "HTTPClient"
	bios       = 0 // the architecture of clients that name none
)

// readRule asks the rule for every architecture, as PXE and as HTTP client.
// That it is the same binary for both is what makes a table possible: it is
// checked, as the rule may change.
func readRule(rule *ipxe.Rule) (*table, error) {
	t := &table{}
	for _, class := range rule.UserClasses() {
		if !slices.Contains(t.ours, class) {
			t.ours = append(t.ours, class)
		}
	}
	for _, class := range ipxe.StockClasses() {
		if !slices.Contains(t.ours, class) {
			t.stock = append(t.stock, class)
		}
	}
	var errs []error
	for _, arch := range rule.Architectures() {
		pxe := decide(rule, pxeClient, arch)
		http := decide(rule, httpClient, arch)
		if pxe.Kind == ipxe.Nothing && http.Kind == ipxe.Nothing {
			continue
		}
		if pxe.Binary != http.Binary || http.Kind != ipxe.BinaryHTTP {
			return nil, fmt.Errorf("the boot rule for %s is not one that a DHCP configuration can say: %s by PXE, %s by HTTP", arch, pxe.Binary, http.Binary)
		}
		c := t.choice(arch, pxe.Binary)
		c.archs = append(c.archs, uint16(arch))
		if pxe.Kind == ipxe.BinaryHTTP {
			c.http = append(c.http, uint16(arch))
		}
		errs = append(errs, checkName(pxe.Binary))
	}
	for _, class := range t.ours {
		errs = append(errs, checkClass(class))
	}
	if d := rule.Decide(ipxe.Client{VendorClass: pxeClient, MAC: ipxe.RaspberryPis()[0] + ":00:00:00"}, nil); d.Binary != "" {
		t.pi = t.choice(d.Arch, d.Binary)
	}
	return t, errors.Join(errs...)
}

func decide(rule *ipxe.Rule, vendor string, arch ipxe.Arch) ipxe.Decision {
	return rule.Decide(ipxe.Client{VendorClass: vendor, Architectures: []uint16{uint16(arch)}}, nil)
}

// choice finds or adds the row of a binary.
func (t *table) choice(arch ipxe.Arch, binary string) *choice {
	if i := slices.IndexFunc(t.choices, func(c choice) bool { return c.binary == binary }); i >= 0 {
		return &t.choices[i]
	}
	tag := tags[arch.Platform()]
	if tag == "" || slices.ContainsFunc(t.choices, func(c choice) bool { return c.tag == tag }) {
		tag = fmt.Sprintf("arch%d", arch)
	}
	what := string(arch.Platform())
	if what == "" {
		what = arch.String()
	}
	t.choices = append(t.choices, choice{tag: tag, what: what, binary: binary})
	return &t.choices[len(t.choices)-1]
}

// httpArchs is every architecture that fetches by HTTP, with a binary here.
func (t *table) httpArchs() (all []uint16) {
	for _, c := range t.choices {
		all = append(all, c.http...)
	}
	slices.Sort(all)
	return all
}

// checkName refuses the name of a binary that would not stay one word.
func checkName(name string) error {
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' || c == '/' || c == '\\' {
			return fmt.Errorf("the binary's name %q has a character that not every DHCP server and firmware takes: rename it", name)
		}
	}
	return nil
}

// checkClass refuses a user class that has no place in option 77.
func checkClass(class string) error {
	if class == "" || len(class) > 64 || strings.ContainsFunc(class, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Errorf("user class %q: want 1 to 64 printable ASCII characters", class)
	}
	return nil
}

// script is the URL of the script that every iPXE gets.
func (j *job) script() string { return j.base() + j.ScriptPath }

func (j *job) base() string {
	if j.HTTPPort == defaultPort {
		return "http://" + j.Server.String()
	}
	return fmt.Sprintf("http://%v:%d", j.Server, j.HTTPPort)
}

func (j *job) binaryURL(name string) string {
	return j.base() + strings.TrimSuffix(j.BinaryPath, "/") + "/" + url.PathEscape(name)
}

func (j *job) tftpURL(name string) string {
	return "tftp://" + j.Server.String() + "/" + url.PathEscape(name)
}

// machines sorts out who gets an address and who gets nothing.
func (j *job) machines() (reserved, noBoot, ignored []hardware.Machine) {
	for _, m := range j.Machines {
		switch {
		case m.DHCP == hardware.Off:
			ignored = append(ignored, m)
			continue
		case m.Netboot.Allow == hardware.Off:
			noBoot = append(noBoot, m)
		case m.Netboot.BootFileName != "" || m.Netboot.Binary != "":
			j.note(m, "its record names a boot file of its own, which this configuration does not give to single machines")
		}
		if m.IP.Addr() == j.Server {
			j.note(m, fmt.Sprintf("its record has the boot server's own address %v; change one of them, unless it is the boot server itself", j.Server))
		}
		switch {
		case !m.IP.Addr().Is4():
		case j.Full != nil && !j.Subnet.Contains(m.IP.Addr()):
			j.note(m, fmt.Sprintf("no reservation: %v is not in the subnet %v", m.IP.Addr(), j.Subnet))
		default:
			reserved = append(reserved, m)
		}
	}
	return reserved, noBoot, ignored
}

// noLeaseTimes says of whom the lease time is left out, all at once: data may
// have one for every machine.
func (j *job) noLeaseTimes(reserved []hardware.Machine, target string) {
	count, first := 0, ""
	for _, m := range reserved {
		if m.LeaseTime > 0 && (j.Full == nil || m.LeaseTime != j.Full.Lease) {
			count++
			first = cmp.Or(first, m.MAC)
		}
	}
	if count > 0 {
		j.notes = append(j.notes, fmt.Sprintf("lease times that machines have of their own are left out (%d, %s first): %s sets none for a reservation", count, first, target))
	}
}

func (j *job) note(m hardware.Machine, what string) {
	name := m.MAC
	if m.Hostname != "" {
		name += " (" + m.Hostname + ")"
	}
	j.notes = append(j.notes, name+": "+what)
}
