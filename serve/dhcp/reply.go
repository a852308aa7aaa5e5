package dhcp

import (
	"context"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"hooksmith/serve/event"
	"hooksmith/serve/hardware"
	"hooksmith/serve/lease"
)

// answer is what one packet causes.
type answer struct {
	packet *dhcpv4.DHCPv4 // nil: silence
	to     destination
	events []event.Event
	binds  *binding // nil: none
}

// binding is a lease that must be on disk before there is an answer.
type binding struct {
	lease lease.Lease
	then  func(error) answer // with what became of it
}

// exchange is one query on its way to an answer.
type exchange struct {
	*engine
	*query
	machine *hardware.Machine // nil: unknown
	place   place
	now     time.Time
	events  []event.Event
	relay   string // gateway as text, once it was needed
}

// reply is begin with the lease written.
func (e *engine) reply(ctx context.Context, q *query, now time.Time) answer {
	a := e.begin(ctx, q, now)
	if a.binds == nil {
		return a
	}
	_, err := e.Leases.Bind(ctx, a.binds.lease)
	return a.binds.then(err)
}

// begin is the protocol: RFC 2131 section 4.3, PXE 2.1 for who only boots. It sends nothing; what it leaves behind is in
// Leases, the state of loops and a probe that may have been started. A lease it leaves to the caller to write.
func (e *engine) begin(ctx context.Context, q *query, now time.Time) answer {
	// 1. Who asks, from where, and whether it is talked to at all.
	x := &exchange{engine: e, query: q, machine: e.machine(q), place: e.locate(q), now: now}
	x.heard()
	if why := x.refused(); why != "" {
		return x.silence(why)
	}
	// 2. Beside another server, and on the port of boot servers, there is only something to boot.
	if e.Mode.proxy() || q.pxe {
		return x.bootOnly()
	}
	// 3. Each message by its rule.
	switch q.kind {
	case dhcpv4.MessageTypeDiscover:
		return x.discover()
	case dhcpv4.MessageTypeRequest:
		return x.request()
	case dhcpv4.MessageTypeDecline:
		return x.decline(ctx)
	case dhcpv4.MessageTypeRelease:
		return x.release(ctx)
	case dhcpv4.MessageTypeInform:
		return x.inform()
	}
	return x.silence("a " + q.kind.String() + " message is not for a server of this kind")
}

// machine finds the record, nil if there is none.
func (e *engine) machine(q *query) *hardware.Machine {
	if m, ok := e.Hardware.Lookup(q.mac); ok && q.mac != "" {
		return m
	}
	return nil
}

// refused says why a client gets no answer whatever it sends.
func (x *exchange) refused() string {
	switch {
	case x.machine != nil && x.machine.DHCP == hardware.Off:
		return "the hardware record turns DHCP off"
	case x.machine == nil && x.Unknown == Deny:
		if x.kind == dhcpv4.MessageTypeDiscover && (x.booting || !x.Mode.proxy()) {
			x.say(event.Unknown, netip.Addr{}, "no hardware record has this MAC address")
		}
		return "unknown machine"
	}
	return ""
}

// discover offers an address.
func (x *exchange) discover() answer {
	a, why := x.choose()
	if !a.ip.IsValid() {
		return x.silence(why)
	}
	if !a.reserved {
		x.probe(a)
	}
	return x.give(dhcpv4.MessageTypeOffer, a)
}

// request tells the four kinds of REQUEST apart by the table in RFC 2131 section 4.3.2.
func (x *exchange) request() answer {
	want := x.requested
	if !want.IsValid() {
		want = x.ciaddr
	}
	switch {
	case x.serverID.IsValid() && !x.ours(x.serverID): // SELECTING, but not us
		return x.lost()
	case !want.IsValid():
		return x.silence("a REQUEST without an address")
	case x.serverID.IsValid(): // SELECTING
		return x.grant(want)
	case len(x.place.subnets) == 0 && !x.reserved(): // a record's network behind a relay needs no configuration
		return x.silence("not a network of this server: " + x.place.why)
	case !x.known(want): // INIT-REBOOT, RENEWING, REBINDING: maybe another server's client
		return x.silence("a lease that this server knows nothing of")
	}
	return x.grant(want)
}

// lost is what happens when the client took another server's offer.
func (x *exchange) lost() answer {
	for _, s := range x.place.subnets {
		x.Leases.Forget(x.id, s.Prefix)
	}
	x.event(event.Event{Kind: event.RivalDHCP, Peer: x.serverID.String(), IP: text(x.requested),
		Detail: "the machine took the offer of the DHCP server " + x.serverID.String()})
	return answer{events: x.events}
}

// ours reports whether a server identifier is one of this host's, or what a relay gave out in our name (RFC 5107).
func (x *exchange) ours(id netip.Addr) bool {
	return x.host.own[id] || id == x.override || id == x.Boot.Address
}

// decline puts an address away that the client found in use.
func (x *exchange) decline(ctx context.Context) answer {
	ip := x.requested
	if !x.ours(x.serverID) || !ip.IsValid() {
		return x.silence("a DECLINE of another server's address")
	}
	if x.machine != nil && x.machine.IP.Addr() == ip {
		x.say(event.Decline, ip, "another machine uses the reserved address "+ip.String()+": find it, for example by arping, or change the record")
		return answer{events: x.events}
	}
	if err := x.Leases.Decline(ctx, x.id, ip); err != nil {
		return x.silence("DECLINE of " + ip.String() + ": " + err.Error())
	}
	x.say(event.Decline, ip, "the machine found "+ip.String()+" in use by another; the address is put away for a while")
	return answer{events: x.events}
}

// release ends a lease.
func (x *exchange) release(ctx context.Context) answer {
	if x.serverID.IsValid() && !x.ours(x.serverID) {
		return x.silence("a RELEASE of another server's address")
	}
	if err := x.Leases.Release(ctx, x.id, x.ciaddr); err != nil {
		return x.silence("RELEASE of " + text(x.ciaddr) + ": " + err.Error())
	}
	x.say(event.Release, x.ciaddr, "")
	return answer{events: x.events}
}

// inform tells a client that has an address the rest.
func (x *exchange) inform() answer {
	if !x.ciaddr.IsValid() {
		return x.silence("an INFORM without an address")
	}
	if a, _ := x.reservation(); a.ip == x.ciaddr {
		return x.give(dhcpv4.MessageTypeAck, a)
	}
	s := x.place.of(x.ciaddr)
	if s == nil {
		return x.silence("an INFORM from an address that is not of its network")
	}
	return x.give(dhcpv4.MessageTypeAck, assignment{ip: x.ciaddr, bits: s.Prefix.Bits(), subnet: s})
}

// bootOnly answers as a ProxyDHCP or boot server: no address, no lease.
func (x *exchange) bootOnly() answer {
	kind := dhcpv4.MessageTypeAck
	switch {
	case !x.booting:
		return answer{}
	case x.pxe && (x.kind == dhcpv4.MessageTypeRequest || x.kind == dhcpv4.MessageTypeInform):
	case x.pxe:
		return x.silence("on port " + x.pxePort() + " only a REQUEST is answered")
	case x.kind == dhcpv4.MessageTypeDiscover:
		kind = dhcpv4.MessageTypeOffer
	case x.kind != dhcpv4.MessageTypeRequest:
		return answer{}
	case x.serverID.IsValid() && !x.ours(x.serverID), !x.serverID.IsValid() && !x.unicast():
		return answer{events: x.events} // for the server that gives the addresses
	}
	return x.giveBoot(kind)
}
