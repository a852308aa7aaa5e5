package timeline

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"
)

// bundle is how long a subscriber waits for more after a change.
const bundle = 200 * time.Millisecond

// show makes the picture of a machine at a moment. The lock is held.
func (t *Timeline) show(m *machine, now time.Time) Machine {
	out := Machine{MAC: m.mac, IP: m.ip, First: m.first, Last: m.last, Count: m.count, Version: m.version,
		Logs: LogStat{Lines: len(m.logs.lines), Bytes: m.logs.bytes, Dropped: m.logs.dropped}}
	record, known := t.lookup(m.mac)
	if out.Known = known; known {
		out.Hostname = record.Hostname
	}
	if b := m.boot(); b != nil {
		out.Boot, out.Stage, out.Arch, out.Client = b.clone(), b.Stage, b.Arch, b.Client
		out.IP = cmp.Or(b.IP, m.ip)
	}
	s := scene{mac: m.mac, boots: m.boots, now: now, waits: &t.opt.Waits, known: known, judged: t.opt.Lookup != nil, record: record}
	out.Problems = s.diagnose()
	out.State = s.state(out.Problems, m.last)
	return out
}

// clone copies a boot, so that it can be read without the lock.
func (b *Boot) clone() *Boot {
	c := *b
	c.Steps = slices.Clone(b.Steps)
	for _, m := range c.Marks.all() {
		if *m != nil {
			mark := **m
			*m = &mark
		}
	}
	return &c
}

func (m *Marks) all() []**Mark {
	return []**Mark{&m.Silence, &m.Rival, &m.Nak, &m.Decline, &m.Loop, &m.NoBinary, &m.Unknown, &m.OSAddress,
		&m.OSDiscover, &m.WorkerFailed, &m.Panic}
}

// snapshot returns the machines that changed after a moment, worst first.
func (t *Timeline) snapshot(since uint64) []Machine {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changedSince(since)
}

func (t *Timeline) changedSince(since uint64) []Machine {
	now := t.opt.Now()
	out := make([]Machine, 0, len(t.machines))
	for _, m := range t.machines {
		if m.version > since {
			out = append(out, t.show(m, now))
		}
	}
	Sort(out)
	return out
}

// Sort orders machines as Machines does: the worst first, then those that boot,
// then the latest boot, so that a machine keeps its place while it boots.
func Sort(machines []Machine) {
	slices.SortFunc(machines, func(a, b Machine) int {
		return cmp.Or(cmp.Compare(a.State.Rank(), b.State.Rank()), b.began().Compare(a.began()), strings.Compare(a.MAC, b.MAC))
	})
}

// Rank is the place of a state in that order.
func (s State) Rank() int { return slices.Index([]State{Stuck, Booting, Up, Idle, Silent, Unasked}, s) }

func (m *Machine) began() time.Time {
	if m.Boot == nil {
		return m.Last
	}
	return m.Boot.Start
}

func (t *Timeline) detail(mac string) (Detail, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.machines[mac]
	if m == nil {
		return Detail{}, false
	}
	d := Detail{Machine: t.show(m, t.opt.Now()), History: []Boot{}}
	for i := len(m.boots) - 2; i >= 0; i-- {
		d.History = append(d.History, *m.boots[i].clone())
	}
	return d, true
}

func (t *Timeline) status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.opt.Now()
	s := Status{Time: now, Seq: t.seq, Machines: len(t.machines), Evicted: t.evicted, LogBytes: t.logBytes, Unplaced: t.unplaced,
		Disk: t.disk, States: map[State]int{}, Stages: map[Stage]int{}, Problems: map[string]int{}}
	for _, m := range t.machines {
		shown := t.show(m, now)
		s.States[shown.State]++
		if shown.Stage != "" {
			s.Stages[shown.Stage]++
		}
		codes := map[string]bool{}
		for _, p := range shown.Problems {
			codes[p.Code] = true
		}
		for code := range maps.Keys(codes) {
			s.Problems[code]++
		}
	}
	return s
}

// check diagnoses machines anew as time passes, so that subscribers are told of
// a boot that has come to a standstill. Machines that were quiet for longer
// than a day have nothing new to tell.
func (t *Timeline) check(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	changed := false
	for _, m := range t.machines {
		if now.Sub(m.last) > forgotten+time.Hour && m.shown != "" {
			continue
		}
		shown := t.show(m, now)
		var print strings.Builder
		print.WriteString(string(shown.State) + shown.Hostname)
		for _, p := range shown.Problems {
			print.WriteString(" " + p.Code + string(p.Severity))
		}
		if print.String() == m.shown {
			continue
		}
		if m.shown != "" { // else the event itself has said so
			t.seq++
			m.version = t.seq
			changed = true
		}
		t.tell(m, shown.Problems)
		m.shown = print.String()
	}
	if changed {
		t.notify()
	}
}

// tell logs the problems that are new since the last check, notices left out.
func (t *Timeline) tell(m *machine, problems []Problem) {
	for _, p := range problems {
		if p.Severity != Info && !strings.Contains(m.shown, " "+p.Code+string(p.Severity)) {
			t.opt.Log.Warn("a machine has a problem", "mac", m.mac, "problem", p.Code, "severity", p.Severity, "text", p.Text, "do", p.Do)
		}
	}
}

// notify wakes whoever waits. The lock is held.
func (t *Timeline) notify() {
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// wait returns a channel that is closed at the next change. The lock is held.
func (t *Timeline) wait() <-chan struct{} {
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.changed
}

func (t *Timeline) subscribe(ctx context.Context, since uint64) iter.Seq[Update] {
	return func(yield func(Update) bool) {
		for ctx.Err() == nil {
			t.mu.Lock()
			wait := t.wait()
			u := t.update(since)
			t.mu.Unlock()
			if u.Reset || len(u.Machines) > 0 {
				if !yield(u) {
					return
				}
			}
			since = u.Seq
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

// update is what changed after since. A since from before Open, or from before
// a machine was dropped, is answered with everything.
func (t *Timeline) update(since uint64) Update {
	u := Update{Seq: t.seq, Reset: since < t.floor || since < t.gone || since > t.seq}
	if u.Reset {
		since = 0
	}
	u.Machines = t.changedSince(since)
	return u
}

// pause waits, and reports whether ctx still holds.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
