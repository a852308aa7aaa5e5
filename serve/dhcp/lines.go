package dhcp

import (
	"sync"
	"time"
)

// lines bounds what anyone can have written by inventing MAC addresses. A room full of machines that are turned on at
// once fits into the burst.
type lines struct {
	sync.Mutex
	bucket
	unsaid int
}

const (
	linesPerSecond = 20
	linesAtOnce    = 500
)

// allow reports whether one more is written, and how many were not before it.
func (l *lines) allow(now time.Time) (ok bool, unsaid int) {
	l.Lock()
	defer l.Unlock()
	if l.last.IsZero() {
		l.tokens = linesAtOnce
	}
	l.tokens = min(linesAtOnce, l.tokens+max(0, now.Sub(l.last).Seconds())*linesPerSecond)
	l.last = now
	if l.tokens < 1 {
		l.unsaid++
		return false, 0
	}
	l.tokens--
	unsaid, l.unsaid = l.unsaid, 0
	return true, unsaid
}

// mayLog reports whether a line about a packet is written. Machines of the hardware data are not counted: the rate of
// each is limited.
func (e *engine) mayLog(q *query) bool {
	if e.machine(q) != nil {
		return true
	}
	ok, unsaid := e.lines.allow(e.Now())
	if unsaid > 0 {
		e.Log.Warn("lines about unknown machines were not written, as there were too many", "count", unsaid)
	}
	return ok
}
