package serve

import (
	"fmt"
	"net/netip"
	"slices"

	"hooksmith/serve/dhcp"
)

// subnets is what DHCP gives out: on each interface's network and, for relays,
// in the pools that are subnets of their own.
func (p *Plan) subnets() (all []dhcp.Subnet, err error) {
	for _, l := range p.boots.links {
		switch other := overlapping(all, l.subnet); {
		case !other.IsValid():
			all = append(all, p.subnet(l.subnet))
		case other != l.subnet && !p.Config.proxies(): // two interfaces in one network are two ways to the same machines
			return nil, fmt.Errorf("interface: the network %s of %s overlaps with %s of another: an address in both could be on either", l.subnet, l.name, other)
		}
	}
	for _, s := range p.Config.Pool {
		if all, err = p.withPool(all, s); err != nil {
			return nil, fmt.Errorf("pool: %w", err)
		}
	}
	return all, p.checkGateways(all)
}

// withPool adds a range to the subnet that it is in; a whole subnet may be one
// that is not there yet.
func (p *Plan) withPool(all []dhcp.Subnet, text string) ([]dhcp.Subnet, error) {
	r, err := parseRange(text)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(s dhcp.Subnet) bool { return s.Prefix.Contains(r[0]) && s.Prefix.Contains(r[1]) })
	if i < 0 {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%s is in no subnet of the interfaces; for a network behind a relay give the whole subnet, as in 10.1.0.0/24", text)
		}
		if prefix = prefix.Masked(); prefix.Bits() == 0 {
			return nil, fmt.Errorf("%s is every address there is; give one subnet, as in 10.1.0.0/24", text)
		}
		if other := overlapping(all, prefix); other.IsValid() {
			return nil, fmt.Errorf("%s overlaps with the subnet %s: give a range or subnet inside of that, or one outside", text, other)
		}
		all = append(all, p.subnet(prefix))
		i = len(all) - 1
	}
	all[i].Pools = append(all[i].Pools, dhcp.Range{First: r[0], Last: r[1]})
	return all, nil
}

// overlapping is the subnet that has addresses in common with a prefix.
func overlapping(all []dhcp.Subnet, prefix netip.Prefix) netip.Prefix {
	for _, s := range all {
		if s.Prefix.Overlaps(prefix) {
			return s.Prefix
		}
	}
	return netip.Prefix{}
}

// checkGateways finds routers that no machine could reach.
func (p *Plan) checkGateways(all []dhcp.Subnet) error {
	if p.Config.proxies() {
		return nil // who gives the addresses names the router
	}
	for _, router := range addrs(p.Config.Gateway) {
		if !slices.ContainsFunc(all, func(s dhcp.Subnet) bool { return s.Prefix.Contains(router) }) {
			return fmt.Errorf("gateway: %s is in no subnet of the interfaces or of a pool, so that no machine could reach it", router)
		}
	}
	return nil
}

// subnet is a network with the settings that apply to it: a router outside of
// it could not be reached.
func (p *Plan) subnet(prefix netip.Prefix) dhcp.Subnet {
	c := &p.Config
	s := dhcp.Subnet{Prefix: prefix, NameServers: addrs(c.DNS), TimeServers: addrs(c.NTP), Domain: c.Domain}
	for _, router := range addrs(c.Gateway) {
		if prefix.Contains(router) && !s.Router.IsValid() {
			s.Router = router
		}
	}
	return s
}
