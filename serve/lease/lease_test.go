package lease

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var lan = pool("10.0.0.0/24", "10.0.0.10", "10.0.0.19")

// TestOfferPrefers: the order in which addresses are chosen.
func TestOfferPrefers(t *testing.T) {
	s, c := newTest(t)
	first := mustOffer(t, s, macA, lan, netip.Addr{})
	if got := mustOffer(t, s, macA, lan, ip("10.0.0.19")); got != first {
		t.Errorf("second offer %v, want the first one again: %v", got, first)
	}
	bind(t, s, macA, first, lan.Prefix, time.Hour)
	if got := mustOffer(t, s, macA, lan, ip("10.0.0.18")); got != first {
		t.Errorf("offer with a lease: %v, want %v", got, first)
	}
	c.pass(2 * time.Hour)
	if got := mustOffer(t, s, macA, lan, netip.Addr{}); got != first {
		t.Errorf("offer after the lease: %v, want the former %v", got, first)
	}
	for _, tt := range []struct {
		want string
		ok   bool
	}{{"10.0.0.17", true}, {first.String(), false}, {"10.0.0.9", false}, {"10.0.0.20", false}, {"192.168.0.1", false}, {"fd00::1", false}} {
		s.Forget(macB, lan.Prefix)
		if got := mustOffer(t, s, macB, lan, ip(tt.want)); (got == ip(tt.want)) != tt.ok || !lan.Allows(got) {
			t.Errorf("wanted %s, got %v", tt.want, got)
		}
	}
}

func TestOfferFillsThePoolThenTakesTheOldest(t *testing.T) {
	s, c := newTest(t)
	had := map[netip.Addr]string{}
	for i := range 10 {
		mac := fmt.Sprintf("02:00:00:00:01:%02x", i)
		got := mustOffer(t, s, mac, lan, netip.Addr{})
		if had[got] != "" {
			t.Fatalf("%v is offered to %s and %s", got, had[got], mac)
		}
		had[got] = mac
		bind(t, s, mac, got, lan.Prefix, time.Hour+time.Duration(i)*time.Minute)
	}
	var full *ExhaustedError
	if _, err := s.Offer(Client{MAC: macA}, lan, netip.Addr{}); !errors.As(err, &full) || full.Size != 10 {
		t.Fatalf("offer from a full pool: %v", err)
	}
	c.pass(time.Hour + 150*time.Second)
	got := mustOffer(t, s, macA, lan, netip.Addr{})
	if had[got] != "02:00:00:00:01:00" {
		t.Errorf("got the address of %s, want that of the lease that ended first", had[got])
	}
	if got := mustOffer(t, s, "02:00:00:00:01:01", lan, netip.Addr{}); had[got] != "02:00:00:00:01:01" {
		t.Errorf("a returning client got the address of %s", had[got])
	}
	if got := mustOffer(t, s, macB, lan, netip.Addr{}); had[got] != "02:00:00:00:01:02" {
		t.Errorf("got the address of %s, want that of the third", had[got])
	}
}

func TestOfferRespectsExclusionsAndEdges(t *testing.T) {
	s, _ := newTest(t)
	sub := pool("10.0.0.0/29", "10.0.0.0", "10.0.0.255")
	sub.Excluded = func(a netip.Addr) bool { return a == ip("10.0.0.1") || a == ip("10.0.0.4") }
	got := map[netip.Addr]bool{}
	for i := range 4 {
		got[mustOffer(t, s, fmt.Sprintf("02:00:00:00:02:%02x", i), sub, ip("10.0.0.4"))] = true
	}
	for _, a := range []string{"10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.6"} {
		if !got[ip(a)] {
			t.Errorf("%s was never offered: %v", a, got)
		}
	}
	for _, empty := range []Subnet{pool("10.0.0.0/29"), pool("10.0.0.0/29", "10.0.1.1", "10.0.1.9"), pool("10.0.0.0/29", "10.0.0.5", "10.0.0.2"), {}, pool("fd00::/64", "fd00::1", "fd00::9")} {
		if a, err := s.Offer(Client{MAC: macA}, empty, netip.Addr{}); err == nil {
			t.Errorf("%+v gave %v", empty, a)
		}
	}
	if _, err := s.Offer(Client{MAC: "nonsense"}, sub, netip.Addr{}); err == nil {
		t.Error("an offer to nobody")
	}
}

// TestBigPool: an offer must stay cheap in a pool of a million addresses, also
// where half of them in one block are excluded or leased.
func TestBigPool(t *testing.T) {
	s, _ := newTest(t)
	calls := 0
	sub := pool("10.16.0.0/12", "10.16.0.0", "10.31.255.255")
	sub.Excluded = func(a netip.Addr) bool {
		calls++
		return a.As4()[1] < 24
	}
	for i := range 2000 {
		if got := mustOffer(t, s, fmt.Sprintf("02:00:00:01:%02x:%02x", i>>8, i&255), sub, netip.Addr{}); got.As4()[1] < 24 {
			t.Fatalf("%v is excluded", got)
		}
	}
	if calls > 2000*200 {
		t.Errorf("%d questions for 2000 offers", calls)
	}
}

func TestBindRules(t *testing.T) {
	s, c := newTest(t)
	a, other := ip("10.0.0.10"), ip("10.0.0.11")
	l := bind(t, s, macA, a, lan.Prefix, time.Hour)
	if l.State != Active || !l.Expires.Equal(c.now().Add(time.Hour)) || !l.Start.Equal(c.now()) {
		t.Errorf("lease %+v", l)
	}
	_, err := s.Bind(ctx, Lease{Client: Client{MAC: macB}, IP: a, Prefix: lan.Prefix, Duration: time.Hour})
	taken(t, err, macA, Active)
	_, err = s.Bind(ctx, Lease{Client: Client{MAC: macB}, IP: a, Prefix: lan.Prefix, Duration: time.Hour, Reserved: true})
	taken(t, err, macA, Active)

	mustOffer(t, s, macB, lan, other)
	_, err = s.Bind(ctx, Lease{Client: Client{MAC: macC}, IP: other, Prefix: lan.Prefix, Duration: time.Hour})
	taken(t, err, macB, "")
	bind(t, s, macB, other, lan.Prefix, time.Hour)

	// A client that moves leaves its former address at once.
	bind(t, s, macA, ip("10.0.0.12"), lan.Prefix, time.Hour)
	bind(t, s, macC, a, lan.Prefix, time.Hour)
	if l, ok := s.Lookup(macA, lan.Prefix); !ok || l.IP != ip("10.0.0.12") {
		t.Errorf("Lookup: %+v", l)
	}
	// In another subnet it has another lease.
	wan := netip.MustParsePrefix("10.9.0.0/16")
	bind(t, s, macA, ip("10.9.1.1"), wan, time.Hour)
	if l, ok := s.Lookup(macA, lan.Prefix); !ok || l.IP != ip("10.0.0.12") || l.State != Active {
		t.Errorf("Lookup after a lease elsewhere: %+v", l)
	}
	for _, bad := range []Lease{
		{Client: Client{MAC: macA}, IP: a, Prefix: lan.Prefix},
		{Client: Client{MAC: macA}, IP: a, Prefix: wan, Duration: time.Hour},
		{Client: Client{MAC: macA}, IP: ip("fd00::1"), Prefix: netip.MustParsePrefix("fd00::/64"), Duration: time.Hour},
		{Client: Client{MAC: "02:00:00:00:00:0A"}, IP: a, Prefix: lan.Prefix, Duration: time.Hour},
		{Client: Client{MAC: ""}, IP: a, Prefix: lan.Prefix, Duration: time.Hour},
		{},
	} {
		if _, err := s.Bind(ctx, bad); err == nil {
			t.Errorf("%+v was leased", bad)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Bind(ended, Lease{Client: Client{MAC: macA}, IP: a, Prefix: lan.Prefix, Duration: time.Hour}); !errors.Is(err, context.Canceled) {
		t.Errorf("Bind after the context's end: %v", err)
	}
}

func TestReservations(t *testing.T) {
	s, c := newTest(t)
	reserve := func(mac, addr string) error {
		_, err := s.Bind(ctx, Lease{Client: Client{MAC: mac}, IP: ip(addr), Prefix: lan.Prefix, Duration: time.Hour, Reserved: true})
		return err
	}
	if err := reserve(macA, "10.0.0.12"); err != nil {
		t.Fatal(err)
	}
	if l, ok := s.LookupIP(ip("10.0.0.12")); !ok || !l.Reserved || l.MAC != macA {
		t.Errorf("LookupIP: %+v", l)
	}
	// Its hardware was replaced: the data say who has it now.
	if err := reserve(macB, "10.0.0.12"); err != nil {
		t.Errorf("a reservation that moved: %v", err)
	}
	// An offer and a quarantine do not stop it.
	mustOffer(t, s, macC, lan, ip("10.0.0.13"))
	if err := reserve(macA, "10.0.0.13"); err != nil {
		t.Errorf("a reservation of what is offered: %v", err)
	}
	if err := s.Decline(ctx, macA, ip("10.0.0.13")); err != nil {
		t.Fatal(err)
	}
	if err := reserve(macA, "10.0.0.13"); err != nil {
		t.Errorf("a reservation of what is in quarantine: %v", err)
	}
	// One that is a reservation no more is given by the pool last of all.
	c.pass(3 * time.Hour)
	tiny := pool("10.0.0.0/24", "10.0.0.12", "10.0.0.13")
	tiny.Excluded = func(a netip.Addr) bool { return a == ip("10.0.0.13") }
	if got := mustOffer(t, s, macC, tiny, netip.Addr{}); got != ip("10.0.0.12") {
		t.Errorf("offer %v", got)
	}
}

func TestReleaseDeclineQuarantineForget(t *testing.T) {
	s, c := newTest(t)
	a := mustOffer(t, s, macA, lan, netip.Addr{})
	for name, f := range map[string]func(context.Context, string, netip.Addr) error{"release": s.Release, "decline": s.Decline} {
		for _, who := range []string{macB, ""} {
			if err := f(ctx, who, a); !errors.Is(err, ErrNotHeld) {
				t.Errorf("%s by %q: %v", name, who, err)
			}
		}
	}
	if err := s.Release(ctx, macA, a); err != nil {
		t.Errorf("giving an offer back: %v", err)
	}
	if got := mustOffer(t, s, macB, lan, a); got != a {
		t.Errorf("%v is still kept: %v", a, got)
	}
	s.Forget(macB, lan.Prefix)

	bind(t, s, macA, a, lan.Prefix, time.Hour)
	if err := s.Release(ctx, macA, a); err != nil {
		t.Fatal(err)
	}
	if l, _ := s.Lookup(macA, lan.Prefix); l.State != Released {
		t.Errorf("released: %+v", l)
	}
	if err := s.Release(ctx, macA, a); !errors.Is(err, ErrNotHeld) {
		t.Errorf("released twice: %v", err)
	}
	if got := mustOffer(t, s, macA, lan, netip.Addr{}); got != a {
		t.Errorf("came back: %v, want %v", got, a)
	}
	bind(t, s, macA, a, lan.Prefix, time.Hour)
	if err := s.Quarantine(ctx, a, lan.Prefix); err == nil {
		t.Error("a live lease was put into quarantine by a probe")
	}
	if err := s.Decline(ctx, macA, a); err != nil {
		t.Fatal(err)
	}
	if got := mustOffer(t, s, macA, lan, a); got == a {
		t.Error("offered what was just declined")
	}
	if got := mustOffer(t, s, macB, lan, a); got == a {
		t.Error("offered what another declined")
	}
	_, err := s.Bind(ctx, Lease{Client: Client{MAC: macC}, IP: a, Prefix: lan.Prefix, Duration: time.Hour})
	taken(t, err, macA, Quarantined)
	if err := s.Quarantine(ctx, ip("10.0.0.15"), lan.Prefix); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Quarantined != 2 || st.Active != 0 || st.Offers != 2 {
		t.Errorf("%+v", st)
	}
	if u := s.Usage(lan); u != (Usage{Size: 10, Offered: 2, Quarantined: 2, Free: 6}) {
		t.Errorf("%+v", u)
	}
	c.pass(11 * time.Minute)
	s.Forget(macC, lan.Prefix)
	if got := mustOffer(t, s, macC, lan, a); got != a {
		t.Errorf("after quarantine: %v, want %v", got, a)
	}
}

// TestRecordsSurvive: everything is there after Close and Open, in order.
func TestRecordsSurvive(t *testing.T) {
	path, c := filepath.Join(t.TempDir(), "leases.db"), newTestClock()
	s := openTest(t, path, c)
	full := Lease{
		Client: Client{MAC: macB, ClientID: []byte{1, 2, 0, 0, 0, 0, 0xb}, UUID: make([]byte, 17), Hostname: "node\x1b[31m-1\n" + strings.Repeat("é", 300)},
		IP:     ip("10.0.0.14"), Prefix: lan.Prefix, Duration: 0xffffffff * time.Second, Reserved: true,
	}
	if _, err := s.Bind(ctx, full); err != nil {
		t.Fatal(err)
	}
	bind(t, s, macA, ip("10.0.0.11"), lan.Prefix, time.Hour)
	bind(t, s, macC, ip("10.0.0.12"), lan.Prefix, time.Hour)
	if err := errors.Join(s.Release(ctx, macA, ip("10.0.0.11")), s.Decline(ctx, macC, ip("10.0.0.12"))); err != nil {
		t.Fatal(err)
	}
	before := s.All()
	if h := before[2].Hostname; !strings.HasPrefix(h, "node[31m-1é") || len(h) > 255 {
		t.Errorf("host name %q", h)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Bind(ctx, full); !errors.Is(err, ErrClosed) {
		t.Errorf("Bind after Close: %v", err)
	}
	after := openTest(t, path, c).All()
	if fmt.Sprint(before) != fmt.Sprint(after) || len(after) != 3 {
		t.Errorf("before %v\nafter  %v", before, after)
	}
}

// TestGroupCommit: concurrent Binds share transactions, also with one another's
// clients and addresses in the same queue.
func TestGroupCommit(t *testing.T) {
	s, _ := newTest(t)
	big := pool("10.1.0.0/16", "10.1.0.0", "10.1.255.255")
	var group sync.WaitGroup
	for worker := range 64 {
		group.Go(func() {
			for i := range 10 {
				mac := fmt.Sprintf("02:00:00:00:%02x:%02x", worker, i%5)
				a, err := s.Offer(Client{MAC: mac}, big, netip.Addr{})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := s.Bind(ctx, Lease{Client: Client{MAC: mac}, IP: a, Prefix: big.Prefix, Duration: time.Hour}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if st := s.Stats(); st.Binds != 640 || st.Active != 320 || st.Commits >= st.Binds {
		t.Errorf("%+v", st)
	}
}

// TestSameAddressAtOnce: of many that want one address, one gets it.
func TestSameAddressAtOnce(t *testing.T) {
	s, _ := newTest(t)
	var group sync.WaitGroup
	won := make(chan string, 64)
	for i := range 64 {
		group.Go(func() {
			mac := fmt.Sprintf("02:00:00:00:03:%02x", i)
			_, err := s.Bind(ctx, Lease{Client: Client{MAC: mac}, IP: ip("10.0.0.10"), Prefix: lan.Prefix, Duration: time.Hour})
			if err == nil {
				won <- mac
			}
		})
	}
	group.Wait()
	if len(won) != 1 {
		t.Errorf("%d clients were leased one address", len(won))
	}
}

func TestPruning(t *testing.T) {
	path, c := filepath.Join(t.TempDir(), "leases.db"), newTestClock()
	s := openTest(t, path, c)
	for i := range 5 {
		bind(t, s, fmt.Sprintf("02:00:00:00:04:%02x", i), ip(fmt.Sprintf("10.0.0.1%d", i)), lan.Prefix, time.Hour)
	}
	c.pass(100 * 24 * time.Hour)
	bind(t, s, macA, ip("10.0.0.19"), lan.Prefix, time.Hour)
	if all := s.All(); len(all) != 1 {
		t.Errorf("running: %v", all)
	}
	c.pass(100 * 24 * time.Hour)
	s.Close()
	if all := openTest(t, path, c).All(); len(all) != 0 {
		t.Errorf("opened: %v", all)
	}
}

func TestMaxOffers(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "leases.db"), Options{MaxOffers: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 10 {
		mustOffer(t, s, fmt.Sprintf("02:00:00:00:05:%02x", i), lan, netip.Addr{})
	}
	if st := s.Stats(); st.Offers != 3 {
		t.Errorf("%+v", st)
	}
}
