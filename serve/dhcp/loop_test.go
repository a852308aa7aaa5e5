package dhcp

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"hooksmith/serve/event"
)

// server is the bench as the wiring sees it.
func (b *bench) server() *Server { return &Server{engine: b.engine} }

func (b *bench) loads(mac, file string) {
	b.server().Observe(event.Event{Kind: event.TFTPDone, MAC: mac, File: "/" + file, Time: b.now})
}

func TestLoopOfIPXE(t *testing.T) {
	b := newBench(t, nil)
	const named = "tftp://10.0.0.254/02-00-00-00-00-01/ipxe.efi"
	if got := b.ask(discover, node, pxe(7)); got.BootFileName != "ipxe.efi" {
		t.Fatal(got.BootFileName)
	}
	b.loads(node, "ipxe.efi")
	b.now = b.now.Add(5 * time.Second)
	// What came of it is an iPXE without HTTP, which would load itself again and again.
	got := b.ask(discover, node, stock(false))
	if got.BootFileName != "tftp://10.0.0.254/02-00-00-00-00-01/loop.ipxe" || got.event(event.Loop).Detail == "" {
		t.Errorf("not broken: %q, %v", got.BootFileName, got.events)
	}
	if got := b.ask(request, node, stock(false), serverID("10.0.0.254"), requests("10.0.0.11")); !strings.HasSuffix(got.BootFileName, LoopFile) {
		t.Errorf("the ACK differs from the OFFER: %q", got.BootFileName)
	}
	if s := LoopScript(node); !strings.HasPrefix(s, "#!ipxe\n") || !strings.Contains(s, node) {
		t.Error(s)
	}
	// It has been told, by address alone: the next time all begins anew.
	b.server().Observe(event.Event{Kind: event.TFTPDone, IP: "10.0.0.11", File: "02-00-00-00-00-01/" + LoopFile, Time: b.now})
	if got := b.ask(discover, node, stock(false)); got.BootFileName != named {
		t.Errorf("after the message: %q", got.BootFileName)
	}
}

func TestLoopOfFirmware(t *testing.T) {
	b := newBench(t, nil)
	for round := range firmwareLoads {
		got := b.ask(discover, node, pxe(7))
		if got.BootFileName != "ipxe.efi" || got.kinds() != "discover offer" {
			t.Fatalf("round %d: %q %v", round, got.BootFileName, got.events)
		}
		b.loads(node, "ipxe.efi")
		b.now = b.now.Add(10 * time.Second)
	}
	if got := b.ask(discover, node, pxe(7)); got.BootFileName != "" || got.event(event.Loop).MAC != node || got.MessageType() != offer {
		t.Errorf("not broken: %q %v", got.BootFileName, got.events)
	}
	b.now = b.now.Add(loopWindow)
	if got := b.ask(discover, node, pxe(7)); got.BootFileName != "ipxe.efi" {
		t.Errorf("after a minute: %q", got.BootFileName)
	}
}

func TestNoLoop(t *testing.T) {
	for name, between := range map[string]func(b *bench){
		"a script": func(b *bench) { b.server().Observe(event.Event{Kind: event.Script, MAC: node, Time: b.now}) },
		"a minute": func(b *bench) { b.now = b.now.Add(loopWindow + time.Second) },
		"the kernel's load": func(b *bench) {
			b.server().Observe(event.Event{Kind: event.HTTPDone, MAC: node, File: "/02-00-00-00-00-01/auto.ipxe"})
		},
	} {
		b := newBench(t, nil)
		for range 5 {
			if got := b.ask(discover, node, stock(false)); got.event(event.Loop).Kind != "" || !strings.HasSuffix(got.BootFileName, "ipxe.efi") {
				t.Fatalf("%s: %q %v", name, got.BootFileName, got.events)
			}
			b.loads(node, "ipxe.efi")
			between(b)
		}
	}
	// Other files and other machines are no loads of the binary.
	b := newBench(t, nil)
	b.ask(discover, node, stock(false))
	b.loads(node, "autoexec.ipxe")
	b.loads("02:00:00:00:00:06", "ipxe.efi")
	b.server().Observe(event.Event{Kind: event.TFTPDone, IP: "10.99.0.1", File: "ipxe.efi"})
	if got := b.ask(discover, node, stock(false)); got.event(event.Loop).Kind != "" {
		t.Error(got.events)
	}
}

// TestLoopMemory is that invented machines cost a bounded amount.
func TestLoopMemory(t *testing.T) {
	l := &loops{machines: map[string]*loads{}}
	now := time.Unix(1e9, 0)
	for i := range 4 * maxLoops {
		mac := fmt.Sprint(i)
		l.ask(mac, "x", now)
		l.loaded(mac, "x", now)
	}
	if len(l.machines) > maxLoops {
		t.Errorf("%d machines", len(l.machines))
	}
}

func TestRate(t *testing.T) {
	r := rate{perSecond: 2, buckets: map[string]bucket{}}
	now, passed := time.Unix(1e9, 0), 0
	for i := range 100 {
		if r.allow("a", now.Add(time.Duration(i)*time.Millisecond)) {
			passed++
		}
	}
	if passed != 8 {
		t.Errorf("%d of a burst passed, want 8", passed)
	}
	if !r.allow("b", now) || !r.allow("a", now.Add(time.Hour)) || !r.allow("a", now) {
		t.Error("another machine, a later time, a clock that was set back")
	}
	for i := range 3 * maxBuckets {
		r.allow(fmt.Sprint(i), now)
	}
	if len(r.buckets) > maxBuckets {
		t.Errorf("%d buckets", len(r.buckets))
	}
}

// TestProbe is an address of the pool that somebody uses without a lease.
func TestProbe(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Mode = Pool })
	var asked []string
	b.probes.send = func(ip netip.Addr, on *iface) { asked = append(asked, ip.String()+" "+on.name) }
	var told []event.Event
	b.Events = func(e event.Event) { told = append(told, e) }
	const mac = "02:00:00:00:00:99"
	hw, _ := net.ParseMAC(mac)
	stranger := net.HardwareAddr{2, 0, 0, 0, 0xee, 1}

	a := b.ask(discover, mac).YourIPAddr.String()
	b.ask(discover, mac)
	if len(asked) != 1 || asked[0] != a+" eth0" {
		t.Fatalf("asked %v, want once for %s", asked, a)
	}
	// The client's own answer, one on another link, one for another address mean nothing.
	b.inUse(t.Context(), ip(a), hw, 2)
	b.inUse(t.Context(), ip(a), stranger, 3)
	b.inUse(t.Context(), ip("10.0.0.103"), stranger, 2)
	if got := b.ask(request, mac, serverID("10.0.0.254"), requests(a)); got.MessageType() != ack {
		t.Fatal(got.events)
	}
	if asked = nil; b.ask(discover, mac).YourIPAddr.String() != a || asked != nil {
		t.Error("asked for an address that the client has leased")
	}

	// Between OFFER and REQUEST.
	const second = "02:00:00:00:00:98"
	a = b.ask(discover, second).YourIPAddr.String()
	b.inUse(t.Context(), ip(a), stranger, 2)
	b.inUse(t.Context(), ip(a), stranger, 2)
	if len(told) != 1 || told[0].Kind != event.Decline || told[0].MAC != second || told[0].Peer != stranger.String() {
		t.Errorf("%+v", told)
	}
	if got := b.ask(request, second, serverID("10.0.0.254"), requests(a)); got.MessageType() != nak {
		t.Errorf("REQUEST of an address in use: %v", got.events)
	}
	if got := b.ask(discover, second).YourIPAddr.String(); got == a {
		t.Error("offered again")
	}

	// While the lease is written.
	const third = "02:00:00:00:00:97"
	a = b.ask(discover, third).YourIPAddr.String()
	b.probes.watched[ip(a)].taken = true
	if got := b.ask(request, third, serverID("10.0.0.254"), requests(a)); got.MessageType() != nak {
		t.Errorf("an answer that came while the lease was written: %v", got.events)
	}
	if got := b.ask(discover, third).YourIPAddr.String(); got == a {
		t.Error("offered again")
	}

	// Not for reservations, not behind relays.
	asked = nil
	b.ask(discover, node)
	b.unicast("10.7.0.1:67", "10.0.0.254", discover, "02:00:00:00:00:96", giaddr("10.7.0.1"))
	if asked != nil {
		t.Errorf("asked %v", asked)
	}
}

func TestARP(t *testing.T) {
	p := arpProbe(ip("10.0.0.9"), net.HardwareAddr{2, 0, 0, 0, 0, 1})
	if len(p) != 28 || net.IP(p[24:28]).String() != "10.0.0.9" {
		t.Errorf("%x", p)
	}
	if _, _, ok := arpSender(p); ok {
		t.Error("a probe has no sender")
	}
	copy(p[14:], []byte{10, 0, 0, 8})
	if a, hw, ok := arpSender(p); !ok || a != ip("10.0.0.8") || hw.String() != "02:00:00:00:00:01" {
		t.Error(a, hw, ok)
	}
	if _, _, ok := arpSender(p[:20]); ok {
		t.Error("a short packet")
	}
}
