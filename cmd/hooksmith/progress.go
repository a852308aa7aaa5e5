package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"hooksmith/build/fetch"
)

// plainInterval is the least time between two lines of one task where bars
// cannot be drawn: a CI log stays readable, and a stalled download shows.
const plainInterval = 5 * time.Second

// plainWorthwhile is from how many bytes a task gets lines of its own where
// bars cannot be drawn, unless it takes long or fails: a build downloads a
// dozen small packages in no time.
const plainWorthwhile = 5 << 20

// progress shows the tasks of a long command: as bars on a terminal, as lines
// elsewhere. It is also the writer for log records, which appear above the
// bars. It is safe for concurrent use. Close ends it; later writes go straight
// through, later tasks are lines.
type progress struct {
	out  io.Writer
	now  func() time.Time
	mu   sync.Mutex
	tty  bool
	bars *mpb.Progress // made by the first task on a terminal
}

var _ fetch.Observer = (*progress)(nil)

func newProgress(out io.Writer, tty bool, now func() time.Time) *progress {
	return &progress{out: out, tty: tty, now: now}
}

// Begin starts a task of total bytes, 0 if unknown. The caller calls Done.
func (p *progress) Begin(name string, total int64) fetch.Task {
	t := &task{progress: p, name: name, total: total, start: p.now()}
	t.printed = t.start
	t.small = total > 0 && total < plainWorthwhile
	if t.bar = p.addBar(name, total); t.bar == nil && !t.small {
		p.printf("%s: started%s\n", name, inBrackets(total))
	}
	return t
}

// Write puts whole lines above the bars.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bars != nil {
		return p.bars.Write(b)
	}
	return p.out.Write(b)
}

// Close removes the bars that are left and restores the plain terminal.
func (p *progress) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tty = false
	if p.bars != nil {
		p.bars.Shutdown()
		p.bars = nil
	}
}

func (p *progress) printf(format string, args ...any) {
	// A closed stderr is no reason to stop the work.
	_, _ = fmt.Fprintf(p, format, args...)
}

// addBar returns nil where bars cannot be drawn. It shows bytes.
func (p *progress) addBar(name string, total int64) *mpb.Bar {
	return p.drawBar(name, total, []decor.Decorator{decor.CurrentKiloByte("% .1f")}, decor.CountersKiloByte("% .1f / % .1f", decor.WCSyncSpace))
}

// drawBar returns nil where bars cannot be drawn. Without a total, it shows so
// far and the time that is gone; with one, counters and the time that is left.
func (p *progress) drawBar(name string, total int64, soFar []decor.Decorator, counters decor.Decorator) *mpb.Bar {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.tty {
		return nil
	}
	if p.bars == nil {
		p.bars = mpb.New(mpb.WithOutput(p.out), mpb.WithWidth(64), mpb.WithAutoRefresh())
	}
	label := mpb.PrependDecorators(decor.Name(shorten(name, 40), decor.WCSyncSpaceR))
	gone := mpb.BarRemoveOnComplete()
	if total <= 0 {
		return p.bars.New(0, mpb.SpinnerStyle().PositionLeft(), label, gone,
			mpb.AppendDecorators(append(soFar, decor.Elapsed(decor.ET_STYLE_GO, decor.WC{W: 6}))...))
	}
	return p.bars.New(total, mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]"), label, gone,
		mpb.AppendDecorators(counters, decor.AverageETA(decor.ET_STYLE_GO, decor.WC{W: 6})))
}

// task is one line of progress. Its methods may be called concurrently.
type task struct {
	progress *progress
	name     string
	total    int64
	start    time.Time
	bar      *mpb.Bar // nil: plain lines
	small    bool     // not worth lines when all goes well

	mu      sync.Mutex
	count   int64
	printed time.Time
	done    bool
}

// Add counts n more bytes.
func (t *task) Add(n int64) {
	if t.bar != nil {
		t.bar.IncrInt64(n)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count += n
	if now := t.progress.now(); t.bar == nil && !t.done && now.Sub(t.printed) >= plainInterval {
		t.printed = now
		t.progress.printf("%s: %s%s\n", t.name, byteCount(t.count), ofTotal(t.total))
	}
}

// Done ends the task; the error itself is the command's to report. Calls after
// the first are ignored.
func (t *task) Done(err error) {
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
	case err == nil && t.small && t.bar == nil && took < plainInterval:
	case err != nil:
		t.progress.printf("%s: stopped after %s\n", t.name, took)
	case t.count > 0:
		t.progress.printf("%s: done, %s in %s\n", t.name, byteCount(t.count), took)
	default:
		t.progress.printf("%s: done in %s\n", t.name, took)
	}
}

func ofTotal(total int64) string {
	if total <= 0 {
		return ""
	}
	return " of " + byteCount(total)
}

func inBrackets(total int64) string {
	if total <= 0 {
		return ""
	}
	return " (" + byteCount(total) + ")"
}

// byteCount prints n in decimal units, as package sizes are given everywhere.
func byteCount(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d B", n)
}

// shorten keeps a long name's two ends: the package and its architecture.
func shorten(s string, limit int) string {
	r := []rune(s)
	if len(r) <= limit {
		return s
	}
	head := (limit - 1) / 2
	return string(r[:head]) + "…" + string(r[len(r)-(limit-1-head):])
}
