package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Options are settings of a store; the zero value works.
type Options struct {
	Log         *slog.Logger     // nil: silent
	Now         func() time.Time // nil: time.Now. Leases run by its monotonic reading where it has one
	OfferHold   time.Duration    // how long an offer is kept for its client; 0: 60 s
	Quarantine  time.Duration    // how long a declined address is not given to anybody; 0: 10 min
	Retain      time.Duration    // how long an ended lease is remembered for its client; 0: 90 days
	LockTimeout time.Duration    // how long Open waits for another process to let go of the file; 0: 2 s
	MaxOffers   int              // held at once, the oldest is dropped for a new one; 0: 65536
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{{&o.OfferHold, time.Minute}, {&o.Quarantine, 10 * time.Minute}, {&o.Retain, 90 * 24 * time.Hour}, {&o.LockTimeout, 2 * time.Second}} {
		if *d.value <= 0 {
			*d.value = d.fallback
		}
	}
	if o.MaxOffers <= 0 {
		o.MaxOffers = 65536
	}
	return o
}

// Store is the leases of one file. All methods may be called concurrently.
type Store struct {
	opt     Options
	path    string
	db      *bolt.DB      // the committer's alone
	journal *journal      // likewise
	wake    chan struct{} // holds one token: there may be something in queue
	done    chan struct{} // closed when the committer has ended

	mu      sync.Mutex
	clock   clock
	records table
	offers  offers
	pending map[uint32]string // what the transaction under way writes: address to MAC
	queue   []*op
	closed  bool
	stats   Stats
	broken  bool // the file cannot be used any more, not even closed
}

// Open reads the leases of the file path, or makes it; its folder must exist.
// No other process may have the file open. An error names the file and what to
// do. The caller closes the store.
func Open(path string, opt Options) (*Store, error) {
	return open(path, opt, newClock(opt.Now))
}

func open(path string, opt Options, c clock) (*Store, error) {
	opt = opt.withDefaults()
	now := c.read()
	db, f, list, err := openFile(path, now, opt)
	if err != nil {
		return nil, err
	}
	s := &Store{
		opt: opt, path: path, db: db, journal: f, clock: c,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
		records: newTable(), offers: newOffers(), pending: map[uint32]string{},
	}
	for _, r := range list {
		s.records.put(r)
		s.refresh(r.ip)
	}
	go s.run(committer{offset: now.offset(), pruned: now.elapsed})
	return s, nil
}

// Close writes what was asked for before it, and closes the file.
func (s *Store) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	s.poke()
	<-s.done
	if again {
		return nil
	}
	err := s.journal.file.Close()
	if !s.broken { // else its process's end lets go of the file
		err = errors.Join(err, guard(s.db.Close))
	}
	if err != nil {
		return fmt.Errorf("closing the leases %s: %w", s.path, err)
	}
	return nil
}

func (s *Store) setBroken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = true
}

// table is every record, by address and by client.
type table struct {
	byIP  map[uint32]*record
	byMAC map[string][]*record // without declined ones; at most one in each subnet
	pool  tree                 // every address that is spoken for, with the moment it is free again; reservations never are
	fixed tree                 // reservations alone, likewise, for pools that have nothing else left
}

func newTable() table {
	return table{byIP: map[uint32]*record{}, byMAC: map[string][]*record{}}
}

func (t *table) put(r *record) {
	t.remove(r.ip)
	t.byIP[r.ip] = r
	if r.status != declined {
		t.byMAC[r.mac] = append(t.byMAC[r.mac], r)
	}
}

func (t *table) remove(ip uint32) {
	r := t.byIP[ip]
	if r == nil {
		return
	}
	delete(t.byIP, ip)
	var rest []*record
	for _, other := range t.byMAC[r.mac] {
		if other != r {
			rest = append(rest, other)
		}
	}
	if len(rest) == 0 {
		delete(t.byMAC, r.mac)
		return
	}
	t.byMAC[r.mac] = rest
}

// of returns the client's record in the prefix, if any: a live one first.
func (t *table) of(mac string, prefix netip.Prefix, now time.Duration) *record {
	var best *record
	for _, r := range t.byMAC[mac] {
		if prefix.Contains(address(r.ip)) && (best == nil || r.live(now) && !best.live(now)) {
			best = r
		}
	}
	return best
}

// Lookup returns the client's lease in the prefix, live or not: see State.
func (s *Store) Lookup(mac string, prefix netip.Prefix) (Lease, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.read()
	r := s.records.of(mac, prefix, now.elapsed)
	if r == nil {
		return Lease{}, false
	}
	return r.lease(now), true
}

// LookupIP returns who has ip, or had it last: see State.
func (s *Store) LookupIP(ip netip.Addr) (Lease, bool) {
	n, ok := number(ip)
	if !ok {
		return Lease{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records.byIP[n]
	if r == nil {
		return Lease{}, false
	}
	return r.lease(s.clock.read()), true
}

// Release ends the client's lease or offer of ip, durably. The client gets the
// same address again if it comes back before the pool runs out of others. The
// error is ErrNotHeld when the client has no live lease or offer of ip.
func (s *Store) Release(ctx context.Context, mac string, ip netip.Addr) error {
	n, _ := number(ip)
	_, err := s.change(ctx, &op{mac: mac, plan: func(now moment) ([]change, error) { return s.planRelease(mac, n, now.elapsed) }})
	return err
}

// Decline puts ip, which the client has or was offered and found in use, into
// quarantine, durably; the client's next Offer is another address. The error is
// ErrNotHeld when the client has no live lease or offer of ip.
func (s *Store) Decline(ctx context.Context, mac string, ip netip.Addr) error {
	n, _ := number(ip)
	_, err := s.change(ctx, &op{mac: mac, plan: func(now moment) ([]change, error) { return s.planDecline(mac, n, now.elapsed) }})
	return err
}

// Quarantine is what a server calls when its own probe found ip in use. It
// fails with a *TakenError when a client of ours has a live lease of ip. Offers
// of ip are dropped.
func (s *Store) Quarantine(ctx context.Context, ip netip.Addr, prefix netip.Prefix) error {
	n, err := member(ip, prefix)
	if err != nil {
		return err
	}
	_, err = s.change(ctx, &op{plan: func(now moment) ([]change, error) { return s.planQuarantine(n, prefix, now) }})
	return err
}
