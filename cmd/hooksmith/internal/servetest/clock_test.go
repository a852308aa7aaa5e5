package servetest

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"hooksmith/serve/lease"
)

// A server whose clock was years ahead, or behind, when it gave out an
// address: one that starts with the right time keeps the lease, and gives the
// address to nobody else. (The clock of a running server is set in the tests
// of serve/lease: this host's clock is not ours to set.)
func TestClockWasWrong(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for name, wrong := range map[string]time.Duration{"ahead": 5 * year, "an hour ahead": time.Hour, "half an hour behind": -30 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			first, second := netip.MustParseAddr("10.78.0.100"), netip.MustParseAddr("10.78.0.101")
			l.leased(first, wrong)

			s := l.serve("--dhcp-mode", "pool", "--pool", "10.78.0.100-10.78.0.101")
			c := l.dhcpClient()
			until(t, "an address", func() bool { return c.lease(macOf(2), short) == second })
			if ip := c.lease(macOf(3), short); ip.IsValid() {
				t.Errorf("%s is given to a third machine", ip)
			}
			until(t, "the first machine's address", func() bool { return c.lease(macOf(1), short) == first })
			s.stop()
			// What is on disk is of this clock now.
			s = l.serve("--dhcp-mode", "pool", "--pool", "10.78.0.100-10.78.0.101")
			until(t, "the second machine's address", func() bool { return c.lease(macOf(2), short) == second })
			if found := s.Find(`panic|DATA RACE`); found != "" {
				t.Errorf("the server's log has %q", found)
			}
			s.stop()
		})
	}
}

// leased puts a lease of an hour into the server's state, by a clock that is
// wrong.
func (l *lab) leased(ip netip.Addr, wrong time.Duration) {
	l.t.Helper()
	path := filepath.Join(filepath.Dir(l.write("state/about", "")), "leases.db")
	store, err := lease.Open(path, lease.Options{Now: func() time.Time { return time.Now().Round(0).Add(wrong) }})
	if err != nil {
		l.t.Fatal(err)
	}
	_, err = store.Bind(l.t.Context(), lease.Lease{Client: lease.Client{MAC: macOf(1).String()}, IP: ip,
		Prefix: netip.MustParsePrefix(subnet), Duration: time.Hour})
	if closed := store.Close(); err == nil {
		err = closed
	}
	if err != nil {
		l.t.Fatal(err)
	}
}
