package dhcp

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"hooksmith/serve/ipxe"
)

// Options that the codec has no name for, or not the one that fits.
const (
	optLogServer       = 7
	optMessageSize     = 57
	optRelayInfo       = 82
	optVendor          = 43
	optOverload        = 52
	optClientID        = 61
	optTFTPServer      = 66
	optBootFile        = 67
	optUserClass       = 77
	optArch            = 93
	optUUID            = 97
	optSubnetSelection = 118
	optIPXE            = 175

	relayLinkSelection = 5  // RFC 3527
	relayServerID      = 11 // RFC 5107
)

// arrival is how a packet came.
type arrival struct {
	from  netip.AddrPort
	to    netip.Addr // its destination: one of ours, or a broadcast address
	iface *iface
	host  *host
	pxe   bool // on port 4011
}

// unicast reports whether the packet was sent to this host alone.
func (a *arrival) unicast() bool { return a.host.own[a.to] }

// query is a client's message, read.
type query struct {
	*dhcpv4.DHCPv4
	arrival
	kind    dhcpv4.MessageType
	mac     string // as Machine.MAC; "" for what is no Ethernet
	id      string // of the lease: the MAC address, or as many octets as no MAC address has
	client  ipxe.Client
	booting bool // the firmware or an iPXE asks, not an operating system

	gateway, ciaddr, requested, serverID netip.Addr // zero if not said
	linkSelect, subnetSelect, override   netip.Addr
	hostname                             string
}

// maxPacket is what a socket reads: more than any DHCP message on Ethernet.
const maxPacket = 4096

var (
	errNoDHCP  = errors.New("a BOOTP message: no message type (option 53)")
	errIgnored = errors.New("not a client's message")
)

// parse reads a packet. An error means that it is no message that a server answers.
func parse(data []byte, a arrival) (*query, error) {
	msg, err := dhcpv4.FromBytes(data)
	if err != nil {
		return nil, err
	}
	if msg.OpCode != dhcpv4.OpcodeBootRequest {
		return nil, errIgnored
	}
	if err := mergeOverload(msg, data); err != nil {
		return nil, err
	}
	q := &query{DHCPv4: msg, arrival: a}
	if kind := msg.Options[dhcpv4.OptionDHCPMessageType.Code()]; len(kind) == 1 {
		q.kind = dhcpv4.MessageType(kind[0])
	} else {
		return nil, errNoDHCP
	}
	if q.gateway, err = a.hostAddr("giaddr", msg.GatewayIPAddr); err != nil {
		return nil, err
	}
	if q.ciaddr, err = a.hostAddr("ciaddr", msg.ClientIPAddr); err != nil {
		return nil, err
	}
	q.requested = q.address(dhcpv4.OptionRequestedIPAddress.Code())
	q.serverID = q.address(dhcpv4.OptionServerIdentifier.Code())
	q.subnetSelect = q.address(optSubnetSelection)
	q.readRelay()
	if err := q.identify(); err != nil {
		return nil, err
	}
	q.hostname = printable(msg.Options[dhcpv4.OptionHostName.Code()])
	q.readClient()
	return q, nil
}

// mergeOverload adds the options that stand in file and sname (RFC 2132 9.3), in RFC 3396's order.
func mergeOverload(msg *dhcpv4.DHCPv4, data []byte) error {
	overload := msg.Options[optOverload]
	if len(overload) != 1 {
		return nil
	}
	for _, field := range []struct {
		bit      byte
		from, to int
	}{{1, 108, 236}, {2, 44, 108}} {
		if overload[0]&field.bit == 0 {
			continue
		}
		if err := msg.Options.FromBytes(data[field.from:field.to]); err != nil {
			return fmt.Errorf("overloaded options: %w", err)
		}
	}
	return nil
}

// readRelay reads what a relay says in option 82. What is malformed in it is not used, but echoed as it is.
func (q *query) readRelay() {
	if len(q.Options[optRelayInfo]) == 0 {
		return
	}
	info := dhcpv4.Options{}
	if info.FromBytes(q.Options[optRelayInfo]) != nil {
		return
	}
	q.linkSelect = addrOf(info[relayLinkSelection])
	q.override = addrOf(info[relayServerID])
}

// identify finds whose message it is. Never by option 61 alone: the ROM, iPXE and the system of one machine send
// different ones. Where there is no Ethernet address (RFC 4390: InfiniBand says none) it is all that there is.
func (q *query) identify() error {
	hw := q.ClientHWAddr
	switch {
	case len(hw) == 6 && (q.HWType == iana.HWTypeEthernet || q.HWType == iana.HWTypeIEEE802):
		mac := hw.String() // as hardware.NormalizeMAC has it
		if hw[0]&1 != 0 || slices.Equal(hw, make([]byte, 6)) {
			return fmt.Errorf("%s is no machine's address", mac)
		}
		q.mac, q.id = mac, mac
	case len(hw) > 0 && !slices.Equal(hw, make([]byte, len(hw))):
		id := make([]byte, 18)
		id[1] = byte(q.HWType)
		copy(id[2:], hw)
		q.id = net.HardwareAddr(id).String()
	case len(q.Options[optClientID]) > 1:
		sum := sha256.Sum256(q.Options[optClientID])
		q.id = "ff:" + net.HardwareAddr(sum[:18]).String()
	default:
		return errors.New("neither a hardware address nor a client identifier")
	}
	return nil
}

// readClient reads what the machine says of itself that decides what it boots.
func (q *query) readClient() {
	q.client = ipxe.Client{
		MAC:         q.mac,
		VendorClass: printable(q.Options[dhcpv4.OptionClassIdentifier.Code()]),
		UserClasses: ipxe.ParseUserClass(q.Options[optUserClass]),
		Features:    ipxe.ParseFeatures(q.Options[optIPXE]),
	}
	archs := q.Options[optArch]
	for i := 0; i+1 < len(archs) && i < 32; i += 2 {
		q.client.Architectures = append(q.client.Architectures, uint16(archs[i])<<8|uint16(archs[i+1]))
	}
	q.booting = strings.HasPrefix(q.client.VendorClass, "PXEClient") || strings.HasPrefix(q.client.VendorClass, "HTTPClient") ||
		q.isIPXE()
}

// isIPXE reports whether an iPXE asks: only it sends option 175.
func (q *query) isIPXE() bool {
	return q.client.Features.Present() || slices.ContainsFunc(q.client.UserClasses, func(s string) bool {
		return s == "iPXE" || s == "gPXE" || s == ipxe.UserClass
	})
}

// description is the client in a word or two, for events.
func (q *query) description() string {
	if len(q.client.UserClasses) > 0 {
		return printable([]byte(strings.Join(q.client.UserClasses, ", ")))
	}
	return q.client.VendorClass
}

// arch names what the client says it is, "" if it does not.
func (q *query) arch() string {
	if len(q.client.Architectures) == 0 {
		return ""
	}
	return ipxe.Arch(q.client.Architectures[0]).String()
}

// wants reports whether the client asked for an option; one that lists none wants all.
func (q *query) wants(code uint8) bool {
	list, ok := q.Options[dhcpv4.OptionParameterRequestList.Code()]
	return !ok || slices.Contains(list, code)
}

// limit is how long the DHCP message of an answer may be: what the client says in option 57, which counts the IP and
// UDP headers, or what RFC 2131 has every client take; never more than the link carries.
func (q *query) limit() int {
	const headers, least = 28, 576
	size := least
	if v := q.Options[optMessageSize]; len(v) == 2 {
		size = max(least, int(v[0])<<8|int(v[1]))
	}
	if mtu := q.iface.mtu; mtu >= least {
		size = min(size, mtu)
	}
	return min(size, 1500) - headers
}

func (q *query) address(code uint8) netip.Addr { return addrOf(q.Options[code]) }

// addrOf is an IPv4 address, zero if there is none or it is 0.0.0.0.
func addrOf(b []byte) netip.Addr {
	if a, ok := netip.AddrFromSlice(b); ok && a.Is4() && !a.IsUnspecified() {
		return a
	}
	return netip.Addr{}
}

// hostAddr reads an address that an answer may go to: zero if there is none. Groups, broadcast addresses and what no
// machine on a link has (RFC 6890: 0.0.0.0/8, 127.0.0.0/8, 240.0.0.0/4) are errors: nobody else is sent what a client asked.
func (a *arrival) hostAddr(field string, b []byte) (netip.Addr, error) {
	addr := addrOf(b)
	if !addr.IsValid() {
		return addr, nil
	}
	switch first := addr.As4()[0]; {
	case first == 0, first >= 224, first == 127 && !a.iface.loopback:
		return netip.Addr{}, fmt.Errorf("%s %s is no machine's address", field, addr)
	}
	return addr, nil
}

func netIP(a netip.Addr) net.IP {
	if !a.IsValid() {
		return net.IPv4zero.To4()
	}
	return a.AsSlice()
}

// printable keeps what may stand in a log or on a page.
func printable(b []byte) string {
	if i := slices.Index(b, 0); i >= 0 {
		b = b[:i]
	}
	b = b[:min(len(b), 255)]
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, string(b))
}
