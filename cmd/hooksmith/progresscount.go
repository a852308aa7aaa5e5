package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// countInterval is the least time between two lines of a counted task where
// bars cannot be drawn: those that take minutes.
const countInterval = 30 * time.Second

// countTask counts objects towards an estimate.
type countTask struct {
	progress *progress
	name     string
	total    int
	start    time.Time
	bar      *mpb.Bar // nil: plain lines

	mu      sync.Mutex
	count   int
	printed time.Time
	done    bool
}

// BeginCount starts a task of about total things, 0 if nobody knows how many.
// The caller calls Done.
func (p *progress) BeginCount(name string, total int) *countTask {
	t := &countTask{progress: p, name: name, total: total, start: p.now()}
	t.printed = t.start
	t.bar = p.drawBar(name, int64(total), nil, decor.CountersNoUnit("%d of about %d", decor.WCSyncSpace))
	if t.bar == nil {
		about := ""
		if total > 0 {
			about = fmt.Sprintf(" (about %d objects)", total)
		}
		p.printf("%s: started%s\n", name, about)
	}
	return t
}

// Add counts n more. More than the estimate is no longer compared with it.
func (t *countTask) Add(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count += n
	if t.bar != nil {
		if t.total > 0 && t.count >= t.total {
			t.bar.SetTotal(int64(t.count)+1, false) // a full bar would go away
		}
		t.bar.IncrBy(n)
		return
	}
	if now := t.progress.now(); !t.done && now.Sub(t.printed) >= countInterval {
		t.printed = now
		about := ""
		if t.total > t.count {
			about = fmt.Sprintf(" of about %d", t.total)
		}
		t.progress.printf("%s: %d%s objects\n", t.name, t.count, about)
	}
}

// Done ends the task; the error itself is the command's to report. Calls after
// the first are ignored.
func (t *countTask) Done(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return
	}
	t.done = true
	if t.bar != nil {
		t.bar.Abort(true) // the line below takes its place
	}
	took := t.progress.now().Sub(t.start).Round(100 * time.Millisecond)
	switch {
	case err != nil:
		t.progress.printf("%s: stopped after %s\n", t.name, took)
	case t.count > 0:
		t.progress.printf("%s: done, %d objects in %s\n", t.name, t.count, took)
	default:
		t.progress.printf("%s: done in %s\n", t.name, took)
	}
}
