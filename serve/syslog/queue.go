package syslog

import (
	"net/netip"
	"sync"
	"time"
)

// line is a message as it came.
type line struct {
	text []byte
	from netip.AddrPort
	when time.Time
}

// overhead is about what a line takes besides its text.
const overhead = 128

func (l line) cost() int64 { return int64(len(l.text)) + overhead }

// queue stands between a socket and Handle. put never waits; the bytes of all
// queues of a Server are counted together.
type queue struct {
	server *Server
	mu     sync.Mutex
	lines  []line
	ended  bool
	filled chan struct{} // holds a token when there may be something to get
}

func newQueue(s *Server) *queue { return &queue{server: s, filled: make(chan struct{}, 1)} }

// put tells whether there was room.
func (q *queue) put(l line, limit int) bool {
	if q.server.queued.Add(l.cost()) > int64(limit) {
		q.server.queued.Add(-l.cost())
		return false
	}
	q.mu.Lock()
	q.lines = append(q.lines, l)
	q.mu.Unlock()
	q.poke()
	return true
}

func (q *queue) poke() {
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

// end lets take return false when the queue is empty.
func (q *queue) end() {
	q.mu.Lock()
	q.ended = true
	q.mu.Unlock()
	q.poke()
}

// take waits for lines and returns all there are; they count until done is
// called for each.
func (q *queue) take() ([]line, bool) {
	for range q.filled {
		q.mu.Lock()
		lines, ended := q.lines, q.ended
		q.lines = nil
		q.mu.Unlock()
		if len(lines) > 0 {
			q.poke() // for the end that may have come before
			return lines, true
		}
		if ended {
			return nil, false
		}
	}
	return nil, false
}

func (q *queue) done(l line) { q.server.queued.Add(-l.cost()) }
