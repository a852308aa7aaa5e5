package tftp

import "time"

// Bounds of the adaptive retransmit interval. TCP's floor of 200 ms is for delayed acknowledgements, which TFTP does not
// have; 50 ms still covers firmware that polls its card on a 55 ms tick, as the variance grows with the first samples.
const (
	minInterval   = 50 * time.Millisecond
	firstInterval = time.Second // RFC 6298 section 2.1, before any sample
	granularity   = 20 * time.Millisecond
)

// pacer computes how long to wait for an acknowledgement (RFC 6298), in one transfer.
type pacer struct {
	fixed    time.Duration // negotiated by RFC 2349: then nothing adapts
	ceiling  time.Duration
	smoothed time.Duration
	variance time.Duration
	backoff  uint // timeouts in a row
}

// sample takes the round trip of a window that was sent once (Karn: never of one that was repeated).
func (p *pacer) sample(rtt time.Duration) {
	if p.smoothed == 0 {
		p.smoothed, p.variance = rtt, rtt/2
		return
	}
	p.variance += ((rtt - p.smoothed).Abs() - p.variance) / 4
	p.smoothed += (rtt - p.smoothed) / 8
}

// interval is the time to wait now.
func (p *pacer) interval() time.Duration {
	if p.fixed > 0 {
		return p.fixed
	}
	d := firstInterval
	if p.smoothed > 0 {
		d = max(minInterval, p.smoothed+max(granularity, 4*p.variance))
	}
	return min(d<<min(p.backoff, 16), p.ceiling)
}
