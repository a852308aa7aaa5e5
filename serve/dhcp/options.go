package dhcp

import (
	"math"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/rfc1035label"

	"hooksmith/serve/hardware"
)

// times sets how long the lease is, and when the client asks again: at 1/2 here, at 7/8 anywhere (RFC 2131 4.4.5).
func (x *exchange) times(msg *dhcpv4.DHCPv4, s *Subnet) {
	lease := x.leaseTime(s)
	msg.Options[dhcpv4.OptionIPAddressLeaseTime.Code()] = seconds(lease)
	msg.Options[dhcpv4.OptionRenewTimeValue.Code()] = seconds(lease / 2)
	msg.Options[dhcpv4.OptionRebindingTimeValue.Code()] = seconds(lease / 8 * 7)
}

func seconds(d time.Duration) []byte {
	n := uint32(min(max(int64(d/time.Second), 1), math.MaxUint32-1)) // the highest number is "for ever"
	return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

// nobody is the record of a machine that has none.
var nobody hardware.Machine

// network sets what a machine needs to know of its network: its record's values, else the subnet's. The less common
// ones only go to clients that ask for them.
func (x *exchange) network(msg *dhcpv4.DHCPv4, a assignment) {
	m, s := x.machine, a.subnet
	if m == nil {
		m = &nobody
	}
	set := func(code dhcpv4.OptionCode, value []byte) {
		if len(value) > 0 {
			msg.Options[code.Code()] = value
		}
	}
	prefix := netip.PrefixFrom(a.ip, a.bits)
	set(dhcpv4.OptionSubnetMask, net.CIDRMask(a.bits, 32))
	gateway := s.Router
	if m.Gateway.Is4() && (a.reserved || prefix.Contains(m.Gateway)) {
		gateway = m.Gateway
	}
	if gateway.IsValid() {
		set(dhcpv4.OptionRouter, gateway.AsSlice())
	}
	set(dhcpv4.OptionDomainNameServer, addresses(m.NameServers, s.NameServers))
	set(dhcpv4.OptionHostName, []byte(m.Hostname))
	domain := m.Domain
	if domain == "" {
		domain = s.Domain
	}
	set(dhcpv4.OptionDomainName, []byte(domain))
	optional := func(code dhcpv4.OptionCode) bool { return x.wants(code.Code()) }
	if optional(dhcpv4.OptionBroadcastAddress) {
		set(dhcpv4.OptionBroadcastAddress, lastOf(prefix).AsSlice())
	}
	if optional(dhcpv4.OptionNTPServers) {
		set(dhcpv4.OptionNTPServers, addresses(m.TimeServers, s.TimeServers))
	}
	if optional(dhcpv4.OptionDNSDomainSearchList) {
		set(dhcpv4.OptionDNSDomainSearchList, searchList(domain))
	}
	if optional(dhcpv4.OptionClasslessStaticRoute) {
		set(dhcpv4.OptionClasslessStaticRoute, routes(m.Routes, gateway))
	}
	if x.wants(optLogServer) {
		set(dhcpv4.GenericOptionCode(optLogServer), x.syslog())
	}
}

func (x *exchange) syslog() []byte {
	switch a := x.Boot.Syslog; {
	case !a.IsValid():
		return nil
	case a.IsUnspecified():
		return netIP(x.bootAddress(nil))
	default:
		return netIP(a)
	}
}

// addresses is the first list that has any, as an option's value. IPv6 addresses have other options.
func addresses(lists ...[]netip.Addr) (value []byte) {
	for _, list := range lists {
		for _, a := range list {
			if a.Is4() {
				value = append(value, a.AsSlice()...)
			}
		}
		if len(value) > 0 {
			return value
		}
	}
	return nil
}

func searchList(domain string) []byte {
	if domain == "" {
		return nil
	}
	return (&rfc1035label.Labels{Labels: []string{domain}}).ToBytes()
}

// routes is option 121. Who reads it ignores option 3 (RFC 3442), so the router is in it too.
func routes(list []hardware.Route, gateway netip.Addr) (value []byte) {
	hasDefault := false
	add := func(to netip.Prefix, router netip.Addr) {
		value = append(value, byte(to.Bits()))
		value = append(value, to.Masked().Addr().AsSlice()[:(to.Bits()+7)/8]...)
		value = append(value, router.AsSlice()...)
		hasDefault = hasDefault || to.Bits() == 0
	}
	for _, r := range list {
		if r.Destination.Addr().Is4() && r.Router.Is4() {
			add(r.Destination, r.Router)
		}
	}
	if len(value) > 0 && gateway.IsValid() && !hasDefault {
		add(netip.PrefixFrom(netip.IPv4Unspecified(), 0), gateway)
	}
	return value
}

// lastOf is the broadcast address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}
