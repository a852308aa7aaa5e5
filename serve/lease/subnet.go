package lease

import (
	"encoding/binary"
	"net/netip"
)

// Inside of the package an IPv4 address is its number.

func number(ip netip.Addr) (uint32, bool) {
	if ip = ip.Unmap(); !ip.Is4() {
		return 0, false
	}
	b := ip.As4()
	return binary.BigEndian.Uint32(b[:]), true
}

func address(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
}

// span is a run of addresses, both ends included.
type span struct {
	from, to uint32
}

func (s span) size() uint64 { return uint64(s.to) - uint64(s.from) + 1 }

// usable is what of a prefix a host may have: from a /30 up all but the network
// and the broadcast address (RFC 3021: a /31 has neither).
func usable(p netip.Prefix) (span, bool) {
	n, ok := number(p.Addr())
	if !ok || !p.IsValid() {
		return span{}, false
	}
	mask := ^uint32(0) << (32 - p.Bits()) // a shift by 32 is 0
	s := span{from: n & mask, to: n | ^mask}
	if p.Bits() < 31 {
		s.from++
		s.to--
	}
	return s, true
}

// span is what of r lies inside of whole.
func (r Range) span(whole span) (span, bool) {
	from, ok1 := number(r.From)
	to, ok2 := number(r.To)
	s := span{from: max(from, whole.from), to: min(to, whole.to)}
	return s, ok1 && ok2 && s.from <= s.to
}

// spans are the ranges of the pool, clipped to what the subnet can use.
func (s Subnet) spans() []span {
	whole, ok := usable(s.Prefix)
	if !ok {
		return nil
	}
	list := make([]span, 0, len(s.Ranges))
	for _, r := range s.Ranges {
		if part, ok := r.span(whole); ok {
			list = append(list, part)
		}
	}
	return list
}

func total(spans []span) (size uint64) {
	for _, s := range spans {
		size += s.size()
	}
	return size
}

func inSpans(spans []span, n uint32) bool {
	for _, s := range spans {
		if s.from <= n && n <= s.to {
			return true
		}
	}
	return false
}

func (s Subnet) inRanges(ip netip.Addr) bool {
	n, ok := number(ip)
	whole, valid := usable(s.Prefix)
	if !ok || !valid {
		return false
	}
	for _, r := range s.Ranges {
		if part, ok := r.span(whole); ok && part.from <= n && n <= part.to {
			return true
		}
	}
	return false
}

func (s Subnet) excluded(n uint32) bool {
	return s.Excluded != nil && s.Excluded(address(n))
}
