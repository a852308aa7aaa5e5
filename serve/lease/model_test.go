package lease

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// oracle is the rules again, as simply as they can be said: one entry per
// address, looked through from end to end, in time that nobody can set.
type oracle struct {
	now     time.Duration
	entries map[netip.Addr]*entry
	offers  map[string]held // by MAC
}

type entry struct {
	mac      string
	state    string // "bound", "released", "declined"
	end      time.Duration
	reserved bool
}

type held struct {
	ip    netip.Addr
	until time.Duration
}

func (o *oracle) heldBy(a netip.Addr) string {
	for mac, h := range o.offers {
		if h.ip == a && o.now < h.until {
			return mac
		}
	}
	return ""
}

func (o *oracle) free(mac string, a netip.Addr) bool {
	if by := o.heldBy(a); by != "" && by != mac {
		return false
	}
	e := o.entries[a]
	return e == nil || o.now >= e.end || e.mac == mac && e.state == "bound"
}

// acceptable is what Offer may answer: the first tier that has anything.
func (o *oracle) acceptable(mac string, want netip.Addr, sub Subnet, all []netip.Addr) []netip.Addr {
	ok := func(a netip.Addr) bool { return sub.Allows(a) && o.free(mac, a) }
	for _, a := range all {
		if e := o.entries[a]; e != nil && e.mac == mac && e.state != "declined" && ok(a) {
			return []netip.Addr{a}
		}
	}
	if h, held := o.offers[mac]; held && o.now < h.until && ok(h.ip) {
		return []netip.Addr{h.ip}
	}
	if ok(want) {
		return []netip.Addr{want}
	}
	var unused []netip.Addr
	old := map[bool][]netip.Addr{}
	for _, a := range all {
		switch e := o.entries[a]; {
		case !sub.Allows(a) || o.heldBy(a) != "":
		case e == nil:
			unused = append(unused, a)
		case o.now >= e.end:
			old[e.reserved] = append(old[e.reserved], a)
		}
	}
	if len(unused) > 0 {
		return unused
	}
	for _, reserved := range []bool{false, true} {
		if list := old[reserved]; len(list) > 0 {
			first := slices.MinFunc(list, func(a, b netip.Addr) int { return cmp.Compare(o.entries[a].end, o.entries[b].end) })
			return slices.DeleteFunc(list, func(a netip.Addr) bool { return o.entries[a].end != o.entries[first].end })
		}
	}
	return nil
}

// mayBind tells whether a Bind must succeed.
func (o *oracle) mayBind(mac string, a netip.Addr, reserved bool) bool {
	if by := o.heldBy(a); by != "" && by != mac && !reserved {
		return false
	}
	e := o.entries[a]
	if e == nil || o.now >= e.end {
		return true
	}
	if e.state == "declined" {
		return reserved
	}
	return e.mac == mac || reserved && e.reserved
}

func (o *oracle) bound(mac string, a netip.Addr, d time.Duration, reserved bool) {
	for other, e := range o.entries {
		if e.mac == mac && e.state != "declined" && other != a {
			delete(o.entries, other)
		}
	}
	o.entries[a] = &entry{mac, "bound", o.now + d, reserved}
	o.unhold(mac, a)
}

func (o *oracle) unhold(mac string, a netip.Addr) {
	delete(o.offers, mac)
	for other, h := range o.offers {
		if h.ip == a {
			delete(o.offers, other)
		}
	}
}

// lives tells whether mac has a live lease of a.
func (o *oracle) lives(mac string, a netip.Addr) bool {
	e := o.entries[a]
	return e != nil && e.mac == mac && e.state == "bound" && o.now < e.end
}

// model is a store and its oracle, and what the clients themselves believe.
type model struct {
	*testing.T
	rnd    *rand.Rand
	path   string
	clock  *testClock
	store  *Store
	oracle oracle
	sub    Subnet
	all    []netip.Addr
	own    map[string]netip.Addr // the reserved MAC addresses
}

// TestModel does random things to a small pool and compares every answer.
func TestModel(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { newModel(t, seed).run(400) })
	}
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{T: t, rnd: rand.New(rand.NewPCG(seed, 7)), path: filepath.Join(t.TempDir(), "leases.db"), clock: newTestClock()}
	m.sub = pool("10.0.0.0/24", "10.0.0.10", "10.0.0.13", "10.0.0.20", "10.0.0.23")
	m.own = map[string]netip.Addr{"02:00:00:00:00:00": ip("10.0.0.21"), "02:00:00:00:00:01": ip("10.0.0.100")}
	m.sub.Excluded = func(a netip.Addr) bool { return a == ip("10.0.0.21") || a == ip("10.0.0.22") }
	for _, s := range m.sub.spans() {
		for n := s.from; n <= s.to; n++ {
			m.all = append(m.all, address(n))
		}
	}
	m.all = append(m.all, ip("10.0.0.100"))
	m.oracle = oracle{entries: map[netip.Addr]*entry{}, offers: map[string]held{}}
	m.store = openTest(t, m.path, m.clock)
	return m
}

func (m *model) run(steps int) {
	for range steps {
		mac := fmt.Sprintf("02:00:00:00:00:%02x", m.rnd.IntN(12))
		a := m.all[m.rnd.IntN(len(m.all))]
		if h, ok := m.oracle.offers[mac]; ok && m.rnd.IntN(3) > 0 {
			a = h.ip
		}
		switch m.rnd.IntN(20) {
		case 0, 1, 2, 3, 4, 5:
			m.offer(mac, a)
		case 6, 7, 8, 9, 10, 11:
			m.bind(mac, a)
		case 12:
			m.release(mac, a)
		case 13:
			m.decline(mac, a)
		case 14:
			m.store.Forget(mac, m.sub.Prefix)
			delete(m.oracle.offers, mac)
		case 15:
			m.clock.set(time.Duration(m.rnd.IntN(400)-200) * time.Hour)
		case 16:
			m.reopen()
		default:
			d := time.Duration(m.rnd.IntN(500)) * time.Second
			m.clock.pass(d)
			m.oracle.now += d
		}
		m.compare()
	}
}

func (m *model) offer(mac string, want netip.Addr) {
	m.Helper()
	for other, h := range m.oracle.offers { // what is over is over
		if m.oracle.now >= h.until {
			delete(m.oracle.offers, other)
		}
	}
	ok := m.oracle.acceptable(mac, want, m.sub, m.all)
	got, err := m.store.Offer(Client{MAC: mac}, m.sub, want)
	if err != nil && len(ok) > 0 || err == nil && !slices.Contains(ok, got) {
		m.Fatalf("offer to %s, who wants %v: %v %v, want one of %v", mac, want, got, err, ok)
	}
	if err == nil {
		m.oracle.offers[mac] = held{got, m.oracle.now + time.Minute}
	}
}

func (m *model) bind(mac string, a netip.Addr) {
	m.Helper()
	reserved := false
	if own, ok := m.own[mac]; ok {
		a, reserved = own, true
	}
	d := time.Duration(1+m.rnd.IntN(1200)) * time.Second
	want := m.oracle.mayBind(mac, a, reserved)
	_, err := m.store.Bind(ctx, Lease{Client: Client{MAC: mac}, IP: a, Prefix: m.sub.Prefix, Duration: d, Reserved: reserved})
	if (err == nil) != want {
		m.Fatalf("binding %v to %s: %v, want success %v", a, mac, err, want)
	}
	if err == nil {
		m.oracle.bound(mac, a, d, reserved)
	}
}

func (m *model) release(mac string, a netip.Addr) {
	m.Helper()
	lives := m.oracle.lives(mac, a)
	h, offered := m.oracle.offers[mac]
	offered = offered && h.ip == a && m.oracle.now < h.until
	err := m.store.Release(ctx, mac, a)
	if (err == nil) != (lives || offered) || err != nil && !errors.Is(err, ErrNotHeld) {
		m.Fatalf("release of %v by %s: %v", a, mac, err)
	}
	if err != nil {
		return
	}
	if lives {
		m.oracle.entries[a].state, m.oracle.entries[a].end = "released", m.oracle.now
	}
	if lives || offered {
		m.oracle.unhold(mac, a)
	}
}

func (m *model) decline(mac string, a netip.Addr) {
	m.Helper()
	h, offered := m.oracle.offers[mac]
	holds := m.oracle.lives(mac, a) || offered && h.ip == a && m.oracle.now < h.until
	err := m.store.Decline(ctx, mac, a)
	if (err == nil) != holds {
		m.Fatalf("decline of %v by %s: %v", a, mac, err)
	}
	if err == nil {
		reserved := m.oracle.lives(mac, a) && m.oracle.entries[a].reserved
		m.oracle.entries[a] = &entry{mac, "declined", m.oracle.now + 10*time.Minute, reserved}
		m.oracle.unhold(mac, a)
	}
}

// reopen starts a new process: offers are gone, leases are not.
func (m *model) reopen() {
	m.Helper()
	if err := m.store.Close(); err != nil {
		m.Fatal(err)
	}
	m.store = openTest(m.T, m.path, m.clock)
	m.oracle.offers = map[string]held{}
}

// compare: what lives for the store lives for the oracle, until the same time.
func (m *model) compare() {
	m.Helper()
	live := 0
	for _, l := range m.store.All() {
		e := m.oracle.entries[l.IP]
		if l.State != Active && l.State != Quarantined {
			if e != nil && m.oracle.now < e.end {
				m.Fatalf("%v is %s, but lives: %+v", l.IP, l.State, e)
			}
			continue
		}
		live++
		if e == nil || e.mac != l.MAC || (e.state == "bound") != (l.State == Active) {
			m.Fatalf("%v is %s by %s, want %+v", l.IP, l.State, l.MAC, e)
		}
		if left := l.Expires.Sub(m.clock.now()); (left - (e.end - m.oracle.now)).Abs() > time.Millisecond {
			m.Fatalf("%v lives for %v, want %v", l.IP, left, e.end-m.oracle.now)
		}
	}
	for _, e := range m.oracle.entries {
		if m.oracle.now < e.end {
			live--
		}
	}
	if live != 0 {
		m.Fatalf("%d addresses live more or less than they should", live)
	}
}
