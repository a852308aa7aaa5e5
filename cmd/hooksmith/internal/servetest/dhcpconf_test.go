package servetest

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/adrg/xdg"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"hooksmith/build/debian"
	"hooksmith/build/fetch"
	"hooksmith/cmd/hooksmith/internal/bootfiles"
	"hooksmith/configs"
	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
)

// probe is a crafted client.
type probe struct {
	name     string
	vendor   string   // option 60; "": none
	archs    []uint16 // option 93
	class    string   // option 77, as bytes
	features string   // option 175, as bytes
	mac      string   // "": one of its own

	// limits are what a server gives that cannot tell this client from
	// another, by target: a file, as the comments of the configuration say.
	limits map[string]string
}

const (
	raw     = "Tinkerbell"
	counted = "\x0aTinkerbell"
	script  = "http://" + serverIP + "/boot.ipxe"
	// withHTTP is how iPXE sends its features: bus, then one option each.
	withHTTP = "\xb1\x05\x01\x1a\xf4\x10\x00\xeb\x03\x01\x00\x00\x17\x01\x01\x13\x01\x01"
	noHTTP   = "\xb1\x05\x01\x1a\xf4\x10\x00\xeb\x03\x01\x00\x00\x15\x01\x01"
	offMAC   = "52:54:00:77:00:02"
	wordMAC  = "52:54:00:77:00:03"
	pxeX64   = "PXEClient:Arch:00007:UNDI:003000"
	pxeBIOS  = "PXEClient:Arch:00000:UNDI:002001"
	pxeARM   = "PXEClient:Arch:00011:UNDI:003000"
)

// substring is where dnsmasq finds a class that is not there.
func substring(file string) map[string]string { return map[string]string{"dnsmasq": file} }

// probes are the kinds of clients: architecture, form of the class, HTTP, and
// the ordinary ones.
var probes = []probe{
	{name: "BIOS", vendor: pxeBIOS, archs: []uint16{0}},
	{name: "x64", vendor: pxeX64, archs: []uint16{7}},
	{name: "x64 as 9", vendor: "PXEClient:Arch:00009:UNDI:003000", archs: []uint16{9}},
	{name: "arm64", vendor: pxeARM, archs: []uint16{11}},
	{name: "riscv64", vendor: "PXEClient:Arch:00027:UNDI:003000", archs: []uint16{27}},
	{name: "loong64", vendor: "PXEClient:Arch:00039:UNDI:003000", archs: []uint16{39}},
	{name: "IA32, without a binary", vendor: "PXEClient:Arch:00006:UNDI:003000", archs: []uint16{6}},
	{name: "Itanium", vendor: "PXEClient:Arch:00002", archs: []uint16{2}},
	{name: "unknown architecture", vendor: "PXEClient:Arch:04660", archs: []uint16{0x1234}},
	{name: "x64 second to an unknown", vendor: pxeX64, archs: []uint16{0x1234, 7}, limits: map[string]string{"kea": "", "isc-dhcpd": ""}},
	{name: "no option 93, number in 60", vendor: pxeARM},
	{name: "no option 93, unknown number in 60", vendor: "PXEClient:Arch:00006"},
	{name: "no option 93, nothing in 60", vendor: "PXEClient"},
	{name: "HTTP without option 93", vendor: "HTTPClient:Arch:00016:UNDI:003001"},
	{name: "Raspberry Pi", vendor: pxeBIOS, archs: []uint16{0}, mac: "b8:27:eb:00:00:01"},
	{name: "Raspberry Pi as UEFI", vendor: pxeARM, archs: []uint16{11}, mac: "dc:a6:32:00:00:01"},
	{name: "HTTP x64", vendor: "HTTPClient:Arch:00016:UNDI:003001", archs: []uint16{16}},
	{name: "HTTP arm64", vendor: "HTTPClient:Arch:00019:UNDI:003001", archs: []uint16{19}},
	{name: "HTTP riscv64", vendor: "HTTPClient:Arch:00028", archs: []uint16{28}},
	{name: "HTTP BIOS", vendor: "HTTPClient:Arch:00020", archs: []uint16{20}},
	{name: "HTTP client with x64's other number", vendor: "HTTPClient:Arch:00007", archs: []uint16{7}},
	{name: "HTTP architecture as PXE client", vendor: "PXEClient:Arch:00016", archs: []uint16{16}},
	{name: "HTTP IA32, without a binary", vendor: "HTTPClient:Arch:00015", archs: []uint16{15}},
	{name: "Tinkerbell BIOS", vendor: pxeBIOS, archs: []uint16{0}, class: raw, features: withHTTP},
	{name: "Tinkerbell x64", vendor: pxeX64, archs: []uint16{7}, class: raw, features: withHTTP},
	{name: "Tinkerbell arm64", vendor: pxeARM, archs: []uint16{11}, class: raw},
	{name: "Tinkerbell riscv64", vendor: "PXEClient:Arch:00027", archs: []uint16{27}, class: raw},
	{name: "Tinkerbell of an unknown architecture", vendor: "PXEClient:Arch:04660", archs: []uint16{0x1234}, class: raw},
	{name: "Tinkerbell, RFC 3004", vendor: pxeX64, archs: []uint16{7}, class: counted},
	{name: "Tinkerbell, RFC 3004, BIOS", vendor: pxeBIOS, archs: []uint16{0}, class: counted},
	{name: "Tinkerbell first of a list", vendor: pxeX64, archs: []uint16{7}, class: counted + "\x03foo"},
	{name: "Tinkerbell last of a list", vendor: pxeX64, archs: []uint16{7}, class: "\x03foo" + counted},
	{name: "Tinkerbell amid a list", vendor: pxeX64, archs: []uint16{7}, class: "\x03foo" + counted + "\x03bar", limits: map[string]string{"kea": "ipxe.efi"}},
	{name: "Tinkerbell without option 60", class: raw},
	{name: "NotTinkerbell", vendor: pxeX64, archs: []uint16{7}, class: "NotTinkerbell", limits: substring(script)},
	{name: "Tinkerbells", vendor: pxeX64, archs: []uint16{7}, class: "Tinkerbells", limits: substring(script)},
	{name: "tinkerbell", vendor: pxeX64, archs: []uint16{7}, class: "tinkerbell"},
	{name: "another class", vendor: pxeX64, archs: []uint16{7}, class: "MSFT 5.0"},
	{name: "iPXE", vendor: pxeBIOS, archs: []uint16{0}, class: "iPXE", features: withHTTP},
	{name: "iPXE x64, RFC 3004", vendor: pxeX64, archs: []uint16{7}, class: "\x04iPXE", features: withHTTP},
	{name: "iPXE last of a list", vendor: pxeX64, archs: []uint16{7}, class: "\x03foo\x04iPXE", features: withHTTP},
	{name: "gPXE", vendor: pxeBIOS, archs: []uint16{0}, class: "gPXE", features: withHTTP},
	{name: "iPXE without HTTP", vendor: pxeBIOS, archs: []uint16{0}, class: "iPXE", features: noHTTP, limits: substring(script)},
	{name: "iPXE x64 without HTTP, RFC 3004", vendor: pxeX64, archs: []uint16{7}, class: "\x04iPXE", features: noHTTP, limits: substring(script)},
	{name: "iPXE without HTTP and without a binary", vendor: "PXEClient:Arch:00006", archs: []uint16{6}, class: "iPXE", features: noHTTP, limits: substring(script)},
	{name: "ordinary"},
	{name: "ordinary, Windows", vendor: "MSFT 5.0"},
	{name: "ordinary, with option 93", archs: []uint16{7}},
	{name: "ordinary, with a class", class: "engineering"},
	{name: "not to be booted", vendor: pxeX64, archs: []uint16{7}, mac: offMAC},
	{name: "not to be booted, Tinkerbell", vendor: pxeX64, archs: []uint16{7}, class: raw, mac: offMAC},
}

// ipxeFiles are the binaries of Debian's package ipxe, as the program has them.
func ipxeFiles(t *testing.T) *bootfiles.Files {
	t.Helper()
	hooksmith(t)
	files, err := bootfiles.Open(t.Context(), bootfiles.Options{Configs: configs.FS, Mirrors: debian.HostMirrors(os.DirFS("/")),
		Cache: &fetch.Cache{Dir: filepath.Join(xdg.CacheHome, "hooksmith"), Offline: true}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { files.Close() })
	return files
}

// bootRule is the rule over them.
func bootRule(t *testing.T) *ipxe.Rule {
	t.Helper()
	set, err := ipxe.OpenBinaries(ipxeFiles(t))
	if err != nil {
		t.Fatal(err)
	}
	rule, err := ipxe.NewRule(set, ipxe.RuleOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return rule
}

// want is what the rule says of a client, and the file that says it.
func (p *probe) want(rule *ipxe.Rule, target string) (d ipxe.Decision, file string) {
	c := ipxe.Client{MAC: p.mac, VendorClass: p.vendor, Architectures: p.archs,
		UserClasses: ipxe.ParseUserClass([]byte(p.class)), Features: ipxe.ParseFeatures([]byte(p.features))}
	var m *hardware.Machine
	if p.mac == offMAC {
		m = &hardware.Machine{MAC: offMAC, Netboot: hardware.Netboot{Allow: hardware.Off}}
	}
	d = rule.Decide(c, m)
	switch d.Kind {
	case ipxe.BinaryTFTP:
		file = d.Binary
	case ipxe.BinaryURL:
		file = "tftp://" + serverIP + "/" + d.Binary
	case ipxe.BinaryHTTP:
		file = "http://" + serverIP + "/ipxe/binary/" + d.Binary
	case ipxe.Script:
		file = script
	}
	if limit, ok := p.limits[target]; ok {
		file = limit
	}
	return d, file
}

// discover is the client's first message.
func (p *probe) discover(t *testing.T, n int) *dhcpv4.DHCPv4 {
	t.Helper()
	mac := macOf(n)
	if p.mac != "" {
		mac, _ = net.ParseMAC(p.mac) // of the table
	}
	asked := []uint8{1, 3, 6, 12, 15, 43, 54, 66, 67}
	if p.class != "" {
		asked = append(asked, 60, 175) // as iPXE does; firmware asks for neither
	}
	options := []dhcpv4.Modifier{dhcpv4.WithBroadcast(true), dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionParameterRequestList, asked))}
	add := func(code uint8, value []byte) {
		if len(value) > 0 {
			options = append(options, dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), value)))
		}
	}
	var archs []byte
	for _, a := range p.archs {
		archs = binary.BigEndian.AppendUint16(archs, a)
	}
	add(60, []byte(p.vendor))
	add(93, archs)
	add(77, []byte(p.class))
	add(175, []byte(p.features))
	if strings.HasPrefix(p.vendor, "PXEClient") {
		add(94, []byte{1, 3, 0})
		add(97, append([]byte{0}, bytes.Repeat([]byte{byte(n + 1)}, 16)...))
	}
	m, err := dhcpv4.NewDiscovery(mac, options...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// fileOf is the boot file of an answer: dnsmasq has it in option 67 only, if
// the client asks for that.
func fileOf(m *dhcpv4.DHCPv4) string {
	if m.BootFileName != "" {
		return m.BootFileName
	}
	return strings.TrimRight(string(m.Options.Get(dhcpv4.OptionBootfileName)), "\x00")
}

// Every crafted client gets from every server exactly what the rule says.
func TestDHCPConfigMatrix(t *testing.T) {
	rule := bootRule(t)
	everyRival(t, []rival{dnsmasqRival, keaRival, iscRival}, func(t *testing.T, r rival, suite, form string) {
		l := newLab(t)
		hw := l.hardware("mac: "+offMAC+", ip: 10.78.0.22/24, hostname: off, netboot: {allow: false}", theClient,
			"mac: "+wordMAC+", ip: 10.78.0.13/24, hostname: ignore, lease: 40h")
		log := l.rival(r, suite, form, "--hardware", hw)
		c := l.dhcpClient()
		c.answers(log)
		for i := range probes {
			p := &probes[i]
			d, want := p.want(rule, r.target)
			m := p.discover(t, i)
			var got *dhcpv4.DHCPv4
			until(t, "an offer for "+p.name, func() bool { got = c.ask(m, 5*time.Second); return got != nil })
			check(t, p, d, want, got)
		}
		reserved(t, c)
		named(t, c, r)
	})
}

// check holds an offer against what is wanted.
func check(t *testing.T, p *probe, d ipxe.Decision, want string, got *dhcpv4.DHCPv4) {
	t.Helper()
	bad := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: "+format+" (%s)", append(append([]any{p.name}, args...), d.Reason)...)
	}
	if got.YourIPAddr.IsUnspecified() {
		bad("no address")
	}
	if file := fileOf(got); file != want {
		bad("boot file %q, want %q", file, want)
	}
	if want != "" && got.ServerIPAddr.String() != serverIP {
		bad("next-server %v", got.ServerIPAddr)
	}
	byHTTP := strings.HasPrefix(want, "http://") && want != script
	if class := string(got.Options.Get(dhcpv4.OptionClassIdentifier)); (class == "HTTPClient") != byHTTP {
		bad("option 60 is %q", class)
	}
	if name := string(got.Options.Get(dhcpv4.OptionTFTPServerName)); name == "none" {
		bad("option 66 is %q", name)
	}
	noProxy := bytes.Contains(got.Options.Get(dhcpv4.GenericOptionCode(175)), []byte{176, 1, 1})
	if noProxy != (want == script) {
		bad("option 175 is %s", hex.EncodeToString(got.Options.Get(dhcpv4.GenericOptionCode(175))))
	}
}

// reserved looks at what a machine of the hardware data gets.
func reserved(t *testing.T, c *client) {
	t.Helper()
	mac, _ := net.ParseMAC("52:54:00:78:00:0c")
	m, err := dhcpv4.NewDiscovery(mac, dhcpv4.WithBroadcast(true), dhcpv4.WithRequestedOptions(dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionHostName))
	if err != nil {
		t.Fatal(err)
	}
	got := c.ask(m, 10*time.Second)
	if got == nil || got.YourIPAddr.String() != "10.78.0.12" || got.HostName() != "client" {
		t.Fatalf("the reservation: %v", got)
	}
	if r, d := got.Router(), got.DNS(); len(r) != 1 || r[0].String() != "10.78.0.254" || len(d) != 1 || d[0].String() != "10.78.0.53" {
		t.Errorf("router %v, name servers %v", r, d)
	}
}

// named looks at a machine whose name is a word of dnsmasq's, and its lease,
// whatever time the client asks for.
func named(t *testing.T, c *client, r rival) {
	t.Helper()
	mac, _ := net.ParseMAC(wordMAC)
	m, err := dhcpv4.NewDiscovery(mac, dhcpv4.WithBroadcast(true), dhcpv4.WithRequestedOptions(dhcpv4.OptionHostName),
		dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(2*time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	got := c.ask(m, 10*time.Second)
	if got == nil || got.YourIPAddr.String() != "10.78.0.13" || got.HostName() != "ignore" {
		t.Fatalf("the machine called ignore: %v", got)
	}
	if lease := got.IPAddressLeaseTime(0); r.target == "isc-dhcpd" && lease != 40*time.Hour {
		t.Errorf("its lease is %s", lease)
	}
}

// Names that mean something in the servers' languages arrive as they are.
func TestDHCPConfigHostile(t *testing.T) {
	const class, name = `it's "x"\ (y)|z`, `a,b'"$c#{d}.efi`
	efi, err := fs.ReadFile(ipxeFiles(t), "usr/lib/ipxe/ipxe.efi")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []rival{dnsmasqRival, keaRival, iscRival} {
		t.Run(r.target, func(t *testing.T) {
			l := newLab(t)
			dir := filepath.Dir(l.write("binaries/"+name, string(efi)))
			log := l.rival(r, "trixie", "full", "--ipxe-dir", dir, "--ipxe-user-class", class)
			c := l.dhcpClient()
			c.answers(log)
			for i, tt := range []struct{ class, want string }{
				{"", name}, {class, script}, {string(rune(len(class))) + class, script}, {"\x03foo" + string(rune(len(class))) + class, script},
			} {
				p := probe{name: tt.class, vendor: pxeX64, archs: []uint16{7}, class: tt.class}
				m := p.discover(t, i)
				until(t, "an offer", func() bool {
					got := c.ask(m, 5*time.Second)
					if got != nil && fileOf(got) != tt.want {
						t.Errorf("class %q: %q, want %q", tt.class, fileOf(got), tt.want)
					}
					return got != nil
				})
			}
		})
	}
}
