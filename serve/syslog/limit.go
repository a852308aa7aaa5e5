package syslog

import (
	"net/netip"
	"sync"
	"time"
)

// limiter is a token bucket for each source address.
type limiter struct {
	mu      sync.Mutex
	sources map[netip.Addr]bucket
}

type bucket struct {
	tokens float64
	filled time.Time
}

// maxSources bounds the memory that forged addresses can take. When there are
// more, all begin anew: the queue's limit still holds.
const maxSources = 4096

// allow takes one token of a source that gets rate of them each second, and can
// save up four seconds' worth.
func (l *limiter) allow(from netip.Addr, rate int, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	most := float64(4 * rate)
	b, known := l.sources[from]
	if !known {
		b = bucket{tokens: most, filled: now}
		if l.sources == nil || len(l.sources) >= maxSources {
			l.sources = map[netip.Addr]bucket{}
		}
	}
	passed := max(0, now.Sub(b.filled).Seconds()) // a clock that is set back gives nothing
	b.tokens, b.filled = min(most, b.tokens+passed*float64(rate)), now
	ok := b.tokens >= 1
	if ok {
		b.tokens--
	}
	l.sources[from] = b
	return ok
}

// places counts the connections of each address.
type places struct {
	mu    sync.Mutex
	taken map[netip.Addr]int
	all   int
}

func (p *places) enter(from netip.Addr, most, mostPerAddr int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all >= most || p.taken[from] >= mostPerAddr {
		return false
	}
	if p.taken == nil {
		p.taken = map[netip.Addr]int{}
	}
	p.all++
	p.taken[from]++
	return true
}

func (p *places) leave(from netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
	if p.taken[from]--; p.taken[from] == 0 {
		delete(p.taken, from)
	}
}

func (p *places) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all
}
