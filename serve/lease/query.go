package lease

import (
	"cmp"
	"slices"
)

// All returns every record, in the order of the addresses.
func (s *Store) All() []Lease {
	s.mu.Lock()
	now := s.clock.read()
	list := make([]*record, 0, len(s.records.byIP))
	for _, r := range s.records.byIP {
		list = append(list, r)
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b *record) int { return cmp.Compare(a.ip, b.ip) })
	leases := make([]Lease, len(list))
	for i, r := range list {
		leases[i] = r.lease(now)
	}
	return leases
}

// Stats are counts at one moment, and totals since Open.
type Stats struct {
	Active, Reserved, Quarantined, Ended int    // records; Reserved are those of Active with Lease.Reserved
	Offers                               int    // held now
	Binds, Commits, Failures             uint64 // leases written, transactions that wrote them, transactions that failed
	LastError                            string // of the last transaction; empty: it succeeded
}

// Stats counts.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.read().elapsed
	s.sweep(now)
	st := s.stats
	st.Offers = len(s.offers.byIP)
	for _, r := range s.records.byIP {
		switch r.state(now) {
		case Active:
			st.Active++
			if r.reserved {
				st.Reserved++
			}
		case Quarantined:
			st.Quarantined++
		default:
			st.Ended++
		}
	}
	return st
}

// Usage is how full a pool is.
type Usage struct {
	Size, Active, Offered, Quarantined, Free uint64 // excluded addresses count as Free unless they are in use
}

// Usage counts the addresses in the ranges of a pool, which must not overlap.
func (s *Store) Usage(sub Subnet) Usage {
	spans := sub.spans()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.read().elapsed
	s.sweep(now)
	u := Usage{Size: total(spans)}
	for ip, r := range s.records.byIP {
		switch state := r.state(now); {
		case !inSpans(spans, ip):
		case state == Active:
			u.Active++
		case state == Quarantined:
			u.Quarantined++
		}
	}
	for ip := range s.offers.byIP {
		if r := s.records.byIP[ip]; inSpans(spans, ip) && (r == nil || !r.live(now)) {
			u.Offered++
		}
	}
	u.Free = u.Size - u.Active - u.Quarantined - u.Offered
	return u
}
