package dhcp

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// BenchmarkExchange is what an exchange costs of parsing, deciding and encoding, with leases written one by one by a store
// whose disk is the test's folder: a DISCOVER and a REQUEST through a relay.
func BenchmarkExchange(b *testing.B) {
	t := newBench(b, func(c *Config) {
		c.Mode = Pool
		c.Subnets = []Subnet{{Prefix: netip.MustParsePrefix("10.94.0.0/16"), Pools: []Range{{ip("10.94.16.0"), ip("10.94.255.200")}}}}
	})
	t.eth0.addrs = []netip.Prefix{netip.MustParsePrefix("10.94.0.1/16")}
	t.host = newHost([]*iface{t.eth0})
	t.current.Store(t.host)
	from := arrival{from: netAddrPort("10.94.0.2:67"), to: ip("10.94.0.1"), iface: t.eth0, host: t.host}
	answered := func(data []byte) *dhcpv4.DHCPv4 {
		q, err := parse(data, from)
		if err != nil {
			b.Fatal(err)
		}
		a := t.begin(b.Context(), q, t.now)
		if a.binds != nil {
			a = a.binds.then(nil)
		}
		if a.packet == nil {
			b.Fatalf("no answer: %v", a.events)
		}
		encode(a.packet, q.Options[55], q.limit())
		return a.packet
	}
	b.ReportAllocs()
	list := wants(1, 28, 2, 3, 15, 6, 12)
	var discovers, all [1000][]byte
	for i := range discovers {
		mac := fmt.Sprintf("02:0a:00:00:%02x:%02x", i>>8, i&255)
		discovers[i] = message(discover, mac, giaddr("10.94.0.2"), list)
		o := answered(discovers[i])
		all[i] = message(request, mac, giaddr("10.94.0.2"), list, serverID("10.94.0.1"), requests(o.YourIPAddr.String()))
	}
	for i := 0; b.Loop(); i++ {
		answered(discovers[i%1000])
		answered(all[i%1000])
	}
}
