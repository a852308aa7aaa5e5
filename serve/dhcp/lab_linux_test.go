package dhcp

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"hooksmith/serve/event"
	"hooksmith/serve/hardware"
	"hooksmith/serve/lease"
)

// patience is how long a test waits for what must come: CI is slow.
const patience = 90 * time.Second

// setup is a server in a process of its own.
type setup struct {
	Mode       Mode
	Unknown    Unknown
	Interfaces []string
	Subnets    []Subnet
	Ports      Ports
	LeaseTime  time.Duration
	Rate       int
	Hardware   string // text of a file
	State      string // folder
	Quiet      bool   // no events on standard output
}

func TestMain(m *testing.M) {
	if text := os.Getenv("HKS_DHCP_SERVER"); text != "" {
		if err := serveSetup(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serveSetup serves until standard input ends, and writes events to standard output.
func serveSetup(text string) error {
	var s setup
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	file := filepath.Join(s.State, "hardware.yaml")
	if err := os.WriteFile(file, []byte(s.Hardware), 0o600); err != nil {
		return err
	}
	hw, err := hardware.Open([]string{file}, hardware.Options{})
	if err != nil {
		return err
	}
	leases, err := lease.Open(filepath.Join(s.State, "leases.db"), lease.Options{})
	if err != nil {
		return err
	}
	defer leases.Close()
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	c := Config{Mode: s.Mode, Unknown: s.Unknown, Interfaces: s.Interfaces, Subnets: s.Subnets, Ports: s.Ports, LeaseTime: s.LeaseTime,
		Rate: s.Rate, Hardware: hw, Rule: testRule(), Leases: leases}
	if !s.Quiet {
		c.Events = func(e event.Event) { mu.Lock(); out.Encode(e); mu.Unlock() }
		c.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	server, err := Listen(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { io.Copy(io.Discard, os.Stdin); cancel() }()
	fmt.Println("ready")
	err = server.Serve(ctx)
	fmt.Fprintf(os.Stderr, "%+v\n", server.Stats())
	return err
}

// lab is a server's namespace with one veth pair per name to client namespaces; the server has 10.92.N.1/24 on hksN.
type lab struct {
	t      *testing.T
	server string
	client []string
}

// newLab makes n client namespaces; in each the interface is named c<pid>n.
func newLab(t *testing.T, n int) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("iproute2 is not installed")
	}
	prefix := fmt.Sprintf("hksdhcp%d%s", os.Getpid(), strings.ToLower(t.Name()[4:min(len(t.Name()), 9)]))
	l := &lab{t: t, server: prefix + "s"}
	t.Cleanup(func() {
		for _, ns := range append(l.client, l.server) {
			exec.Command("ip", "netns", "del", ns).Run()
		}
	})
	if out, err := exec.Command("ip", "netns", "add", l.server).CombinedOutput(); err != nil {
		t.Skipf("no network namespace: %v %s", err, out)
	}
	l.ip(l.server, "link set lo up")
	for i := range n {
		ns := fmt.Sprintf("%sc%d", prefix, i)
		l.client = append(l.client, ns)
		l.must("ip", "netns", "add", ns)
		l.ip(ns, "link set lo up")
		l.wire(i)
	}
	return l
}

// wire connects a client.
func (l *lab) wire(i int) {
	l.ip(l.server, fmt.Sprintf("link add hks%d type veth peer name %s netns %s", i, l.device(i), l.client[i]))
	l.ip(l.server, fmt.Sprintf("addr add 10.92.%d.1/24 dev hks%d", i, i))
	l.ip(l.server, fmt.Sprintf("link set hks%d up", i))
	l.ip(l.client[i], fmt.Sprintf("link set %s address 02:00:00:00:92:0%d up", l.device(i), i))
}

func (l *lab) device(i int) string { return fmt.Sprintf("hc%d%d", os.Getpid()%100000, i) }

func (l *lab) must(args ...string) string {
	l.t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s: %v %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (l *lab) ip(ns, args string) string {
	l.t.Helper()
	return l.must(append([]string{"ip", "-n", ns}, strings.Fields(args)...)...)
}

// running is a server process.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.Closer
	mu     sync.Mutex
	events []event.Event
	more   chan struct{}
	log    strings.Builder
	killed bool
}

// kill is kill -9.
func (r *running) kill() {
	r.killed = true
	r.cmd.Process.Kill()
	r.cmd.Wait()
}

// start runs the server in its namespace until the test ends, by a program that changes its user if one is given.
func (l *lab) start(s setup, as ...string) *running {
	l.t.Helper()
	if s.State == "" {
		s.State = l.t.TempDir()
	}
	text, err := json.Marshal(s)
	if err != nil {
		l.t.Fatal(err)
	}
	r := &running{t: l.t, more: make(chan struct{}, 1)}
	program := os.Args[0]
	if len(as) > 0 { // another user, who cannot read this one's folders
		program = filepath.Join(s.State, "server")
		l.must("cp", os.Args[0], program)
		l.must("chmod", "0755", s.State, program)
		l.must("chown", "65534", s.State)
		for up := filepath.Dir(s.State); strings.Contains(up, "Test"); up = filepath.Dir(up) {
			l.must("chmod", "0755", up)
		}
	}
	r.cmd = exec.Command("ip", append(append([]string{"netns", "exec", l.server}, as...), program)...)
	r.cmd.Env = append(os.Environ(), "HKS_DHCP_SERVER="+string(text))
	r.cmd.Stderr = &r.log
	stdin, err := r.cmd.StdinPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	r.stdin = stdin
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	if line, _ := lines.ReadString('\n'); line != "ready\n" {
		r.cmd.Wait()
		l.t.Fatalf("the server said %q: %s", line, r.log.String())
	}
	read := make(chan struct{})
	go func() { defer close(read); r.read(lines) }()
	l.t.Cleanup(func() {
		stdin.Close()
		<-read
		if r.killed {
			return
		}
		if err := r.cmd.Wait(); err != nil {
			l.t.Errorf("server: %v", err)
		}
		if l.t.Failed() {
			l.t.Log(r.log.String())
		}
	})
	return r
}

func (r *running) read(lines *bufio.Reader) {
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var e event.Event
		if json.Unmarshal(line, &e) == nil {
			r.mu.Lock()
			r.events = append(r.events, e)
			r.mu.Unlock()
			select {
			case r.more <- struct{}{}:
			default:
			}
		}
	}
}

// until waits for an event behind the first `after` that is wanted, and returns it with its number.
func (r *running) until(what string, after int, want func(event.Event) bool) (event.Event, int) {
	r.t.Helper()
	limit := time.After(patience)
	for {
		if e, n := r.seen(after, want); n > 0 {
			return e, n
		}
		select {
		case <-r.more:
		case <-time.After(time.Second):
		case <-limit:
			r.mu.Lock()
			defer r.mu.Unlock()
			r.t.Fatalf("no %s; events: %v", what, r.events[min(after, len(r.events)):])
		}
	}
}

// seen returns the first event behind the first `after` that is wanted, with its number; 0 if there is none yet.
func (r *running) seen(after int, want func(event.Event) bool) (event.Event, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := after; i < len(r.events); i++ {
		if want(r.events[i]) {
			return r.events[i], i + 1
		}
	}
	return event.Event{}, 0
}

func (r *running) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.events)
}

func is(kind event.Kind, mac string) func(event.Event) bool {
	return func(e event.Event) bool { return e.Kind == kind && (mac == "" || e.MAC == mac) }
}

// station is a machine without an IP stack: frames in and out.
type station struct {
	t      *testing.T
	fd     int
	device *net.Interface
}

// station opens a packet socket in a client's namespace.
func (l *lab) station(i int) *station {
	l.t.Helper()
	s := &station{t: l.t}
	l.inside(l.client[i], func() {
		const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
		var err error
		if s.device, err = net.InterfaceByName(l.device(i)); err != nil {
			l.t.Fatal(err)
		}
		if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			l.t.Fatal(err)
		}
		if err := unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: s.device.Index}); err != nil {
			l.t.Fatal(err)
		}
		unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
	})
	l.t.Cleanup(func() { unix.Close(s.fd) })
	return s
}

// inside runs f on a thread in a namespace.
func (l *lab) inside(ns string, f func()) {
	l.t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := netns.Get()
	if err != nil {
		l.t.Fatal(err)
	}
	defer before.Close()
	there, err := netns.GetFromName(ns)
	if err != nil {
		l.t.Fatal(err)
	}
	defer there.Close()
	if err := netns.Set(there); err != nil {
		l.t.Fatal(err)
	}
	defer netns.Set(before)
	f()
}

var everybody = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// send broadcasts a DHCP message as a machine without an address does.
func (s *station) send(data []byte) {
	s.t.Helper()
	s.frame(everybody, ipv4(netip.MustParseAddrPort("0.0.0.0:68"), netip.MustParseAddrPort("255.255.255.255:67"), data))
}

func (s *station) frame(to net.HardwareAddr, packet []byte) {
	s.t.Helper()
	frame := append(append(append([]byte{}, to...), s.device.HardwareAddr...), 8, 0)
	if _, err := unix.Write(s.fd, append(frame, packet...)); err != nil {
		s.t.Fatal(err)
	}
}

// heard is a DHCP message in a frame.
type heard struct {
	*dhcpv4.DHCPv4
	hw       net.HardwareAddr // destination
	from, to netip.AddrPort
}

// hear waits for a DHCP answer that is wanted.
func (s *station) hear(want func(heard) bool) heard {
	s.t.Helper()
	buf := make([]byte, 4096)
	for limit := time.Now().Add(patience); time.Now().Before(limit); {
		n, err := unix.Read(s.fd, buf)
		if err != nil || n < 14+28 || binary.BigEndian.Uint16(buf[12:]) != unix.ETH_P_IP || buf[14+9] != 17 {
			continue
		}
		p := append([]byte{}, buf[14:n]...)
		udp := p[int(p[0]&15)*4:]
		h := heard{hw: append(net.HardwareAddr{}, buf[:6]...),
			from: netip.AddrPortFrom(netip.AddrFrom4([4]byte(p[12:16])), binary.BigEndian.Uint16(udp)),
			to:   netip.AddrPortFrom(netip.AddrFrom4([4]byte(p[16:20])), binary.BigEndian.Uint16(udp[2:]))}
		if h.DHCPv4, err = dhcpv4.FromBytes(udp[8:]); err == nil && h.OpCode == dhcpv4.OpcodeBootReply && want(h) {
			return h
		}
	}
	s.t.Fatal("no answer")
	return heard{}
}

// ask sends again and again, as machines do, until the wanted answer comes.
func (s *station) ask(data []byte, want func(heard) bool) heard {
	s.t.Helper()
	stop := make(chan struct{})
	var asking sync.WaitGroup
	defer asking.Wait()
	defer close(stop)
	asking.Go(func() {
		for {
			s.send(data)
			select {
			case <-stop:
				return
			case <-time.After(500 * time.Millisecond):
			}
		}
	})
	return s.hear(want)
}

func every(heard) bool { return true }
