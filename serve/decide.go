package serve

import (
	"hooksmith/serve/ipxe"
)

// Decide is what a client gets by this configuration, as DHCP or another server beside it has to say; false: it is not
// answered, because its machine is not known.
func (p *Plan) Decide(c ipxe.Client) (ipxe.Decision, bool) {
	m, ok := p.boots.hardware.Lookup(c.MAC)
	if !ok && p.Config.Unknown != auto {
		return ipxe.Decision{}, false
	}
	if !ok {
		m = nil
	}
	return p.boots.rule.Decide(c, m), true
}

// BaseURL is where machines get scripts and files, without a / at the end.
func (p *Plan) BaseURL() string { return p.boots.baseURL(p.boots.links[0].address) }
