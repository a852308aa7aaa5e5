package tftp

import (
	"net/netip"
	"sync"
	"time"
)

// maxTracked bounds the clients whose request rate is remembered; a flood from forged addresses turns over entries and
// nothing else.
const maxTracked = 4096

// admission counts what clients may do: requests per second and transfers at once. All of it is per request, never per
// packet of a transfer.
type admission struct {
	mu        sync.Mutex
	rate      float64 // requests per second and client
	burst     float64
	total     int
	perClient int
	active    int
	clients   map[netip.Addr]*allowance
}

type allowance struct {
	tokens float64
	at     time.Time
	active int
}

// owner is who a limit counts for: an IPv4 address, or an IPv6 /64, as one machine has all of that.
func owner(a netip.Addr) netip.Addr {
	if a.Is4() {
		return a
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}

// request takes one token of the client; false means that the packet should be dropped without an answer.
func (a *admission) request(client netip.Addr, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.client(owner(client), now)
	c.tokens = min(a.burst, c.tokens+a.rate*now.Sub(c.at).Seconds())
	c.at = now
	if c.tokens < 1 {
		return false
	}
	c.tokens--
	return true
}

// begin counts a new transfer; every true is paid back by end.
func (a *admission) begin(client netip.Addr, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.client(owner(client), now)
	if a.active >= a.total || c.active >= a.perClient {
		return false
	}
	a.active++
	c.active++
	return true
}

func (a *admission) end(client netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.active--
	if c := a.clients[owner(client)]; c != nil {
		c.active--
	}
}

func (a *admission) client(key netip.Addr, now time.Time) *allowance {
	if c := a.clients[key]; c != nil {
		return c
	}
	if len(a.clients) >= maxTracked {
		a.forget(now)
	}
	c := &allowance{tokens: a.burst, at: now}
	a.clients[key] = c
	return c
}

// forget makes room: first the clients whose tokens are back, and if all are busy, any quarter without transfers.
func (a *admission) forget(now time.Time) {
	for key, c := range a.clients {
		if c.active == 0 && c.tokens+a.rate*now.Sub(c.at).Seconds() >= a.burst {
			delete(a.clients, key)
		}
	}
	for key, c := range a.clients {
		if len(a.clients) < maxTracked*3/4 {
			return
		}
		if c.active == 0 {
			delete(a.clients, key)
		}
	}
}

func newAdmission(c *config) admission {
	rate := float64(c.RequestRate)
	return admission{rate: rate, burst: 4 * rate, total: c.MaxTransfers, perClient: c.MaxPerClient,
		clients: map[netip.Addr]*allowance{}}
}
