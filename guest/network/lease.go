package network

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// lease is an acknowledged DHCP lease. Its times are on the monotonic clock, so that NTP may set the other one.
type lease struct {
	ack      *dhcpv4.DHCPv4
	settings settings
	infinite bool
	t1       time.Time // from here on the server is asked to renew,
	t2       time.Time // from here on any server,
	end      time.Time // and here the address must go
}

// Some servers send a lease time of zero (Smee did, by a lost default) or none. An hour is what other clients assume.
const leaseWithoutTime = time.Hour

// infiniteLease is 0xffffffff seconds (RFC 2131 3.3).
const infiniteLease = 0xffffffff * time.Second

// The smallest and the largest MTU that is taken from a server: below 576 IP itself suffers (RFC 791).
const minMTU, maxMTU = 576, 65535

// newLease reads an ACK that answered a request sent at the time asked. It refuses an address or a netmask that cannot
// be configured; any other option that makes no sense is left out, for half a network is better than none.
func newLease(ack *dhcpv4.DHCPv4, asked time.Time) (lease, error) {
	address, err := leasedAddress(ack)
	if err != nil {
		return lease{}, fmt.Errorf("%w: %w", errUseless, err)
	}
	l := lease{ack: ack, settings: settings{source: sourceDHCP, address: address}}
	s := &l.settings
	s.server, _ = netip.AddrFromSlice(ack.ServerIdentifier().To4())
	s.gateway, s.routes = leasedRoutes(ack)
	s.dns = addresses(ack.DNS())
	s.search = leasedDomains(ack)
	for _, ntp := range addresses(ack.NTPServers()) {
		s.ntp = append(s.ntp, ntp.String())
	}
	if name := ack.HostName(); validName(name) && name != "localhost" {
		s.hostname = name
	}
	if mtu, err := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, ack.Options); err == nil && mtu >= minMTU {
		s.mtu = int(mtu)
	}
	l.setTimes(asked)
	return l, nil
}

// leasedAddress is yiaddr with the subnet mask, or with that of its class where a server sends none.
func leasedAddress(ack *dhcpv4.DHCPv4) (netip.Prefix, error) {
	ip, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	if !ok || !usable(ip) {
		return netip.Prefix{}, fmt.Errorf("the server gave the address %s, which no machine can have", ack.YourIPAddr)
	}
	mask := ack.SubnetMask()
	if mask == nil {
		mask = ack.YourIPAddr.DefaultMask()
	}
	ones, bits := mask.Size()
	if bits != 32 || ones == 0 {
		return netip.Prefix{}, fmt.Errorf("the server gave the netmask %s, which is none", net.IP(mask))
	}
	return netip.PrefixFrom(ip, ones), nil
}

// leasedRoutes reads the classless static routes (option 121) or else the router (option 3): a client that knows
// option 121 must ignore the other (RFC 3442).
func leasedRoutes(ack *dhcpv4.DHCPv4) (gateway netip.Addr, routes []route) {
	for _, each := range ack.ClasslessStaticRoute() {
		ones, _ := each.Dest.Mask.Size()
		to, ok := netip.AddrFromSlice(each.Dest.IP.To4())
		via, viaOK := netip.AddrFromSlice(each.Router.To4())
		if !ok || !viaOK || (!via.IsUnspecified() && !usable(via)) {
			continue
		}
		if via.IsUnspecified() { // RFC 3442: the network is on the link
			via = netip.Addr{}
		}
		r := route{to: netip.PrefixFrom(to, ones).Masked(), via: via}
		if ones == 0 && via.IsValid() && !gateway.IsValid() {
			gateway = via
			continue
		}
		routes = append(routes, r)
	}
	if gateway.IsValid() || len(routes) > 0 {
		return gateway, routes
	}
	for _, router := range addresses(ack.Router()) {
		return router, nil
	}
	return netip.Addr{}, nil
}

// leasedDomains is the search list (option 119), or else the domain name (option 15).
func leasedDomains(ack *dhcpv4.DHCPv4) []string {
	var domains []string
	if search := ack.DomainSearch(); search != nil {
		for _, domain := range search.Labels {
			if validName(domain) {
				domains = append(domains, domain)
			}
		}
	}
	if name := ack.DomainName(); len(domains) == 0 && validName(name) {
		domains = append(domains, name)
	}
	return domains
}

// addresses converts what a server sent, without what cannot be a machine's address.
func addresses(ips []net.IP) []netip.Addr {
	var out []netip.Addr
	for _, each := range ips {
		if ip, ok := netip.AddrFromSlice(each.To4()); ok && usable(ip) {
			out = append(out, ip)
		}
	}
	return out
}

// setTimes computes T1, T2 and the end from the time at which the lease was asked for (RFC 2131 4.4.5). Times that
// are not in their order are replaced by the RFC's fractions of the lease.
func (l *lease) setTimes(asked time.Time) {
	whole := l.ack.IPAddressLeaseTime(0)
	if whole <= 0 {
		whole = leaseWithoutTime
	}
	if whole >= infiniteLease {
		l.infinite = true
		return
	}
	t1 := l.ack.IPAddressRenewalTime(whole / 2)
	t2 := l.ack.IPAddressRebindingTime(whole * 7 / 8)
	if t1 <= 0 || t1 >= t2 || t2 >= whole {
		t1, t2 = whole/2, whole*7/8
	}
	l.settings.lifetime = whole
	l.t1, l.t2, l.end = asked.Add(t1), asked.Add(t2), asked.Add(whole)
}

// renewedLease reads an ACK that extends the lease of the ACK before. Some servers leave out what they have said once.
func renewedLease(ack, before *dhcpv4.DHCPv4, asked time.Time) (lease, error) {
	inherited := []dhcpv4.OptionCode{dhcpv4.OptionServerIdentifier}
	if !ack.Options.Has(dhcpv4.OptionSubnetMask) {
		inherited = append(inherited, wanted...)
	}
	for _, code := range inherited {
		if value := before.Options.Get(code); value != nil && !ack.Options.Has(code) {
			ack.UpdateOption(dhcpv4.OptGeneric(code, value))
		}
	}
	return newLease(ack, asked)
}

// ended reports whether the address must not be used any more at the time now.
func (l lease) ended(now time.Time) bool {
	return !l.infinite && !now.Before(l.end)
}

// untilNext is how long a lease can be left alone at the time now: until T1, and then from one try to the next half of
// what remains of the state (RFC 2131 4.4.5), at least renewPause, and never past the state's end.
func (l lease) untilNext(now time.Time) time.Duration {
	switch {
	case l.infinite:
		return forever
	case now.Before(l.t1):
		return l.t1.Sub(now)
	}
	remaining := l.end.Sub(now)
	if now.Before(l.t2) {
		remaining = l.t2.Sub(now)
	}
	return min(max(remaining/2, renewPause), remaining)
}

// renewPause is the least time between two tries to renew. The RFC has 60 s, which leaves short leases no second try.
const renewPause = 5 * time.Second

// forever is longer than a machine runs HookOS.
const forever = 10 * 365 * 24 * time.Hour
