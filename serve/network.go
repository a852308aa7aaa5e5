package serve

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// link is an interface that machines boot through.
type link struct {
	name    string
	index   int
	mac     net.HardwareAddr
	address netip.Addr   // of this server there
	subnet  netip.Prefix // that address is in
}

// findLinks finds the interfaces of the configuration, or without one the only
// interface that can be meant.
func findLinks(c *Config) ([]link, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("listing the network interfaces: %w", err)
	}
	if len(c.Interfaces) == 0 {
		return onlyLink(all, c.Address)
	}
	var links []link
	for n, name := range c.Interfaces {
		if slices.Contains(c.Interfaces[:n], name) {
			continue
		}
		i := slices.IndexFunc(all, func(in net.Interface) bool { return in.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("interface %s is not there; there are %s", name, describe(all))
		}
		l, ok := linkOf(all[i], c.Address)
		if !ok {
			return nil, fmt.Errorf("interface %s has no IPv4 address%s; give it one: sudo ip addr add ADDRESS/BITS dev %s", name, but(c.Address), name)
		}
		links = append(links, l)
	}
	return links, nil
}

func but(address string) string {
	if address == "" {
		return ""
	}
	return " " + address
}

// addresses are those that the interface has now; none if it is gone.
func (l link) addresses() []netip.Addr {
	in, err := net.InterfaceByName(l.name)
	if err != nil {
		return nil
	}
	list, err := in.Addrs()
	if err != nil {
		return nil
	}
	var all []netip.Addr
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, p.Addr())
		}
	}
	return all
}

// has tells whether the interface has an address now.
func (l link) has(a netip.Addr) bool { return slices.Contains(l.addresses(), a) }

// now is the address of before, or what the interface has in its place.
func (l link) now() netip.Addr {
	all := l.addresses()
	i := slices.IndexFunc(all, func(a netip.Addr) bool { return a.Is4() && !a.IsLinkLocalUnicast() })
	if i < 0 || slices.Contains(all, l.address) {
		return l.address
	}
	return all[i]
}

// onlyLink is the interface that is up and has an address, if there is one.
func onlyLink(all []net.Interface, address string) ([]link, error) {
	var found []link
	for _, in := range all {
		if in.Flags&net.FlagLoopback != 0 || in.Flags&net.FlagUp == 0 || isContainers(in.Name) {
			continue
		}
		if l, ok := linkOf(in, address); ok {
			found = append(found, l)
		}
	}
	switch len(found) {
	case 1:
		return found, nil
	case 0:
		return nil, fmt.Errorf("no interface has an IPv4 address%s; there are %s: name one with --interface", but(address), describe(all))
	}
	return nil, fmt.Errorf("several interfaces have an address (%s): name those that machines boot from with --interface", describe(all))
}

// isContainers tells interfaces that container engines make: no machine is there.
func isContainers(name string) bool {
	for _, prefix := range []string{"docker", "br-", "veth", "cni", "flannel", "cali", "podman", "lxcbr"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// linkOf finds the first IPv4 address of an interface, or the wanted one.
func linkOf(in net.Interface, wanted string) (link, bool) {
	addrs, err := in.Addrs()
	if err != nil {
		return link{}, false
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || !p.Addr().Is4() || p.Addr().IsLinkLocalUnicast() || wanted != "" && p.Addr().String() != wanted {
			continue
		}
		return link{in.Name, in.Index, in.HardwareAddr, p.Addr(), p.Masked()}, true
	}
	return link{}, false
}

// describe lists interfaces with their addresses, for messages.
func describe(all []net.Interface) string {
	var list []string
	for _, in := range all {
		if in.Flags&net.FlagLoopback != 0 {
			continue
		}
		text := in.Name
		if l, ok := linkOf(in, ""); ok {
			text += " " + l.address.String()
		}
		if in.Flags&net.FlagUp == 0 {
			text += " (down)"
		}
		list = append(list, text)
	}
	if len(list) == 0 {
		return "none but loopback"
	}
	return strings.Join(list, ", ")
}

// upperHalf is the pool of a subnet that nobody has named one for: people give
// out low addresses by hand. The last is the broadcast address.
func upperHalf(p netip.Prefix) (first, last netip.Addr, ok bool) {
	if p.Bits() > 29 {
		return first, last, false
	}
	b := p.Masked().Addr().As4()
	b[p.Bits()/8] |= 1 << (7 - p.Bits()%8)
	return netip.AddrFrom4(b), lastOf(p).Prev(), true
}

// contains tells whether an address is in the subnet of the interface.
func (l link) contains(a netip.Addr) bool { return a.IsValid() && l.subnet.Contains(a) }
