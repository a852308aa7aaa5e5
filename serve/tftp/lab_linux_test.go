package tftp

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// lab is a server and a client namespace on one veth pair.
type lab struct {
	serverNS, peerNS string
	peakRSS          int    // kB, of the server that was stopped last
	listen, ask      string // where the server listens and where the client asks
}

func newLab(t *testing.T, mtu int) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("iproute2 is not installed")
	}
	id := fmt.Sprint(os.Getpid())
	l := &lab{serverNS: "hks-tftp-s" + id, peerNS: "hks-tftp-c" + id, listen: "10.91.0.1:6969", ask: "10.91.0.1"}
	t.Cleanup(func() {
		for _, ns := range []string{l.serverNS, l.peerNS} {
			exec.Command("ip", "netns", "del", ns).Run()
		}
	})
	for _, line := range []string{
		"netns add " + l.serverNS, "netns add " + l.peerNS,
		"-n " + l.serverNS + " link add hks0 mtu " + fmt.Sprint(mtu) + " type veth peer name hks1 mtu " + fmt.Sprint(mtu) + " netns " + l.peerNS,
		"-n " + l.serverNS + " addr add 10.91.0.1/24 dev hks0", "-n " + l.serverNS + " addr add 10.91.0.7/24 dev hks0",
		"-n " + l.serverNS + " addr add fd91::1/64 dev hks0 nodad", "-n " + l.serverNS + " addr add fd91::7/64 dev hks0 nodad",
		"-n " + l.peerNS + " addr add 10.91.0.2/24 dev hks1", "-n " + l.peerNS + " addr add fd91::2/64 dev hks1 nodad",
		"-n " + l.serverNS + " addr add fe80::91:1/64 dev hks0 nodad",
		"-n " + l.serverNS + " link set hks0 up", "-n " + l.peerNS + " link set hks1 up",
		"-n " + l.serverNS + " link set lo up", "-n " + l.peerNS + " link set lo up",
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Skipf("ip %s: %v %s", line, err, out)
		}
	}
	return l
}

func (l *lab) server(args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", l.serverNS}, args...)...)
}

func (l *lab) peer(args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", l.peerNS}, args...)...)
}

// realClients are what people have, by the command that fetches name to out. "%s" is a host, port 6969.
var realClients = []struct {
	name, binary string
	args         func(host, name, out string) []string
}{
	{"atftp", "atftp", func(h, n, o string) []string { return []string{"--get", "-r", n, "-l", o, h, "6969"} }},
	{"atftp with options", "atftp", func(h, n, o string) []string {
		return []string{"--option", "blksize 1428", "--option", "windowsize 8", "--option", "tsize 0", "--get", "-r", n, "-l", o, h, "6969"}
	}},
	{"atftp with timeout", "atftp", func(h, n, o string) []string {
		return []string{"--option", "timeout 2", "--option", "blksize 9000", "--get", "-r", n, "-l", o, h, "6969"}
	}},
	{"tftp-hpa", "tftp", func(h, n, o string) []string { return []string{"-m", "binary", h, "6969", "-c", "get", n, o} }},
	{"curl", "curl", func(h, n, o string) []string {
		if strings.Contains(h, ":") {
			h = "[" + h + "]"
		}
		return []string{"-sS", "-m", "60", "--tftp-blksize", "1468", "-o", o, "tftp://" + h + ":6969/" + n}
	}},
}

// TestRealClients fetches through a veth pair of MTU 1400 with every client, over both IP versions and to both addresses of
// the server, and checks that nothing was fragmented.
func TestRealClients(t *testing.T) {
	l := newLab(t, 1400)
	l.listen = "[::]:6969"
	dir, out := t.TempDir(), t.TempDir()
	os.Chmod(dir, 0o755)
	content := pattern(1<<20 + 3)
	if err := os.WriteFile(filepath.Join(dir, "f"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, way := range []string{"multi", "single", "shared"} {
		stop := l.startServer(t, way, dir)
		for _, c := range realClients {
			hosts := []string{"10.91.0.1", "10.91.0.7", "fd91::1", "fd91::7"}
			if c.binary == "curl" {
				hosts = append(hosts, "fe80::91:1%25hks1")
			}
			for _, host := range hosts {
				t.Run(way+" "+c.name+" "+host, func(t *testing.T) {
					if _, err := exec.LookPath(c.binary); err != nil {
						t.Skip(c.binary, "is not installed")
					}
					file := filepath.Join(out, "out")
					os.Remove(file)
					cmd := l.peer(append([]string{"timeout", "60", c.binary}, c.args(host, "f", file)...)...)
					said, err := cmd.CombinedOutput()
					if got, _ := os.ReadFile(file); err != nil || !bytes.Equal(got, content) {
						t.Errorf("%d bytes of %d, %v: %s", len(got), len(content), err, said)
					}
				})
			}
		}
		t.Setenv("HKS_TFTP_TELL", "1")
		l.ask = "10.91.0.7"
		if said := l.client(t, benchCase{blk: 1468, window: 4}, "f"); !strings.HasPrefix(said, "1368 ") {
			t.Errorf("%s: block size and bytes %q on MTU 1400", way, said)
		}
		l.ask = "10.91.0.1"
		stop()
	}
	said, err := l.server("cat", "/proc/net/snmp", "/proc/net/snmp6").Output()
	if err != nil {
		t.Fatal(err)
	}
	if n := counter(string(said), "Ip6FragCreates") + ipCounter(string(said), "FragCreates"); n != 0 {
		t.Errorf("%d fragments were sent", n)
	}
}

// counter reads a line "name value" of /proc/net/snmp6.
func counter(text, name string) int {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == name {
			n, _ := strconv.Atoi(f[1])
			return n
		}
	}
	return 0
}

// ipCounter reads a column of the two "Ip:" lines of /proc/net/snmp.
func ipCounter(text, name string) int {
	var names []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "Ip:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, x := range names {
			if x == name {
				n, _ := strconv.Atoi(f[i])
				return n
			}
		}
	}
	return 0
}

// TestStorm serves 256 machines at once from one process, reports its memory, and is the base of the claim that memory is
// bounded.
func TestStorm(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	l := newLab(t, 1500)
	dir := t.TempDir()
	os.Chmod(dir, 0o755)
	if err := os.WriteFile(filepath.Join(dir, "f"), pattern(1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, way := range []string{"multi", "single", "shared"} {
		stop := l.startServer(t, way, dir)
		began := time.Now()
		cmd := l.peer(os.Args[0])
		cmd.Env = append(os.Environ(), "HKS_TFTP_ROLE=storm", "HKS_TFTP_SERVER="+l.ask+":6969", "HKS_TFTP_FILE=f", "HKS_TFTP_BLK=1468",
			"HKS_TFTP_WINDOW=4", "HKS_TFTP_CLIENTS="+strconv.Itoa(envInt("HKS_TFTP_CLIENTS", 256)))
		said, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v %s", way, err, said)
		}
		took := time.Since(began)
		cpu := stop()
		t.Logf("%s: %s in %v, server CPU %v, peak RSS %d MB", way, strings.TrimSpace(string(said)), took.Round(time.Millisecond), cpu, l.peakRSS>>10)
		if l.peakRSS > 200<<10 {
			t.Errorf("%s: the server took %d kB", way, l.peakRSS)
		}
	}
}
