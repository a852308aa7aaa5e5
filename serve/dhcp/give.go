package dhcp

import (
	"net"
	"net/netip"
	"strconv"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"hooksmith/serve/event"
	"hooksmith/serve/ipxe"
)

// destination is where an answer goes.
type destination struct {
	addr  netip.AddrPort
	hw    net.HardwareAddr // set: in a frame to this address, because addr is not yet the machine's; else by routing
	from  netip.Addr
	iface *iface
}

func broadcast(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), port)
}

// message is the frame of every answer: what RFC 2131's table 3 copies from the query, and the options that are echoed
// (61 by RFC 6842, 82 by RFC 3046, 118 by RFC 3011, 97 by PXE).
func (x *exchange) message(kind dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	msg := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootReply, HWType: x.HWType, ClientHWAddr: x.ClientHWAddr, TransactionID: x.TransactionID,
		Flags: x.Flags, GatewayIPAddr: netIP(x.gateway), ClientIPAddr: netIP(netip.Addr{}), YourIPAddr: netIP(netip.Addr{}),
		ServerIPAddr: netIP(netip.Addr{}), Options: make(dhcpv4.Options, 8),
	}
	msg.Options[dhcpv4.OptionDHCPMessageType.Code()] = []byte{byte(kind)}
	id := x.local()
	if x.override.IsValid() {
		id = x.override
	}
	msg.Options[dhcpv4.OptionServerIdentifier.Code()] = netIP(id)
	for _, code := range [...]uint8{optClientID, optRelayInfo, optSubnetSelection, optUUID} {
		if v, ok := x.Options[code]; ok && (code != optUUID || x.booting) {
			msg.Options[code] = v
		}
	}
	return msg
}

// local is this server's address towards the client: the one that the packet was sent to, or of those on the interface
// the one in the client's network.
func (x *exchange) local() netip.Addr {
	if x.unicast() {
		return x.to
	}
	if x.machine != nil && x.place.of(x.machine.IP.Addr()) != nil {
		return x.iface.near(x.machine.IP.Addr())
	}
	if len(x.place.subnets) > 0 {
		return x.iface.near(x.place.subnets[0].Prefix.Addr())
	}
	return x.iface.near(netip.Addr{})
}

// give is an OFFER or ACK with an address, or the ACK of an INFORM.
func (x *exchange) give(kind dhcpv4.MessageType, a assignment) answer {
	msg := x.message(kind)
	inform := x.kind == dhcpv4.MessageTypeInform
	msg.ClientIPAddr = netIP(x.ciaddr)
	if !inform {
		msg.YourIPAddr = netIP(a.ip)
		x.times(msg, a.subnet)
	}
	if kind == dhcpv4.MessageTypeOffer {
		msg.ClientIPAddr = netIP(netip.Addr{})
	}
	x.network(msg, a)
	d := x.decide()
	x.boot(msg, d, a.subnet)
	what := event.Ack
	if kind == dhcpv4.MessageTypeOffer {
		what = event.Offer
	}
	if inform {
		what = event.Inform
	}
	x.event(event.Event{Kind: what, IP: a.ip.String(), File: msg.BootFileName, Detail: d.Reason})
	return answer{packet: msg, to: x.destination(msg), events: x.events}
}

// giveBoot is an answer without an address.
func (x *exchange) giveBoot(kind dhcpv4.MessageType) answer {
	d := x.decide()
	if d.Kind == ipxe.Nothing {
		return x.silence(d.Reason)
	}
	msg := x.message(kind)
	if kind == dhcpv4.MessageTypeAck {
		msg.ClientIPAddr = netIP(x.ciaddr)
	}
	s := &Subnet{}
	if len(x.place.subnets) > 0 {
		s = x.place.subnets[0]
	}
	x.boot(msg, d, s)
	what := event.Ack
	if kind == dhcpv4.MessageTypeOffer {
		what = event.Offer
	}
	x.event(event.Event{Kind: what, IP: text(x.ciaddr), File: msg.BootFileName, Detail: "without an address: " + d.Reason})
	return answer{packet: msg, to: x.destination(msg), events: x.events}
}

// destination is where RFC 2131 section 4.1 sends an OFFER or ACK.
func (x *exchange) destination(msg *dhcpv4.DHCPv4) destination {
	d := destination{addr: broadcast(x.Ports.Client), from: x.local(), iface: x.iface}
	yiaddr := addrOf(msg.YourIPAddr)
	switch {
	case x.pxe:
		// From whatever port the client asked; 4011 is not for relays.
		switch {
		case x.ciaddr.IsValid():
			d.addr = netip.AddrPortFrom(x.ciaddr, x.from.Port())
		case addrOf(x.from.Addr().AsSlice()).IsValid():
			d.addr = x.from
		}
	case x.gateway.IsValid():
		d.addr = netip.AddrPortFrom(x.gateway, x.Ports.Server)
	case x.ciaddr.IsValid() && msg.MessageType() != dhcpv4.MessageTypeOffer:
		d.addr = netip.AddrPortFrom(x.ciaddr, x.Ports.Client)
	case x.IsBroadcast() || !yiaddr.IsValid():
	case x.HWType == iana.HWTypeEthernet && len(x.ClientHWAddr) == 6 && len(x.iface.mac) == 6:
		d.addr, d.hw = netip.AddrPortFrom(yiaddr, x.Ports.Client), x.ClientHWAddr
	}
	return d
}

// heard records that the query came, in the modes and kinds that concern this server.
func (x *exchange) heard() {
	kind := event.Discover
	if x.kind == dhcpv4.MessageTypeRequest {
		kind = event.Request
	} else if x.kind != dhcpv4.MessageTypeDiscover {
		return
	}
	if x.Mode.proxy() && !x.booting {
		return
	}
	e := event.Event{Kind: kind, IP: text(x.requested)}
	if x.serverID.IsValid() && !x.ours(x.serverID) {
		e.Peer = x.serverID.String()
	}
	if x.ciaddr.IsValid() {
		e.IP = x.ciaddr.String()
	}
	x.event(e)
}

// silence is no answer, and why.
func (x *exchange) silence(why string) answer {
	x.say(event.Silence, netip.Addr{}, x.kind.String()+": "+why)
	return answer{events: x.events}
}

func (x *exchange) say(kind event.Kind, ip netip.Addr, detail string) {
	x.event(event.Event{Kind: kind, IP: text(ip), Detail: detail})
}

// event adds what is the same for all events of a query.
func (x *exchange) event(e event.Event) {
	e.Time, e.MAC, e.Arch, e.Client = x.now, x.mac, x.arch(), x.description()
	if x.gateway.IsValid() && e.Peer == "" {
		if x.relay == "" {
			x.relay = x.gateway.String()
		}
		e.Peer = x.relay
	}
	if x.events == nil {
		x.events = make([]event.Event, 0, 2)
	}
	x.events = append(x.events, e)
}

func (x *exchange) pxePort() string { return strconv.Itoa(int(x.Ports.PXE)) }

// text is an address for events, "" if there is none.
func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
