package dhcp

import (
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// queue is what waits for an answer, and the limits on what a packet can cause.
//
// Most packets are answered by the goroutine that read them. Those that wait for the disk go through requests to the
// keepers, who take many at once: the lease store writes them in one go. A machine's packets are answered one after the
// other: what comes for a machine that waits for the disk waits behind it.
type queue struct {
	requests chan *query
	count    *counters
	rate     rate
	bad      complaints

	mu      sync.Mutex
	running map[string][]*query // by machine that is being answered: what came meanwhile
}

const (
	keepers = 2   // one writes while the other answers
	abreast = 128 // leases written, and acknowledged, at once: a relay's socket takes about 250 packets in a burst before it drops some
	behind  = 4   // packets of one machine that wait
)

func newQueue(c Config, count *counters) *queue {
	return &queue{requests: make(chan *query, c.Workers), count: count, running: map[string][]*query{},
		rate: rate{perSecond: float64(c.Rate), buckets: map[string]bucket{}}}
}

// read reads a packet; nil means that it is not answered.
func (q *queue) read(data []byte, a arrival, e *engine) *query {
	now := e.Now()
	p, err := parse(data, a)
	if err != nil {
		q.count.malformed.Add(1)
		if n, tell := q.bad.add(now); tell {
			e.Log.Info("packets that are no DHCP messages of clients", "count", n, "last_from", a.from, "interface", a.iface.name, "error", err)
		}
		return nil
	}
	if !q.rate.allow(p.id, now) {
		q.count.limited.Add(1)
		return nil
	}
	return p
}

// waits reports whether the answer may wait for the disk.
func (p *query) waits() bool {
	return p.kind == dhcpv4.MessageTypeRequest || p.kind == dhcpv4.MessageTypeDecline || p.kind == dhcpv4.MessageTypeRelease
}

// busy reports whether so much waits for the disk that nothing new is begun: under load, who was offered an address gets
// it before others are offered one.
func (q *queue) busy() bool { return len(q.requests) >= max(1, cap(q.requests)/8) }

// begin reports whether a packet is the only one of its machine; else it waits, or is dropped. Who begins one must end it.
func (q *queue) begin(p *query) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting, running := q.running[p.id]
	switch {
	case !running:
		q.running[p.id] = nil
		return true
	case len(waiting) < behind:
		q.running[p.id] = append(waiting, p)
	default:
		q.count.dropped.Add(1)
	}
	return false
}

// end returns the machine's next packet, which has begun then, or nil.
func (q *queue) end(p *query) *query {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := q.running[p.id]
	if len(waiting) == 0 {
		delete(q.running, p.id)
		return nil
	}
	q.running[p.id] = waiting[1:]
	return waiting[0]
}

// keep hands a packet that has begun to the keepers, or drops it.
func (q *queue) keep(p *query) {
	for p != nil {
		select {
		case q.requests <- p:
			return
		default:
			q.count.dropped.Add(1)
			p = q.end(p)
		}
	}
}

// take returns what waits for the disk, at least one and at most abreast; none when the queue is closed.
func (q *queue) take(batch []*query) []*query {
	p, ok := <-q.requests
	for batch = batch[:0]; ok; {
		if batch = append(batch, p); len(batch) == abreast {
			break
		}
		select {
		case p, ok = <-q.requests:
		default:
			return batch
		}
	}
	return batch
}

// rate limits packets by machine.
type rate struct {
	sync.Mutex
	perSecond float64
	buckets   map[string]bucket
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
	b, ok := r.buckets[id]
	if !ok {
		if len(r.buckets) >= maxBuckets {
			clear(r.buckets)
		}
		b = bucket{4 * r.perSecond, now}
	}
	b.tokens = min(4*r.perSecond, b.tokens+max(0, now.Sub(b.last).Seconds())*r.perSecond)
	b.last = now
	enough := b.tokens >= 1
	if enough {
		b.tokens--
	}
	r.buckets[id] = b
	return enough
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
