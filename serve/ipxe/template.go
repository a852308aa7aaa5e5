package ipxe

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"text/template"

	"hooksmith/serve/hardware"
)

// Template is a script of the site's own for some machines, in text/template
// over TemplateData. Exactly one of MAC and Selector says for whom; neither:
// only records that name it get it.
type Template struct {
	Name     string // for Netboot.Template of a record, and messages
	MAC      string // one machine
	Selector string // machines by labels, see hardware.ParseSelector
	Text     string // with or without "#!ipxe" in front
}

// TemplateData is what a template sees. All of it has been checked: no value
// has a new line, ${, or a word that iPXE's parser acts on.
type TemplateData struct {
	MAC        string            // 52:54:00:12:34:56
	MACHyphens string            // 52-54-00-12-34-56
	Hostname   string            // may be empty, as everything below
	IP         string            // 10.0.0.5
	Netmask    string            // 255.255.255.0, or a prefix length for IPv6
	Gateway    string            //
	VLAN       string            // "" is untagged
	Arch       string            // of the record; iPXE itself knows ${buildarch}
	Disk       string            //
	Facility   string            //
	WorkerID   string            //
	Labels     map[string]string //

	HookURL string   // folder of kernel and initramfs, without / at the end
	Kernel  string   // file name; may have ${arch}, see the default script
	Initrd  string   //
	Args    string   // the whole kernel command line that the default script uses
	ArgList []string // the same, one by one

	SyslogHost    string
	GRPCAuthority string
}

// compiled is a Template that parsed.
type compiled struct {
	Template
	selector hardware.Selector
	text     *template.Template
}

// maxScript bounds what a template makes.
const maxScript = 256 << 10

// compile checks a template alone.
func compile(t Template) (*compiled, error) {
	c := &compiled{Template: t}
	var err error
	if t.Name == "" {
		return nil, errors.New("a script template has no name")
	}
	if t.MAC != "" && t.Selector != "" {
		return nil, fmt.Errorf("template %s: both a MAC address and a selector; give one", t.Name)
	}
	if t.MAC != "" {
		if c.MAC, err = hardware.NormalizeMAC(t.MAC); err != nil {
			return nil, fmt.Errorf("template %s: %w", t.Name, err)
		}
	}
	if c.selector, err = hardware.ParseSelector(t.Selector); err != nil {
		return nil, fmt.Errorf("template %s: %w", t.Name, err)
	}
	// missingkey=error: a label that is not there would be "<no value>" on
	// the kernel's command line.
	c.text, err = template.New(t.Name).Option("missingkey=error").Parse(t.Text)
	if err != nil {
		return nil, fmt.Errorf("template %s: %w", t.Name, err)
	}
	return c, nil
}

// render runs a template for a machine.
func (c *compiled) render(data TemplateData) (string, error) {
	out := &limitedBuilder{left: maxScript}
	if err := c.text.Execute(out, data); err != nil {
		return "", fmt.Errorf("template %s: %w", c.Name, err)
	}
	return withMagic(out.String()), nil
}

// withMagic puts the line in front by which iPXE knows a script.
func withMagic(text string) string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if !strings.HasPrefix(text, "#!ipxe") {
		text = "#!ipxe\n" + text
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}

type limitedBuilder struct {
	strings.Builder
	left int
}

func (b *limitedBuilder) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, fmt.Errorf("the script has more than %d bytes", maxScript)
	}
	return b.Builder.Write(p)
}

// templateData collects and checks what a template sees of a machine.
func (c *Config) templateData(m *hardware.Machine) (TemplateData, error) {
	b, err := c.bootOf(m)
	if err != nil && !errors.Is(err, errBothURLs) {
		return TemplateData{}, err
	}
	if b.args == nil { // no hook URL: a template may do without
		if b.args, err = c.arguments(m); err != nil {
			return TemplateData{}, err
		}
	}
	d := TemplateData{
		MAC: m.MAC, MACHyphens: strings.ReplaceAll(m.MAC, ":", "-"), Hostname: m.Hostname,
		IP: addrText(m.IP.Addr()), Netmask: maskText(m.IP), Gateway: addrText(m.Gateway), VLAN: vlanText(m.VLAN),
		Arch: m.Arch, Disk: m.Disk, Facility: orElse(m.Netboot.Facility, c.Facility), WorkerID: orElse(m.Netboot.WorkerID, m.MAC),
		Labels:  maps.Clone(m.Labels),
		HookURL: b.url, Kernel: b.kernel, Initrd: b.initrd, Args: strings.Join(b.args, " "), ArgList: b.args,
		SyslogHost: c.SyslogHost, GRPCAuthority: c.GRPCAuthority,
	}
	for _, s := range []string{d.Hostname, d.Arch, d.Disk, d.Facility, d.WorkerID} {
		if err := checkWord(s); err != nil {
			return d, err
		}
	}
	for key, value := range d.Labels {
		if err := errors.Join(checkWord(key), checkWord(value)); err != nil {
			return d, fmt.Errorf("label: %w", err)
		}
	}
	return d, nil
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func maskText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	if !p.Addr().Is4() {
		return fmt.Sprint(p.Bits())
	}
	mask := ^uint32(0) << (32 - p.Bits())
	return netip.AddrFrom4([4]byte{byte(mask >> 24), byte(mask >> 16), byte(mask >> 8), byte(mask)}).String()
}
