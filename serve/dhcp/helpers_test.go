package dhcp

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"hooksmith/serve/event"
	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
	"hooksmith/serve/lease"
)

const machines = `
machines:
- {mac: "02:00:00:00:00:01", hostname: node1, ip: 10.0.0.11/24, gateway: 10.0.0.1, nameservers: [10.0.0.2], domain: lab.example, lease: 1h}
- {mac: "02:00:00:00:00:02", ip: 10.0.0.12/24, dhcp: false}
- {mac: "02:00:00:00:00:03", ip: 10.0.0.13/24, netboot: {allow: false}}
- {mac: "02:00:00:00:00:04", hostname: noip}
- {mac: "02:00:00:00:00:05", ip: 10.5.0.15/24, vlan: 50}
- {mac: "02:00:00:00:00:06", ip: 10.0.0.16/24, gateway: 10.0.0.1, routes: [{to: 10.9.0.0/16, via: 10.0.0.9}], timeservers: [10.0.0.3]}
- {mac: "02:00:00:00:00:07", ip: 10.0.0.17/24, netboot: {tftp_server: 10.0.0.77, boot_file: switch.bin}}
- {mac: "b8:27:eb:00:00:08", ip: 10.0.0.18/24}
- {mac: "02:00:00:00:00:09", ip: 10.9.0.19/24}
`

// testRule has small binaries. Whether one has HTTP is what the client says.
func testRule() *ipxe.Rule {
	pe := func(machine uint16) *fstest.MapFile {
		b := make([]byte, 0x40+24)
		copy(b, "MZ")
		b[0x3c] = 0x40
		copy(b[0x40:], "PE\x00\x00")
		b[0x44], b[0x45] = byte(machine), byte(machine>>8)
		return &fstest.MapFile{Data: append(b, "\x00https://ipxe.org\x00"...)}
	}
	set, err := ipxe.OpenBinaries(fstest.MapFS{"undionly.kpxe": {Data: make([]byte, 1024)}, "ipxe.efi": pe(0x8664), "snp-arm64.efi": pe(0xaa64)})
	if err != nil {
		panic(err)
	}
	rule, err := ipxe.NewRule(set, ipxe.RuleOptions{})
	if err != nil {
		panic(err)
	}
	return rule
}

func store(t testing.TB, text string) *hardware.Store {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hardware.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := hardware.Open([]string{file}, hardware.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func netAddrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// bench is an engine without sockets on a host with two interfaces.
type bench struct {
	*engine
	t    testing.TB
	now  time.Time
	eth0 *iface
	host *host
}

func config(t testing.TB) Config {
	return Config{
		Hardware: store(t, machines), Rule: testRule(),
		Subnets: []Subnet{
			{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Pools: []Range{{ip("10.0.0.1"), ip("10.0.0.103")}}, Router: ip("10.0.0.1"), NameServers: []netip.Addr{ip("10.0.0.53")}, LeaseTime: 10 * time.Minute},
			{Prefix: netip.MustParsePrefix("10.7.0.0/24"), Pools: []Range{{ip("10.7.0.100"), ip("10.7.0.101")}}, Router: ip("10.7.0.1"), NextServer: ip("10.7.0.9"), Domain: "seven.example"},
		},
	}
}

func newBench(t testing.TB, change func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	c := config(t)
	c.Now = func() time.Time { return b.now }
	if change != nil {
		change(&c)
	}
	leases, err := lease.Open(filepath.Join(t.TempDir(), "leases.db"), lease.Options{Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { leases.Close() })
	c.Leases = leases
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	b.engine = newEngine(c)
	b.eth0 = &iface{index: 2, name: "eth0", mac: net.HardwareAddr{2, 0, 0, 0, 0, 0xaa}, mtu: 1500,
		addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.254/24"), netip.MustParsePrefix("192.168.9.1/24")}}
	eth1 := &iface{index: 3, name: "eth1", mac: net.HardwareAddr{2, 0, 0, 0, 0, 0xab}, mtu: 1500,
		addrs: []netip.Prefix{netip.MustParsePrefix("10.5.0.254/24")}}
	b.host = newHost([]*iface{b.eth0, eth1})
	b.current.Store(b.host)
	return b
}

// say is a client's message.
type say func(*dhcpv4.DHCPv4)

func option(code uint8, value ...byte) say {
	return func(m *dhcpv4.DHCPv4) { m.Options[code] = value }
}

func textOption(code uint8, value string) say { return option(code, []byte(value)...) }

func wants(codes ...byte) say        { return option(55, codes...) }
func serverID(a string) say          { return option(54, ip(a).AsSlice()...) }
func requests(a string) say          { return option(50, ip(a).AsSlice()...) }
func ciaddr(a string) say            { return func(m *dhcpv4.DHCPv4) { m.ClientIPAddr = ip(a).AsSlice() } }
func giaddr(a string) say            { return func(m *dhcpv4.DHCPv4) { m.GatewayIPAddr = ip(a).AsSlice() } }
func broadcastFlag(m *dhcpv4.DHCPv4) { m.SetBroadcast() }

// pxe is a firmware of an architecture.
func pxe(arch byte) say {
	return func(m *dhcpv4.DHCPv4) {
		class := "PXEClient:Arch:00007:UNDI:003000"
		if arch == 16 || arch == 19 {
			class = "HTTPClient:Arch:00016:UNDI:003001"
		}
		for _, s := range []say{textOption(60, class), option(93, 0, arch), option(94, 1, 3, 16),
			option(97, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16), wants(1, 3, 6, 43, 54, 60, 66, 67, 97)} {
			s(m)
		}
	}
}

// stock is an iPXE with option 175.
func stock(http bool) say {
	return func(m *dhcpv4.DHCPv4) {
		pxe(7)(m)
		textOption(77, "iPXE")(m)
		features := []byte{21, 1, 1}
		if http {
			features = append(features, 19, 1, 1)
		}
		option(175, features...)(m)
	}
}

func message(kind dhcpv4.MessageType, mac string, says ...say) []byte {
	hw, _ := net.ParseMAC(mac)
	m := &dhcpv4.DHCPv4{OpCode: dhcpv4.OpcodeBootRequest, HWType: 1, ClientHWAddr: hw, TransactionID: [4]byte{1, 2, 3, 4}, Options: dhcpv4.Options{53: {byte(kind)}}}
	for _, s := range says {
		s(m)
	}
	return m.ToBytes()
}

const node = "02:00:00:00:00:01"

// outcome is an answer as it is on the wire.
type outcome struct {
	*dhcpv4.DHCPv4
	to     destination
	events []event.Event
	raw    []byte
}

func (o outcome) kinds() string {
	var all []string
	for _, e := range o.events {
		all = append(all, string(e.Kind))
	}
	return strings.Join(all, " ")
}

func (o outcome) event(kind event.Kind) event.Event {
	i := slices.IndexFunc(o.events, func(e event.Event) bool { return e.Kind == kind })
	if i < 0 {
		return event.Event{}
	}
	return o.events[i]
}

// ask brings a broadcast message of a client on eth0 through parse, reply and encode; a kind of 0 is silence.
func (b *bench) ask(kind dhcpv4.MessageType, mac string, says ...say) outcome {
	b.t.Helper()
	return b.askBy(arrival{from: netip.MustParseAddrPort("0.0.0.0:68"), to: ip("255.255.255.255")}, kind, mac, says...)
}

// unicast is ask with a message that was sent to this host.
func (b *bench) unicast(from, to string, kind dhcpv4.MessageType, mac string, says ...say) outcome {
	b.t.Helper()
	return b.askBy(arrival{from: netip.MustParseAddrPort(from), to: ip(to)}, kind, mac, says...)
}

func (b *bench) askBy(a arrival, kind dhcpv4.MessageType, mac string, says ...say) outcome {
	b.t.Helper()
	a.iface, a.host = b.eth0, b.host
	return b.askRaw(a, message(kind, mac, says...))
}

func (b *bench) askRaw(a arrival, data []byte) outcome {
	b.t.Helper()
	q, err := parse(data, a)
	if err != nil {
		b.t.Fatal(err)
	}
	got := b.reply(b.t.Context(), q, b.now)
	o := outcome{DHCPv4: &dhcpv4.DHCPv4{Options: dhcpv4.Options{}}, to: got.to, events: got.events}
	if got.packet == nil {
		return o
	}
	o.raw, _ = encode(got.packet, q.Options[55], q.limit())
	if o.DHCPv4, err = dhcpv4.FromBytes(o.raw); err != nil {
		b.t.Fatal(err)
	}
	return o
}
