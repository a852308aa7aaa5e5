package dhcp

import (
	"encoding/binary"
	"net/netip"
)

// ipv4 makes an IP packet with a UDP datagram: for a machine that has no address yet, the kernel cannot, as it would
// ask for the address by ARP.
func ipv4(from, to netip.AddrPort, data []byte) []byte {
	const ipLen, udpLen = 20, 8
	p := make([]byte, ipLen+udpLen, ipLen+udpLen+len(data))
	p = append(p, data...)
	p[0], p[8], p[9] = 0x45, 64, 17 // version and length, TTL, UDP
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], from.Addr().AsSlice())
	copy(p[16:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(p[10:], checksum(0, p[:ipLen]))
	udp := p[ipLen:]
	binary.BigEndian.PutUint16(udp, from.Port())
	binary.BigEndian.PutUint16(udp[2:], to.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	pseudo := uint32(17 + len(udp))
	for i := 12; i < 20; i += 2 {
		pseudo += uint32(p[i])<<8 | uint32(p[i+1])
	}
	sum := checksum(pseudo, udp)
	if sum == 0 {
		sum = 0xffff // 0 means none (RFC 768)
	}
	binary.BigEndian.PutUint16(udp[6:], sum)
	return p
}

// checksum is that of RFC 1071.
func checksum(sum uint32, b []byte) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
