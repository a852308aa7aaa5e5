package lease

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// owners is what the clients believe: who has which address.
type owners struct {
	mu sync.Mutex
	of map[netip.Addr]string
}

// got records an acknowledged lease, and tells whose it still is if it is
// somebody else's.
func (o *owners) got(mac string, a netip.Addr) (other string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if by := o.of[a]; by != "" && by != mac {
		return by
	}
	o.of[a] = mac
	return ""
}

func (o *owners) lost(a netip.Addr) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.of, a)
}

// TestStorm: many clients at once in a pool that is too small for them; at no
// time do two believe that they have one address.
func TestStorm(t *testing.T) {
	s, _ := newTest(t)
	sub := pool("10.0.0.0/24", "10.0.0.10", "10.0.0.29")
	o := owners{of: map[netip.Addr]string{}}
	var group sync.WaitGroup
	for i := range 40 {
		group.Go(func() { stormClient(t, s, sub, &o, fmt.Sprintf("02:00:00:00:06:%02x", i), uint64(i)) })
	}
	group.Wait()
}

func stormClient(t *testing.T, s *Store, sub Subnet, o *owners, mac string, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 5))
	for range 60 {
		var full *ExhaustedError
		a, err := s.Offer(Client{MAC: mac}, sub, address(0x0a00000a+rnd.Uint32N(20)))
		if errors.As(err, &full) {
			continue
		}
		if rnd.IntN(5) == 0 {
			a = address(0x0a00000a + rnd.Uint32N(20)) // it asks for another than was offered
		}
		var taken *TakenError
		_, err = s.Bind(ctx, Lease{Client: Client{MAC: mac}, IP: a, Prefix: sub.Prefix, Duration: time.Hour})
		switch {
		case errors.As(err, &taken):
			continue
		case err != nil:
			t.Error(err)
			return
		}
		if other := o.got(mac, a); other != "" {
			t.Errorf("%v was given to %s while %s had it", a, mac, other)
			return
		}
		if _, err := s.Bind(ctx, Lease{Client: Client{MAC: mac}, IP: a, Prefix: sub.Prefix, Duration: time.Hour}); err != nil {
			t.Errorf("renewing %v: %v", a, err)
		}
		o.lost(a)
		if rnd.IntN(8) == 0 {
			err = s.Decline(ctx, mac, a)
		} else {
			err = s.Release(ctx, mac, a)
		}
		if err != nil {
			t.Errorf("giving %v back: %v", a, err)
		}
	}
}

// TestCloseAmongBinds: what was acknowledged is on disk, the rest was refused.
func TestCloseAmongBinds(t *testing.T) {
	path, c := filepath.Join(t.TempDir(), "leases.db"), newTestClock()
	s := openTest(t, path, c)
	o := owners{of: map[netip.Addr]string{}}
	var group sync.WaitGroup
	for i := range 32 {
		group.Go(func() {
			for j := 0; ; j++ {
				mac := fmt.Sprintf("02:00:00:%02x:%02x:%02x", i, j>>8, j&255)
				l, err := s.Bind(ctx, Lease{Client: Client{MAC: mac}, IP: address(0x0a100001 + uint32(i<<12+j)), Prefix: campus.Prefix, Duration: time.Hour})
				if err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Error(err)
					}
					return
				}
				o.got(mac, l.IP)
			}
		})
	}
	for s.Stats().Binds < 300 {
		time.Sleep(time.Millisecond)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	group.Wait()
	if err := s.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	s = openTest(t, path, c)
	for a, mac := range o.of {
		if l, ok := s.LookupIP(a); !ok || l.MAC != mac {
			t.Errorf("%v was leased to %s, now %+v", a, mac, l)
		}
	}
	if len(s.All()) != len(o.of) {
		t.Errorf("%d leases, %d were acknowledged", len(s.All()), len(o.of))
	}
}
