package lease

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"
)

// TestClockIsSet: whoever sets the wall clock, in a running process or between
// two, nobody gets an address that another still has by the time that passed.
func TestClockIsSet(t *testing.T) {
	const year = 365 * 24 * time.Hour
	one := pool("10.0.0.0/24", "10.0.0.10", "10.0.0.10")
	for _, tt := range []struct {
		name   string
		set    time.Duration
		before bool // set while the process runs, before it ends
		down   bool // or while it is down
	}{
		{"forward, running", 56 * year, false, false},
		{"forward a day, running", 24 * time.Hour, false, false},
		{"backward, running", -56 * year, false, false},
		{"forward, then a new process", 56 * year, true, false},
		{"backward, then a new process", -56 * year, true, false},
		{"backward while down", -5 * year, false, true},
		{"backward a little while down", -40 * time.Minute, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, c := filepath.Join(t.TempDir(), "leases.db"), newTestClock()
			s := openTest(t, path, c)
			bind(t, s, macA, ip("10.0.0.10"), one.Prefix, time.Hour)
			c.pass(20 * time.Minute)
			if !tt.down {
				c.set(tt.set)
			}
			if tt.before || tt.down {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if tt.down {
					c.set(tt.set)
				}
				s = openTest(t, path, c)
			}
			c.pass(30 * time.Minute)
			if got, err := s.Offer(Client{MAC: macB}, one, netip.Addr{}); err == nil {
				t.Fatalf("%v is offered while its lease runs", got)
			}
			_, err := s.Bind(ctx, Lease{Client: Client{MAC: macB}, IP: ip("10.0.0.10"), Prefix: one.Prefix, Duration: time.Hour})
			taken(t, err, macA, Active)
			if l, _ := s.Lookup(macA, one.Prefix); l.Expires.Sub(c.now()) < 10*time.Minute || l.Expires.Sub(c.now()) > time.Hour {
				t.Errorf("expires %v, it is %v", l.Expires, c.now())
			}
			// And it is not kept for ever.
			c.pass(31 * time.Minute)
			mustOffer(t, s, macB, one, netip.Addr{})
		})
	}
}

// TestPlainClock: a Now without a monotonic reading that is set back.
func TestPlainClock(t *testing.T) {
	c := newTestClock()
	s, err := Open(filepath.Join(t.TempDir(), "leases.db"), Options{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	one := pool("10.0.0.0/24", "10.0.0.10", "10.0.0.10")
	mustOffer(t, s, macA, one, netip.Addr{})
	c.set(-48 * time.Hour)
	if got, err := s.Offer(Client{MAC: macB}, one, netip.Addr{}); err == nil {
		t.Fatalf("%v is offered twice", got)
	}
	c.pass(2 * time.Minute)
	mustOffer(t, s, macB, one, netip.Addr{})
}
