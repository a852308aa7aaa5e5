package ra

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

const (
	patience = 60 * time.Second
	childEnv = "HOOKSMITH_RA_TEST_INTERFACES"
)

// TestMain: as a child, in a namespace of its own, serve interfaces for ever.
func TestMain(m *testing.M) {
	if names := os.Getenv(childEnv); names != "" {
		if err := child(strings.Fields(names)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(names []string) error {
	conn, err := Listen(names...)
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Println("ready")
	s := Server{
		Log:      slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Interval: 30 * time.Minute, // what is seen was asked for
		Observe:  func(name string, from netip.Addr) { fmt.Println("asked", name, from) },
	}
	return s.Serve(context.Background(), conn)
}

// lab is two namespaces with a veth pair: srv0 serves, cli0 asks.
type lab struct {
	*testing.T
	server, client string
	lines          *bufio.Scanner // what the child says
}

func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("iproute2 is not installed")
	}
	id := fmt.Sprintf("%d%s", os.Getpid(), strings.ToLower(t.Name()[4:7]))
	l := &lab{T: t, server: "hks-ra-s" + id, client: "hks-ra-c" + id}
	t.Cleanup(func() {
		for _, ns := range []string{l.server, l.client} {
			exec.Command("ip", "netns", "del", ns).Run()
		}
	})
	for _, ns := range []string{l.server, l.client} {
		if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
			t.Skipf("no network namespace to be had: %v %s", err, out)
		}
	}
	l.wire()
	return l
}

// wire makes the pair; addresses are usable at once.
func (l *lab) wire() {
	l.Helper()
	for _, ns := range []string{l.server, l.client} {
		l.ip("netns exec", ns, "sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.router_solicitations=0")
	}
	l.ip("-n", l.server, "link add srv0 type veth peer name cli0 netns", l.client)
	l.ip("-n", l.client, "link set cli0 up")
	l.ip("-n", l.server, "link set srv0 up")
}

func (l *lab) ip(args ...string) {
	l.Helper()
	if out, err := exec.Command("ip", strings.Fields(strings.Join(args, " "))...).CombinedOutput(); err != nil {
		l.Fatalf("ip %v: %v %s", args, err, out)
	}
}

// serve starts the child and waits until its socket is open.
func (l *lab) serve(names string) {
	l.Helper()
	cmd := exec.Command("ip", "netns", "exec", l.server, os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+names)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	l.lines = bufio.NewScanner(out)
	l.expect("ready")
}

func (l *lab) expect(want string) {
	l.Helper()
	if !l.lines.Scan() || l.lines.Text() != want {
		l.Fatalf("the server says %q, want %q", l.lines.Text(), want)
	}
}

// client is a raw socket on cli0.
type client struct {
	*lab
	conn *packet.Conn
	mac  net.HardwareAddr
}

func (l *lab) dial() *client {
	l.Helper()
	c := &client{lab: l}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine, as it is in another namespace
		done <- c.open()
	}()
	if err := <-done; err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { c.conn.Close() })
	return c
}

func (c *client) open() error {
	ns, err := os.Open("/var/run/netns/" + c.lab.client)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	ifi, err := net.InterfaceByName("cli0")
	if err != nil {
		return err
	}
	c.mac = ifi.HardwareAddr
	c.conn, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_IPV6, nil)
	return err
}

// send puts an ICMPv6 message into an Ethernet frame to all routers.
func (c *client) send(from string, hops int, message []byte) {
	c.Helper()
	src, dst := netip.MustParseAddr(from).As16(), allRouters.As16()
	frame := append([]byte{0x33, 0x33, 0, 0, 0, 2}, c.mac...)
	frame = append(frame, 0x86, 0xdd, 0x60, 0, 0, 0)
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(message)))
	frame = append(frame, 58, byte(hops))
	frame = append(append(frame, src[:]...), dst[:]...)
	at := len(frame) + 2
	frame = append(frame, message...)
	pseudo := append(append(append([]byte{}, src[:]...), dst[:]...), 0, 0, 0, byte(len(message)), 0, 0, 0, 58)
	binary.BigEndian.PutUint16(frame[at:], checksum(append(pseudo, message...)))
	if _, err := c.conn.WriteTo(frame, &packet.Addr{HardwareAddr: net.HardwareAddr(frame[:6])}); err != nil {
		c.Fatal(err)
	}
}

func checksum(b []byte) uint16 {
	sum := uint32(0)
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// advertised waits for a router advertisement and checks every byte of it. It
// returns false when none comes within d.
func (c *client) advertised(d time.Duration) bool {
	c.Helper()
	end := time.Now().Add(d)
	buffer := make([]byte, 2048)
	for {
		c.conn.SetReadDeadline(end)
		n, _, err := c.conn.ReadFrom(buffer)
		if err != nil {
			return false
		}
		b := buffer[:n]
		if len(b) < 54+16 || b[20] != 58 || b[54] != 134 {
			continue
		}
		src, _ := netip.AddrFromSlice(b[22:38])
		dst, _ := netip.AddrFromSlice(b[38:54])
		body := append([]byte{}, b[54:]...)
		body[2], body[3] = 0, 0
		pseudo := append(append([]byte{}, b[22:54]...), 0, 0, 0, byte(len(body)), 0, 0, 0, 58)
		switch {
		case b[21] != 255 || !src.IsLinkLocalUnicast() || dst != allNodes:
			c.Errorf("hop limit %d, from %v to %v", b[21], src, dst)
		case string(body) != string(advertisement(net.HardwareAddr(b[6:12]))):
			c.Errorf("advertisement %x", body)
		case binary.BigEndian.Uint16(b[56:]) != checksum(append(pseudo, body...)):
			c.Errorf("checksum %x", b[56:58])
		}
		return true
	}
}

// TestSolicited: whoever asks as RFC 4861 says is answered, others are not.
func TestSolicited(t *testing.T) {
	l := newLab(t)
	c := l.dial()
	l.serve("srv0")
	if !c.advertised(patience) {
		t.Fatal("it does not say that it is there")
	}
	for range 3 {
		c.send("fe80::77", 255, with(1, 1, 2, 0, 0, 0, 0, 0x77))
		l.expect("asked srv0 fe80::77")
		asked := time.Now()
		if !c.advertised(patience) {
			t.Fatal("not answered")
		}
		t.Logf("answered after %v", time.Since(asked).Round(time.Microsecond))
	}
	// Refused ones are not observed: the next line is of the one after them.
	c.send("fe80::1", 254, solicit)
	c.send("fd00::1", 255, solicit)
	c.send("::", 255, with(1, 1, 2, 0, 0, 0, 0, 1))
	c.send("fe80::1", 255, with(1, 0, 0, 0, 0, 0, 0, 0))
	c.send("fe80::1", 255, solicit[:7])
	c.send("::", 255, solicit)
	l.expect("asked srv0 ::")
	if !c.advertised(patience) {
		t.Error("a client without an address is not answered")
	}
	// Many at once: all hear few.
	for i := range 500 {
		c.send(fmt.Sprintf("fe80::%x", i+1), 255, solicit)
	}
	count := 0
	for begin := time.Now(); c.advertised(6 * gap); count++ {
		if count > 5+int(time.Since(begin)/gap) {
			t.Fatalf("%d advertisements within %v", count, time.Since(begin))
		}
	}
	if count == 0 {
		t.Error("none of 500 is answered")
	}
}

// TestInterfaceComesAndGoes: down and up, away and back.
func TestInterfaceComesAndGoes(t *testing.T) {
	l := newLab(t)
	l.ip("-n", l.server, "link set srv0 down")
	c := l.dial()
	l.serve("srv0")
	l.ip("-n", l.server, "link set srv0 up")
	if !c.advertised(patience) {
		t.Fatal("nothing after it came up")
	}
	c.conn.Close()
	l.ip("-n", l.server, "link del srv0")
	l.wire()
	c = l.dial()
	if !c.advertised(patience) {
		t.Fatal("nothing after it came back")
	}
	c.send("fe80::77", 255, solicit)
	if !c.advertised(patience) {
		t.Error("not answered after it came back")
	}
	l.expect("asked srv0 fe80::77")
}

// TestRdisc6: what a client that everybody has makes of it.
func TestRdisc6(t *testing.T) {
	path, err := exec.LookPath("rdisc6")
	if err != nil {
		t.Skip("rdisc6 (package ndisc6) is not installed")
	}
	l := newLab(t)
	l.serve("srv0")
	out, err := exec.Command("ip", "netns", "exec", l.client, path, "-1", "-r", "30", "-w", "2000", "cli0").CombinedOutput()
	if err != nil {
		t.Fatalf("rdisc6: %v\n%s", err, out)
	}
	for _, want := range []string{"Stateful address conf.    :           No", "Stateful other conf.      :           No", "Router lifetime           :            0 (0x00000000) seconds", "Source link-layer address:", "from fe80::"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("rdisc6 does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "Prefix") {
		t.Errorf("a prefix is offered:\n%s", out)
	}
}

// TestHostStaysAsItIs: a Linux host takes no route and no address from it.
func TestHostStaysAsItIs(t *testing.T) {
	l := newLab(t)
	l.ip("netns exec", l.client, "sysctl -qw net.ipv6.conf.cli0.accept_ra=2")
	before := l.routes()
	c := l.dial()
	l.serve("srv0")
	for range 2 {
		c.send("fe80::77", 255, solicit)
		if !c.advertised(patience) {
			t.Fatal("no advertisement")
		}
	}
	if after := l.routes(); after != before || strings.Contains(after, "default") {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func (l *lab) routes() string {
	l.Helper()
	out, err := exec.Command("sh", "-c", "ip -n "+l.client+" -6 route; ip -n "+l.client+" -6 -o addr").CombinedOutput()
	if err != nil {
		l.Fatalf("%v %s", err, out)
	}
	return string(out)
}

func TestListenErrors(t *testing.T) {
	for want, names := range map[string][]string{"no interface": nil, "nonesuch0": {"nonesuch0"}} {
		c, err := Listen(names...)
		if err == nil {
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "CAP_NET_RAW") {
			t.Errorf("%v: %v", names, err)
		}
	}
}

// TestServeEnds: with its context, and leaves the socket usable.
func TestServeEnds(t *testing.T) {
	conn, err := Listen("lo")
	if err != nil {
		t.Skip(err)
	}
	defer conn.Close()
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- (&Server{}).Serve(ctx, conn) }()
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Fatal("it does not end")
		}
	}
	if err := (&Server{Interval: time.Second}).Serve(t.Context(), conn); err == nil {
		t.Error("an interval of a second")
	}
}
