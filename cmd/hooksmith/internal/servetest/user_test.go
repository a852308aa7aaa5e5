package servetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Started by root with --user, the server is an ordinary user with two rights,
// and does everything; started without rights, it says how to get them.
func TestOrdinaryUser(t *testing.T) {
	need(t, "curl")
	l := newLab(t)
	// Not below t.TempDir, which only root can enter.
	dir, err := os.MkdirTemp("", "hooksmith-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l.dir = dir
	binaries := filepath.Dir(l.write("ipxe/snponly.efi", "not really a binary"))
	s := l.serve("--user", "nobody", "--dhcp-mode", "pool", "--ipxe-dir", binaries, "--artifacts", l.artifacts(), "--tftp-single-port", "--ra")

	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", l.pid()))
	if err != nil {
		t.Fatal(err)
	}
	const bindAndRaw = "0000000000002400" // 1<<10 | 1<<13
	for _, want := range []string{"CapEff:\t" + bindAndRaw, "CapPrm:\t" + bindAndRaw, "NoNewPrivs:\t1", "Groups:\t \n"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("no %q in\n%s", want, status)
		}
	}
	if strings.Contains(string(status), "Uid:\t0") {
		t.Errorf("still root:\n%s", status)
	}
	if !l.dhcpClient().lease(macOf(1), patience).IsValid() {
		t.Error("no lease")
	}
	l.address()
	for _, url := range []string{"http://" + serverIP + "/hook/vmlinuz-x86_64", "tftp://" + serverIP + "/snponly.efi", "tftp://" + serverIP + "/hook/vmlinuz-x86_64"} {
		if l.get(url) == "" {
			t.Errorf("%s is empty", url)
		}
	}
	s.stop()

	// The same user without the rights.
	need(t, "setpriv")
	cmd := l.in(l.server, "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all",
		hooksmith(t), "serve", "--interface", "br0", "--ipxe-dir", binaries, "--state", filepath.Join(dir, "state"), "--dhcp-mode", "pool")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "setcap cap_net_bind_service,cap_net_raw+ep") || !strings.Contains(string(out), "permi") {
		t.Errorf("%v: %s", err, out)
	}
}

// The first answer comes within a second of the start, with 10,000 machines.
func TestStartsQuickly(t *testing.T) {
	l := newLab(t)
	var b strings.Builder
	b.WriteString("hostname,mac,ip_address,netmask,gateway,nameservers,labels,disk\n")
	for n := range 10_000 {
		fmt.Fprintf(&b, "n%d,52:54:01:00:%02x:%02x,10.79.%d.%d,255.255.0.0,10.79.255.254,10.79.255.253,type=worker,/dev/sda\n", n, n>>8, n&255, n/250, n%250+1)
	}
	file := l.write("hardware.csv", b.String())
	hooksmith(t)
	begin := time.Now()
	l.serve("--hardware", file)
	t.Logf("ready after %s with 10,000 machines", time.Since(begin).Round(time.Millisecond))
	l.process.stop()
}
