package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// settings is what one interface gets, from ipam= or from a DHCP lease.
type settings struct {
	source   string
	address  netip.Prefix // the machine's address with the length of its network
	gateway  netip.Addr   // default route; not valid for none
	routes   []route
	dns      []netip.Addr
	search   []string
	ntp      []string
	hostname string
	mtu      int           // 0 leaves the interface's own
	server   netip.Addr    // the DHCP server
	lifetime time.Duration // of the address, as the kernel shall hold it; 0 for ever
}

// The values of settings.source, also shown in status.json.
const (
	sourceStatic = "static"
	sourceDHCP   = "dhcp"
)

// route is a static route; without a valid via it is on the link.
type route struct {
	to  netip.Prefix
	via netip.Addr
}

func (r route) String() string {
	if !r.via.IsValid() {
		return fmt.Sprintf("%s on the link", r.to)
	}
	return fmt.Sprintf("%s via %s", r.to, r.via)
}

// allRoutes is the default route and the static ones, those on the link first since the others may need them.
func (s settings) allRoutes() []route {
	routes := slices.Clone(s.routes)
	slices.SortStableFunc(routes, func(a, b route) int {
		switch {
		case a.via.IsValid() == b.via.IsValid():
			return 0
		case a.via.IsValid():
			return 1
		}
		return -1
	})
	if s.gateway.IsValid() {
		routes = append(routes, route{to: netip.PrefixFrom(netip.IPv4Unspecified(), 0), via: s.gateway})
	}
	return routes
}

// String is the part of the "up" line after the interface's name.
func (s settings) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "up %s", s.address)
	if s.gateway.IsValid() {
		fmt.Fprintf(&b, " gateway %s", s.gateway)
	}
	if len(s.dns) > 0 {
		fmt.Fprintf(&b, " dns %s", join(s.dns, ","))
	}
	if s.mtu != 0 {
		fmt.Fprintf(&b, " mtu %d", s.mtu)
	}
	switch {
	case s.source == sourceStatic:
		b.WriteString(" (ipam=)")
	case s.lifetime == 0:
		fmt.Fprintf(&b, " (DHCP server %s, for ever)", s.server)
	default:
		fmt.Fprintf(&b, " (DHCP server %s, for %s)", s.server, s.lifetime)
	}
	return b.String()
}

// join is strings.Join for values that have a String method.
func join[T fmt.Stringer](values []T, separator string) string {
	texts := make([]string, len(values))
	for i, value := range values {
		texts[i] = value.String()
	}
	return strings.Join(texts, separator)
}
