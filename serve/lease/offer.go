package lease

import (
	"container/list"
	"fmt"
	"hash/fnv"
	"math"
	"net/netip"
	"time"
)

// Offer chooses an address for a client and keeps it for Options.OfferHold.
// Nothing is written. In this order: the lease that the client has in the
// subnet, the one it had, what it was offered before, want if it is free, an
// address that nobody had, the one whose lease ended first. An invalid want is
// no wish. The error is an *ExhaustedError when nothing is left.
func (s *Store) Offer(c Client, sub Subnet, want netip.Addr) (netip.Addr, error) {
	if !validMAC(c.MAC) {
		return netip.Addr{}, fmt.Errorf("offering an address: %q is not a MAC address", c.MAC)
	}
	spans := sub.spans()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.read().elapsed
	s.sweep(now)
	ip, ok := s.choose(c.MAC, sub, spans, want, now)
	if !ok {
		return netip.Addr{}, &ExhaustedError{Prefix: sub.Prefix, Size: total(spans)}
	}
	s.hold(&offer{ip: ip, who: holder{c.MAC, sub.Prefix.Masked()}, until: plus(now, s.opt.OfferHold)})
	return address(ip), nil
}

func (s *Store) choose(mac string, sub Subnet, spans []span, want netip.Addr, now time.Duration) (uint32, bool) {
	if len(spans) == 0 {
		return 0, false
	}
	fits := func(ip uint32) bool {
		return inSpans(spans, ip) && s.freeFor(mac, ip, now) && !sub.excluded(ip)
	}
	// 1. What the client has, or had.
	if r := s.records.of(mac, sub.Prefix, now); r != nil && fits(r.ip) {
		return r.ip, true
	}
	if o := s.offers.byHolder[holder{mac, sub.Prefix.Masked()}]; o != nil && fits(o.ip) {
		return o.ip, true
	}
	// 2. What it wants.
	if ip, ok := number(want); ok && fits(ip) {
		return ip, true
	}
	// 3. What nobody had; what others had longest ago.
	if ip, ok := s.unused(mac, sub, spans); ok {
		return ip, true
	}
	return s.oldest(sub, spans, now)
}

// freeFor tells whether a client may have an address now.
func (s *Store) freeFor(mac string, ip uint32, now time.Duration) bool {
	if by, ok := s.pending[ip]; ok && by != mac {
		return false
	}
	if o := s.offers.byIP[ip]; o != nil && o.who.mac != mac && now < o.until {
		return false
	}
	r := s.records.byIP[ip]
	return r == nil || !r.live(now) || r.mac == mac && r.status != declined
}

// unused finds an address without a record, from a place that follows from the
// MAC address: a client is likely to get its address again even when the file
// was lost. Where Excluded says no many times in a row, it looks elsewhere
// before it goes through all of them.
func (s *Store) unused(mac string, sub Subnet, spans []span) (uint32, bool) {
	const jumps, patience = 16, 64
	h := fnv.New64a()
	h.Write([]byte(mac))
	size, seed := total(spans), h.Sum64()
	for i := range uint64(jumps) {
		ip, found, all := s.unusedFrom((seed+i*0x9e3779b97f4a7c15)%size, patience, sub, spans)
		if found || all {
			return ip, found
		}
	}
	ip, found, _ := s.unusedFrom(seed%size, math.MaxInt, sub, spans)
	return ip, found
}

// unusedFrom looks at up to limit free addresses, from the start-th address of
// the pool on and around; all tells that there are no more.
func (s *Store) unusedFrom(start uint64, limit int, sub Subnet, spans []span) (ip uint32, found, all bool) {
	for _, part := range rotate(spans, start) {
		for {
			ip, ok := s.records.pool.firstFree(part)
			if !ok {
				break
			}
			if !sub.excluded(ip) {
				return ip, true, true
			}
			if limit--; limit <= 0 {
				return 0, false, false
			}
			if ip == part.to {
				break
			}
			part.from = ip + 1
		}
	}
	return 0, false, true
}

// rotate returns the spans so that they begin with their start-th address.
func rotate(spans []span, start uint64) []span {
	for i, s := range spans {
		if start >= s.size() {
			start -= s.size()
			continue
		}
		at := s.from + uint32(start)
		turned := append([]span{{at, s.to}}, spans[i+1:]...)
		turned = append(turned, spans[:i]...)
		if at > s.from {
			turned = append(turned, span{s.from, at - 1})
		}
		return turned
	}
	return spans
}

// oldest finds the address whose lease ended first: those of a pool before
// those of a reservation that is one no more.
func (s *Store) oldest(sub Subnet, spans []span, now time.Duration) (uint32, bool) {
	for _, t := range []*tree{&s.records.pool, &s.records.fixed} {
		var best uint32
		since := int64(math.MaxInt64)
		for _, part := range spans {
			for ip, free := range t.ascending(part) {
				if free > int64(now) || free >= since {
					break
				}
				if !sub.excluded(ip) {
					best, since = ip, free
					break
				}
			}
		}
		if since != math.MaxInt64 {
			return best, true
		}
	}
	return 0, false
}

// offer is an address that is kept for a client until it asks for it.
type offer struct {
	ip    uint32
	who   holder
	until time.Duration
	place *list.Element
}

// holder has one offer at a time.
type holder struct {
	mac    string
	prefix netip.Prefix
}

type offers struct {
	byIP     map[uint32]*offer
	byHolder map[holder]*offer
	order    *list.List // of *offer, the one that ends first in front
}

func newOffers() offers {
	return offers{byIP: map[uint32]*offer{}, byHolder: map[holder]*offer{}, order: list.New()}
}

// hold keeps o, and drops what it takes the place of.
func (s *Store) hold(o *offer) {
	if old := s.offers.byHolder[o.who]; old != nil && old.ip == o.ip {
		old.until = o.until
		s.offers.order.MoveToBack(old.place)
		s.refresh(o.ip)
		return
	}
	s.drop(s.offers.byHolder[o.who])
	s.drop(s.offers.byIP[o.ip])
	if s.offers.order.Len() >= s.opt.MaxOffers {
		s.drop(s.offers.order.Front().Value.(*offer))
	}
	s.offers.byHolder[o.who], s.offers.byIP[o.ip] = o, o
	o.place = s.offers.order.PushBack(o)
	s.refresh(o.ip)
}

func (s *Store) drop(o *offer) {
	if o == nil {
		return
	}
	delete(s.offers.byHolder, o.who)
	delete(s.offers.byIP, o.ip)
	s.offers.order.Remove(o.place)
	s.refresh(o.ip)
}

// sweep drops the offers that nobody took.
func (s *Store) sweep(now time.Duration) {
	for e := s.offers.order.Front(); e != nil; e = s.offers.order.Front() {
		o := e.Value.(*offer)
		if now < o.until {
			return
		}
		s.drop(o)
	}
}

// refresh brings the trees in line with what is known of an address.
func (s *Store) refresh(ip uint32) {
	r, o := s.records.byIP[ip], s.offers.byIP[ip]
	_, pending := s.pending[ip]
	free := int64(math.MinInt64)
	if r != nil {
		free = int64(r.end)
	}
	if o != nil {
		free = max(free, int64(o.until))
	}
	switch {
	case pending:
		s.records.pool.set(ip, math.MaxInt64)
		s.records.fixed.clear(ip)
	case r != nil && r.reserved:
		s.records.pool.set(ip, math.MaxInt64)
		s.records.fixed.set(ip, free)
	case r != nil || o != nil:
		s.records.pool.set(ip, free)
		s.records.fixed.clear(ip)
	default:
		s.records.pool.clear(ip)
		s.records.fixed.clear(ip)
	}
}

// Forget drops what the client was offered in the prefix: it took another
// server's offer. A lease that it has is not touched.
func (s *Store) Forget(mac string, prefix netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(s.offers.byHolder[holder{mac, prefix.Masked()}])
}
