package dhcp

import (
	"encoding/binary"
	"net"
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
// free (RFC 2132 option 52, overload); what fits nowhere is left out, the least important first, and returned.
func encode(msg *dhcpv4.DHCPv4, asked []byte, limit int) (packet []byte, dropped []uint8) {
	last := appendOption(nil, msg.Options, optRelayInfo)
	room := max(limit, leastLen) - headerLen - len(last) - 1
	codes := order(msg.Options, asked)
	p, name := header(msg), msg.ServerHostName
	for _, code := range codes {
		p = appendOption(p, msg.Options, code)
	}
	if len(p)-headerLen > room {
		p = p[:headerLen]
		var fields [][]byte
		fields, dropped = overload(msg, codes, room)
		used := byte(0)
		if len(fields[1]) > 0 {
			used |= 1
			copy(p[108:], append(fields[1], dhcpv4.OptionEnd.Code()))
		}
		if len(fields[2]) > 0 { // the server's name is worth least
			used, name = used|2, ""
			copy(p[44:], append(fields[2], dhcpv4.OptionEnd.Code()))
		}
		if used != 0 {
			last = append([]byte{optOverload, 1, used}, last...)
		}
		p = append(p, fields[0]...)
	}
	copy(p[44:44+sizeSname-1], name)
	copy(p[108:108+sizeFile-1], msg.BootFileName)
	p = append(append(p, last...), dhcpv4.OptionEnd.Code())
	for len(p) < leastLen {
		p = append(p, dhcpv4.OptionPad.Code())
	}
	return p, dropped
}

// overload finds room for options in all fields, and leaves out as few as it must.
func overload(msg *dhcpv4.DHCPv4, codes []uint8, room int) (fields [][]byte, dropped []uint8) {
	rooms := []int{room - 3, sizeFile - 1, sizeSname - 1}
	if msg.BootFileName != "" {
		rooms[1] = 0
	}
	for {
		fields, ok := pack(msg.Options, codes, rooms)
		if ok || len(codes) == 0 {
			return fields, dropped
		}
		dropped = append(dropped, codes[len(codes)-1])
		codes = codes[:len(codes)-1]
	}
}

// pack puts options into fields of some size: the important ones into the first as far as they fit, as not every ROM
// looks into the others, then the largest first, as that wastes least. In each field they stand in the order of codes.
func pack(options dhcpv4.Options, codes []uint8, rooms []int) (fields [][]byte, ok bool) {
	bySize := slices.Clone(codes)
	slices.SortStableFunc(bySize, func(a, b uint8) int {
		switch first, second := slices.Contains(important, a), slices.Contains(important, b); {
		case first && second:
			return 0
		case first:
			return -1
		case second:
			return 1
		}
		return len(options[b]) - len(options[a])
	})
	in, left := map[uint8]int{}, slices.Clone(rooms)
	for _, code := range bySize {
		n := len(appendOption(nil, options, code))
		field := slices.IndexFunc(left, func(room int) bool { return n <= room })
		if field < 0 {
			return make([][]byte, len(rooms)), false
		}
		in[code], left[field] = field, left[field]-n
	}
	fields = make([][]byte, len(rooms))
	for _, code := range codes {
		fields[in[code]] = appendOption(fields[in[code]], options, code)
	}
	return fields, true
}

// header is the fixed fields without file and sname, and the cookie, with room for the usual options.
func header(msg *dhcpv4.DHCPv4) []byte {
	p := make([]byte, headerLen, 576)
	p[0], p[1], p[2], p[3] = byte(msg.OpCode), byte(msg.HWType), byte(min(len(msg.ClientHWAddr), 16)), msg.HopCount
	copy(p[4:8], msg.TransactionID[:])
	binary.BigEndian.PutUint16(p[8:], msg.NumSeconds)
	binary.BigEndian.PutUint16(p[10:], msg.Flags)
	for i, ip := range [...]net.IP{msg.ClientIPAddr, msg.YourIPAddr, msg.ServerIPAddr, msg.GatewayIPAddr} {
		copy(p[12+4*i:16+4*i], ip.To4())
	}
	copy(p[28:44], msg.ClientHWAddr)
	copy(p[236:], []byte{99, 130, 83, 99})
	return p
}

// order lists the options of an answer but 82.
func order(options dhcpv4.Options, asked []byte) []uint8 {
	codes, others := make([]uint8, 0, 32), make([]uint8, 0, 32)
	for code := range options {
		others = append(others, code)
	}
	slices.Sort(others)
	var listed [256]bool
	listed[optRelayInfo] = true
	for _, list := range [...][]uint8{important, asked, others} {
		for _, code := range list {
			if _, ok := options[code]; ok && !listed[code] {
				codes, listed[code] = append(codes, code), true
			}
		}
	}
	return codes
}

// appendOption adds one option as it stands in a packet, in several parts if it is long (RFC 3396).
func appendOption(to []byte, options dhcpv4.Options, code uint8) []byte {
	v, ok := options[code]
	switch {
	case !ok:
		return to
	case len(v) <= 255:
		return append(append(to, code, byte(len(v))), v...)
	}
	return append(to, dhcpv4.Options{code: v}.ToBytes()...)
}
