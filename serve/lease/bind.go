package lease

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Bind leases l.IP to l.MAC for l.Duration from now, and returns the lease when
// it is on disk: only then may an ACK be sent. It also renews. No offer is
// needed. What else the client had in l.Prefix is free from then on. A
// *TakenError says that somebody else has a lease on the address or an offer of
// it; any other error that nothing could be written: the client should get no
// answer, and a later Bind may well succeed. When ctx ends first the lease may
// or may not have been made.
//
// Bind does not know the pools: see Subnet.Allows. A reservation (l.Reserved)
// passes over offers, over quarantine and over another client's reservation of
// the same address, as the hardware data have the last word; a lease from a
// pool it does not take away.
func (s *Store) Bind(ctx context.Context, l Lease) (Lease, error) {
	r, err := newRecord(l)
	if err != nil {
		return Lease{}, fmt.Errorf("leasing %v to %q: %w", l.IP, l.MAC, err)
	}
	return s.change(ctx, &op{mac: r.mac, rec: r, last: l.Duration})
}

// BindAll is Bind for many at once, of which the disk is waited for once. It
// returns an error or nil for each.
func (s *Store) BindAll(ctx context.Context, leases []Lease) []error {
	errs, ops, waiting := make([]error, len(leases)), make([]op, len(leases)), make([]*op, 0, len(leases))
	for i, l := range leases {
		r, err := newRecord(l)
		if err != nil {
			errs[i] = fmt.Errorf("leasing %v to %q: %w", l.IP, l.MAC, err)
			continue
		}
		ops[i].mac, ops[i].rec, ops[i].last = r.mac, r, l.Duration
		waiting = append(waiting, &ops[i])
	}
	err := s.changes(ctx, waiting)
	for i := range ops {
		if errs[i] == nil {
			errs[i] = err
		}
		if errs[i] == nil {
			errs[i] = ops[i].err
		}
	}
	return errs
}

func newRecord(l Lease) (record, error) {
	n, err := member(l.IP, l.Prefix)
	switch {
	case err != nil:
		return record{}, err
	case !validMAC(l.MAC):
		return record{}, errors.New("this is not a MAC address")
	case l.Duration <= 0:
		return record{}, fmt.Errorf("a lease of %v is none", l.Duration)
	}
	return record{
		ip: n, bits: uint8(l.Prefix.Bits()), reserved: l.Reserved, mac: l.MAC,
		clientID: clip(l.ClientID), uuid: clip(l.UUID), hostname: printable(l.Hostname),
	}, nil
}

// member is the number of ip, which must lie in the prefix.
func member(ip netip.Addr, prefix netip.Prefix) (uint32, error) {
	n, ok := number(ip)
	if !ok || !prefix.Addr().Unmap().Is4() || !prefix.Contains(ip.Unmap()) {
		return 0, fmt.Errorf("%v is not an IPv4 address of subnet %v", ip, prefix)
	}
	return n, nil
}

// change is what becomes of one address; without a record nobody ever had it.
type change struct {
	ip  uint32
	rec *record
}

// The plans below run with the store locked, on the committer's goroutine, when
// no transaction is under way: what they see is what is on disk.

func (s *Store) planBind(o *op, now moment) ([]change, error) {
	r := &record{}
	*r = o.rec // lives longer than the op and those beside it
	if err := s.taken(r, now); err != nil {
		return nil, err
	}
	r.start, r.end = now.elapsed, plus(now.elapsed, o.last)
	o.one[0] = change{r.ip, r}
	changes := o.one[:]
	for _, other := range s.records.byMAC[r.mac] {
		if other.ip != r.ip && r.prefix().Contains(address(other.ip)) {
			changes = append(changes, change{ip: other.ip})
		}
	}
	return changes, nil
}

// taken says who keeps the client of r from its address.
func (s *Store) taken(r *record, now moment) error {
	if old := s.records.byIP[r.ip]; old != nil && old.live(now.elapsed) {
		err := &TakenError{IP: address(r.ip), Holder: old.mac, State: old.state(now.elapsed), Until: now.at(old.end)}
		switch {
		case old.status == declined:
			if !r.reserved {
				return err
			}
		case old.mac == r.mac:
		case r.reserved && old.reserved:
			s.opt.Log.Warn("a reservation went to another machine while its lease ran", "ip", err.IP, "mac", r.mac, "former", old.mac, "until", err.Until)
		default:
			return err
		}
	}
	o := s.offers.byIP[r.ip]
	if o != nil && o.who.mac != r.mac && now.elapsed < o.until && !r.reserved {
		return &TakenError{IP: address(r.ip), Holder: o.who.mac, Until: now.at(o.until)}
	}
	return nil
}

// holds tells whether the client has a live lease of the address, or its offer,
// and what the record of it is.
func (s *Store) holds(mac string, ip uint32, now time.Duration) (r record, ok bool) {
	if old := s.records.byIP[ip]; old != nil && old.mac == mac && old.status == bound && old.live(now) {
		return *old, true
	}
	if o := s.offers.byIP[ip]; o != nil && o.who.mac == mac && now < o.until {
		return record{ip: ip, bits: uint8(o.who.prefix.Bits()), mac: mac, start: now}, true
	}
	return record{}, false
}

func (s *Store) planRelease(mac string, ip uint32, now time.Duration) ([]change, error) {
	r, ok := s.holds(mac, ip, now)
	if !ok {
		return nil, ErrNotHeld
	}
	if old := s.records.byIP[ip]; old == nil || old.mac != mac || !old.live(now) {
		s.drop(s.offers.byIP[ip]) // only an offer: nothing to write
		return nil, nil
	}
	r.status, r.end = released, now
	return []change{{ip, &r}}, nil
}

func (s *Store) planDecline(mac string, ip uint32, now time.Duration) ([]change, error) {
	r, ok := s.holds(mac, ip, now)
	if !ok {
		return nil, ErrNotHeld
	}
	r.status, r.start, r.end = declined, now, plus(now, s.opt.Quarantine)
	return []change{{ip, &r}}, nil
}

func (s *Store) planQuarantine(ip uint32, prefix netip.Prefix, now moment) ([]change, error) {
	if old := s.records.byIP[ip]; old != nil && old.status != declined && old.live(now.elapsed) {
		return nil, &TakenError{IP: address(ip), Holder: old.mac, State: Active, Until: now.at(old.end)}
	}
	r := record{ip: ip, bits: uint8(prefix.Bits()), status: declined, start: now.elapsed, end: plus(now.elapsed, s.opt.Quarantine)}
	return []change{{ip, &r}}, nil
}

// planPrune forgets up to limit records that ended long ago.
func (s *Store) planPrune(limit int, now time.Duration) (changes []change) {
	for ip, r := range s.records.byIP {
		if plus(r.end, s.opt.Retain) <= now && s.offers.byIP[ip] == nil {
			if changes = append(changes, change{ip: ip}); len(changes) == limit {
				break
			}
		}
	}
	return changes
}

// planRestamp writes every record once more, with the times of a clock that was
// set meanwhile: those that ended too, which would run again if it was set back.
func (s *Store) planRestamp() []change {
	changes := make([]change, 0, len(s.records.byIP))
	for ip, r := range s.records.byIP {
		changes = append(changes, change{ip, r})
	}
	return changes
}
