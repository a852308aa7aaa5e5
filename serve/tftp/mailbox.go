package tftp

import (
	"sync"
	"time"
)

// sender is the sending half of a mailbox's link.
type sender interface {
	payload() int
	send(p []byte) error
	blocks(first uint16, data []byte, block, count int) error
}

// mailboxDepth acknowledgements wait for a transfer; more than a window's worth are only repetitions.
const mailboxDepth = 32

// mailbox is a link over the listening socket: the reader of that socket puts the client's packets in, the transfer
// takes them out. Acknowledgements queue by number; of other packets the last one is kept.
type mailbox struct {
	sender
	origin origin
	buf    *buffer
	signal chan struct{}
	timer  *time.Timer
	alarm  time.Time // when the timer fires; moved only when it is too late or has fired

	mu      sync.Mutex
	acks    [mailboxDepth]uint16
	head, n int
	other   []byte
	came    int64 // of the first packet; 0: none yet, or not known
	stopped bool
}

func newMailbox(o origin, b *buffer, s sender) *mailbox {
	return &mailbox{sender: s, origin: o, buf: b, signal: make(chan struct{}, 1)}
}

// deliver takes a datagram, whose data is copied.
func (m *mailbox) deliver(p packet) {
	m.mu.Lock()
	if m.came == 0 {
		m.came = p.came
	}
	if ack, ok := parseAck(p.data); !ok {
		m.other = append([]byte(nil), p.data...)
	} else if m.n < mailboxDepth {
		m.acks[(m.head+m.n)%mailboxDepth] = ack
		m.n++
	}
	m.mu.Unlock()
	m.wake()
}

func (m *mailbox) wake() {
	select {
	case m.signal <- struct{}{}:
	default:
	}
}

func (m *mailbox) stop() {
	m.mu.Lock()
	m.stopped = true
	m.mu.Unlock()
	m.wake()
}

// take returns what lies in the box, nil for nothing.
func (m *mailbox) take() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.stopped:
		return nil, errStopped
	case m.other != nil:
		p := m.other
		m.other = nil
		return p, nil
	case m.n > 0:
		ack := m.acks[m.head]
		m.head, m.n = (m.head+1)%mailboxDepth, m.n-1
		return append(m.buf.in[:0], 0, opAck, byte(ack>>8), byte(ack)), nil
	}
	return nil, nil
}

func (m *mailbox) recv(wait time.Duration) ([]byte, error) {
	deadline := time.Now().Add(wait)
	for {
		if p, err := m.take(); p != nil || err != nil {
			return p, err
		}
		m.arm(deadline, wait)
		select {
		case <-m.signal:
		case <-m.timer.C:
			m.alarm = time.Time{}
			if !time.Now().Before(deadline) {
				return nil, errTimeout
			}
			wait = time.Until(deadline)
		}
	}
}

func (m *mailbox) arrived() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.came
}

// arm makes sure that the timer fires no later than the deadline. It may fire earlier, and is armed again then: so it is
// not touched for each packet.
func (m *mailbox) arm(deadline time.Time, wait time.Duration) {
	switch {
	case m.timer == nil:
		m.timer = time.NewTimer(wait)
	case m.alarm.IsZero() || m.alarm.After(deadline):
		m.timer.Reset(wait)
	default:
		return
	}
	m.alarm = deadline
}

func (m *mailbox) close() []packet {
	if m.timer != nil {
		m.timer.Stop()
	}
	m.stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	if opcode(m.other) == opRead {
		return []packet{{origin: m.origin, data: m.other}}
	}
	return nil
}
