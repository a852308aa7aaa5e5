package dhcp

import (
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"hooksmith/serve/event"
)

const (
	silent   = dhcpv4.MessageTypeNone
	discover = dhcpv4.MessageTypeDiscover
	offer    = dhcpv4.MessageTypeOffer
	request  = dhcpv4.MessageTypeRequest
	ack      = dhcpv4.MessageTypeAck
	nak      = dhcpv4.MessageTypeNak
)

// TestWho is whom each mode answers, and with what.
func TestWho(t *testing.T) {
	for _, c := range []struct {
		name    string
		mode    Mode
		unknown Unknown
		mac     string
		says    []say
		want    dhcpv4.MessageType
		yiaddr  string
		file    string
		events  string
	}{
		{"record", Reservation, "", node, nil, offer, "10.0.0.11", "", "discover offer"},
		{"record, firmware", Reservation, "", node, []say{pxe(7)}, offer, "10.0.0.11", "ipxe.efi", "discover offer"},
		{"record, DHCP off", Reservation, "", "02:00:00:00:00:02", []say{pxe(7)}, silent, "", "", "discover silence"},
		{"record, netboot off", Reservation, "", "02:00:00:00:00:03", []say{pxe(7)}, offer, "10.0.0.13", "", "discover offer"},
		{"record without address", Reservation, "", "02:00:00:00:00:04", []say{pxe(7)}, silent, "", "", "discover silence"},
		{"record without address, pool", Pool, "", "02:00:00:00:00:04", []say{pxe(7)}, offer, "pool", "ipxe.efi", "discover offer"},
		{"record without address, unknown pool", Reservation, PoolOnly, "02:00:00:00:00:04", []say{pxe(7)}, offer, "pool", "ipxe.efi", "discover offer"},
		{"record of another network", Reservation, "", "02:00:00:00:00:05", []say{pxe(7)}, silent, "", "", "discover silence"},
		{"record of another network, pool", Pool, "", "02:00:00:00:00:05", []say{pxe(7)}, offer, "pool", "ipxe.efi", "discover offer"},
		{"record of a network that nobody knows", Reservation, "", "02:00:00:00:00:09", nil, offer, "10.9.0.19", "", "discover offer"},
		{"record in pool mode", Pool, "", node, nil, offer, "10.0.0.11", "", "discover offer"},
		{"unknown", Reservation, "", "02:00:00:00:00:99", []say{pxe(7)}, silent, "", "", "discover unknown silence"},
		{"unknown, pool only", Reservation, PoolOnly, "02:00:00:00:00:99", []say{pxe(7)}, offer, "pool", "", "discover offer"},
		{"unknown, auto", Reservation, Auto, "02:00:00:00:00:99", []say{pxe(7)}, offer, "pool", "ipxe.efi", "discover offer"},
		{"unknown, pool mode", Pool, "", "02:00:00:00:00:99", []say{pxe(0)}, offer, "pool", "undionly.kpxe", "discover offer"},
		{"unknown, pool mode, deny", Pool, Deny, "02:00:00:00:00:99", []say{pxe(0)}, silent, "", "", "discover unknown silence"},
		{"no binary", Reservation, "", node, []say{pxe(27)}, offer, "10.0.0.11", "", "discover no-binary offer"},
		{"proxy", Proxy, "", node, []say{pxe(7)}, offer, "0.0.0.0", "ipxe.efi", "discover offer"},
		{"proxy, HTTP", Proxy, "", node, []say{pxe(16)}, offer, "0.0.0.0", "http://10.0.0.254/ipxe/binary/02-00-00-00-00-01/ipxe.efi", "discover offer"},
		{"proxy, no boot client", Proxy, "", node, nil, silent, "", "", ""},
		{"proxy, unknown", Proxy, "", "02:00:00:00:00:99", []say{pxe(7)}, silent, "", "", "discover unknown silence"},
		{"proxy, unknown, auto", Proxy, Auto, "02:00:00:00:00:99", []say{pxe(7)}, offer, "0.0.0.0", "ipxe.efi", "discover offer"},
		{"proxy, no binary", Proxy, "", node, []say{pxe(27)}, silent, "", "", "discover no-binary silence"},
		{"proxy, netboot off", Proxy, "", "02:00:00:00:00:03", []say{pxe(7)}, silent, "", "", "discover silence"},
		{"auto-proxy, unknown", AutoProxy, "", "02:00:00:00:00:99", []say{pxe(7)}, offer, "0.0.0.0", "ipxe.efi", "discover offer"},
		{"auto-proxy, unknown, no boot client", AutoProxy, "", "02:00:00:00:00:99", nil, silent, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, func(x *Config) { x.Mode, x.Unknown = c.mode, c.unknown })
			got := b.ask(discover, c.mac, c.says...)
			yiaddr := ""
			if got.YourIPAddr != nil {
				yiaddr = got.YourIPAddr.String()
			}
			if strings.HasPrefix(yiaddr, "10.0.0.") && c.yiaddr == "pool" {
				yiaddr = "pool"
			}
			if got.MessageType() != c.want || yiaddr != c.yiaddr || got.BootFileName != c.file || got.kinds() != c.events {
				t.Errorf("%s %s file %q events %q\nwant %s %s file %q events %q", got.MessageType(), yiaddr, got.BootFileName, got.kinds(), c.want, c.yiaddr, c.file, c.events)
			}
			for _, e := range got.events {
				if e.MAC != c.mac || e.Time != b.now || e.Kind == event.Silence && e.Detail == "" {
					t.Errorf("event %+v", e)
				}
			}
		})
	}
}

// TestRequests is RFC 2131 section 4.3.2 for a reservation and for a pool's lease (of 02:...:99).
func TestRequests(t *testing.T) {
	const pooled, stranger = "02:00:00:00:00:99", "02:00:00:00:00:98"
	for _, c := range []struct {
		name   string
		mac    string
		says   func(leased string) []say
		want   dhcpv4.MessageType
		events string
	}{
		{"selecting", node, func(string) []say { return []say{serverID("10.0.0.254"), requests("10.0.0.11")} }, ack, "request ack"},
		{"selecting by our other address", node, func(string) []say { return []say{serverID("192.168.9.1"), requests("10.0.0.11")} }, ack, "request ack"},
		{"selecting, ciaddr instead of option 50", node, func(string) []say { return []say{serverID("10.0.0.254"), ciaddr("10.0.0.11")} }, ack, "request ack"},
		{"selecting another server", node, func(string) []say { return []say{serverID("10.0.0.66"), requests("10.0.0.11")} }, silent, "request rival-dhcp"},
		{"selecting a wrong address", node, func(string) []say { return []say{serverID("10.0.0.254"), requests("10.0.0.12")} }, nak, "request nak"},
		{"selecting, pool", pooled, func(l string) []say { return []say{serverID("10.0.0.254"), requests(l)} }, ack, "request ack"},
		{"selecting outside of the pool", pooled, func(string) []say { return []say{serverID("10.0.0.254"), requests("10.0.0.200")} }, nak, "request nak"},
		{"selecting the router", pooled, func(string) []say { return []say{serverID("10.0.0.254"), requests("10.0.0.1")} }, nak, "request nak"},
		{"selecting a reserved address", pooled, func(string) []say { return []say{serverID("10.0.0.254"), requests("10.0.0.11")} }, nak, "request nak"},
		{"selecting another's", stranger, func(l string) []say { return []say{serverID("10.0.0.254"), requests(l)} }, nak, "request nak"},
		{"selecting nothing", node, func(string) []say { return []say{serverID("10.0.0.254")} }, silent, "request silence"},
		{"init-reboot", node, func(string) []say { return []say{requests("10.0.0.11")} }, ack, "request ack"},
		{"init-reboot, wrong address", node, func(string) []say { return []say{requests("10.0.0.12")} }, nak, "request nak"},
		{"init-reboot, wrong network", node, func(string) []say { return []say{requests("172.16.0.1")} }, nak, "request nak"},
		{"init-reboot, pool", pooled, func(l string) []say { return []say{requests(l)} }, ack, "request ack"},
		{"init-reboot, pool, wrong address", pooled, func(string) []say { return []say{requests("10.0.0.55")} }, nak, "request nak"},
		{"rebinding, pool, wrong address", pooled, func(string) []say { return []say{ciaddr("10.0.0.55")} }, nak, "request nak"},
		{"selecting what was not offered", stranger, func(string) []say { return []say{serverID("10.0.0.254"), requests("10.0.0.55")} }, ack, "request ack"},
		{"init-reboot, pool, wrong network", pooled, func(string) []say { return []say{requests("172.16.0.1")} }, nak, "request nak"},
		{"init-reboot, nobody of ours", stranger, func(string) []say { return []say{requests("10.0.0.55")} }, silent, "request silence"},
		{"init-reboot, nobody of ours, wrong network", stranger, func(string) []say { return []say{requests("172.16.0.1")} }, silent, "request silence"},
		{"init-reboot, not our network", node, func(string) []say { return []say{requests("172.16.0.9"), giaddr("172.16.0.1")} }, silent, "request silence"},
		{"rebinding", node, func(string) []say { return []say{ciaddr("10.0.0.11")} }, ack, "request ack"},
		{"rebinding, wrong address", node, func(string) []say { return []say{ciaddr("10.0.0.12")} }, nak, "request nak"},
		{"rebinding, pool", pooled, func(l string) []say { return []say{ciaddr(l)} }, ack, "request ack"},
		{"rebinding, nobody of ours", stranger, func(string) []say { return []say{ciaddr("10.0.0.55")} }, silent, "request silence"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, func(x *Config) { x.Unknown = PoolOnly })
			leased := b.ask(discover, pooled).YourIPAddr.String()
			if got := b.ask(request, pooled, serverID("10.0.0.254"), requests(leased)); got.MessageType() != ack {
				t.Fatalf("no lease: %v", got.events)
			}
			got := b.ask(request, c.mac, c.says(leased)...)
			if got.MessageType() != c.want || got.kinds() != c.events {
				t.Errorf("%s, events %q, want %s %q\n%+v", got.MessageType(), got.kinds(), c.want, c.events, got.events)
			}
			if c.want == ack && got.IPAddressLeaseTime(0) < time.Minute {
				t.Errorf("lease time %v", got.IPAddressLeaseTime(0))
			}
			if c.want == nak && (got.to.addr.String() != "255.255.255.255:68" || got.to.hw != nil || got.Message() == "" || !got.YourIPAddr.IsUnspecified()) {
				t.Errorf("NAK %s to %+v", got.Summary(), got.to)
			}
		})
	}
}

func TestRival(t *testing.T) {
	b := newBench(t, func(x *Config) { x.Unknown = PoolOnly })
	const mac = "02:00:00:00:00:99"
	first := b.ask(discover, mac).YourIPAddr
	if n := b.Leases.Stats().Offers; n != 1 {
		t.Fatalf("%d offers", n)
	}
	got := b.ask(request, mac, serverID("10.0.0.66"), requests("10.0.0.200"))
	if e := got.event(event.RivalDHCP); e.Peer != "10.0.0.66" || e.MAC != mac || e.IP != "10.0.0.200" {
		t.Errorf("%+v", got.events)
	}
	if n := b.Leases.Stats().Offers; n != 0 {
		t.Errorf("the offer of %v was not forgotten", first)
	}
	// Beside another server that is what every machine does.
	b = newBench(t, func(x *Config) { x.Mode = Proxy })
	if got := b.ask(request, node, pxe(7), serverID("10.0.0.66"), requests("10.0.0.200")); got.MessageType() != silent || got.kinds() != "request" {
		t.Errorf("proxy: %v", got.events)
	}
}

func TestDeclineReleaseInform(t *testing.T) {
	b := newBench(t, func(x *Config) { x.Unknown = PoolOnly })
	const mac = "02:00:00:00:00:99"
	lease := func() string {
		t.Helper()
		a := b.ask(discover, mac).YourIPAddr.String()
		if got := b.ask(request, mac, serverID("10.0.0.254"), requests(a)); got.MessageType() != ack {
			t.Fatal(got.events)
		}
		return a
	}
	first := lease()
	if got := b.ask(dhcpv4.MessageTypeDecline, mac, serverID("10.0.0.66"), requests(first)); got.kinds() != "silence" {
		t.Errorf("DECLINE to another: %v", got.events)
	}
	if got := b.ask(dhcpv4.MessageTypeDecline, "02:00:00:00:00:98", serverID("10.0.0.254"), requests(first)); got.kinds() != "silence" {
		t.Errorf("DECLINE of another's: %v", got.events)
	}
	if got := b.ask(dhcpv4.MessageTypeDecline, mac, serverID("10.0.0.254"), requests(first)); got.kinds() != "decline" || got.MessageType() != silent {
		t.Errorf("DECLINE: %v", got.events)
	}
	second := lease()
	if second == first {
		t.Error("the declined address was given again")
	}
	if got := b.ask(dhcpv4.MessageTypeDecline, node, serverID("10.0.0.254"), requests("10.0.0.11")); !strings.Contains(got.event(event.Decline).Detail, "reserved") {
		t.Errorf("DECLINE of a reservation: %v", got.events)
	}
	if got := b.ask(discover, node); got.YourIPAddr.String() != "10.0.0.11" {
		t.Error("a reservation stays after a DECLINE")
	}
	from := second + ":68"
	if got := b.unicast(from, "10.0.0.254", dhcpv4.MessageTypeRelease, mac, serverID("10.0.0.254"), ciaddr(second)); got.kinds() != "release" || got.MessageType() != silent {
		t.Errorf("RELEASE: %v", got.events)
	}
	if got := b.unicast(from, "10.0.0.254", dhcpv4.MessageTypeRelease, mac, serverID("10.0.0.254"), ciaddr(second)); got.kinds() != "silence" {
		t.Errorf("RELEASE twice: %v", got.events)
	}
	if got := b.ask(discover, mac); got.YourIPAddr.String() != second {
		t.Error("who comes back gets the address that it had")
	}
	got := b.unicast("10.0.0.50:68", "10.0.0.254", dhcpv4.MessageTypeInform, mac, ciaddr("10.0.0.50"), wants(1, 3, 6))
	if got.MessageType() != ack || !got.YourIPAddr.IsUnspecified() || got.Options.Has(dhcpv4.OptionIPAddressLeaseTime) || got.Options.Has(dhcpv4.OptionRenewTimeValue) ||
		got.to.addr.String() != "10.0.0.50:68" || got.ClientIPAddr.String() != "10.0.0.50" || got.Router()[0].String() != "10.0.0.1" || got.kinds() != "inform" {
		t.Errorf("INFORM: %s to %+v, %v", got.Summary(), got.to, got.events)
	}
}

// TestReserved is what happens when a record gives an address that a pool's client has.
func TestReserved(t *testing.T) {
	b := newBench(t, func(x *Config) { x.Unknown = PoolOnly })
	const mac = "02:00:00:00:00:99"
	a := b.ask(discover, mac).YourIPAddr.String()
	b.ask(request, mac, serverID("10.0.0.254"), requests(a))
	b.Hardware = store(t, `machines: [{mac: "02:00:00:00:00:77", ip: `+a+`/24}]`)
	got := b.ask(discover, "02:00:00:00:00:77")
	if got.MessageType() != offer || got.YourIPAddr.String() == a {
		t.Fatalf("while leased: %v %v", got.YourIPAddr, got.events)
	}
	if got := b.ask(request, mac, ciaddr(a)); got.MessageType() != nak {
		t.Errorf("the client renews an address that is now another's: %v", got.events)
	}
	b.now = b.now.Add(time.Hour)
	if got := b.ask(discover, "02:00:00:00:00:77"); got.YourIPAddr.String() != a {
		t.Errorf("after the lease: %v", got.YourIPAddr)
	}
}
