package dhcp

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"hooksmith/serve/event"
)

const labMachines = `
machines:
- {mac: "02:00:00:00:92:00", ip: 10.92.0.20/24, gateway: 10.92.0.1}
- {mac: "02:00:00:00:92:01", ip: 10.92.1.20/24, gateway: 10.92.1.1}
`

func labSetup() setup {
	return setup{Mode: Pool, Interfaces: []string{"hks0", "hks1"}, Hardware: labMachines, Subnets: []Subnet{
		{Prefix: netip.MustParsePrefix("10.92.0.0/24"), Pools: []Range{{ip("10.92.0.100"), ip("10.92.0.101")}}},
		{Prefix: netip.MustParsePrefix("10.92.1.0/24"), Pools: []Range{{ip("10.92.1.100"), ip("10.92.1.109")}}},
	}}
}

// TestWire is how answers travel: in frames to machines without an address, from the address and the interface that the
// question came to.
func TestWire(t *testing.T) {
	l := newLab(t, 2)
	l.ip(l.server, "addr add 10.92.0.7/24 dev hks0")
	l.start(labSetup())
	for i := range 2 {
		s := l.station(i)
		mac := s.device.HardwareAddr
		self := netip.MustParseAddr(fmt.Sprintf("10.92.%d.1", i))
		address := fmt.Sprintf("10.92.%d.20", i)
		s.send(message(discover, mac.String()))
		if h := s.hear(every); h.MessageType() != offer || h.hw.String() != mac.String() || h.to.String() != address+":68" || h.from != netip.AddrPortFrom(self, 67) ||
			h.YourIPAddr.String() != address || h.ServerIdentifier().String() != self.String() {
			t.Errorf("OFFER to %v %v from %v: %s", h.hw, h.to, h.from, h.Summary())
		}
		s.send(message(discover, mac.String(), broadcastFlag))
		if h := s.hear(every); h.hw.String() != everybody.String() || h.to.String() != "255.255.255.255:68" || h.from.Addr() != self {
			t.Errorf("OFFER with the broadcast flag to %v %v from %v", h.hw, h.to, h.from)
		}
		s.send(message(request, mac.String(), serverID(self.String()), requests(address)))
		if h := s.hear(every); h.MessageType() != ack || h.hw.String() != mac.String() {
			t.Errorf("ACK to %v: %s", h.hw, h.Summary())
		}
		s.send(message(request, mac.String(), requests("10.92.77.1")))
		if h := s.hear(every); h.MessageType() != nak || h.to.String() != "255.255.255.255:68" {
			t.Errorf("NAK to %v: %s", h.to, h.Summary())
		}
	}
	// By unicast, to the second address: the kernel's own client, which has an address now.
	l.ip(l.client[0], "addr add 10.92.0.20/24 dev "+l.device(0))
	for _, to := range []string{"10.92.0.1", "10.92.0.7"} {
		for _, port := range []int{67, 4011} {
			l.inside(l.client[0], func() { unicast(t, to, port) })
		}
	}
}

// unicast renews at an address, or asks the boot server there, and expects the answer from there.
func unicast(t *testing.T, to string, port int) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4zero, Port: 68})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	server := &net.UDPAddr{IP: net.ParseIP(to), Port: port}
	if _, err := c.WriteTo(message(request, "02:00:00:00:92:00", ciaddr("10.92.0.20"), pxe(7)), server); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, from, err := c.ReadFrom(buf)
	if err != nil {
		t.Fatalf("%v: %v", server, err)
	}
	h, err := dhcpv4.FromBytes(buf[:n])
	if err != nil || from.String() != server.String() || h.MessageType() != ack || h.BootFileName != "ipxe.efi" || (port == 4011) != h.YourIPAddr.IsUnspecified() {
		t.Errorf("%v: answer from %v, %v: %s", server, from, err, h.Summary())
	}
}

// TestInterfaces is a server that goes on through everything that interfaces do.
func TestInterfaces(t *testing.T) {
	l := newLab(t, 2)
	r := l.start(labSetup())
	asks := func(what, self string) {
		t.Helper()
		s := l.station(0)
		h := s.ask(message(discover, s.device.HardwareAddr.String()), func(h heard) bool {
			return h.MessageType() == offer && h.ServerIdentifier().String() == self
		})
		if h.YourIPAddr.String() != "10.92.0.20" {
			t.Errorf("%s: %s", what, h.Summary())
		}
	}
	asks("at first", "10.92.0.1")
	l.ip(l.server, "link set hks0 down")
	l.ip(l.server, "link set hks0 up")
	asks("down and up", "10.92.0.1")
	l.ip(l.server, "addr del 10.92.0.1/24 dev hks0")
	l.ip(l.server, "addr add 10.92.0.2/24 dev hks0")
	asks("another address", "10.92.0.2")
	l.ip(l.server, "link del hks0")
	l.wire(0)
	asks("made anew", "10.92.0.1")
	if n := r.count(); n == 0 {
		t.Error("no events")
	}
}

// TestOrdinaryUser is a server with two capabilities, which an interface is taken from and given back.
func TestOrdinaryUser(t *testing.T) {
	l := newLab(t, 1)
	if _, err := exec.LookPath("setpriv"); err != nil {
		t.Skip("setpriv is not installed")
	}
	c := labSetup()
	c.Interfaces = []string{"hks0"}
	const caps = "-all,+net_raw,+net_bind_service"
	l.start(c, "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", caps, "--ambient-caps", caps, "--bounding-set", caps)
	for range 2 {
		s := l.station(0)
		h := s.ask(message(discover, "02:00:00:00:92:00"), func(h heard) bool { return h.MessageType() == offer })
		if h.hw.String() != "02:00:00:00:92:00" {
			t.Errorf("OFFER to %v", h.hw)
		}
		l.ip(l.server, "link del hks0")
		l.wire(0)
	}
}

// TestHostile sends 2,000 malformed packets, and a flood from one machine; the next machine is served.
func TestHostile(t *testing.T) {
	l := newLab(t, 1)
	c := labSetup()
	c.Interfaces = []string{"hks0"}
	r := l.start(c)
	s := l.station(0)
	random := rand.New(rand.NewPCG(1, 2))
	good := message(request, "02:00:00:00:66:66", pxe(7), option(82, 1, 2, 3), option(52, 3), serverID("10.92.0.1"), requests("10.92.0.100"))
	for i := range 2000 {
		p := bytes.Clone(good)
		for range 1 + random.IntN(20) {
			p[random.IntN(len(p))] = byte(random.Uint32())
		}
		if i%3 == 0 {
			p = p[:random.IntN(len(p))]
		}
		s.send(p)
	}
	for range 2000 {
		s.send(message(discover, "02:00:00:00:66:67"))
	}
	// A crash would end the process; a machine that asks again is served, as any is after a flood.
	s.ask(message(discover, "02:00:00:00:92:00"), func(h heard) bool { return h.YourIPAddr.String() == "10.92.0.20" })
	r.until("offer after the flood", 0, is(event.Offer, "02:00:00:00:92:00"))
	flood := 0
	r.mu.Lock()
	for _, e := range r.events {
		if e.MAC == "02:00:00:00:66:67" && e.Kind == event.Offer {
			flood++
		}
	}
	r.mu.Unlock()
	if flood > 400 {
		t.Errorf("%d answers to a flood of one machine", flood)
	}
}

// TestConflict is an address of the pool that a machine uses without asking.
func TestConflict(t *testing.T) {
	l := newLab(t, 1)
	c := labSetup()
	c.Interfaces = []string{"hks0"}
	r := l.start(c)
	// The client's kernel has one of the two addresses of the pool; the machine that asks is another.
	for _, a := range []string{"10.92.0.100", "10.92.0.101"} {
		l.ip(l.client[0], "addr add "+a+"/24 dev "+l.device(0))
	}
	s := l.station(0)
	const mac = "02:00:00:00:92:77"
	s.send(message(discover, mac))
	h := s.hear(func(h heard) bool { return h.MessageType() == offer })
	taken := h.YourIPAddr.String()
	e, _ := r.until("word of the conflict", 0, is(event.Decline, mac))
	if e.IP != taken || e.Peer != s.device.HardwareAddr.String() {
		t.Errorf("%+v", e)
	}
	s.send(message(request, mac, serverID("10.92.0.1"), requests(taken)))
	if h := s.hear(every); h.MessageType() != nak {
		t.Errorf("REQUEST of an address in use: %s", h.Summary())
	}
	s.send(message(discover, mac))
	if h := s.hear(every); h.MessageType() != offer || h.YourIPAddr.String() == taken {
		t.Errorf("the next OFFER: %s", h.Summary())
	}
}

// TestKill is that no lease that was acknowledged is lost with the process.
func TestKill(t *testing.T) {
	l := newLab(t, 1)
	c := labSetup()
	c.Interfaces = []string{"hks0"}
	c.State = t.TempDir()
	c.Subnets[0].Pools[0].Last = ip("10.92.0.199")
	r := l.start(c)
	s := l.station(0)
	const machines = 20
	var leased []string
	for i := range machines {
		mac := fmt.Sprintf("02:00:00:00:93:%02x", i)
		s.send(message(discover, mac))
		a := s.hear(func(h heard) bool { return h.MessageType() == offer && h.ClientHWAddr.String() == mac }).YourIPAddr.String()
		s.send(message(request, mac, serverID("10.92.0.1"), requests(a)))
		s.hear(func(h heard) bool { return h.MessageType() == ack && h.ClientHWAddr.String() == mac })
		leased = append(leased, a)
	}
	r.kill()
	l.start(c)
	for i, a := range leased {
		mac := fmt.Sprintf("02:00:00:00:93:%02x", i)
		s.send(message(request, mac, requests(a))) // INIT-REBOOT
		if h := s.hear(func(h heard) bool { return h.ClientHWAddr.String() == mac }); h.MessageType() != ack || h.YourIPAddr.String() != a {
			t.Errorf("%s after kill -9: %s", a, h.Summary())
		}
	}
}

// TestLoopback serves on loopback alone, which needs no namespace.
func TestLoopback(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("packet sockets need root")
	}
	b := newBench(t, nil)
	c := b.Config
	port := uint16(20000 + os.Getpid()%20000)
	c.Mode, c.Unknown, c.Interfaces, c.Now = Pool, Auto, []string{"lo"}, nil
	c.Ports = Ports{Server: port, Client: port + 1, PXE: port + 2}
	c.Subnets = []Subnet{{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Pools: []Range{{ip("127.1.0.1"), ip("127.1.0.99")}}}}
	server, err := Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- server.Serve(ctx) }()
	reuse := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
	}}
	relay, err := reuse.ListenPacket(t.Context(), "udp4", fmt.Sprintf("127.0.0.2:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	relay.SetDeadline(time.Now().Add(patience))
	if _, err := relay.WriteTo(message(discover, "02:00:00:00:00:99", giaddr("127.0.0.2"), pxe(0)), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, from, err := relay.ReadFrom(buf)
	if err != nil {
		t.Fatalf("%v; %+v", err, server.Stats())
	}
	m, err := dhcpv4.FromBytes(buf[:n])
	if err != nil || m.MessageType() != offer || m.BootFileName != "undionly.kpxe" || from.String() != fmt.Sprintf("127.0.0.1:%d", port) {
		t.Errorf("%v %v: %s", from, err, m.Summary())
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if s := server.Stats(); s.Received != 1 || s.Sent != 1 {
		t.Errorf("%+v", s)
	}
	if err := server.Serve(t.Context()); err == nil {
		t.Error("a server serves once")
	}
}

func TestListenErrors(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("packet sockets need root")
	}
	c := newBench(t, nil).Config
	c.Interfaces = []string{"hks-none"}
	c.Ports = Ports{Server: 20067, Client: 20068, PXE: 24011}
	if _, err := Listen(c); err == nil || !strings.Contains(err.Error(), "no interface hks-none; there are") {
		t.Errorf("%v", err)
	}
	taken, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 0})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c.Interfaces, c.Ports.Server = []string{"lo"}, uint16(taken.LocalAddr().(*net.UDPAddr).Port)
	if _, err := Listen(c); err == nil || !strings.Contains(err.Error(), "another program has UDP port") {
		t.Errorf("%v", err)
	}
	c.Mode = Off
	s, err := Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Serve(ctx); err != nil {
		t.Error(err)
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.Mode = "x" }, func(c *Config) { c.Unknown = "x" }, func(c *Config) { c.Mode, c.Unknown = Proxy, PoolOnly },
		func(c *Config) { c.LeaseTime = time.Second }, func(c *Config) { c.Mode, c.Leases = Reservation, nil },
		func(c *Config) { c.Boot.BaseURL = "boot" }, func(c *Config) { c.Workers = -1 },
		func(c *Config) { c.Subnets = []Subnet{{}} },
		func(c *Config) { c.Subnets = append(c.Subnets, c.Subnets[0]) },
		func(c *Config) { c.Subnets[0].Pools = []Range{{ip("10.0.0.9"), ip("10.0.0.1")}} },
		func(c *Config) { c.Subnets[0].Router = ip("10.1.0.1") },
		func(c *Config) { c.Subnets[0].LeaseTime = time.Second },
		func(c *Config) { c.Subnets[0].NameServers = []netip.Addr{ip("::1")} },
	} {
		c := config(t)
		c.Mode = AutoProxy
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "dhcp: ") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
