package dhcp

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"hooksmith/serve/event"
	"hooksmith/serve/lease"
)

// assignment is an address for a client.
type assignment struct {
	ip       netip.Addr
	bits     int // of the client's netmask
	subnet   *Subnet
	reserved bool
}

// reservation is the record's address; without one for this link ip is zero and why says why.
func (x *exchange) reservation() (a assignment, why string) {
	m := x.machine
	switch {
	case m == nil:
		return a, "unknown machine"
	case !m.IP.IsValid() || !m.IP.Addr().Is4():
		return a, "the hardware record has no IPv4 address"
	}
	if ok, why := x.place.fits(x.engine, x.query, m.IP); !ok {
		return a, why
	}
	s := x.place.of(m.IP.Addr())
	if s == nil {
		s = &Subnet{Prefix: m.IP.Masked()}
	}
	return assignment{m.IP.Addr(), m.IP.Bits(), s, true}, ""
}

// reserved reports whether the record has an address for this link.
func (x *exchange) reserved() bool {
	a, _ := x.reservation()
	return a.ip.IsValid()
}

// pooled reports whether the client may have an address of a pool. A machine with a record is not worse off than one
// without.
func (x *exchange) pooled() bool { return x.Mode == Pool || x.Unknown != Deny }

// choose finds what to offer; without anything ip is zero and why says why.
func (x *exchange) choose() (assignment, string) {
	a, why := x.reservation()
	if a.ip.IsValid() {
		if held, ok := x.Leases.LookupIP(a.ip); !ok || held.MAC == x.id || held.State != lease.Active || held.Reserved {
			return a, ""
		} else if why = "the record's address " + a.ip.String() + " is leased to " + held.MAC + " until " + held.Expires.Format(time.RFC3339); !x.pooled() {
			return assignment{}, why
		}
	}
	if !x.pooled() {
		return assignment{}, why
	}
	if len(x.place.subnets) == 0 {
		return assignment{}, x.place.why
	}
	why = ""
	for _, s := range x.place.subnets {
		if len(s.Pools) == 0 {
			continue
		}
		ip, err := x.Leases.Offer(x.leaseClient(), x.pools[s.Prefix], x.requested)
		if err == nil {
			return assignment{ip: ip, bits: s.Prefix.Bits(), subnet: s}, ""
		}
		why = err.Error()
		if x.mayLog(x.query) {
			x.Log.Warn("no address to offer", "mac", x.id, "subnet", s.Prefix, "error", err)
		}
	}
	if why == "" {
		why = "no pool is configured for the machine's network " + x.place.subnets[0].Prefix.String()
	}
	return assignment{}, why
}

// known reports whether the client is one of ours: by its record, or by a lease that it has or had here.
func (x *exchange) known(want netip.Addr) bool {
	if x.machine != nil && x.machine.IP.IsValid() {
		return true
	}
	for _, s := range x.place.subnets {
		if _, ok := x.Leases.Lookup(x.id, s.Prefix); ok {
			return true
		}
	}
	l, ok := x.Leases.LookupIP(want)
	return ok && l.MAC == x.id
}

// grant leases the address that the client wants, if it is the right one.
func (x *exchange) grant(want netip.Addr) answer {
	a, why := x.reservation()
	switch {
	case a.ip == want:
	case x.pooled():
		s := x.place.of(want)
		if s == nil {
			return x.nak(want, want.String()+" is not of the network where the machine is")
		}
		if a.ip.IsValid() && !x.leased(a.ip) {
			return x.nak(want, "the hardware record gives "+a.ip.String()+", not "+want.String())
		}
		if !x.pools[s.Prefix].Allows(want) {
			return x.nak(want, want.String()+" is not an address of the pool")
		}
		// What was offered, also if that was before a restart: the store prefers what the client has.
		if ip, err := x.Leases.Offer(x.leaseClient(), x.pools[s.Prefix], want); err != nil {
			return x.nak(want, err.Error())
		} else if ip != want {
			return x.nak(want, "the machine's address is "+ip.String()+", not "+want.String())
		}
		a = assignment{ip: want, bits: s.Prefix.Bits(), subnet: s}
	case a.ip.IsValid():
		return x.nak(want, "the hardware record gives "+a.ip.String()+", not "+want.String())
	default:
		return x.nak(want, why)
	}
	return x.bind(a)
}

// leased reports whether another client has a live lease of an address, from before it was reserved.
func (x *exchange) leased(ip netip.Addr) bool {
	l, ok := x.Leases.LookupIP(ip)
	return ok && l.MAC != x.id && l.State == lease.Active && !l.Reserved
}

// bind asks for a lease; when that is on disk there is an ACK.
func (x *exchange) bind(a assignment) answer {
	if !a.reserved {
		x.probes.again(a.ip, x.now)
	}
	return answer{binds: &binding{lease.Lease{
		Client: x.leaseClient(), IP: a.ip, Prefix: a.subnet.Prefix, Reserved: a.reserved, Duration: x.leaseTime(a.subnet),
	}, func(err error) answer { return x.bound(a, err) }}}
}

// bound is the answer to a client whose lease was written, or not.
func (x *exchange) bound(a assignment, err error) answer {
	if taken := (*lease.TakenError)(nil); errors.As(err, &taken) {
		return x.nak(a.ip, err.Error())
	}
	if err != nil {
		x.Log.Error("the lease could not be stored, so the machine gets no answer", "mac", x.id, "ip", a.ip, "error", err)
		return x.silence("the lease could not be stored: " + err.Error())
	}
	if !a.reserved && x.probes.conflict(a.ip, x.now) {
		x.Leases.Decline(context.Background(), x.id, a.ip) // the probe's answer came in between
		return x.nak(a.ip, a.ip.String()+" is in use by another machine")
	}
	return x.give(dhcpv4.MessageTypeAck, a)
}

func (x *exchange) leaseClient() lease.Client {
	return lease.Client{MAC: x.id, ClientID: x.Options[optClientID], UUID: x.Options[optUUID], Hostname: x.hostname}
}

// leaseTime is whole seconds and never 0.
func (x *exchange) leaseTime(s *Subnet) time.Duration {
	var own time.Duration
	if x.machine != nil {
		own = x.machine.LeaseTime
	}
	return max(cmp.Or(own, s.LeaseTime, x.LeaseTime).Truncate(time.Second), time.Second)
}

// pool is a subnet's addresses as the lease store sees them.
func (e *engine) pool(s *Subnet) lease.Subnet {
	p := lease.Subnet{Prefix: s.Prefix, Excluded: func(ip netip.Addr) bool {
		if ip == s.Router || e.current.Load().own[ip] || e.relays.has(ip) {
			return true
		}
		_, reserved := e.Hardware.LookupIP(ip)
		return reserved
	}}
	for _, r := range s.Pools {
		p.Ranges = append(p.Ranges, lease.Range{From: r.First, To: r.Last})
	}
	return p
}

// nak refuses an address. It is only called for clients that asked us, or that are ours on a network of ours.
func (x *exchange) nak(ip netip.Addr, why string) answer {
	msg := x.message(dhcpv4.MessageTypeNak)
	msg.Options[dhcpv4.OptionMessage.Code()] = []byte(why)[:min(len(why), 255)]
	x.say(event.Nak, ip, why)
	to := destination{addr: broadcast(x.Ports.Client), from: x.local(), iface: x.iface}
	if x.gateway.IsValid() {
		msg.SetBroadcast() // RFC 2131 4.1: the relay must broadcast it, the client has no use of its address
		to.addr = netip.AddrPortFrom(x.gateway, x.Ports.Server)
	}
	return answer{packet: msg, to: to, events: x.events}
}
