package dhcp

import (
	"slices"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

const (
	headerLen = 240 // with the magic cookie
	leastLen  = 300 // of a message: relays and ROMs of BOOTP's time drop shorter ones (RFC 951)
	sizeSname = 64
	sizeFile  = 128
)

// important is the order of options in an answer: what a client cannot do without comes first, 121 before 3 (RFC 3442).
// Behind them come the others in the order in which the client lists them, then by number; 82 is last (RFC 3046).
var important = []uint8{53, 54, 51, 1, 121, 3, optIPXE, 60, optVendor, optBootFile, optClientID, optUUID, optSubnetSelection, 58, 59, 6}

// encode writes an answer of at most limit bytes. Options that do not fit go to the fields file and sname, if these are
// free (RFC 2132 option 52, overload); what fits nowhere is left out and returned.
func encode(msg *dhcpv4.DHCPv4, asked []byte, limit int) (packet []byte, dropped []uint8) {
	last := optionBytes(msg.Options, optRelayInfo)
	room := max(limit, leastLen) - headerLen - len(last) - 1
	main, rest := fill(msg.Options, order(msg.Options, asked), room)
	var file, sname []byte
	name := msg.ServerHostName
	if len(rest) > 0 {
		main, rest = fill(msg.Options, order(msg.Options, asked), room-3)
		if msg.BootFileName == "" {
			file, rest = fill(msg.Options, rest, sizeFile-1)
		}
		if len(rest) > 0 { // the server's name is worth least
			if sname, rest = fill(msg.Options, rest, sizeSname-1); len(sname) > 0 {
				name = ""
			}
		}
	}
	overload := byte(0)
	if len(file) > 0 {
		overload |= 1
	}
	if len(sname) > 0 {
		overload |= 2
	}
	if overload != 0 {
		main = append(main, optOverload, 1, overload)
	}
	p := header(msg)
	copy(p[44:44+sizeSname-1], name)
	copy(p[108:108+sizeFile-1], msg.BootFileName)
	ended(p[44:44+sizeSname], sname)
	ended(p[108:108+sizeFile], file)
	p = append(append(append(p, main...), last...), dhcpv4.OptionEnd.Code())
	return append(p, make([]byte, max(0, leastLen-len(p)))...), rest
}

// header is the fixed fields without file and sname, and the cookie.
func header(msg *dhcpv4.DHCPv4) []byte {
	bare := *msg
	bare.ServerHostName, bare.BootFileName, bare.Options = "", "", nil
	return bare.ToBytes()[:headerLen:headerLen]
}

// ended puts options in a field.
func ended(field, options []byte) {
	if len(options) > 0 {
		copy(field, append(options, dhcpv4.OptionEnd.Code()))
	}
}

// order lists the options of an answer but 82.
func order(options dhcpv4.Options, asked []byte) (codes []uint8) {
	var others []uint8
	for code := range options {
		others = append(others, code)
	}
	slices.Sort(others)
	for _, list := range [][]uint8{important, asked, others} {
		for _, code := range list {
			if options.Has(dhcpv4.GenericOptionCode(code)) && code != optRelayInfo && !slices.Contains(codes, code) {
				codes = append(codes, code)
			}
		}
	}
	return codes
}

// fill takes options as long as there is room, and smaller ones behind one that is too large.
func fill(options dhcpv4.Options, codes []uint8, room int) (out []byte, rest []uint8) {
	for _, code := range codes {
		if b := optionBytes(options, code); len(out)+len(b) <= room {
			out = append(out, b...)
		} else {
			rest = append(rest, code)
		}
	}
	return out, rest
}

// optionBytes is one option as it stands in a packet, in several parts if it is long (RFC 3396).
func optionBytes(options dhcpv4.Options, code uint8) []byte {
	v, ok := options[code]
	if !ok {
		return nil
	}
	return dhcpv4.Options{code: v}.ToBytes()
}
