package service

import "time"

// Backoff says how long to wait before a service is started again. The zero value has the delays of HookOS.
type Backoff struct {
	Min, Max time.Duration // 1 s and 30 s
	Reset    time.Duration // a run of this length starts over: 60 s

	next time.Duration
}

// Next is the delay after a run that lasted for ran: doubled each time, up to the limit.
func (b *Backoff) Next(ran time.Duration) time.Duration {
	lowest, highest, reset := or(b.Min, time.Second), or(b.Max, 30*time.Second), or(b.Reset, time.Minute)
	if b.next == 0 || ran >= reset {
		b.next = lowest
	}
	delay := min(b.next, highest)
	b.next = min(2*delay, highest)
	return delay
}

func or(d, standard time.Duration) time.Duration {
	if d <= 0 {
		return standard
	}
	return d
}
