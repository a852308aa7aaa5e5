package servetest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// short is how long an answer may take before the question is asked again.
const short = 2 * time.Second

// A server that is killed in the middle of leases has, after its restart,
// every lease that was acknowledged, and gives none of them to another.
func TestKilledDuringLeases(t *testing.T) {
	const machines, rounds = 90, 3
	l := newLab(t)
	args := []string{"--dhcp-mode", "pool", "--pool", "10.78.0.100-10.78.0.250"}
	c := l.dhcpClient()
	acked := map[int]netip.Addr{}
	for round := range rounds {
		s := l.serve(args...)
		killed := make(chan struct{})
		at := machines * (round + 1) / (rounds + 1)
		for n := range machines {
			if n == at && round < rounds-1 {
				go func() { defer close(killed); s.kill() }()
			}
			within := short
			if n >= at && round < rounds-1 {
				within = 10 * time.Millisecond // dead, or about to be
			}
			if ip := c.lease(macOf(n), within); ip.IsValid() {
				if before, ok := acked[n]; ok && before != ip {
					t.Errorf("%s had %s, now %s", macOf(n), before, ip)
				}
				acked[n] = ip
			}
		}
		if round < rounds-1 {
			<-killed
			continue
		}
	}
	if len(acked) != machines {
		t.Errorf("%d of %d machines have a lease", len(acked), machines)
	}
	owners := map[netip.Addr]int{}
	for n, ip := range acked {
		if other, ok := owners[ip]; ok {
			t.Errorf("%s and %s both have %s", macOf(n), macOf(other), ip)
		}
		owners[ip] = n
		if got := c.reboot(macOf(n), ip, patience); got != dhcpv4.MessageTypeAck {
			t.Errorf("%s asks for its %s: %s", macOf(n), ip, got)
		}
	}
	l.process.stop()
}

// A full disk keeps leases from being given, and nothing else; with room again
// they are given.
func TestFullDisk(t *testing.T) {
	need(t, "curl")
	l := newLab(t)
	state := filepath.Join(l.dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", state).CombinedOutput(); err != nil {
		t.Skipf("no tmpfs: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", state).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	s := l.serve("--artifacts", l.artifacts(), "--dhcp-mode", "pool")
	c := l.dhcpClient()
	if !c.lease(macOf(1), patience).IsValid() {
		t.Fatal("no lease")
	}
	filler := filepath.Join(state, "filler")
	fill(t, filler)
	// Each new machine needs room in the file; sooner or later there is none.
	failed := 0
	for n := 2; n < 120 && failed < 3; n++ {
		if !c.lease(macOf(n), short/2).IsValid() {
			failed++
		}
	}
	t.Logf("%d leases were not given", failed)
	l.address()
	if got := l.get("http://" + serverIP + "/hook/vmlinuz-x86_64"); len(got) == 0 {
		t.Error("nothing is served while the disk is full")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	until(t, "a lease after there is room", func() bool { return c.lease(macOf(200), short).IsValid() })
	s.stop()
}

// fill writes a file until there is no room.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{64 << 10, 4 << 10, 1} {
		for {
			if _, err := f.Write(make([]byte, size)); err != nil {
				break
			}
		}
	}
}

// An interface that goes down, or loses its address, and comes back is served
// as before.
func TestInterfaceDownAndUp(t *testing.T) {
	l := newLab(t)
	s := l.serve("--dhcp-mode", "pool")
	c := l.dhcpClient()
	if !c.lease(macOf(1), patience).IsValid() {
		t.Fatal("no lease")
	}
	l.ip("-n " + l.server + " link set br0 down")
	if c.lease(macOf(1), short/4).IsValid() {
		t.Error("an interface that is down answers")
	}
	l.ip("-n " + l.server + " link set br0 up")
	until(t, "a lease after down and up", func() bool { return c.lease(macOf(1), short).IsValid() })

	l.ip("-n " + l.server + " addr del " + serverIP + "/24 dev br0")
	_ = c.lease(macOf(1), short/4) // whatever comes of it
	l.ip("-n " + l.server + " addr add " + serverIP + "/24 dev br0")
	until(t, "a lease after the address came back", func() bool { return c.lease(macOf(1), short).IsValid() })
	s.stop()
}

// Garbage on every port, thousands of it, and half-open transfers stop nobody
// else.
func TestGarbage(t *testing.T) {
	need(t, "curl")
	l := newLab(t)
	s := l.serve("--artifacts", l.artifacts(), "--hardware", l.hardware(theClient))
	l.address()
	random := rand.New(rand.NewPCG(1, 2))
	for _, port := range []int{67, 69, 514, 4011} {
		conn := l.udp(port)
		for range 2000 {
			// ECONNREFUSED comes for packets before: the port may be closed to a peer that is refused.
			_, _ = conn.Write(garbage(random, port))
		}
	}
	for range 64 { // transfers that nobody goes on with
		if _, err := l.udp(69).Write([]byte("\x00\x01hook/initramfs-x86_64\x00octet\x00blksize\x001428\x00windowsize\x0064\x00")); err != nil {
			t.Fatal(err)
		}
	}
	for _, port := range []int{80, 514} {
		l.garbageByTCP(random, port)
	}
	if got := l.get("http://" + serverIP + "/hook/vmlinuz-x86_64"); len(got) != 700_000 {
		t.Errorf("HTTP: %d bytes", len(got))
	}
	if got := l.get("tftp://" + serverIP + "/hook/vmlinuz-x86_64"); len(got) != 700_000 {
		t.Errorf("TFTP: %d bytes", len(got))
	}
	l.ip("-n " + l.client + " addr flush dev eth0")
	c := l.dhcpClient()
	mac, err := net.ParseMAC("52:54:00:78:00:0c")
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the machine's address", func() bool { return c.lease(mac, short) == netip.MustParseAddr("10.78.0.12") })
	if found := s.Find(`panic|goroutine \d+ \[|DATA RACE`); found != "" {
		t.Errorf("the server's log has %q", found)
	}
	s.stop()
}

// garbage is a random packet, every other one nearly right.
func garbage(random *rand.Rand, port int) []byte {
	b := make([]byte, random.IntN(600))
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	if random.IntN(2) == 0 {
		return b
	}
	switch port {
	case 67, 4011:
		m, err := dhcpv4.NewDiscovery(macOf(random.IntN(1000)))
		if err != nil {
			return b
		}
		b = m.ToBytes()
	case 69:
		b = fmt.Appendf(nil, "\x00\x01%s\x00octet\x00blksize\x00%d\x00", strings.Repeat("../", random.IntN(50)), random.Int64())
	case 514:
		b = fmt.Appendf(nil, "<%d>1 %s - - - - x", random.IntN(999), strings.Repeat("y", random.IntN(2000)))
	}
	for range 4 {
		b[random.IntN(len(b))] = byte(random.Uint32())
	}
	return b
}

// garbageByTCP opens connections that say nonsense and close, or say nothing.
func (l *lab) garbageByTCP(random *rand.Rand, port int) {
	l.t.Helper()
	for range 20 {
		var conn net.Conn
		inside(l.t, l.client, func() (err error) {
			conn, err = net.DialTimeout("tcp4", net.JoinHostPort(serverIP, strconv.Itoa(port)), patience)
			return err
		})
		_, _ = conn.Write(garbage(random, 0)) // the server may hang up at any time
		if random.IntN(2) == 0 {
			conn.Close()
			continue
		}
		l.t.Cleanup(func() { conn.Close() })
	}
}
