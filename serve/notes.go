package serve

import (
	"fmt"
	"net/netip"
	"slices"

	"hooksmith/serve/hardware"
)

// Notes are what is in order by itself and yet cannot be meant.
func (p *Plan) Notes() []string {
	machines := p.boots.hardware.All()
	notes := p.boots.ownRecords(machines)
	if why := p.idlePool(machines); why != "" {
		notes = append(notes, "pool: no machine gets an address of it: "+why)
	}
	return notes
}

// idlePool says why no machine gets an address of the pool, "" if one may.
func (p *Plan) idlePool(machines []hardware.Machine) string {
	c := &p.Config
	switch {
	case len(c.Pool) == 0:
		return ""
	case c.DHCPMode == off:
		return "with dhcp-mode off this server gives none"
	case !c.givesPool():
		return "machines with a record have theirs, and others are not answered; for these say unknown: pool or auto, or dhcp-mode: pool"
	case c.Unknown == deny && len(machines) > 0 && !slices.ContainsFunc(machines, p.boots.needsPool):
		return "unknown machines are not answered, and all others have an address of their own; say unknown: pool or auto"
	}
	return ""
}

// needsPool reports whether a machine's record gives it no address on our
// networks.
func (b *boots) needsPool(m hardware.Machine) bool {
	return !slices.ContainsFunc(b.links, func(l link) bool { return l.contains(m.IP.Addr()) })
}

// ownRecords finds machines whose record has an address of this server's: both
// would have it. The server's own record is in order.
func (b *boots) ownRecords(machines []hardware.Machine) (notes []string) {
	own := map[netip.Addr]link{}
	for _, l := range b.links {
		for _, a := range append(l.addresses(), l.address) {
			own[a] = l
		}
	}
	for _, m := range machines {
		if l, ok := own[m.IP.Addr()]; ok && m.MAC != l.mac.String() {
			notes = append(notes, fmt.Sprintf("hardware data: %s has the address %s, which is this server's own on %s: neither can be reached while the machine uses it; change the record (%s)",
				m.MAC, m.IP.Addr(), l.name, m.Source))
		}
	}
	return notes
}
