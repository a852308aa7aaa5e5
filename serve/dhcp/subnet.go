package dhcp

import (
	"net/netip"
	"slices"
	"sync"

	"hooksmith/serve/lease"
)

// iface is a network interface at a moment.
type iface struct {
	index    int
	name     string
	mac      []byte         // Ethernet's, else nil
	addrs    []netip.Prefix // IPv4, the first is the main one
	mtu      int
	loopback bool
}

// inOrder puts link-local addresses, which no machine is to load from, behind the others.
func inOrder(addrs []netip.Prefix) []netip.Prefix {
	isLocal := func(p netip.Prefix) bool { return p.Addr().IsLinkLocalUnicast() }
	return append(slices.DeleteFunc(slices.Clone(addrs), isLocal), slices.DeleteFunc(addrs, func(p netip.Prefix) bool { return !isLocal(p) })...)
}

// near returns the interface's address in the network of a, else its main one.
func (i *iface) near(a netip.Addr) netip.Addr {
	for _, p := range i.addrs {
		if p.Contains(a) {
			return p.Addr()
		}
	}
	if len(i.addrs) > 0 {
		return i.addrs[0].Addr()
	}
	return netip.Addr{}
}

// host is all interfaces at a moment. It does not change.
type host struct {
	ifaces map[int]*iface
	own    map[netip.Addr]bool
}

func newHost(ifaces []*iface) *host {
	h := &host{map[int]*iface{}, map[netip.Addr]bool{}}
	for _, i := range ifaces {
		h.ifaces[i.index] = i
		for _, p := range i.addrs {
			h.own[p.Addr()] = true
		}
	}
	return h
}

// addrsOf returns the addresses of an interface by name, none if it is not there.
func (h *host) addrsOf(name string) []netip.Prefix {
	for _, i := range h.ifaces {
		if i.name == name {
			return i.addrs
		}
	}
	return nil
}

// place is where a client is.
type place struct {
	subnets  []*Subnet // of its link; none: not one of ours
	selected netip.Addr
	why      string // there are none
}

// locate finds the subnets of a client's link. What a relay or the client says of it goes first, in the order of
// RFC 3527: link selection, subnet selection (RFC 3011), the relay's own address.
func (e *engine) locate(q *query) place {
	e.hearRelay(q)
	for _, selector := range []netip.Addr{q.linkSelect, q.subnetSelect, q.gateway} {
		if selector.IsValid() {
			return e.remote(q, selector)
		}
	}
	if q.ciaddr.IsValid() && q.unicast() && !slices.ContainsFunc(q.iface.addrs, func(p netip.Prefix) bool { return p.Contains(q.ciaddr) }) {
		return e.remote(q, q.ciaddr) // a client behind a router renews without the relay
	}
	p := place{why: "the interface has no address"}
	for _, addr := range q.iface.addrs {
		s := e.configured(addr.Addr())
		if s == nil {
			s = &Subnet{Prefix: addr.Masked()}
		}
		if !slices.ContainsFunc(p.subnets, func(have *Subnet) bool { return have.Prefix == s.Prefix }) {
			p.subnets = append(p.subnets, s)
		}
	}
	return p
}

func (e *engine) remote(q *query, selector netip.Addr) place {
	if s := e.configured(selector); s != nil {
		return place{subnets: []*Subnet{s}, selected: selector}
	}
	for _, i := range q.host.ifaces {
		for _, addr := range i.addrs {
			if addr.Contains(selector) && !i.loopback {
				return place{subnets: []*Subnet{{Prefix: addr.Masked()}}, selected: selector}
			}
		}
	}
	return place{selected: selector, why: "no subnet is configured that has " + selector.String()}
}

// configured finds the configured subnet of an address, nil if there is none.
func (e *engine) configured(a netip.Addr) *Subnet {
	for i := range e.Subnets {
		if e.Subnets[i].Prefix.Contains(a) {
			return &e.Subnets[i]
		}
	}
	return nil
}

// of returns the subnet of an address on this link, nil if it is not of it.
func (p *place) of(a netip.Addr) *Subnet {
	for _, s := range p.subnets {
		if s.Prefix.Contains(a) {
			return s
		}
	}
	return nil
}

// fits tells whether a record's address is one for this link, and if not, why. An address that is of no network we
// know is let pass on a link of our own: the server may have no address in the machines' network.
func (p *place) fits(e *engine, q *query, ip netip.Prefix) (bool, string) {
	if p.of(ip.Addr()) != nil {
		return true, ""
	}
	if p.selected.IsValid() {
		if len(p.subnets) == 0 && ip.Masked().Contains(p.selected) {
			return true, "" // the record itself says that they belong together
		}
		return false, "the record's address " + ip.String() + " is not in the network of " + p.selected.String() + ", where the machine is"
	}
	if s := e.configured(ip.Addr()); s != nil {
		return false, "the record's address " + ip.String() + " belongs to " + s.Prefix.String() + ", but the machine is on " + q.iface.name
	}
	for _, other := range q.host.ifaces {
		if other.index == q.iface.index || other.loopback {
			continue
		}
		for _, a := range other.addrs {
			if a.Contains(ip.Addr()) {
				return false, "the record's address " + ip.String() + " belongs to " + other.name + ", but the machine is on " + q.iface.name
			}
		}
	}
	return true, ""
}

// hearRelay keeps a relay's address out of the pool behind it, where no ARP probe finds it. An address that a machine has
// already stays the machine's: anyone can say that he is a relay.
func (e *engine) hearRelay(q *query) {
	if !q.gateway.IsValid() || e.Leases == nil || e.configured(q.gateway) == nil || e.relays.has(q.gateway) {
		return
	}
	for _, i := range q.host.ifaces {
		if slices.ContainsFunc(i.addrs, func(p netip.Prefix) bool { return p.Contains(q.gateway) }) {
			return
		}
	}
	if l, ok := e.Leases.LookupIP(q.gateway); !ok || l.State != lease.Active {
		e.relays.add(q.gateway)
	}
}

// relays are those that were heard in networks that are not the server's own.
type relays struct {
	mu   sync.RWMutex
	seen map[netip.Addr]bool
}

// maxRelays bounds what forged packets can take from the pools.
const maxRelays = 256

func (r *relays) add(a netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[netip.Addr]bool{}
	}
	if len(r.seen) < maxRelays {
		r.seen[a] = true
	}
}

func (r *relays) has(a netip.Addr) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.seen[a]
}
