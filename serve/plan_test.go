package serve

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"hooksmith/serve/dhcp"
	"hooksmith/serve/tftp"
)

// testBinaries are told apart by their names only.
var testBinaries = fstest.MapFS{
	"undionly.kpxe": {Data: []byte("bios")}, "ipxe.efi": {Data: []byte("not really a binary")},
}

// newPlan makes a plan on loopback over a hardware file.
func newPlan(t *testing.T, c Config, machines string) (*Plan, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hardware.yaml")
	writeFile(t, file, machines)
	c.Interfaces, c.Hardware = []string{"lo"}, []string{file}
	c.State = t.TempDir()
	p, err := NewPlan(t.Context(), c, Options{Binaries: func(context.Context) (fs.FS, error) { return testBinaries, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return p, file
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	err := os.WriteFile(path+".new", []byte(text), 0o644)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

const machines = `machines:
- {mac: 52:54:00:00:00:01, hostname: one, ip: 10.5.0.11/24, labels: {type: worker}, vlan: 7}
- {mac: 52:54:00:00:00:02, hostname: two, ip: 10.5.0.12/24, netboot: {allow: false, pxelinux: "DEFAULT local"}}
- {mac: 52:54:00:00:00:03, hostname: three}
`

// What TFTP gives depends on name and machine.
func TestTFTPFiles(t *testing.T) {
	p, _ := newPlan(t, Config{HTTPPort: 8080}, machines)
	binaries, err := loadBinaries(p.Binaries)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "vmlinuz-x86_64"), "kernel")
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	files := &tftpFiles{boots: p.boots, binaries: binaries, artifacts: tftp.Dir(root)}
	const trace = "-00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
	for _, tt := range []struct{ name, client, want string }{
		{"undionly.kpxe", "10.5.0.11", "bios"},
		{"52-54-00-00-00-01/undionly.kpxe", "127.0.0.99", "bios"},
		{"52:54:00:00:00:01/undionly.kpxe" + trace, "127.0.0.99", "bios"},
		{"undionly.kpxe", "10.5.0.12", "netboot is not allowed"},
		{"52-54-00-00-00-02/ipxe.efi", "127.0.0.99", "netboot is not allowed"},
		{"autoexec.ipxe", "127.0.0.99", "http://127.0.0.1:8080/ipxe/script/"},
		{"autoexec.ipxe", "127.0.0.99", "vcreate --tag 7 "},
		{"any/boot.ipxe", "127.0.0.99", "chain --autofree http://127.0.0.1:8080/ipxe/script/${mac:hexhyp}/auto.ipxe"},
		{"52-54-00-00-00-01/" + dhcp.LoopFile, "127.0.0.99", "loads iPXE again and again"},
		{"pxelinux.cfg/01-52-54-00-00-00-02", "10.5.0.12", "DEFAULT local"},
		{"pxelinux.cfg/01-52-54-00-00-00-01", "10.5.0.11", "no such file"},
		{"vmlinuz-x86_64", "10.5.0.11", "kernel"},
		{"hook/vmlinuz-x86_64", "10.5.0.11", "kernel"},
		{"nothing", "10.5.0.11", "no such file"},
	} {
		r := tftp.Request{Name: tt.name, Client: netip.AddrPortFrom(netip.MustParseAddr(tt.client), 2000), Local: netip.MustParseAddr("127.0.0.1")}
		got, err := readTFTP(t.Context(), files, r)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, tt.want) {
			t.Errorf("%s for %s: %.200q, want %q", tt.name, tt.client, got, tt.want)
		}
	}
}

func readTFTP(ctx context.Context, files tftp.FileSystem, r tftp.Request) (string, error) {
	f, err := files.Open(ctx, r)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	return string(b), errors.Join(err, f.Close())
}

// Every event of a transfer finds its machine: by the path, else by the address.
func TestFromTFTP(t *testing.T) {
	p, _ := newPlan(t, Config{}, machines)
	now := time.Unix(1000, 0)
	client := netip.MustParseAddrPort("10.5.0.12:2000")
	e := p.boots.fromTFTP(tftp.Event{Kind: tftp.Aborted, File: "ipxe.efi", Client: client, Size: -1, FromClient: true, Message: "out of memory"}, now)
	if e.Kind != "tftp-abort" || e.MAC != "52:54:00:00:00:02" || e.IP != "10.5.0.12" || e.Size != 0 || e.Detail != "the client says: out of memory" || !e.Time.Equal(now) {
		t.Errorf("%+v", e)
	}
	if e := p.boots.fromTFTP(tftp.Event{Kind: tftp.Finished, File: "525400000001/ipxe.efi", Client: client}, now); e.MAC != "52:54:00:00:00:01" || e.Kind != "tftp-done" {
		t.Errorf("%+v", e)
	}
}

// Machines that come with a reload are checked against the templates; what does
// not fit is said, and the rest goes on.
func TestReloadChecksScripts(t *testing.T) {
	c := Config{Templates: []Template{{Name: "a", Selector: "type=worker", Text: "shell"}, {Name: "b", Selector: "zone=x", Text: "reboot"}}}
	p, file := newPlan(t, c, machines)
	s := &Server{plan: p, log: p.opt.Log}
	defer p.boots.hardware.Subscribe(p.boots.changed(s.log))()
	writeFile(t, file, strings.Replace(machines, "type: worker", "type: worker, zone: x", 1))
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if err := p.boots.problem(); err == nil || !strings.Contains(err.Error(), "52:54:00:00:00:01") && !strings.Contains(err.Error(), "one") {
		t.Errorf("a tie of two templates: %v", err)
	}
	if got, err := p.Preview("52:54:00:00:00:03"); err != nil || got.Script == "" {
		t.Errorf("another machine: %v, %+v", err, got)
	}
	writeFile(t, file, machines)
	if err := s.Reload(); err != nil || p.boots.problem() != nil {
		t.Errorf("mended: %v, %v", err, p.boots.problem())
	}
}

func TestSubnets(t *testing.T) {
	p, _ := newPlan(t, Config{DHCPMode: pool, Gateway: []string{"10.5.0.1"}, Pool: []string{"127.0.0.50-127.0.0.60", "10.5.0.0/24", "10.5.0.200-10.5.0.210"}}, machines)
	all, err := p.subnets()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || all[0].Prefix.String() != "127.0.0.0/8" || all[0].Router.IsValid() || len(all[0].Pools) != 1 ||
		all[1].Prefix.String() != "10.5.0.0/24" || all[1].Router.String() != "10.5.0.1" || len(all[1].Pools) != 2 {
		t.Errorf("%+v", all)
	}
	p.Config.Pool = []string{"10.9.0.1-10.9.0.2"}
	if _, err := p.subnets(); err == nil || !strings.Contains(err.Error(), "give the whole subnet") {
		t.Errorf("a range of nobody's subnet: %v", err)
	}
}

func TestUpperHalf(t *testing.T) {
	for _, tt := range []struct{ subnet, first, last string }{
		{"10.0.0.0/24", "10.0.0.128", "10.0.0.254"}, {"10.0.0.0/16", "10.0.128.0", "10.0.255.254"}, {"192.168.4.0/22", "192.168.6.0", "192.168.7.254"}, {"10.0.0.8/29", "10.0.0.12", "10.0.0.14"},
	} {
		first, last, ok := upperHalf(netip.MustParsePrefix(tt.subnet))
		if !ok || first.String() != tt.first || last.String() != tt.last {
			t.Errorf("%s: %s-%s", tt.subnet, first, last)
		}
	}
	if _, _, ok := upperHalf(netip.MustParsePrefix("10.0.0.0/30")); ok {
		t.Error("a /30 is divided")
	}
}

func TestHostNet(t *testing.T) {
	route := "Iface\tDestination\tGateway \tFlags\neth0\t00000000\t0100A8C0\t0003\neth0\t0000A8C0\t00000000\t0001\nx\t00000000\tzz\n"
	if got := routers(strings.NewReader(route)); len(got) != 1 || got[0].String() != "192.168.0.1" {
		t.Errorf("routers %v", got)
	}
	resolv := "# x\nnameserver 127.0.0.53\nnameserver 10.0.0.1\nnameserver fe80::1\nsearch y\nnameserver\nnameserver 10.0.0.2\n"
	if got := nameServers(strings.NewReader(resolv)); !slices.Equal(got, []string{"10.0.0.1", "10.0.0.2"}) {
		t.Errorf("name servers %v", got)
	}
}

func TestToken(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "short"), "abc\n")
	for _, tt := range []struct{ path, address, want string }{
		{"", "127.0.0.1:1", ""}, {"", "[::1]:1", ""}, {"", "localhost:1", ""},
		{"", "0.0.0.0:1", "asks for no token"}, {"", ":1", "asks for no token"}, {"", "10.0.0.1:1", "asks for no token"},
		{filepath.Join(dir, "short"), "127.0.0.1:1", "has 3 characters"}, {filepath.Join(dir, "no", "folder"), "127.0.0.1:1", "no such file"},
	} {
		_, err := tokenOf(tt.path, tt.address)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q at %s: %v, want %q", tt.path, tt.address, err, tt.want)
		}
	}
	made, err := tokenOf(filepath.Join(dir, "made"), "0.0.0.0:1")
	again, err2 := tokenOf(filepath.Join(dir, "made"), "0.0.0.0:1")
	if err != nil || err2 != nil || len(made) < shortestToken || made != again {
		t.Errorf("%q, %q, %v, %v", made, again, err, err2)
	}
}

func TestPlanErrors(t *testing.T) {
	none := func(context.Context) (fs.FS, error) { return fstest.MapFS{}, nil }
	for _, tt := range []struct {
		name string
		c    Config
		want string
	}{
		{"interface", Config{Interfaces: []string{"nope0"}}, "interface nope0 is not there; there are"},
		{"address", Config{Interfaces: []string{"lo"}, Address: "10.1.2.3"}, "interface lo has no IPv4 address 10.1.2.3"},
		{"hardware", Config{Interfaces: []string{"lo"}, Hardware: []string{"/nowhere.csv"}}, "hardware data: "},
		{"binaries", Config{Interfaces: []string{"lo"}}, "no iPXE binaries"},
		{"ipxe-dir", Config{Interfaces: []string{"lo"}, IPXEDir: "/nowhere"}, "ipxe-dir: stat /nowhere"},
		{"mode", Config{DHCPMode: "x"}, `dhcp-mode: "x": must be one of`},
	} {
		if _, err := NewPlan(t.Context(), tt.c, Options{Binaries: none}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	p, err := NewPlan(t.Context(), Config{Interfaces: []string{"nope0"}, Unknown: auto, Address: "10.0.0.1"}, Options{Binaries: func(context.Context) (fs.FS, error) { return testBinaries, nil }, Anywhere: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.Preview("52-54-00-00-00-09"); err != nil || !strings.Contains(got.Script, "http://10.0.0.1/hook") {
		t.Errorf("%v: %+v", err, got)
	}
	if _, err := p.Open(t.Context()); err == nil {
		t.Error("a plan for anywhere can be opened")
	}
}
