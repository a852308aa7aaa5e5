package lease

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// testClock is a wall clock that can be set without time passing.
type testClock struct {
	mu      sync.Mutex
	wall    time.Time
	elapsed time.Duration
	seen    time.Duration
}

func newTestClock() *testClock {
	return &testClock{wall: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
}

func (c *testClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.elapsed = c.wall.Add(d), c.elapsed+d
}

func (c *testClock) set(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(by)
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall
}

// clock is what a process started now has: wall time, and a monotonic one.
func (c *testClock) clock() clock {
	c.seen = c.elapsed
	k := newClock(c.now)
	k.passed = func(time.Time, time.Time) time.Duration {
		c.mu.Lock()
		defer c.mu.Unlock()
		d := c.elapsed - c.seen
		c.seen = c.elapsed
		return d
	}
	return k
}

func openTest(t testing.TB, path string, c *testClock) *Store {
	t.Helper()
	s, err := open(path, Options{}, c.clock())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newTest(t testing.TB) (*Store, *testClock) {
	t.Helper()
	c := newTestClock()
	return openTest(t, filepath.Join(t.TempDir(), "leases.db"), c), c
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func pool(prefix string, ends ...string) Subnet {
	sub := Subnet{Prefix: netip.MustParsePrefix(prefix)}
	for i := 0; i < len(ends); i += 2 {
		sub.Ranges = append(sub.Ranges, Range{ip(ends[i]), ip(ends[i+1])})
	}
	return sub
}

var ctx = context.Background()

const (
	macA = "02:00:00:00:00:0a"
	macB = "02:00:00:00:00:0b"
	macC = "02:00:00:00:00:0c"
)

func bind(t testing.TB, s *Store, mac string, addr netip.Addr, prefix netip.Prefix, d time.Duration) Lease {
	t.Helper()
	l, err := s.Bind(ctx, Lease{Client: Client{MAC: mac}, IP: addr, Prefix: prefix, Duration: d})
	if err != nil {
		t.Fatalf("binding %v to %s: %v", addr, mac, err)
	}
	return l
}

func mustOffer(t testing.TB, s *Store, mac string, sub Subnet, want netip.Addr) netip.Addr {
	t.Helper()
	got, err := s.Offer(Client{MAC: mac}, sub, want)
	if err != nil {
		t.Fatalf("offer to %s: %v", mac, err)
	}
	return got
}

// taken wants err to be a *TakenError by holder in state.
func taken(t testing.TB, err error, holder string, state State) {
	t.Helper()
	var e *TakenError
	if !errors.As(err, &e) || e.Holder != holder || e.State != state {
		t.Fatalf("error %v (%+v), want one about %q, %q", err, e, holder, state)
	}
}
