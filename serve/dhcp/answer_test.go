package dhcp

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"hooksmith/serve/event"
)

// TestDestination is RFC 2131 section 4.1 and PXE's port 4011.
func TestDestination(t *testing.T) {
	raw := "10.0.0.11:68 02:00:00:00:00:01 from 10.0.0.254"
	for _, c := range []struct {
		name string
		ask  func(b *bench) outcome
		want string
	}{
		{"offer", func(b *bench) outcome { return b.ask(discover, node) }, raw},
		{"offer, ciaddr means nothing", func(b *bench) outcome { return b.ask(discover, node, ciaddr("10.0.0.11")) }, raw},
		{"offer, broadcast flag", func(b *bench) outcome { return b.ask(discover, node, broadcastFlag) }, "255.255.255.255:68 from 10.0.0.254"},
		{"ack", func(b *bench) outcome { return b.ask(request, node, serverID("10.0.0.254"), requests("10.0.0.11")) }, raw},
		{"ack, rebinding", func(b *bench) outcome { return b.ask(request, node, ciaddr("10.0.0.11")) }, "10.0.0.11:68 from 10.0.0.254"},
		{"ack, renewing by our second address", func(b *bench) outcome {
			return b.unicast("10.0.0.11:68", "192.168.9.1", request, node, ciaddr("10.0.0.11"))
		}, "10.0.0.11:68 from 192.168.9.1"},
		{"relay", func(b *bench) outcome {
			return b.unicast("10.7.0.1:67", "10.0.0.254", discover, "02:00:00:00:00:99", giaddr("10.7.0.1"))
		}, "10.7.0.1:67 from 10.0.0.254"},
		{"relay, nak", func(b *bench) outcome {
			return b.unicast("10.7.0.1:67", "10.0.0.254", request, "02:00:00:00:00:99", giaddr("10.7.0.1"), serverID("10.0.0.254"), requests("10.0.0.1"))
		}, "10.7.0.1:67 from 10.0.0.254"},
		{"InfiniBand, told apart by option 61", func(b *bench) outcome {
			return b.ask(discover, "", func(m *dhcpv4.DHCPv4) { m.HWType = 32; m.ClientHWAddr = nil }, option(61, 255, 1, 2, 3))
		}, "255.255.255.255:68 from 10.0.0.254"},
		{"proxy", func(b *bench) outcome { b.Mode = Proxy; return b.ask(discover, node, pxe(7)) }, "255.255.255.255:68 from 10.0.0.254"},
		{"4011", func(b *bench) outcome {
			return b.askBy(arrival{from: netAddrPort("10.0.0.11:1068"), to: ip("10.0.0.254"), pxe: true}, request, node, pxe(7), ciaddr("10.0.0.11"))
		}, "10.0.0.11:1068 from 10.0.0.254"},
		{"4011 without ciaddr", func(b *bench) outcome {
			return b.askBy(arrival{from: netAddrPort("10.0.0.11:68"), to: ip("10.0.0.254"), pxe: true}, request, node, pxe(7))
		}, "10.0.0.11:68 from 10.0.0.254"},
	} {
		b := newBench(t, func(x *Config) { x.Unknown = PoolOnly })
		got := c.ask(b)
		to := got.to.addr.String()
		if got.to.hw != nil {
			to += " " + got.to.hw.String()
		}
		if to += " from " + got.to.from.String(); to != c.want {
			t.Errorf("%s: to %s, want %s (%v)", c.name, to, c.want, got.events)
		}
		if got.MessageType() == nak && !got.IsBroadcast() {
			t.Errorf("%s: a relayed NAK must ask the relay to broadcast", c.name)
		}
		if id := got.ServerIdentifier().String(); id != got.to.from.String() {
			t.Errorf("%s: option 54 is %s, sent from %s", c.name, id, got.to.from)
		}
	}
}

// TestRelay is how a relay says where the client is.
func TestRelay(t *testing.T) {
	link := func(a string) []byte { return append([]byte{5, 4}, ip(a).AsSlice()...) }
	override := append([]byte{11, 4}, ip("10.7.0.1").AsSlice()...)
	circuit := []byte{1, 4, 'p', 'o', 'r', 't'}
	for _, c := range []struct {
		name   string
		says   []say
		subnet string // of yiaddr, "" is silence
	}{
		{"giaddr", []say{giaddr("10.7.0.1")}, "10.7.0."},
		{"link selection goes before giaddr", []say{giaddr("10.0.0.253"), option(82, append(circuit, link("10.7.0.0")...)...)}, "10.7.0."},
		{"link selection goes before subnet selection", []say{giaddr("10.7.0.1"), option(82, link("10.0.0.0")...), option(118, 10, 7, 0, 0)}, "10.0.0."},
		{"subnet selection goes before giaddr", []say{giaddr("10.0.0.253"), option(118, 10, 7, 0, 0)}, "10.7.0."},
		{"a network that is not configured", []say{giaddr("172.16.0.1")}, ""},
		{"a link selection that is not configured", []say{giaddr("10.7.0.1"), option(82, link("172.16.0.0")...)}, ""},
		{"server identifier override", []say{giaddr("10.7.0.1"), option(82, append(circuit, override...)...)}, "10.7.0."},
		{"a malformed option 82", []say{giaddr("10.7.0.1"), option(82, 5, 200, 1)}, "10.7.0."},
	} {
		b := newBench(t, func(x *Config) { x.Mode = Pool })
		got := b.unicast("10.7.0.1:67", "10.0.0.254", discover, "02:00:00:00:00:99", append(c.says, wants(1, 3, 6, 15))...)
		if c.subnet == "" {
			if got.MessageType() != silent {
				t.Errorf("%s: %s", c.name, got.Summary())
			}
			continue
		}
		q, err := dhcpv4.FromBytes(message(discover, node, c.says...))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case !strings.HasPrefix(got.YourIPAddr.String(), c.subnet):
			t.Errorf("%s: %v", c.name, got.YourIPAddr)
		case !bytes.Equal(got.Options[82], q.Options[82]) || !bytes.Equal(got.Options[118], q.Options[118]):
			t.Errorf("%s: options 82 or 118 are not echoed", c.name)
		case len(q.Options[82]) > 0 && !bytes.HasSuffix(bytes.TrimRight(got.raw, "\x00"), append(q.Options[82], 255)):
			t.Errorf("%s: option 82 is not last: %x", c.name, got.raw[240:])
		case c.subnet == "10.7.0." && (got.Router()[0].String() != "10.7.0.1" || got.DomainName() != "seven.example" || got.ServerIPAddr.String() != "0.0.0.0" && got.ServerIPAddr.String() != "10.7.0.9"):
			t.Errorf("%s: %s", c.name, got.Summary())
		}
		if strings.Contains(c.name, "override") {
			if got.ServerIdentifier().String() != "10.7.0.1" {
				t.Errorf("%s: %v", c.name, got.ServerIdentifier())
			}
			// The client renews by the relay, which is the server to it.
			a := got.YourIPAddr.String()
			if got := b.unicast("10.7.0.1:67", "10.0.0.254", request, "02:00:00:00:00:99", append(c.says, serverID("10.7.0.1"), requests(a))...); got.MessageType() != ack {
				t.Errorf("%s: REQUEST: %v", c.name, got.events)
			}
			if got := b.unicast("10.7.0.1:67", "10.0.0.254", request, "02:00:00:00:00:99", append(c.says, serverID("10.7.0.2"), requests(a))...); got.kinds() != "request rival-dhcp" {
				t.Errorf("%s: REQUEST to another: %v", c.name, got.events)
			}
		}
	}
	// A machine behind a router renews without the relay.
	b := newBench(t, func(x *Config) { x.Mode = Pool })
	a := b.unicast("10.7.0.1:67", "10.0.0.254", discover, "02:00:00:00:00:99", giaddr("10.7.0.1")).YourIPAddr.String()
	b.unicast("10.7.0.1:67", "10.0.0.254", request, "02:00:00:00:00:99", giaddr("10.7.0.1"), serverID("10.0.0.254"), requests(a))
	if got := b.unicast(a+":68", "10.0.0.254", request, "02:00:00:00:00:99", ciaddr(a)); got.MessageType() != ack || got.to.addr.String() != a+":68" {
		t.Errorf("renewing by unicast from another network: %v to %v", got.events, got.to.addr)
	}
}

// TestLinkLocal: machines are not told to load from a link-local address that the interface has, too.
func TestLinkLocal(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Unknown = Auto })
	b.eth0.addrs = inOrder(append([]netip.Prefix{netip.MustParsePrefix("169.254.3.4/16")}, b.eth0.addrs...))
	got := b.ask(discover, "02:00:00:00:00:99", pxe(7))
	if got.MessageType() != offer || got.ServerIPAddr.String() != "10.0.0.254" || got.ServerIdentifier().String() != "10.0.0.254" {
		t.Errorf("%v", got)
	}
}

// TestRelayedReservation: a record says by itself which network lies behind a relay; such a machine keeps its address.
func TestRelayedReservation(t *testing.T) {
	const far = "02:00:00:00:00:09" // 10.9.0.19/24, no subnet of the configuration
	b := newBench(t, nil)
	relayed := func(kind dhcpv4.MessageType, says ...say) outcome {
		return b.unicast("10.9.0.1:67", "10.0.0.254", kind, far, append(says, giaddr("10.9.0.1"))...)
	}
	alone := func(kind dhcpv4.MessageType, says ...say) outcome {
		return b.unicast("10.9.0.19:68", "10.0.0.254", kind, far, says...)
	}
	for _, c := range []struct {
		name string
		got  outcome
		want dhcpv4.MessageType
	}{
		{"selecting", relayed(request, serverID("10.0.0.254"), requests("10.9.0.19")), ack},
		{"init-reboot", relayed(request, requests("10.9.0.19")), ack},
		{"init-reboot, wrong address", relayed(request, requests("10.9.0.20")), nak},
		{"rebinding", relayed(request, ciaddr("10.9.0.19")), ack},
		{"renewing", alone(request, ciaddr("10.9.0.19")), ack},
		{"inform", alone(dhcpv4.MessageTypeInform, ciaddr("10.9.0.19")), ack},
		{"inform from elsewhere", alone(dhcpv4.MessageTypeInform, ciaddr("10.9.0.20")), silent},
		{"release", alone(dhcpv4.MessageTypeRelease, ciaddr("10.9.0.19")), silent},
	} {
		if c.got.MessageType() != c.want {
			t.Errorf("%s: %v, want %v (%+v)", c.name, c.got.MessageType(), c.want, c.got.events)
		}
	}
	if got := b.unicast("10.9.0.1:67", "10.0.0.254", request, node, giaddr("10.9.0.1"), requests("10.0.0.11")); got.MessageType() != silent {
		t.Errorf("a machine of another network: %v", got.events)
	}
}

// TestRelayAddress: what a relay has for itself is offered to nobody behind it.
func TestRelayAddress(t *testing.T) {
	b := newBench(t, func(x *Config) { x.Mode = Pool; x.Subnets[1].Router = ip("10.7.0.200") })
	for _, mac := range []string{"02:00:00:00:00:98", "02:00:00:00:00:99"} { // the pool has two addresses
		got := b.unicast("10.7.0.100:67", "10.0.0.254", discover, mac, giaddr("10.7.0.100"), requests("10.7.0.100"))
		if got.MessageType() == offer && got.YourIPAddr.String() != "10.7.0.101" {
			t.Errorf("%s is offered the relay's %v", mac, got.YourIPAddr)
		}
	}
	// Nobody takes a machine's address away by saying that he is a relay.
	b.unicast("10.7.0.1:67", "10.0.0.254", request, "02:00:00:00:00:98", giaddr("10.7.0.1"), serverID("10.0.0.254"), requests("10.7.0.101"))
	b.unicast("10.7.0.101:67", "10.0.0.254", discover, "02:00:00:00:00:66", giaddr("10.7.0.101"))
	if got := b.unicast("10.7.0.101:68", "10.0.0.254", request, "02:00:00:00:00:98", ciaddr("10.7.0.101")); got.MessageType() != ack {
		t.Errorf("renewing: %v", got.events)
	}
}

// TestOptions is what a network's machines are told, and what is echoed.
func TestOptions(t *testing.T) {
	b := newBench(t, nil)
	got := b.ask(discover, node, option(61, 1, 2, 0, 0, 0, 0, 1), option(50, 10, 0, 0, 99), textOption(12, "whatever"))
	for name, ok := range map[string]bool{
		"mask":      net.IP(got.SubnetMask()).String() == "255.255.255.0",
		"router":    got.Router()[0].String() == "10.0.0.1",
		"dns":       len(got.DNS()) == 1 && got.DNS()[0].String() == "10.0.0.2",
		"host name": got.HostName() == "node1",
		"domain":    got.DomainName() == "lab.example" && got.DomainSearch().Labels[0] == "lab.example",
		"broadcast": got.BroadcastAddress().String() == "10.0.0.255",
		"lease":     got.IPAddressLeaseTime(0) == time.Hour,
		"T1":        got.IPAddressRenewalTime(0) == 30*time.Minute,
		"T2":        got.IPAddressRebindingTime(0) == 52*time.Minute+30*time.Second,
		"61":        bytes.Equal(got.Options[61], []byte{1, 2, 0, 0, 0, 0, 1}),
		"no boot":   got.BootFileName == "" && got.ServerIPAddr.IsUnspecified() && !got.Options.Has(dhcpv4.OptionClassIdentifier) && !got.Options.Has(dhcpv4.GenericOptionCode(43)),
		"300 bytes": len(got.raw) >= 300,
		"xid":       got.TransactionID == [4]byte{1, 2, 3, 4},
	} {
		if !ok {
			t.Errorf("%s: %s", name, got.Summary())
		}
	}
	// RFC 3442: who asks for 121 gets the router in it, and it stands before 3; who does not ask does not get it.
	got = b.ask(discover, "02:00:00:00:00:06", wants(1, 3, 121, 42))
	if want := "10" + "0a09" + "0a000009" + "00" + "0a000001"; hex.EncodeToString(got.Options[121]) != want {
		t.Errorf("121 is %x, want %s", got.Options[121], want)
	}
	if i, j := bytes.Index(got.raw[240:], []byte{121, 12}), bytes.Index(got.raw[240:], []byte{3, 4, 10}); i < 0 || j < i {
		t.Errorf("121 at %d, 3 at %d", i, j)
	}
	if got.NTPServers()[0].String() != "10.0.0.3" {
		t.Error("42 is missing")
	}
	if got := b.ask(discover, "02:00:00:00:00:06", wants(1, 3)); got.Options.Has(dhcpv4.OptionClasslessStaticRoute) || got.Options.Has(dhcpv4.OptionNTPServers) {
		t.Error("options that were not asked for")
	}
	b.Config.LeaseTime, b.Subnets[0].LeaseTime = 0, 0
	if got := b.ask(discover, "02:00:00:00:00:06"); got.IPAddressLeaseTime(0) == 0 {
		t.Error("a lease time of 0")
	}
}

// TestBoot is what firmware and iPXE are told.
func TestBoot(t *testing.T) {
	const script, efi = "http://10.0.0.254/02-00-00-00-00-01/auto.ipxe", "ipxe.efi"
	tinkerbell := func(user string) []say { return []say{pxe(7), textOption(77, user), option(175, 19, 1, 1)} }
	for _, c := range []struct {
		name      string
		mac       string
		says      []say
		file      string
		sixty     string
		vendor    string // hex of 43
		pxedhcp   bool   // 175.176 = 1 is sent
		siaddr    string
		wantEvent event.Kind
	}{
		{"BIOS", node, []say{pxe(0)}, "undionly.kpxe", "PXEClient", "060108ff", false, "10.0.0.254", ""},
		{"UEFI", node, []say{pxe(7)}, efi, "PXEClient", "060108ff", false, "10.0.0.254", ""},
		{"UEFI HTTP", node, []say{pxe(16)}, "http://10.0.0.254/ipxe/binary/02-00-00-00-00-01/ipxe.efi", "HTTPClient", "", false, "10.0.0.254", ""},
		{"arm64", node, []say{pxe(11)}, "snp-arm64.efi", "PXEClient", "060108ff", false, "10.0.0.254", ""},
		{"no binary", node, []say{pxe(27)}, "", "", "", false, "0.0.0.0", event.NoBinary},
		{"stock iPXE", node, []say{stock(true)}, script, "PXEClient", "060108ff", true, "10.0.0.254", ""},
		{"stock iPXE without HTTP", node, []say{stock(false)}, "tftp://10.0.0.254/02-00-00-00-00-01/ipxe.efi", "PXEClient", "060108ff", true, "10.0.0.254", ""},
		{"Tinkerbell, raw", node, tinkerbell("Tinkerbell"), script, "PXEClient", "060108ff", true, "10.0.0.254", ""},
		{"Tinkerbell, RFC 3004", node, tinkerbell("\x0aTinkerbell"), script, "PXEClient", "060108ff", true, "10.0.0.254", ""},
		{"Tinkerbell, second of a list", node, tinkerbell("\x03foo\x0aTinkerbell"), script, "PXEClient", "060108ff", true, "10.0.0.254", ""},
		{"the record's own file", "02:00:00:00:00:07", []say{pxe(7)}, "switch.bin", "", "", false, "10.0.0.77", ""},
		{"Raspberry Pi", "b8:27:eb:00:00:08", []say{pxe(0)}, "snp-arm64.efi", "PXEClient",
			"060108" + "0914" + "000011" + hex.EncodeToString([]byte("Raspberry Pi Boot")) + "0a04" + "00" + hex.EncodeToString([]byte("PXE")) + "ff", false, "10.0.0.254", ""},
		{"an operating system", node, []say{textOption(60, "systemd")}, "", "", "", false, "0.0.0.0", ""},
	} {
		b := newBench(t, nil)
		got := b.ask(discover, c.mac, c.says...)
		if got.BootFileName != c.file || got.ClassIdentifier() != c.sixty || hex.EncodeToString(got.Options[43]) != c.vendor ||
			bytes.Equal(got.Options[175], []byte{176, 1, 1}) != c.pxedhcp || got.ServerIPAddr.String() != c.siaddr {
			t.Errorf("%s: file %q, 60 %q, 43 %x, 175 %x, siaddr %v\nwant %q %q %s %v %s", c.name, got.BootFileName, got.ClassIdentifier(), got.Options[43],
				got.Options[175], got.ServerIPAddr, c.file, c.sixty, c.vendor, c.pxedhcp, c.siaddr)
		}
		if c.file != "" && (got.BootFileNameOption() != c.file || len(got.Options[97]) != 17) {
			t.Errorf("%s: 67 is %q, 97 %x", c.name, got.BootFileNameOption(), got.Options[97])
		}
		if c.wantEvent != "" && got.event(c.wantEvent).Detail == "" {
			t.Errorf("%s: no event %s: %v", c.name, c.wantEvent, got.events)
		}
		if got.MessageType() != offer || !got.YourIPAddr.IsPrivate() {
			t.Errorf("%s: no address", c.name)
		}
		if c.file != "" && c.name != "the record's own file" {
			if e := got.event(event.Offer); e.File != c.file || e.Detail == "" || e.Arch == "" || e.Client == "" {
				t.Errorf("%s: %+v", c.name, e)
			}
		}
	}
}

// TestBootConfig is what the configuration changes.
func TestBootConfig(t *testing.T) {
	long := "http://boot.example/" + strings.Repeat("x", 150)
	for _, c := range []struct {
		name   string
		change func(*Config)
		says   say
		check  func(o outcome) bool
	}{
		{"ports", func(c *Config) { c.Boot.HTTPPort, c.Boot.TFTPPort = 8080, 6969 }, stock(true), func(o outcome) bool {
			return o.BootFileName == "http://10.0.0.254:8080/02-00-00-00-00-01/auto.ipxe"
		}},
		{"tftp port", func(c *Config) { c.Boot.TFTPPort = 6969 }, stock(false), func(o outcome) bool {
			return o.BootFileName == "tftp://10.0.0.254:6969/02-00-00-00-00-01/ipxe.efi"
		}},
		{"address", func(c *Config) { c.Boot.Address = ip("10.0.0.200") }, stock(true), func(o outcome) bool {
			return o.BootFileName == "http://10.0.0.200/02-00-00-00-00-01/auto.ipxe" && o.ServerIPAddr.String() == "10.0.0.200" && o.ServerIdentifier().String() == "10.0.0.254"
		}},
		{"base URL", func(c *Config) { c.Boot.BaseURL = "https://boot.example/" }, pxe(16), func(o outcome) bool {
			return o.BootFileName == "https://boot.example/ipxe/binary/02-00-00-00-00-01/ipxe.efi"
		}},
		{"script URL", func(c *Config) { c.Boot.ScriptURL = "http://x.example/s" }, stock(true), func(o outcome) bool { return o.BootFileName == "http://x.example/s" }},
		{"a long name goes to option 67 only", func(c *Config) { c.Boot.ScriptURL = long }, stock(true), func(o outcome) bool {
			return o.BootFileName == "" && o.BootFileNameOption() == long
		}},
		{"syslog", func(c *Config) { c.Boot.Syslog = ip("0.0.0.0") }, func(m *dhcpv4.DHCPv4) { pxe(7)(m); wants(7)(m) }, func(o outcome) bool {
			return bytes.Equal(o.Options[7], []byte{10, 0, 0, 254})
		}},
		{"next server of the subnet", func(c *Config) { c.Subnets[0].NextServer = ip("10.0.0.88") }, pxe(7), func(o outcome) bool {
			return o.ServerIPAddr.String() == "10.0.0.88" && o.BootFileName == "ipxe.efi"
		}},
		{"addresses only", func(c *Config) { c.Boot.Disabled = true }, pxe(7), func(o outcome) bool { return o.BootFileName == "" && o.YourIPAddr.String() == "10.0.0.11" }},
	} {
		b := newBench(t, c.change)
		if got := b.ask(discover, node, c.says); !c.check(got) {
			t.Errorf("%s: %s", c.name, got.Summary())
		}
	}
	// A machine of VLAN 50 on the untagged network is sent there, with an address of this one's pool.
	b := newBench(t, func(c *Config) { c.Mode = Pool })
	if got := b.ask(discover, "02:00:00:00:00:05", stock(true)); !bytes.Contains(got.Options[43], []byte{116, 2, '5', '0'}) {
		t.Errorf("43 is %x", got.Options[43])
	}
}

// TestPXEPort is a boot server's port: answers without an address, whoever gives those.
func TestPXEPort(t *testing.T) {
	for _, mode := range []Mode{Reservation, Proxy, AutoProxy} {
		b := newBench(t, func(c *Config) { c.Mode = mode })
		at := arrival{from: netAddrPort("10.0.0.11:68"), to: ip("10.0.0.254"), pxe: true}
		menu := option(43, 71, 4, 0, 1, 0, 0, 255)
		got := b.askBy(at, request, node, pxe(7), ciaddr("10.0.0.11"), menu)
		if got.MessageType() != ack || !got.YourIPAddr.IsUnspecified() || got.BootFileName != "ipxe.efi" || got.ClassIdentifier() != "PXEClient" ||
			got.Options.Has(dhcpv4.OptionIPAddressLeaseTime) || got.ServerIPAddr.String() != "10.0.0.254" || got.ServerHostName != "10.0.0.254" ||
			hex.EncodeToString(got.Options[43]) != "060108"+"470400010000"+"ff" {
			t.Errorf("%s: %s", mode, got.Summary())
		}
		if got := b.askBy(at, discover, node, pxe(7)); got.MessageType() != silent {
			t.Errorf("%s: DISCOVER on 4011: %s", mode, got.Summary())
		}
		if n := len(leasesOf(b)); n != 0 {
			t.Errorf("%s: %d leases", mode, n)
		}
		for _, c := range []struct {
			name string
			got  outcome
			want dhcpv4.MessageType
		}{
			{"to us by name", b.ask(request, node, pxe(7), serverID("10.0.0.254"), ciaddr("10.0.0.11")), ack},
			{"to us by address", b.unicast("10.0.0.11:68", "10.0.0.254", request, node, pxe(7), ciaddr("10.0.0.11")), ack},
		} {
			if mode.proxy() && (c.got.MessageType() != c.want || !c.got.YourIPAddr.IsUnspecified()) {
				t.Errorf("%s: REQUEST on 67, %s: %v", mode, c.name, c.got.events)
			}
		}
	}
}

func leasesOf(b *bench) []string {
	var all []string
	for _, l := range b.Leases.All() {
		all = append(all, l.IP.String())
	}
	return all
}
