package lease

import (
	"context"
	"log/slog"
	"net/netip"
	"time"
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

// Store is the leases of one file. All methods may be called concurrently.
type Store struct {
}

// Open reads the leases of the file path, or makes it; its folder must exist.
// No other process may have the file open. An error names the file and what to
// do. The caller closes the store.
func Open(path string, opt Options) (*Store, error) { return &Store{}, nil }

// Close waits for the changes that are under way and closes the file.
func (s *Store) Close() error { return nil }

// Offer chooses an address for a client and keeps it for Options.OfferHold.
// Nothing is written. In this order: the lease that the client has in the
// subnet, the one it had, what it was offered before, want if it is free, an
// address that nobody had, the one whose lease ended first. An invalid want is
// no wish. The error is an *ExhaustedError when nothing is left.
func (s *Store) Offer(c Client, sub Subnet, want netip.Addr) (netip.Addr, error) {
	return netip.Addr{}, nil
}

// Forget drops what the client was offered in the prefix: it took another server's
// offer. A lease that it has is not touched.
func (s *Store) Forget(mac string, prefix netip.Prefix) {}

// Bind leases l.IP to l.MAC for l.Duration from now, and returns the lease when
// it is on disk: only then may an ACK be sent. It also renews. No offer is needed.
// What else the client had in l.Prefix is free from then on. A *TakenError says
// that somebody else has a lease on the address or an offer of it; any other
// error that nothing could be written: the client should get no answer, and a
// later Bind may well succeed. When ctx ends first the lease may or may not
// have been made.
//
// A reservation (l.Reserved) passes over offers, over quarantine and over
// another client's reservation of the same address, as the hardware data have
// the last word; a lease from a pool it does not take away.
func (s *Store) Bind(ctx context.Context, l Lease) (Lease, error) { return Lease{}, nil }

// Release ends the client's lease or offer of ip, durably. The client gets the same
// address again if it comes back before the pool runs out of others. The error
// is ErrNotHeld when the client has no live lease or offer of ip.
func (s *Store) Release(ctx context.Context, mac string, ip netip.Addr) error { return nil }

// Decline puts ip, which the client has or was offered and found in use, into
// quarantine, durably; the client's next Offer is another address. The error is ErrNotHeld
// when the client has no live lease or offer of ip.
func (s *Store) Decline(ctx context.Context, mac string, ip netip.Addr) error { return nil }

// Quarantine is what a server calls when its own probe found ip in use. It
// fails with a *TakenError when a client of ours has a live lease of ip. Offers of ip
// are dropped.
func (s *Store) Quarantine(ctx context.Context, ip netip.Addr, prefix netip.Prefix) error { return nil }

// Lookup returns the client's lease in the prefix, live or not: see State.
func (s *Store) Lookup(mac string, prefix netip.Prefix) (Lease, bool) { return Lease{}, false }

// LookupIP returns who has ip, or had it last: see State.
func (s *Store) LookupIP(ip netip.Addr) (Lease, bool) { return Lease{}, false }

// All returns every record, in the order of the addresses.
func (s *Store) All() []Lease { return nil }

// Stats are counts at one moment, and totals since Open.
type Stats struct {
	Active, Reserved, Quarantined, Ended int    // records; Reserved are those of Active with Lease.Reserved
	Offers                               int    // held now
	Binds, Commits, Failures             uint64 // leases written, transactions that wrote them, transactions that failed
	LastError                            string // of the last transaction; empty: it succeeded
}

// Stats counts.
func (s *Store) Stats() Stats { return Stats{} }

// Usage is how full a pool is.
type Usage struct {
	Size, Active, Offered, Quarantined, Free uint64 // excluded addresses count as Free unless they are in use
}

// Usage counts the addresses in the ranges of a pool.
func (s *Store) Usage(sub Subnet) Usage { return Usage{} }
