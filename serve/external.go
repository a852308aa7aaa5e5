package serve

import (
	"net/netip"

	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
)

// Rule is what decides which file a machine loads.
func (p *Plan) Rule() *ipxe.Rule { return p.boots.rule }

// Records are the hardware data, by MAC address. They must not be changed.
func (p *Plan) Records() []hardware.Machine { return p.boots.hardware.All() }

// Subnet is the network of the only interface, not valid where there are
// several, or none as for a Plan made Anywhere.
func (p *Plan) Subnet() netip.Prefix {
	if len(p.boots.links) != 1 || p.boots.links[0].name == anywhere.name {
		return netip.Prefix{}
	}
	return p.boots.links[0].subnet
}

// PoolRanges are the addresses that Config.Pool names, both ends included.
func (p *Plan) PoolRanges() (all [][2]netip.Addr) {
	for _, s := range p.Config.Pool {
		if r, err := parseRange(s); err == nil { // Validate has parsed it
			all = append(all, r)
		}
	}
	return all
}
