package ra

import (
	"errors"
	"net"
	"net/netip"

	"golang.org/x/net/ipv6"
)

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// hopLimit tells that a packet has passed no router (RFC 4861, 3.1).
const hopLimit = 255

const sourceLinkLayer = 1 // RFC 4861, 4.6.1

// advertisement is a router advertisement (RFC 4861, 4.2) in which every field
// is 0: hop limit and timers not specified, no DHCPv6 (M and O), not a default
// router, medium preference. Without a prefix option hosts make no address of
// it. The kernel fills the checksum in.
func advertisement(mac net.HardwareAddr) []byte {
	b := make([]byte, 16, 24)
	b[0] = byte(ipv6.ICMPTypeRouterAdvertisement)
	if len(mac) == 6 {
		b = append(append(b, sourceLinkLayer, 1), mac...)
	}
	return b
}

// checkSolicitation tells whether a message is a valid router solicitation (RFC
// 4861, 6.1.1). The kernel has checked the checksum. Hosts send it from a
// link-local address, or from none while they make sure of theirs.
func checkSolicitation(b []byte, hops int, from netip.Addr) error {
	switch {
	case hops != hopLimit:
		return errors.New("it did not come from this link: its hop limit is not 255")
	case !from.IsLinkLocalUnicast() && !from.IsUnspecified():
		return errors.New("its source address is not a link-local one")
	case len(b) < 8 || b[0] != byte(ipv6.ICMPTypeRouterSolicitation) || b[1] != 0:
		return errors.New("it is not a router solicitation")
	}
	for options := b[8:]; len(options) > 0; {
		if len(options) < 2 || options[1] == 0 || len(options) < 8*int(options[1]) {
			return errors.New("an option of it has a wrong length")
		}
		if options[0] == sourceLinkLayer && from.IsUnspecified() {
			return errors.New("it has a link-layer address, but no source address")
		}
		options = options[8*int(options[1]):]
	}
	return nil
}
