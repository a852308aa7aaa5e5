package dhcp

import (
	"bytes"
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// TestEncode is that of a long answer what matters arrives, within what the client takes.
func TestEncode(t *testing.T) {
	long := func(n int) []byte { return bytes.Repeat([]byte{'x'}, n) }
	base := dhcpv4.Options{53: {2}, 54: {10, 0, 0, 1}, 51: {0, 0, 1, 0}, 1: {255, 255, 255, 0}, 82: {1, 2, 3, 4}}
	for _, c := range []struct {
		name     string
		more     dhcpv4.Options
		file     string
		limit    int
		overload byte
		dropped  []uint8
	}{
		{"all fits", dhcpv4.Options{15: long(50)}, "ipxe.efi", 548, 0, nil},
		{"a long option is split", dhcpv4.Options{121: long(300)}, "ipxe.efi", 1472, 0, nil},
		{"file takes what does not fit", dhcpv4.Options{15: long(200), 119: long(100)}, "", 548, 1, nil},
		{"sname too", dhcpv4.Options{15: long(200), 119: long(100), 6: long(40), 42: long(40)}, "", 548, 3, nil},
		{"only sname, as there is a boot file", dhcpv4.Options{15: long(245), 42: long(40)}, "ipxe.efi", 548, 2, nil},
		{"the least important is left out", dhcpv4.Options{67: long(200), 119: long(140)}, "ipxe.efi", 548, 0, []uint8{119}},
		{"a limit below the least", dhcpv4.Options{15: long(100)}, "", 0, 1, nil},
	} {
		msg := &dhcpv4.DHCPv4{OpCode: 2, HWType: 1, ClientHWAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}, ServerHostName: "10.0.0.1", BootFileName: c.file, Options: maps.Clone(base)}
		maps.Copy(msg.Options, c.more)
		p, dropped := encode(msg, []byte{1, 3, 119}, c.limit)
		if len(p) > max(c.limit, 300) || len(p) < 300 || !slices.Equal(dropped, c.dropped) {
			t.Errorf("%s: %d bytes, dropped %v", c.name, len(p), dropped)
		}
		got, err := dhcpv4.FromBytes(p)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var overload byte
		if v := got.Options[52]; len(v) == 1 {
			overload = v[0]
		}
		if overload != c.overload {
			t.Errorf("%s: overload %d, want %d", c.name, overload, c.overload)
		}
		if err := mergeOverload(got, p); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		delete(got.Options, 52)
		for _, code := range c.dropped {
			delete(msg.Options, code)
		}
		if !maps.EqualFunc(got.Options, msg.Options, bytes.Equal) {
			t.Errorf("%s: %s", c.name, got.Options)
		}
		if overload&1 == 0 && got.BootFileName != c.file || overload&2 == 0 && got.ServerHostName != "10.0.0.1" {
			t.Errorf("%s: file %q, sname %q", c.name, got.BootFileName, got.ServerHostName)
		}
	}
}

// TestLimit is that option 57 is respected, and bounded.
func TestLimit(t *testing.T) {
	for _, c := range []struct {
		said []byte
		mtu  int
		want int
	}{{nil, 1500, 548}, {[]byte{0, 100}, 1500, 548}, {[]byte{5, 192}, 1500, 1444}, {[]byte{255, 255}, 1500, 1472}, {[]byte{255, 255}, 9000, 1472},
		{[]byte{5, 220}, 1400, 1372}, {[]byte{5, 220}, 0, 1472}, {[]byte{1}, 1500, 548}} {
		q := &query{DHCPv4: &dhcpv4.DHCPv4{Options: dhcpv4.Options{}}, arrival: arrival{iface: &iface{mtu: c.mtu}}}
		if c.said != nil {
			q.Options[57] = c.said
		}
		if got := q.limit(); got != c.want {
			t.Errorf("%v on MTU %d: %d, want %d", c.said, c.mtu, got, c.want)
		}
	}
	// A client that takes little gets its address and its boot file.
	b := newBench(t, func(c *Config) { c.Boot.ScriptURL = "http://boot.example/" + strings.Repeat("x", 200) })
	got := b.ask(discover, node, stock(true), wants(1, 3, 6, 12, 15, 28, 42, 66, 67, 119, 121), option(61, bytes.Repeat([]byte{7}, 60)...))
	if err := mergeOverload(got.DHCPv4, got.raw); err != nil {
		t.Fatal(err)
	}
	if len(got.raw) > 548 || len(got.Options[61]) != 60 || len(got.BootFileNameOption()) != 220 || len(got.Options[97]) != 17 || got.YourIPAddr.String() != "10.0.0.11" {
		t.Errorf("%d bytes: %s", len(got.raw), got.Summary())
	}
}

func TestParse(t *testing.T) {
	b := newBench(t, nil)
	a := arrival{from: netAddrPort("0.0.0.0:68"), to: ip("255.255.255.255"), iface: b.eth0, host: b.host}
	good := message(discover, node)
	edit := func(f func(p []byte) []byte) []byte { return f(bytes.Clone(good)) }
	for name, p := range map[string][]byte{
		"empty":             nil,
		"short":             good[:200],
		"a server's":        edit(func(p []byte) []byte { p[0] = 2; return p }),
		"no cookie":         edit(func(p []byte) []byte { p[236] = 0; return p }),
		"BOOTP":             edit(func(p []byte) []byte { p[240] = 0; p[241] = 0; p[242] = 0; return p }),
		"no end":            good[:243],
		"option cut off":    append(good[:243:243], 12, 200, 'x', 255),
		"multicast address": message(discover, "01:00:00:00:00:01"),
		"no address":        message(discover, "00:00:00:00:00:00"),
		"broken overload":   message(discover, node, option(52, 1), func(m *dhcpv4.DHCPv4) { m.BootFileName = "\x0c\xff" }),
	} {
		if q, err := parse(p, a); err == nil {
			t.Errorf("%s: taken for %s of %s", name, q.kind, q.id)
		}
	}
	// Options in file and sname count.
	q, err := parse(message(request, node, option(52, 3), func(m *dhcpv4.DHCPv4) {
		m.BootFileName, m.ServerHostName = "\x32\x04\x0a\x01\x01\x0b\xff", "\x36\x04\x0a\x01\x01\xfe\xff"
	}), a)
	if err != nil || q.requested != ip("10.1.1.11") || q.serverID != ip("10.1.1.254") {
		t.Errorf("overloaded: %+v, %v", q, err)
	}
	// Nobody else is sent what one client asked: no group, no broadcast address, not this host itself.
	for _, addr := range []string{"233.0.0.0", "255.255.255.255", "240.0.0.1", "127.0.0.1", "0.0.0.1"} {
		for field, says := range map[string]say{"ciaddr": ciaddr(addr), "giaddr": giaddr(addr)} {
			if _, err := parse(message(dhcpv4.MessageTypeInform, node, says), a); err == nil || !strings.Contains(err.Error(), field+" "+addr) {
				t.Errorf("%s %s: %v", field, addr, err)
			}
		}
	}
	// Whoever has no Ethernet address is known by another, and never taken for an Ethernet machine.
	seen := map[string]bool{}
	for _, says := range [][]say{
		{func(m *dhcpv4.DHCPv4) { m.HWType = 32; m.ClientHWAddr = nil }, option(61, 255, 1, 2, 3)},
		{func(m *dhcpv4.DHCPv4) { m.HWType = 32; m.ClientHWAddr = nil }, option(61, 255, 1, 2, 4)},
		{func(m *dhcpv4.DHCPv4) { m.HWType = 7; m.ClientHWAddr = m.ClientHWAddr[:1] }},
		{func(m *dhcpv4.DHCPv4) { m.HWType = 24 }},
		{func(m *dhcpv4.DHCPv4) { m.ClientHWAddr = bytes.Repeat([]byte{2}, 16) }},
	} {
		q, err := parse(message(discover, node, says...), a)
		if err != nil || q.mac != "" || seen[q.id] {
			t.Errorf("%+v, %v", q, err)
			continue
		}
		seen[q.id] = true
		b := newBench(t, func(c *Config) { c.Mode = Pool })
		if got := b.ask(discover, node, says...); got.MessageType() != offer || got.to.hw != nil {
			t.Errorf("hardware type %d: %s", q.HWType, got.Summary())
		} else if got := b.ask(request, node, append(says, serverID("10.0.0.254"), requests(got.YourIPAddr.String()))...); got.MessageType() != ack {
			t.Errorf("hardware type %d: %v", q.HWType, got.events)
		}
	}
}

func TestFrame(t *testing.T) {
	for n := range 5 {
		data := bytes.Repeat([]byte{0xa5}, 300+n)
		p := ipv4(netip.MustParseAddrPort("10.0.0.1:67"), netip.MustParseAddrPort("10.0.0.9:68"), data)
		if checksum(0, p[:20]) != 0 || int(binary.BigEndian.Uint16(p[2:])) != len(p) || !bytes.Equal(p[28:], data) {
			t.Errorf("IP header %x", p[:20])
		}
		pseudo := append(bytes.Clone(p[12:20]), 0, 17, p[24], p[25])
		if checksum(0, append(pseudo, p[20:]...)) != 0 {
			t.Errorf("UDP checksum of %d bytes", len(data))
		}
	}
}

// FuzzReply feeds packets; whatever comes in, the rules of answers hold.
func FuzzReply(f *testing.F) {
	for _, says := range [][]say{{pxe(7)}, {stock(true)}, {giaddr("10.7.0.1"), option(82, 1, 2, 3, 4)}, {serverID("10.0.0.254"), requests("10.0.0.11")},
		{ciaddr("10.0.0.100")}, {option(52, 3)}, {option(61, 255, 1, 2, 3), func(m *dhcpv4.DHCPv4) { m.HWType = 32; m.ClientHWAddr = nil }}} {
		for kind := dhcpv4.MessageTypeDiscover; kind <= dhcpv4.MessageTypeInform; kind++ {
			f.Add(message(kind, node, says...), false)
		}
	}
	f.Add(message(dhcpv4.MessageTypeInform, node, pxe(7), ciaddr("233.0.0.0")), true)
	b := newBench(f, func(c *Config) { c.Mode = Pool })
	f.Fuzz(func(t *testing.T, data []byte, pxe bool) {
		b.t = t
		q, err := parse(data, arrival{from: netAddrPort("10.0.0.11:68"), to: ip("10.0.0.254"), iface: b.eth0, host: b.host, pxe: pxe})
		if err != nil {
			return
		}
		got := b.reply(t.Context(), q, b.now)
		for _, e := range got.events {
			if e.Kind == "" || e.Time.IsZero() {
				t.Errorf("event %+v", e)
			}
		}
		if got.packet == nil {
			return
		}
		p, _ := encode(got.packet, q.Options[55], q.limit())
		checkAnswer(t, q, got, p)
	})
}

// checkAnswer is what holds for every answer.
func checkAnswer(t *testing.T, q *query, a answer, p []byte) {
	t.Helper()
	msg, err := dhcpv4.FromBytes(p)
	if err != nil {
		t.Fatal(err)
	}
	kind := msg.MessageType()
	for name, ok := range map[string]bool{
		"size":           len(p) >= 300 && len(p) <= max(q.limit(), 300),
		"reply":          msg.OpCode == dhcpv4.OpcodeBootReply && msg.TransactionID == q.TransactionID && bytes.Equal(msg.ClientHWAddr, q.ClientHWAddr),
		"type":           kind == offer && q.kind == discover || (kind == ack || kind == nak) && (q.kind == request || q.kind == dhcpv4.MessageTypeInform),
		"server":         msg.ServerIdentifier() != nil && !msg.ServerIdentifier().IsUnspecified(),
		"giaddr":         msg.GatewayIPAddr.Equal(q.GatewayIPAddr),
		"destination":    a.to.addr.IsValid() && a.to.from.IsValid() && a.to.iface != nil,
		"lease time":     kind == nak || q.pxe || q.kind == dhcpv4.MessageTypeInform || msg.IPAddressLeaseTime(0) > 0,
		"no address":     kind != nak || msg.YourIPAddr.IsUnspecified() && msg.BootFileName == "",
		"boot clients":   msg.BootFileName == "" || q.booting,
		"61":             len(q.Options[61]) > 100 || bytes.Equal(msg.Options[61], q.Options[61]),
		"82":             len(q.Options[82]) > 100 || bytes.Equal(msg.Options[82], q.Options[82]),
		"never to many":  !a.to.addr.Addr().IsMulticast(),
		"what we answer": q.kind != dhcpv4.MessageTypeRelease && q.kind != dhcpv4.MessageTypeDecline,
	} {
		if !ok {
			t.Errorf("%s: %s\nto %+v\nof %s", name, msg.Summary(), a.to, q.Summary())
		}
	}
}
