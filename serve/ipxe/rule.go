package ipxe

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"hooksmith/serve/hardware"
)

// Client is what a DHCP client says of itself.
type Client struct {
	MAC           string   // lower case, colons
	Architectures []uint16 // option 93, all values
	VendorClass   string   // option 60
	UserClasses   []string // option 77, see ParseUserClass
	Features      Features // option 175, see ParseFeatures
}

// Kind is what a client is told to load.
type Kind int

// The kinds of a Decision.
const (
	Nothing    Kind = iota // no boot file
	BinaryTFTP             // Binary by TFTP, bare name: the client is a firmware
	BinaryURL              // Binary by TFTP, as a URL: the client is an iPXE
	BinaryHTTP             // Binary by HTTP, as a URL: the client is a UEFI HTTP boot
	Script                 // the machine's script
	Fixed                  // options 66 and 67 of the record, nothing of ours
)

// String names a kind in messages.
func (k Kind) String() string {
	return [...]string{"nothing", "binary by TFTP", "binary by tftp URL", "binary by HTTP", "script", "the record's own file"}[k]
}

// Decision is what a client gets, and why.
type Decision struct {
	Kind   Kind
	Binary string // base name, for the kinds of a binary
	Arch   Arch   // the value of option 93 that was used
	Reason string // in words, for logs and previews
	// NoBinary marks a client that would boot if there were a binary for it.
	NoBinary bool
}

// UserClass is the user class of an iPXE that is (or acts as) Tinkerbell's.
const UserClass = "Tinkerbell"

// raspberryPi is who makes network chips of Raspberry Pis.
var raspberryPi = []string{"b8:27:eb", "dc:a6:32", "e4:5f:01", "28:cd:c1", "d8:3a:dd", "2c:cf:67"}

// IsRaspberryPi reports whether a MAC address is that of a Raspberry Pi.
func IsRaspberryPi(mac string) bool {
	return len(mac) >= 8 && slices.Contains(raspberryPi, mac[:8])
}

// Rule decides what clients load. Make it with NewRule.
type Rule struct {
	binaries  *Binaries
	overrides map[Arch]string
	classes   []string
}

// RuleOptions change a Rule. The zero value works.
type RuleOptions struct {
	Overrides   map[Arch]string // binary for an architecture, by name
	UserClasses []string        // that mark an iPXE of ours, beside Tinkerbell
}

// NewRule checks that the overrides name binaries that are there and run there.
func NewRule(binaries *Binaries, opt RuleOptions) (*Rule, error) {
	var errs []error
	for arch, name := range opt.Overrides {
		b, ok := binaries.Lookup(name)
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("binary for %s: %q is not there; there are %s", arch, name, binaries.names()))
		case arch.Platform() != None && b.Platform != arch.Platform():
			errs = append(errs, fmt.Errorf("binary for %s: %s is for %s", arch, name, b.Platform))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &Rule{binaries, opt.Overrides, append([]string{UserClass}, opt.UserClasses...)}, nil
}

// Decide is the rule. M is the machine's record, nil if there is none: whether
// an unknown machine is answered at all is not decided here.
func (r *Rule) Decide(c Client, m *hardware.Machine) Decision {
	var boot hardware.Netboot
	if m != nil {
		boot = m.Netboot
	}
	switch {
	case boot.Allow == hardware.Off:
		return Decision{Reason: "the hardware record does not allow netboot"}
	case boot.TFTPServer != "" && boot.BootFileName != "":
		return Decision{Kind: Fixed, Reason: "the hardware record names its own TFTP server and boot file"}
	case r.ours(c):
		return Decision{Kind: Script, Reason: fmt.Sprintf("user class %s: an iPXE of ours", strings.Join(c.UserClasses, ", "))}
	case isIPXE(c):
		return r.stock(c, boot.Binary)
	case !isNetboot(c):
		return Decision{Reason: "not a network boot client: neither PXEClient nor HTTPClient in option 60"}
	}
	return r.firmware(c, boot.Binary)
}

func (r *Rule) ours(c Client) bool {
	return slices.ContainsFunc(c.UserClasses, func(s string) bool { return slices.Contains(r.classes, s) })
}

// isIPXE knows any iPXE; gPXE, its ancestor, sends option 175 as well and is
// treated by what that says.
func isIPXE(c Client) bool {
	return slices.ContainsFunc(c.UserClasses, func(s string) bool { return slices.Contains(stockClasses, s) })
}

func isNetboot(c Client) bool {
	return strings.HasPrefix(c.VendorClass, "PXEClient") || isHTTPClient(c)
}

func isHTTPClient(c Client) bool { return strings.HasPrefix(c.VendorClass, "HTTPClient") }

// stock decides for an iPXE that is not ours: in a NIC's ROM, or a binary of
// a distribution that we gave out. One that speaks HTTP needs no binary of
// ours: a chain less, and no UNDI driver over a native one.
func (r *Rule) stock(c Client, override string) Decision {
	speaksHTTP := c.Features.Has(FeatureHTTP)
	if speaksHTTP && !r.identifies(override) {
		return Decision{Kind: Script, Reason: "a stock iPXE that speaks HTTP (option 175) runs the script at once"}
	}
	d := r.firmware(c, override)
	if d.Kind == Nothing && speaksHTTP {
		return Decision{Kind: Script, Reason: "a stock iPXE that speaks HTTP runs the script, because " + d.Reason}
	}
	if d.Kind != Nothing {
		d.Kind = BinaryURL // a bare name would be asked of next-server, which a proxy cannot set
		d.Reason = "a stock iPXE without HTTP is chained to ours: " + d.Reason
		if speaksHTTP {
			d.Reason = "the hardware record wants this binary: " + d.Reason
		}
	}
	return d
}

// identifies reports whether a binary is known to tell itself from a stock
// iPXE. Chaining a stock iPXE to one that does not would go on for ever.
func (r *Rule) identifies(name string) bool {
	b, ok := r.binaries.Lookup(name)
	return ok && slices.Contains(r.classes, b.UserClass)
}

// firmware finds a binary: the first architecture of the client's that has one.
func (r *Rule) firmware(c Client, override string) Decision {
	var reasons []string
	for _, arch := range clientArchitectures(c) {
		name, why := r.binary(arch, override)
		if name == "" {
			reasons = append(reasons, why)
			continue
		}
		kind := BinaryTFTP
		if isHTTPClient(c) || arch.HTTP() {
			kind = BinaryHTTP
		}
		return Decision{Kind: kind, Binary: name, Arch: arch, Reason: why}
	}
	d := Decision{NoBinary: true, Reason: strings.Join(reasons, "; ")}
	if len(c.Architectures) > 0 {
		d.Arch = Arch(c.Architectures[0])
	}
	return d
}

// clientArchitectures is option 93, or the number in the vendor class
// ("PXEClient:Arch:00007:UNDI:003000") of clients that leave it out; for a
// Raspberry Pi, whose ROM says 0 or nothing, its own.
func clientArchitectures(c Client) (all []Arch) {
	if IsRaspberryPi(c.MAC) && !isIPXE(c) && !slices.ContainsFunc(c.Architectures, func(a uint16) bool { return a != 0 }) {
		return []Arch{Rpiboot}
	}
	for _, a := range c.Architectures {
		all = append(all, Arch(a))
	}
	if len(all) > 0 {
		return all
	}
	var n uint16
	_, number, _ := strings.Cut(c.VendorClass, ":Arch:")
	if _, err := fmt.Sscanf(number, "%5d", &n); err == nil {
		return []Arch{Arch(n)}
	}
	return []Arch{0} // RFC 4578: PXE before it was x86 BIOS only
}

// binary returns the binary for an architecture and why it is that one, or ""
// and why there is none.
func (r *Rule) binary(arch Arch, override string) (name, why string) {
	if override != "" {
		return r.checked(arch, override, "the hardware record's binary")
	}
	if name, ok := r.overrides[arch]; ok {
		return name, fmt.Sprintf("%s: the configured binary", arch)
	}
	info, known := architectures[arch]
	switch {
	case !known:
		return "", fmt.Sprintf("%s is not known", arch)
	case info.platform == None:
		return "", fmt.Sprintf("%s: %s", arch, info.why)
	}
	if b, ok := r.binaries.For(info.platform); ok {
		return b.Name, fmt.Sprintf("%s runs %s", arch, b.Name)
	}
	return "", fmt.Sprintf("%s: no binary for %s here; add one of %s", arch, info.platform, strings.Join(preferred[info.platform], ", "))
}

// checked allows only binaries that are there and, as far as that is known,
// run on the architecture.
func (r *Rule) checked(arch Arch, name, what string) (string, string) {
	b, ok := r.binaries.Lookup(name)
	switch {
	case !ok:
		return "", fmt.Sprintf("%s %q is not there; there are %s", what, name, r.binaries.names())
	case arch.Platform() != None && b.Platform != None && b.Platform != arch.Platform():
		return "", fmt.Sprintf("%s %s is for %s, the machine is %s", what, name, b.Platform, arch)
	}
	return name, fmt.Sprintf("%s: %s", arch, what)
}
