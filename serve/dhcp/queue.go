package dhcp

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// queue is the packets that are being answered, and the limits on what a packet can cause.
type queue struct {
	answer  func(*query)
	slots   chan struct{} // of all
	disk    chan struct{} // of these, who may wait for one transaction of the lease store
	fresh   chan struct{} // of DISCOVERs: under load, who was offered an address gets it before others are offered one
	running sync.WaitGroup
	locks   [4096]sync.Mutex // of machines, by hash: a machine's packets are answered one after the other
	seed    maphash.Seed
	count   *counters
	rate    rate
	bad     complaints
}

func newQueue(c Config, count *counters) *queue {
	return &queue{slots: make(chan struct{}, c.Workers), disk: make(chan struct{}, abreast), fresh: make(chan struct{}, max(1, c.Workers/8)), seed: maphash.MakeSeed(), count: count,
		rate: rate{perSecond: float64(c.Rate), buckets: map[string]*bucket{}}}
}

// abreast is how many leases are written, and then acknowledged, at once: a relay's socket takes about 250 packets in one
// burst before it drops some (Linux's default buffer).
const abreast = 128

// put reads a packet and has it answered. It never waits.
func (q *queue) put(data []byte, a arrival, e *engine) {
	now := e.Now()
	p, err := parse(slices.Clone(data), a)
	if err != nil {
		q.count.malformed.Add(1)
		if n, tell := q.bad.add(now); tell {
			e.Log.Info("packets that are no DHCP messages of clients", "count", n, "last_from", a.from, "interface", a.iface.name, "error", err)
		}
		return
	}
	if !q.rate.allow(p.id, now) {
		q.count.limited.Add(1)
		return
	}
	slots := q.slots
	if p.kind == dhcpv4.MessageTypeDiscover {
		slots = q.fresh
	}
	select {
	case slots <- struct{}{}:
		q.running.Go(func() {
			defer func() { <-slots }()
			if p.kind != dhcpv4.MessageTypeDiscover {
				q.disk <- struct{}{}
				defer func() { <-q.disk }()
			}
			lock := &q.locks[maphash.String(q.seed, p.id)%uint64(len(q.locks))]
			lock.Lock()
			defer lock.Unlock()
			q.answer(p)
		})
	default:
		q.count.dropped.Add(1)
	}
}

// rate limits packets by machine.
type rate struct {
	sync.Mutex
	perSecond float64
	buckets   map[string]*bucket
}

type bucket struct {
	tokens float64
	last   time.Time
}

// maxBuckets bounds the memory that invented MAC addresses can take.
const maxBuckets = 8192

func (r *rate) allow(id string, now time.Time) bool {
	r.Lock()
	defer r.Unlock()
	b := r.buckets[id]
	if b == nil {
		if len(r.buckets) >= maxBuckets {
			clear(r.buckets)
		}
		b = &bucket{4 * r.perSecond, now}
		r.buckets[id] = b
	}
	b.tokens = min(4*r.perSecond, b.tokens+max(0, now.Sub(b.last).Seconds())*r.perSecond)
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// complaints counts what is told at most every few seconds.
type complaints struct {
	sync.Mutex
	count int
	told  time.Time
}

func (c *complaints) add(now time.Time) (count int, tell bool) {
	c.Lock()
	defer c.Unlock()
	c.count++
	if now.Sub(c.told) < 5*time.Second {
		return 0, false
	}
	count, c.count, c.told = c.count, 0, now
	return count, true
}
