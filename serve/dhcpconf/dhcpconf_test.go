package dhcpconf

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
)

var update = flag.Bool("update", false, "write the golden files")

// fakePE is the head of a UEFI program that is an iPXE.
func fakePE(machine uint16) []byte {
	b := make([]byte, 0x200)
	copy(b, "MZ")
	binary.LittleEndian.PutUint32(b[0x3c:], 0x80)
	copy(b[0x80:], "PE\x00\x00")
	binary.LittleEndian.PutUint16(b[0x84:], machine)
	return append(b, "\x00https\x00 ipxe.org"...)
}

func fakeLinux() []byte {
	b := make([]byte, 0x300)
	copy(b[0x202:], "HdrS")
	return b
}

// ruleOver is the rule over a folder of binaries by name.
func ruleOver(t testing.TB, opt ipxe.RuleOptions, names ...string) *ipxe.Rule {
	t.Helper()
	fsys := fstest.MapFS{}
	for _, name := range names {
		content := fakePE(0x8664)
		switch {
		case strings.Contains(name, "arm64"):
			content = fakePE(0xaa64)
		case strings.HasSuffix(name, "lkrn"):
			content = fakeLinux()
		case strings.HasSuffix(name, "pxe"):
			content = bytes.Repeat([]byte("x"), 1024)
		}
		fsys[name] = &fstest.MapFile{Data: content}
	}
	set, err := ipxe.OpenBinaries(fsys)
	if err != nil {
		t.Fatal(err)
	}
	rule, err := ipxe.NewRule(set, opt)
	if err != nil {
		t.Fatal(err)
	}
	return rule
}

var usual = []string{"undionly.kpxe", "ipxe.efi", "snp-arm64.efi", "ipxe.lkrn"}

func machines(t testing.TB) []hardware.Machine {
	t.Helper()
	data, err := hardware.Parse("hardware.csv", []byte("hostname,mac,ip_address,netmask,gateway,nameservers,labels,disk\n"+
		"node1,52:54:00:12:34:56,192.168.2.11,255.255.255.0,192.168.2.254,1.1.1.1|8.8.8.8,type=cp,/dev/sda\n"+
		"node2,52:54:00:12:34:57,192.168.2.12,255.255.255.0,192.168.2.254,192.168.2.53,type=worker,/dev/sda\n"))
	if err != nil {
		t.Fatal(err)
	}
	return append(data.Machines,
		hardware.Machine{MAC: "52:54:00:00:00:02", Hostname: "off", Netboot: hardware.Netboot{Allow: hardware.Off}},
		hardware.Machine{MAC: "52:54:00:00:00:03", DHCP: hardware.Off},
		hardware.Machine{MAC: "52:54:00:00:00:04", IP: netip.MustParsePrefix("10.9.9.9/24")},
		hardware.Machine{MAC: "52:54:00:00:00:05", Netboot: hardware.Netboot{TFTPServer: "10.9.9.1", BootFileName: "nvos.bin"}})
}

func config(t testing.TB, rule *ipxe.Rule) Config {
	return Config{Program: "hooksmith test", Rule: rule, Server: netip.MustParseAddr("192.168.2.112"), HTTPPort: 7080,
		Subnet: netip.MustParsePrefix("192.168.2.0/24"), Machines: machines(t)}
}

func full(c Config) Config {
	c.Full = &Network{Interface: "enp1s0", Router: netip.MustParseAddr("192.168.2.254"), Domain: "example.com", Lease: 36 * time.Hour,
		NameServers: []netip.Addr{netip.MustParseAddr("192.168.2.53")}, TimeServers: []netip.Addr{netip.MustParseAddr("192.168.2.123")}}
	return c
}

// Every target, as a fragment and whole, byte by byte.
func TestGolden(t *testing.T) {
	c := config(t, ruleOver(t, ipxe.RuleOptions{UserClasses: []string{"O'Neill, \"x\"\\"}}, usual...))
	for _, target := range Targets() {
		forms := map[string]Config{target.Name: c}
		if target.needs != noServers {
			forms[target.Name+"-full"] = full(c)
		}
		for name, form := range forms {
			r, err := Generate(target.Name, form)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, r.Text)
			if again, err := Generate(target.Name, form); err != nil || again.Text != r.Text {
				t.Errorf("%s: the same configuration gives another text (%v)", name, err)
			}
		}
	}
	both, err := Compare("dnsmasq", c, netip.MustParseAddr("192.168.2.112"), netip.MustParseAddr("192.168.2.113"))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "compare", both.Diff)
	if got := patched(t, both.Before.Text, both.Diff); got != both.After.Text {
		t.Errorf("patch(1) makes of it\n%s", got)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; go test -update, and read the difference:\n%s", path, diff("want", "got", string(want), got))
	}
}

// patched applies a difference with git, which is there for whoever builds.
func patched(t *testing.T, before, change string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"file": before, "change": strings.NewReplacer("--- before", "--- a/file", "+++ after", "+++ b/file").Replace(change)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("git", "apply", "change")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got, err := os.ReadFile(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

// The PowerShell is made of cmdlets and parameters that are documented.
func TestCmdlets(t *testing.T) {
	data, err := os.ReadFile("testdata/cmdlets.txt")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string][]string{}
	for line := range strings.Lines(string(data)) {
		if words := strings.Fields(line); len(words) > 0 && words[0] != "#" {
			documented[words[0]] = words[1:]
		}
	}
	r, err := Generate("microsoft", full(config(t, ruleOver(t, ipxe.RuleOptions{}, usual...))))
	if err != nil {
		t.Fatal(err)
	}
	quoted := regexp.MustCompile(`'[^']*'`)
	cmdlet := regexp.MustCompile(`\b[A-Z][a-z]+-[A-Z][A-Za-z0-9]+`)
	count := 0
	for line := range strings.Lines(r.Text) {
		line = quoted.ReplaceAllString(line, "''")
		name := cmdlet.FindString(line)
		if strings.HasPrefix(line, "#") || name == "" {
			continue
		}
		count++
		for _, m := range regexp.MustCompile(`\s-([A-Z][A-Za-z0-9]*)`).FindAllStringSubmatch(line, -1) {
			if !slices.Contains(documented[name], m[1]) {
				t.Errorf("%s has no parameter %s: %s", name, m[1], line)
			}
		}
	}
	if count < 20 {
		t.Errorf("only %d cmdlets", count)
	}
}

// Only binaries that are there, and no branch for anything else.
func TestBinaries(t *testing.T) {
	for _, tt := range []struct {
		names     []string
		opt       ipxe.RuleOptions
		want, not []string
	}{
		{[]string{"ipxe.efi"}, ipxe.RuleOptions{}, []string{"ipxe.efi"}, []string{"undionly", "arm64", "hook-bios"}},
		{[]string{"undionly.kpxe"}, ipxe.RuleOptions{}, []string{"undionly.kpxe"}, []string{".efi"}},
		{[]string{"ipxe.efi", "snponly.efi"}, ipxe.RuleOptions{Overrides: map[ipxe.Arch]string{7: "snponly.efi", 4242: "snponly.efi"}},
			[]string{"option:client-arch,4242", ",ipxe.efi,,", ",snponly.efi,,"}, []string{"undionly"}},
		{[]string{"shim,\"x.efi"}, ipxe.RuleOptions{}, []string{`"shim,\"x.efi"`}, []string{",shim"}},
	} {
		r, err := Generate("dnsmasq", Config{Rule: ruleOver(t, tt.opt, tt.names...), Server: netip.MustParseAddr("10.0.0.1")})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range tt.want {
			if !strings.Contains(r.Text, want) {
				t.Errorf("%v: no %s in\n%s", tt.names, want, r.Text)
			}
		}
		for _, not := range tt.not {
			if strings.Contains(r.Text, not) {
				t.Errorf("%v: %s in\n%s", tt.names, not, r.Text)
			}
		}
	}
}

// What is wrong is refused, by name.
func TestErrors(t *testing.T) {
	rule := ruleOver(t, ipxe.RuleOptions{}, "ipxe.efi")
	long := strings.Repeat("x", 120) + ".efi"
	for _, tt := range []struct {
		target string
		change func(*Config)
		want   string
	}{
		{"dnsmaq", nil, `no target "dnsmaq"; there are dnsmasq, `},
		{"kea", func(c *Config) { c.Rule = nil }, "no rule"},
		{"kea", func(c *Config) { c.Server = netip.MustParseAddr("::1") }, "no IPv4 address"},
		{"kea", func(c *Config) { c.Server = netip.MustParseAddr("127.0.0.1") }, "no IPv4 address of a host"},
		{"kea", func(c *Config) { c.Server = netip.MustParseAddr("255.255.255.255") }, "no IPv4 address of a host"},
		{"kea", func(c *Config) { c.HTTPPort = 70000 }, "HTTP port 70000"},
		{"kea", func(c *Config) { c.ScriptPath = "/a b" }, "script path"},
		{"kea", func(c *Config) { c.ScriptPath = "/${mac}" }, "script path"},
		{"ipxe", func(c *Config) { c.ScriptPath = "/x\nshell" }, "script path"},
		{"kea", func(c *Config) { c.ScriptPath = "/" + strings.Repeat("x", 127) }, "bytes, and DHCP's field holds 127"},
		{"kea", func(c *Config) { c.Rule = ruleOver(t, ipxe.RuleOptions{}, long) }, "bytes, and DHCP's field holds 127"},
		{"kea", func(c *Config) { c.Rule = ruleOver(t, ipxe.RuleOptions{}, "a b.efi") }, "rename it"},
		{"kea", func(c *Config) { c.Rule = ruleOver(t, ipxe.RuleOptions{UserClasses: []string{"a\nb"}}, "ipxe.efi") }, "user class"},
		{"kea", func(c *Config) { c.Machines = []hardware.Machine{{MAC: "52:54:00:00:00:01", Hostname: "a\"; b"}} }, "no host name"},
		{"kea", func(c *Config) { c.Machines = []hardware.Machine{{MAC: "x"}} }, "MAC address"},
		{"kea", func(c *Config) { c.Full, c.Subnet = &Network{}, netip.Prefix{} }, "--subnet"},
		{"kea", func(c *Config) { c.Full = &Network{Interface: "eth0\"x"} }, "no name of a network interface"},
		{"kea", func(c *Config) { c.Full = &Network{Router: netip.MustParseAddr("10.1.0.1")} }, "not in the subnet"},
		{"microsoft", func(c *Config) { c.Subnet = netip.Prefix{} }, "--subnet"},
		{"kea", func(c *Config) { c.Subnet = netip.MustParsePrefix("10.0.0.1/31") }, "subnet"},
		{"grub", func(c *Config) { c.Full = &Network{} }, "there is no --full"},
		{"pxelinux", nil, "no ipxe.lkrn"},
		{"dns", func(c *Config) { c.Name = "a b" }, "no DNS name"},
	} {
		c := Config{Rule: rule, Server: netip.MustParseAddr("10.0.0.1"), Subnet: netip.MustParsePrefix("10.0.0.0/24")}
		if tt.change != nil {
			tt.change(&c)
		}
		if _, err := Generate(tt.target, c); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.target, err, tt.want)
		}
	}
}

// Machines that a configuration cannot serve as their records say are named.
func TestNotes(t *testing.T) {
	r, err := Generate("isc-dhcpd", full(config(t, ruleOver(t, ipxe.RuleOptions{}, usual...))))
	if err != nil {
		t.Fatal(err)
	}
	notes := strings.Join(r.Notes, "\n")
	for _, want := range []string{"52:54:00:00:00:04: no reservation: 10.9.9.9 is not in the subnet", "52:54:00:00:00:05: its record names a boot file of its own"} {
		if !strings.Contains(notes, want) {
			t.Errorf("no %q in %s", want, notes)
		}
	}
}

// Whatever the values are, they stay inside of their line and their quotes.
func FuzzValues(f *testing.F) {
	f.Add("Tinkerbell2", "node1", "/boot.ipxe", "disk,\"x'.efi")
	f.Add("a'b\"c\\d,e#f", "x", "/", "$(x);`y`.efi")
	f.Add("x y", "12h", "/b", "c.efi")
	f.Add("${x}", "a\nb", "/a?b", "%s\\.efi")
	f.Fuzz(func(t *testing.T, class, hostname, path, name string) {
		if len(name) > 200 || strings.ContainsAny(name, "/\x00") || !strings.HasSuffix(name, ".efi") || hostname == "" {
			return
		}
		set, err := ipxe.OpenBinaries(fstest.MapFS{name: {Data: fakePE(0x8664)}, "undionly.kpxe": {Data: bytes.Repeat([]byte("x"), 1024)}})
		if err != nil {
			return
		}
		rule, err := ipxe.NewRule(set, ipxe.RuleOptions{UserClasses: []string{class}})
		if err != nil || slices.Contains(append(ipxe.StockClasses(), ipxe.UserClass), class) {
			return // a class that is there already adds no line
		}
		plainRule := ruleOver(t, ipxe.RuleOptions{UserClasses: []string{"x"}}, "a.efi", "undionly.kpxe")
		c := Config{Server: netip.MustParseAddr("10.0.0.1"), Subnet: netip.MustParsePrefix("10.0.0.0/24"), ScriptPath: path,
			Machines: []hardware.Machine{{MAC: "52:54:00:00:00:01", Hostname: hostname, Source: hostname, IP: netip.MustParsePrefix("10.0.0.9/24")}}}
		usual := "x"
		if dnsmasqWord(hostname) { // has a line of its own
			usual = "ignore"
		}
		reference := Config{Rule: plainRule, Server: c.Server, Subnet: c.Subnet, Machines: []hardware.Machine{{MAC: "52:54:00:00:00:01", Hostname: usual, IP: netip.MustParsePrefix("10.0.0.9/24")}}}
		c.Rule = rule
		for _, target := range []string{"dnsmasq", "dnsmasq-proxy", "kea", "isc-dhcpd", "microsoft", "dnsmasq-container"} {
			r, err := Generate(target, c)
			if err != nil {
				return
			}
			want, err := Generate(target, reference)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(r.Text, "\n") != strings.Count(want.Text, "\n") {
				t.Errorf("%s: a value adds or takes lines:\n%.2000s", target, diff("want", "got", want.Text, r.Text))
			}
			if strings.ContainsFunc(r.Text, func(c rune) bool { return c != '\n' && (c < ' ' || c > '~') }) {
				t.Errorf("%s: control or other characters:\n%.2000q", target, r.Text)
			}
		}
	})
}

// No pool has an address that is somebody's.
func TestPools(t *testing.T) {
	addr := netip.MustParseAddr
	for _, tt := range []struct {
		subnet, server, router, dns, machine string
		pool                                 string
		want                                 string
	}{
		{"10.0.0.0/24", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "", "[[10.0.0.128 10.0.0.254]]"},
		{"10.0.0.0/24", "10.0.0.128", "10.0.0.254", "10.0.0.200", "10.0.0.201", "", "[[10.0.0.129 10.0.0.199] [10.0.0.202 10.0.0.253]]"},
		{"10.0.0.0/24", "10.0.0.1", "10.0.0.15", "8.8.8.8", "10.0.0.15", "10.0.0.20-10.0.0.20 10.0.0.10-10.0.0.16", "[[10.0.0.10 10.0.0.14] [10.0.0.16 10.0.0.16] [10.0.0.20 10.0.0.20]]"},
		{"10.0.0.0/30", "10.0.0.2", "10.0.0.1", "10.0.0.1", "10.0.0.1", "", "[]"},
	} {
		j := &job{Config: Config{Server: addr(tt.server), Subnet: netip.MustParsePrefix(tt.subnet),
			Machines: []hardware.Machine{{IP: netip.PrefixFrom(addr(tt.machine), 24)}, {}},
			Full:     &Network{Router: addr(tt.router), NameServers: []netip.Addr{addr(tt.dns)}}}}
		for _, p := range strings.Fields(tt.pool) {
			first, last, _ := strings.Cut(p, "-")
			j.Full.Pool = append(j.Full.Pool, [2]netip.Addr{addr(first), addr(last)})
		}
		if got := fmt.Sprint(j.pools()); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt, got, tt.want)
		}
	}
	c := config(t, ruleOver(t, ipxe.RuleOptions{}, "undionly.kpxe"))
	c.Full, c.Subnet, c.Server, c.Machines = &Network{}, netip.MustParsePrefix("10.0.0.0/30"), addr("10.0.0.2"), nil
	for _, target := range []string{"dnsmasq", "kea", "isc-dhcpd", "microsoft"} {
		if _, err := Generate(target, c); err == nil || !strings.Contains(err.Error(), "--pool") {
			t.Errorf("%s: %v", target, err)
		}
	}
	if _, err := Generate("dnsmasq-proxy", c); err != nil {
		t.Error(err)
	}
	// Windows has one range for a scope, and what is left out of it.
	c.Subnet, c.Server = netip.MustParsePrefix("10.0.0.0/24"), addr("10.0.0.200")
	r, err := Generate("microsoft", c)
	if want := "-StartRange 10.0.0.128 -EndRange 10.0.0.254 "; err != nil || !strings.Contains(r.Text, want) {
		t.Errorf("no %q; %v", want, err)
	} else if want := "Add-DhcpServerv4ExclusionRange -ScopeId $scope -StartRange 10.0.0.200 -EndRange 10.0.0.200\n"; !strings.Contains(r.Text, want) {
		t.Errorf("no %q in\n%.1500s", want, r.Text)
	}
}
