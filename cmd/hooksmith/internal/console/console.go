// Package console follows what a machine or a program prints: in go bytes, out come matches of patterns, each after
// the last. For tests.
package console

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Console is the text that a machine has printed, without terminal control.
// One goroutine writes, one waits.
type Console struct {
	mu      sync.Mutex
	text    []byte
	changed chan struct{} // closed at the next change
	ended   error         // why no more text will come
	escape  escapeState

	seen int // text before it has been matched; the waiting side's own
}

// New returns an empty console.
func New() *Console { return &Console{changed: make(chan struct{})} }

type escapeState int

const (
	plain       escapeState = iota
	afterEscape             // ESC was the last byte
	inSequence              // in ESC [ ... letter
)

// Write takes what the serial port sends; sequences may be split anywhere.
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range p {
		switch {
		case c.escape == afterEscape && b == '[':
			c.escape = inSequence
		case c.escape == afterEscape:
			c.escape = plain
		case c.escape == inSequence:
			if b >= '@' && b <= '~' {
				c.escape = plain
			}
		case b == 0x1b:
			c.escape = afterEscape
		case b == '\n' || b == '\t' || b >= ' ':
			c.text = append(c.text, b)
		}
	}
	c.notify()
	return len(p), nil
}

// End says that nothing more will come.
func (c *Console) End(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = err
	c.notify()
}

func (c *Console) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// State is the text not matched yet and what tells of the next change.
func (c *Console) State() (text string, changed <-chan struct{}, ended error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.text[c.seen:]), c.changed, c.ended
}

// broken is what no boot recovers from: waiting on would only lose time.
var broken = regexp.MustCompile(`Kernel panic - not syncing.*|Out of memory: Killed.*`)

// Expect waits until pattern matches the text after the last match, and
// returns the match with its groups. A pattern that ends in $ waits for the
// end of the line. It fails at the deadline, at the end of the machine and at a
// kernel panic that pattern does not ask for.
func (c *Console) Expect(pattern string, within time.Duration) ([]string, error) {
	re := regexp.MustCompile("(?m)" + pattern)
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	for {
		text, changed, ended := c.State()
		if strings.HasSuffix(pattern, "$") && ended == nil {
			text = text[:strings.LastIndexByte(text, '\n')+1]
		}
		if m := re.FindStringSubmatchIndex(text); m != nil {
			c.seen += m[1]
			return groups(text, m), nil
		}
		if bad := broken.FindString(text); bad != "" {
			return nil, fmt.Errorf("waiting for %q: %s", pattern, bad)
		}
		if ended != nil {
			return nil, fmt.Errorf("waiting for %q: %w", pattern, ended)
		}
		select {
		case <-changed:
		case <-deadline.C:
			return nil, fmt.Errorf("waiting for %q: not within %s", pattern, within)
		}
	}
}

func groups(text string, index []int) []string {
	var g []string
	for i := 0; i < len(index); i += 2 {
		if index[i] < 0 {
			g = append(g, "")
			continue
		}
		g = append(g, text[index[i]:index[i+1]])
	}
	return g
}

// Tail is the last n lines of all text.
func (c *Console) Tail(n int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := strings.Split(strings.TrimRight(string(c.text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Rewind makes all of the text count as not matched.
func (c *Console) Rewind() { c.seen = 0 }

// Find returns the first line of all text that has pattern, "" if none has.
func (c *Console) Find(pattern string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(regexp.MustCompile("(?m)^.*(" + pattern + ").*$").Find(c.text))
}

// Text is all that was printed so far.
func (c *Console) Text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.text)
}
