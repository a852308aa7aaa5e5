package network

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// ack is an ACK for 10.0.2.15/24 with more.
func ack(t testing.TB, more ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	m, err := dhcpv4.New(dhcpv4.PrependModifiers(more,
		dhcpv4.WithMessageType(dhcpv4.MessageTypeAck),
		dhcpv4.WithYourIP(net.IPv4(10, 0, 2, 15)),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithLeaseTime(3600),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 0, 2, 2))))...)
	if err != nil {
		t.Fatal(err)
	}
	// As it comes from the wire.
	m, err = dhcpv4.FromBytes(m.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func raw(code dhcpv4.OptionCode, value ...byte) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptGeneric(code, value))
}

func TestNewLease(t *testing.T) {
	router := dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(10, 0, 2, 1), net.IPv4(10, 0, 2, 9)))
	for _, test := range []struct {
		name string
		more []dhcpv4.Modifier
		want string // of settings.String, then the routes, the search list, the NTP servers and the hostname
	}{
		{"nothing more", nil, "up 10.0.2.15/24 (DHCP server 10.0.2.2, for 1h0m0s)"},
		{"the first router", []dhcpv4.Modifier{router}, "up 10.0.2.15/24 gateway 10.0.2.1 (DHCP server 10.0.2.2, for 1h0m0s) [0.0.0.0/0 via 10.0.2.1]"},
		{
			"classless routes come before the router (RFC 3442)",
			[]dhcpv4.Modifier{router, raw(dhcpv4.OptionClasslessStaticRoute, 16, 192, 168, 10, 0, 2, 7, 32, 10, 9, 9, 9, 0, 0, 0, 0, 0, 10, 0, 2, 254)},
			"up 10.0.2.15/24 gateway 10.0.2.254 (DHCP server 10.0.2.2, for 1h0m0s) [10.9.9.9/32 on the link 192.168.0.0/16 via 10.0.2.7 0.0.0.0/0 via 10.0.2.254]",
		},
		{
			"classless routes without a default mean none",
			[]dhcpv4.Modifier{router, raw(dhcpv4.OptionClasslessStaticRoute, 8, 172, 10, 0, 2, 7)},
			"up 10.0.2.15/24 (DHCP server 10.0.2.2, for 1h0m0s) [172.0.0.0/8 via 10.0.2.7]",
		},
		{
			"broken classless routes leave the router",
			[]dhcpv4.Modifier{router, raw(dhcpv4.OptionClasslessStaticRoute, 99, 1)},
			"up 10.0.2.15/24 gateway 10.0.2.1 (DHCP server 10.0.2.2, for 1h0m0s) [0.0.0.0/0 via 10.0.2.1]",
		},
		{
			"host bits in a route",
			[]dhcpv4.Modifier{raw(dhcpv4.OptionClasslessStaticRoute, 20, 172, 16, 31, 10, 0, 2, 7)},
			"up 10.0.2.15/24 (DHCP server 10.0.2.2, for 1h0m0s) [172.16.16.0/20 via 10.0.2.7]",
		},
		{
			"names and servers",
			[]dhcpv4.Modifier{
				dhcpv4.WithDNS(net.IPv4(1, 1, 1, 1), net.IPv4(0, 0, 0, 0)), raw(dhcpv4.OptionNTPServers, 10, 0, 2, 5, 255, 255, 255, 255),
				raw(dhcpv4.OptionHostName, 'm', '1', 0), raw(dhcpv4.OptionDomainName, []byte("example.org")...),
			},
			"up 10.0.2.15/24 dns 1.1.1.1 (DHCP server 10.0.2.2, for 1h0m0s) search example.org ntp 10.0.2.5 name m1",
		},
		{
			"hostile names",
			[]dhcpv4.Modifier{
				raw(dhcpv4.OptionHostName, []byte("a\nb")...), raw(dhcpv4.OptionDomainName, []byte("x.org\nnameserver 6.6.6.6")...),
				dhcpv4.WithOption(dhcpv4.OptDomainSearch(&rfc1035label.Labels{Labels: []string{"y\noptions", "ok.org"}})),
			},
			"up 10.0.2.15/24 (DHCP server 10.0.2.2, for 1h0m0s) search ok.org",
		},
		{"an MTU", []dhcpv4.Modifier{raw(dhcpv4.OptionInterfaceMTU, 5, 220)}, "up 10.0.2.15/24 mtu 1500 (DHCP server 10.0.2.2, for 1h0m0s)"},
		{"an MTU too small", []dhcpv4.Modifier{raw(dhcpv4.OptionInterfaceMTU, 0, 68)}, "up 10.0.2.15/24 (DHCP server 10.0.2.2, for 1h0m0s)"},
		{
			"no netmask", []dhcpv4.Modifier{func(m *dhcpv4.DHCPv4) { m.DeleteOption(dhcpv4.OptionSubnetMask) }},
			"up 10.0.2.15/8 (DHCP server 10.0.2.2, for 1h0m0s)",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, err := newLease(ack(t, test.more...), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			s := l.settings
			got := s.String()
			if routes := s.allRoutes(); len(routes) > 0 {
				got += " [" + join(routes, " ") + "]"
			}
			for key, value := range map[string]string{"name": s.hostname} {
				if len(s.search) > 0 {
					got += " search " + strings.Join(s.search, " ")
				}
				if len(s.ntp) > 0 {
					got += " ntp " + strings.Join(s.ntp, " ")
				}
				if value != "" {
					got += " " + key + " " + value
				}
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestUselessLease(t *testing.T) {
	for _, test := range []struct {
		name string
		more dhcpv4.Modifier
		want string
	}{
		{"multicast", dhcpv4.WithYourIP(net.IPv4(224, 0, 0, 1)), "the server gave the address 224.0.0.1"},
		{"none", dhcpv4.WithYourIP(net.IPv4zero), "the server gave the address 0.0.0.0"},
		{"loopback", dhcpv4.WithYourIP(net.IPv4(127, 0, 0, 1)), "the server gave the address 127.0.0.1"},
		{"a mask with a gap", raw(dhcpv4.OptionSubnetMask, 255, 0, 255, 0), "the server gave the netmask 255.0.255.0"},
		{"an empty mask", raw(dhcpv4.OptionSubnetMask, 0, 0, 0, 0), "the server gave the netmask 0.0.0.0"},
	} {
		_, err := newLease(ack(t, test.more), time.Now())
		if !errors.Is(err, errUseless) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestLeaseTimes(t *testing.T) {
	now := time.Now()
	seconds := func(code dhcpv4.OptionCode, d time.Duration) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.Option{Code: code, Value: dhcpv4.Duration(d)})
	}
	for _, test := range []struct {
		name             string
		more             []dhcpv4.Modifier
		t1, t2, end      time.Duration
		at, next         time.Duration // untilNext when at has passed
		endedAt, endless bool
	}{
		{name: "the RFC's fractions", t1: 1800 * time.Second, t2: 3150 * time.Second, end: 3600 * time.Second, next: 1800 * time.Second},
		{
			name: "the server's own",
			more: []dhcpv4.Modifier{seconds(dhcpv4.OptionRenewTimeValue, 100*time.Second), seconds(dhcpv4.OptionRebindingTimeValue, 200*time.Second)},
			t1:   100 * time.Second, t2: 200 * time.Second, end: 3600 * time.Second, at: 120 * time.Second, next: 40 * time.Second,
		},
		{
			name: "in the wrong order",
			more: []dhcpv4.Modifier{seconds(dhcpv4.OptionRenewTimeValue, 3500*time.Second), seconds(dhcpv4.OptionRebindingTimeValue, 200*time.Second)},
			t1:   1800 * time.Second, t2: 3150 * time.Second, end: 3600 * time.Second, at: 3598 * time.Second, next: 2 * time.Second,
		},
		{name: "ended", t1: 1800 * time.Second, t2: 3150 * time.Second, end: 3600 * time.Second, at: 3600 * time.Second, endedAt: true},
		{name: "at T2", t1: 1800 * time.Second, t2: 3150 * time.Second, end: 3600 * time.Second, at: 3150 * time.Second, next: 225 * time.Second},
		{name: "endless", more: []dhcpv4.Modifier{dhcpv4.WithLeaseTime(0xffffffff)}, endless: true, at: 1e6 * time.Second, next: forever},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, err := newLease(ack(t, test.more...), now)
			if err != nil {
				t.Fatal(err)
			}
			if l.infinite != test.endless {
				t.Errorf("infinite = %v", l.infinite)
			}
			if !l.infinite && (l.t1.Sub(now) != test.t1 || l.t2.Sub(now) != test.t2 || l.end.Sub(now) != test.end) {
				t.Errorf("T1 %s, T2 %s, end %s", l.t1.Sub(now), l.t2.Sub(now), l.end.Sub(now))
			}
			if got := l.untilNext(now.Add(test.at)); got != test.next {
				t.Errorf("untilNext after %s = %s, want %s", test.at, got, test.next)
			}
			if got := l.ended(now.Add(test.at)); got != test.endedAt {
				t.Errorf("ended after %s = %v", test.at, got)
			}
		})
	}
}

// TestRenewedLease has a server that answers a renewal with little more than yes, as Windows does.
func TestRenewedLease(t *testing.T) {
	first := ack(t, dhcpv4.WithDNS(net.IPv4(1, 1, 1, 1)), dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(10, 0, 2, 1))))
	bare := ack(t)
	bare.DeleteOption(dhcpv4.OptionSubnetMask)
	bare.DeleteOption(dhcpv4.OptionServerIdentifier)
	l, err := renewedLease(bare, first, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := l.settings.String(), "up 10.0.2.15/24 gateway 10.0.2.1 dns 1.1.1.1 (DHCP server 10.0.2.2, for 1h0m0s)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	l, err = renewedLease(ack(t), first, time.Now())
	if err != nil || len(l.settings.dns) != 0 {
		t.Errorf("a whole answer keeps the former DNS servers: %s, %v", l.settings, err)
	}
}

// FuzzLease takes ACKs from the wire: nothing of them may reach resolv.conf but names and addresses.
func FuzzLease(f *testing.F) {
	f.Add(ack(f).ToBytes())
	f.Add(ack(f, raw(dhcpv4.OptionClasslessStaticRoute, 16, 192, 168, 10, 0, 2, 7), raw(dhcpv4.OptionDomainName, []byte("a\nb")...),
		dhcpv4.WithOption(dhcpv4.OptDomainSearch(&rfc1035label.Labels{Labels: []string{"a.b", "c"}}))).ToBytes())
	f.Fuzz(func(t *testing.T, packet []byte) {
		m, err := dhcpv4.FromBytes(packet)
		if err != nil {
			return
		}
		l, err := newLease(m, time.Now())
		if err != nil {
			return
		}
		s := l.settings
		if !s.address.IsValid() || s.address.Bits() == 0 || s.mtu < 0 || s.mtu > maxMTU {
			t.Errorf("settings %+v", s)
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(string(resolvConf(s)), "\n"), "\n") {
			if !strings.HasPrefix(line, "# ") && !strings.HasPrefix(line, "search ") && !strings.HasPrefix(line, "nameserver ") {
				t.Errorf("resolv.conf has the line %q", line)
			}
		}
		for _, r := range s.allRoutes() {
			kernelRoute(link{}, 1, s, r)
		}
	})
}
