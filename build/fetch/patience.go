package fetch

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Patience says how often a download is tried that does not come whole. Only
// what comes beyond the highest point that was ever reached counts as
// progress, and only if it is a thousandth of the whole: with a server that
// cannot resume, or that sends a byte to each request, a download ends.
type Patience struct {
	tries   int
	backoff time.Duration
	part    *Partial

	top    int64   // the highest point reached,
	mark   int64   // and when that last counted as progress
	failed int     // tries in a row without progress
	gains  int     // tries with it
	said   []error // by servers that are asked again
	gone   []error // by those that are not
}

// NewPatience allows so many tries in a row that bring no progress of part,
// with pauses between them that begin with backoff and double. Without part
// nothing is progress.
func NewPatience(tries int, backoff time.Duration, part *Partial) *Patience {
	p := &Patience{tries: tries, backoff: backoff, part: part}
	p.begin()
	return p
}

func (p *Patience) begin() { p.mark, p.top, p.failed = p.have(), p.have(), 0 }

// Drop remembers, for GaveUp, why a server is not asked again, and begins anew
// with the others: what it had brought may have been wrong.
func (p *Patience) Drop(err error) {
	p.gone = append(slices.DeleteFunc(p.gone, sameText(err)), err)
	p.begin()
}

func (p *Patience) have() int64 {
	if p.part == nil {
		return 0
	}
	return p.part.have
}

// Note remembers why a try failed, for GaveUp.
func (p *Patience) Note(err error) {
	const enough = 4 // different reasons
	if p.said = slices.DeleteFunc(p.said, sameText(err)); len(p.said) == enough {
		p.said = p.said[1:]
	}
	p.said = append(p.said, err)
}

func sameText(err error) func(error) bool {
	return func(e error) bool { return e.Error() == err.Error() }
}

// Again reports, after a try that failed, whether there is to be another one,
// and how long to wait before it.
func (p *Patience) Again() (wait time.Duration, ok bool) {
	p.top = max(p.top, p.have())
	if p.part != nil && p.top-p.mark > p.part.limit/1000 {
		p.mark, p.failed, p.said = p.top, 0, p.said[max(len(p.said)-1, 0):]
		p.gains++
	}
	p.failed++
	return p.backoff << (p.failed - 1), p.failed < p.tries
}

// Level is that of a message about the next try: one that follows progress is
// worth telling now and then only.
func (p *Patience) Level() slog.Level {
	if p.failed == 1 && p.gains%10 != 0 {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// GaveUp is the error after the last try, with the different reasons of those
// before it and of all servers that were dropped.
func (p *Patience) GaveUp() error {
	errs := slices.Concat(p.gone, p.said)
	var why []string
	for _, err := range errs {
		why = append(why, err.Error())
	}
	text := strings.Join(why, "; ")
	if p.failed > 0 && p.tries > 1 && p.part != nil { // else nobody is left to ask, or what failed says it
		text = fmt.Sprintf("gave up after %d tries in a row that brought nothing new beyond %s: %s", p.failed, p.part.progress(p.top), text)
	}
	return &gaveUp{text, errs}
}

type gaveUp struct {
	text string
	errs []error
}

func (g *gaveUp) Error() string   { return g.text }
func (g *gaveUp) Unwrap() []error { return g.errs }
