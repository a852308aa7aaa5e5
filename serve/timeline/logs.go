package timeline

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"hooksmith/serve/event"
)

// Line is one line of a machine's log.
type Line struct {
	Seq      uint64    `json:"seq"`  // per machine, from 1, without gaps as recorded
	Time     time.Time `json:"time"` // of receipt
	MAC      string    `json:"mac,omitempty"`
	IP       string    `json:"ip,omitempty"` // the sender; finds the MAC if that is empty
	Severity int       `json:"severity"`     // RFC 5424: 0 emergency to 7 debug
	Facility int       `json:"facility"`
	Host     string    `json:"host,omitempty"`
	App      string    `json:"app,omitempty"`
	Text     string    `json:"text"`
}

// Query picks lines. The zero value picks all.
type Query struct {
	Text     string    // part of app, host or text, without regard to case
	Severity *int      // at most this number (at least this severe); nil: all
	Since    time.Time // received then or later
	After    uint64    // Seq greater than this
	Tail     int       // only the last so many; 0: all
}

// lineCost is what a line costs beside its text.
const lineCost = 128

func (l *Line) cost() int64 { return int64(len(l.Text)+len(l.App)+len(l.Host)) + lineCost }

// matches reports whether q picks the line; q.Text is in lower case.
func (l *Line) matches(q *Query) bool {
	if l.Seq <= q.After || q.Severity != nil && l.Severity > *q.Severity || l.Time.Before(q.Since) {
		return false
	}
	if q.Text == "" {
		return true
	}
	return strings.Contains(strings.ToLower(l.Text), q.Text) || strings.Contains(strings.ToLower(l.App), q.Text) ||
		strings.Contains(strings.ToLower(l.Host), q.Text)
}

// logBuffer holds the latest lines of a machine. Seq of lines is without gaps,
// so that lines[i].Seq == lines[0].Seq+i.
type logBuffer struct {
	lines   []Line
	bytes   int64
	next    uint64 // Seq of the next line, from 1
	written uint64 // lines up to here are in the state file
	dropped uint64
}

func (b *logBuffer) add(l Line) Line {
	if b.next == 0 {
		b.next = 1
	}
	l.Seq = b.next
	b.next++
	b.lines = append(b.lines, l)
	b.bytes += l.cost()
	return l
}

// trim drops the oldest lines until at most limit bytes are left.
func (b *logBuffer) trim(limit int64) (freed int64) {
	n := 0
	for n < len(b.lines) && b.bytes-freed > limit {
		freed += b.lines[n].cost()
		n++
	}
	if n > 0 {
		b.lines = slices.Delete(b.lines, 0, n)
		b.bytes -= freed
		b.dropped += uint64(n)
	}
	return freed
}

// first is the Seq of the oldest line that is kept.
func (b *logBuffer) first() uint64 {
	if len(b.lines) == 0 {
		return max(b.next, 1)
	}
	return b.lines[0].Seq
}

// after returns the lines with a greater Seq.
func (b *logBuffer) after(seq uint64) []Line {
	first := b.first()
	if seq < first {
		return b.lines
	}
	return b.lines[min(seq-first+1, uint64(len(b.lines))):]
}

func (t *Timeline) logLine(l Line) {
	if l.Time.IsZero() {
		l.Time = t.opt.Now()
	}
	l.Text, l.Host, l.App = clean(l.Text, t.opt.Limits.LineBytes), clean(l.Host, maxField), clean(l.App, maxField)
	l.IP = clean(l.IP, maxField)
	l.Severity = min(max(l.Severity, 0), 7)

	t.mu.Lock()
	defer t.mu.Unlock()
	mac := t.resolve(l.MAC, l.IP)
	if mac == "" {
		t.unplaced++
		return
	}
	l.MAC = mac
	if t.byIP[l.IP] == "" && l.IP != "" {
		t.bind(mac, l.IP)
	}
	m := t.machine(mac, l.Time)
	m.last = later(m.last, l.Time)
	t.keepLine(m, l)
	t.readLine(m, l)
	t.notify()
}

// keepLine stores a line within the limits. Room is made in pieces of an
// eighth, so that a flood costs little per line.
func (t *Timeline) keepLine(m *machine, l Line) {
	before := m.logs.bytes
	m.logs.add(l)
	if limit := t.opt.Limits.LogBytes; m.logs.bytes > limit {
		m.logs.trim(limit - limit/8)
	}
	t.logBytes += m.logs.bytes - before
	t.pending.machine(m)
	for t.logBytes > t.opt.Limits.AllLogBytes {
		largest := m
		for _, other := range t.machines {
			if other.logs.bytes > largest.logs.bytes {
				largest = other
			}
		}
		t.logBytes -= largest.logs.trim(largest.logs.bytes - largest.logs.bytes/8 - 1)
		t.pending.machine(largest)
	}
}

// readLine takes from a line what it says about the boot. iPXE's own lines come
// before the system, those of a system that booted from its disk before any
// script: both are no stage.
func (t *Timeline) readLine(m *machine, l Line) {
	b := m.boot()
	if b == nil {
		b = t.begin(m, l.Time)
	}
	t.pending.boot(m, b)
	e := event.Event{Time: l.Time, Kind: event.Syslog, MAC: m.mac, IP: l.IP, Detail: clean(l.Text, maxDetail)}
	kind := kindOfLine(l)
	booted := b.Stage.rank() >= StageScript.rank() || len(b.Steps) == 0
	if kind == lineIPXE || !booted {
		b.Last = later(b.Last, l.Time)
		return
	}
	seen := b.Stage
	switch kind {
	case linePanic:
		note(&b.Marks.Panic, e)
		t.touch(m, b)
	case lineFailed:
		note(&b.Marks.WorkerFailed, e)
		t.touch(m, b)
	case lineWorker:
		e.Kind = event.WorkerUp
	}
	b.apply(e, PhaseOS, StageSyslog, t.opt.Limits.Steps)
	t.advance(b, StageSyslog, l.Time)
	if kind == lineWorker {
		t.advance(b, StageWorker, l.Time)
	}
	if b.Stage != seen {
		t.touch(m, b)
	}
}

func (t *Timeline) logs(mac string, q Query) []Line {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pick(mac, q)
}

// pick is logs with the lock held.
func (t *Timeline) pick(mac string, q Query) []Line {
	m := t.machines[mac]
	if m == nil {
		return nil
	}
	q.Text = strings.ToLower(q.Text)
	lines := m.logs.after(q.After)
	var picked []Line
	for i := len(lines) - 1; i >= 0; i-- {
		if lines[i].matches(&q) {
			picked = append(picked, lines[i])
			if len(picked) == q.Tail {
				break
			}
		}
	}
	slices.Reverse(picked)
	return picked
}

func (t *Timeline) follow(ctx context.Context, mac string, q Query) iter.Seq[Line] {
	return func(yield func(Line) bool) {
		for {
			t.mu.Lock()
			wait := t.wait()
			lines := t.pick(mac, q)
			if m := t.machines[mac]; m != nil {
				q.After = max(q.After, m.logs.first()+uint64(len(m.logs.lines))-1)
			}
			t.mu.Unlock()
			q.Tail = 0
			for _, l := range lines {
				if ctx.Err() != nil || !yield(l) {
					return
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-wait:
			}
			if !pause(ctx, bundle) {
				return
			}
		}
	}
}
