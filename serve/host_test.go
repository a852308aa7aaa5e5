package serve

import (
	"context"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hooksmith/serve/tftp"
	"hooksmith/serve/web"
)

// Machines are told the address that they reached, of those that the interface
// has now; a configured one goes before.
func TestHost(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Skip(err)
	}
	old := link{name: "lo", index: lo.Index, address: netip.MustParseAddr("192.0.2.7")} // gone since the start
	other := link{name: "nope0", address: netip.MustParseAddr("192.0.2.8")}
	for _, tt := range []struct{ name, given, local, want string }{
		{"the first address is gone", "", "127.0.0.1", "127.0.0.1"},
		{"an address of before is still known", "", "192.0.2.7", "192.0.2.7"},
		{"another interface", "", "192.0.2.99", "127.0.0.1"},
		{"IPv6", "", "::1", "127.0.0.1"},
		{"configured", "192.0.2.5", "127.0.0.1", "192.0.2.5"},
	} {
		b := &boots{links: []link{old}}
		if tt.given != "" {
			b.address = netip.MustParseAddr(tt.given)
		}
		if got := b.host(netip.MustParseAddr(tt.local)); got.String() != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	b := &boots{links: []link{other, old}}
	for local, want := range map[string]string{"192.0.2.99": "192.0.2.99", "127.0.0.9": "192.0.2.8"} {
		if got := b.host(netip.MustParseAddr(local)); got.String() != want {
			t.Errorf("several interfaces: %s for %s, want %s", got, local, want)
		}
	}
}

// Two interfaces in one network give one subnet; networks that only overlap are
// refused, and so is what no machine could use.
func TestSubnetsTogether(t *testing.T) {
	at := func(name, prefix string) link {
		p := netip.MustParsePrefix(prefix)
		return link{name: name, address: p.Addr(), subnet: p.Masked()}
	}
	for _, tt := range []struct {
		name  string
		links []link
		c     Config
		want  string
	}{
		{"one network twice", []link{at("eth0", "10.0.0.1/24"), at("eth1", "10.0.0.2/24")}, Config{}, "1"},
		{"overlapping interfaces", []link{at("eth0", "10.0.0.1/16"), at("eth1", "10.0.1.2/24")}, Config{}, "interface: the network 10.0.1.0/24 of eth1 overlaps with 10.0.0.0/16"},
		{"overlapping interfaces, proxy", []link{at("eth0", "10.0.0.1/16"), at("eth1", "10.0.1.2/24")}, Config{DHCPMode: proxy}, "1"},
		{"pool around the network", []link{at("eth0", "10.0.0.1/24")}, Config{Pool: []string{"10.0.0.0/12"}}, "pool: 10.0.0.0/12 overlaps with the subnet 10.0.0.0/24"},
		{"pool of everything", []link{at("eth0", "10.0.0.1/24")}, Config{Pool: []string{"0.0.0.0/0"}}, "pool: 0.0.0.0/0 is every address"},
		{"gateway of nowhere", []link{at("eth0", "10.0.0.1/24")}, Config{Gateway: []string{"10.0.0.254", "10.9.0.1"}}, "gateway: 10.9.0.1 is in no subnet"},
		{"gateway of nowhere, proxy", []link{at("eth0", "10.0.0.1/24")}, Config{DHCPMode: proxy, Gateway: []string{"10.9.0.1"}}, "1"},
	} {
		p := &Plan{Config: tt.c, boots: &boots{links: tt.links}}
		all, err := p.subnets()
		if err == nil && (tt.want != "1" || len(all) != 1) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %+v, %v, want %s", tt.name, all, err, tt.want)
		}
	}
	p := &Plan{Config: Config{Gateway: []string{"10.0.0.254", "10.9.0.1"}, Pool: []string{"10.9.0.0/24"}}, boots: &boots{links: []link{at("eth0", "10.0.0.1/24")}}}
	if all, err := p.subnets(); err != nil || len(all) != 2 || all[0].Router.String() != "10.0.0.254" || all[1].Router.String() != "10.9.0.1" {
		t.Errorf("a router for each subnet: %+v, %v", all, err)
	}
}

// What --check calls in order can be served.
func TestPlanOpens(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "file"), "no certificate")
	file := filepath.Join(dir, "file")
	for _, tt := range []struct {
		name string
		c    Config
		want string
	}{
		{"admin", Config{AdminAddress: "0.0.0.0:8067"}, "asks for no token"},
		{"admin on the port of HTTP", Config{AdminAddress: "127.0.0.1:80"}, "admin-address: http-port is 80 too"},
		{"certificate", Config{TLSCert: file, TLSKey: file}, "tls-cert " + file},
		{"pool", Config{DHCPMode: pool, Pool: []string{"10.9.0.1-10.9.0.2"}}, "pool: 10.9.0.1-10.9.0.2 is in no subnet"},
		{"gateway", Config{Gateway: []string{"10.9.0.1"}}, "gateway: 10.9.0.1"},
		{"ipxe-dir", Config{IPXEDir: file}, "ipxe-dir: " + file + " is no folder"},
		{"ipxe-dir without binaries", Config{IPXEDir: dir}, "ipxe-dir: " + dir + ": no iPXE binaries"},
		{"domain", Config{Domain: "a b"}, "domain: \"a b\" is no DNS name"},
	} {
		tt.c.Interfaces = []string{"lo", "lo"} // twice is once
		_, err := NewPlan(t.Context(), tt.c, Options{Binaries: func(context.Context) (fs.FS, error) { return testBinaries, nil }})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TFTP gives what HTTP gives: the folder's files of now, and none that is hidden.
func TestTFTPArtifacts(t *testing.T) {
	dir := t.TempDir()
	for _, build := range []string{"a", "b"} {
		if err := os.MkdirAll(filepath.Join(dir, build, "sub"), 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, build, "vmlinuz-x86_64"), "kernel "+build)
		writeFile(t, filepath.Join(dir, build, ".hidden"), "secret")
	}
	current := filepath.Join(dir, "current")
	if err := os.Symlink("a", current); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../..", filepath.Join(dir, "b", "out")); err != nil {
		t.Fatal(err)
	}
	files := (&Server{web: &web.Server{Artifacts: current}}).servedFiles()
	get := func(name string) string {
		got, err := readTFTP(t.Context(), files, tftp.Request{Name: name, Client: netip.MustParseAddrPort("10.5.0.11:2000")})
		if err != nil {
			return err.Error()
		}
		return got
	}
	if got := get("vmlinuz-x86_64"); got != "kernel a" {
		t.Errorf("got %q", got)
	}
	err := os.Symlink("b", current+".new")
	if err == nil {
		err = os.Rename(current+".new", current)
	}
	if err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(time.Minute) // new files are taken up when they have settled
	for get("vmlinuz-x86_64") != "kernel b" && time.Now().Before(until) {
		time.Sleep(50 * time.Millisecond)
	}
	for name, want := range map[string]string{
		"vmlinuz-x86_64": "kernel b", ".hidden": "does not exist", "sub": "permission denied", "": "permission denied",
		"vmlinuz-x86_64/x": "does not exist", strings.Repeat("a", 400): "does not exist", "out/b/vmlinuz-x86_64": "does not exist",
	} {
		if got := get(name); !strings.Contains(got, want) {
			t.Errorf("%.20s: %q, want %q", name, got, want)
		}
	}
}
