package lease

import (
	"math"
	"time"
)

// clock keeps two times apart. Leases run by elapsed, which only ever goes
// forward and does not care when somebody sets the clock: NTP that finds a
// server without a clock battery in 1970 must not end every lease at once. It
// stands still while the machine is suspended: leases then last longer, never
// shorter. What is written to disk and shown to people is wall time.
type clock struct {
	now     func() time.Time
	last    time.Time
	elapsed time.Duration
	passed  func(from, to time.Time) time.Duration // nil: to.Sub(from), by the monotonic reading if there is one
}

// moment is one reading.
type moment struct {
	wall    time.Time
	elapsed time.Duration // since Open
}

func newClock(now func() time.Time) clock {
	if now == nil {
		now = time.Now
	}
	return clock{now: now, last: now()}
}

// read must not be called concurrently.
func (c *clock) read() moment {
	now := c.now()
	step := now.Sub(c.last)
	if c.passed != nil {
		step = c.passed(c.last, now)
	}
	c.elapsed += max(0, step)
	c.last = now
	return moment{wall: now.Round(0), elapsed: c.elapsed}
}

// at is the wall time of a moment of elapsed time, as the clock stands now.
func (m moment) at(elapsed time.Duration) time.Time {
	return m.wall.Add(plus(elapsed, -m.elapsed))
}

// offset changes by as much as the wall clock is set.
func (m moment) offset() time.Duration {
	return m.wall.Sub(time.Unix(0, 0)) - m.elapsed
}

// plus adds without wrapping: a lease may be as good as endless.
func plus(a, b time.Duration) time.Duration {
	switch sum := a + b; {
	case a > 0 && b > 0 && sum < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && sum >= 0:
		return math.MinInt64
	default:
		return sum
	}
}
