package boottest

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// console is the text that a machine has printed, without terminal control.
// One goroutine writes, one waits.
type console struct {
	mu      sync.Mutex
	text    []byte
	changed chan struct{} // closed at the next change
	ended   error         // why no more text will come
	escape  escapeState

	seen int // text before it has been matched; the waiting side's own
}

func newConsole() *console { return &console{changed: make(chan struct{})} }

type escapeState int

const (
	plain       escapeState = iota
	afterEscape             // ESC was the last byte
	inSequence              // in ESC [ ... letter
)

// Write takes what the serial port sends; sequences may be split anywhere.
func (c *console) Write(p []byte) (int, error) {
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

// end says that nothing more will come.
func (c *console) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = err
	c.notify()
}

func (c *console) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// state is the text not matched yet and what tells of the next change.
func (c *console) state() (text string, changed <-chan struct{}, ended error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.text[c.seen:]), c.changed, c.ended
}

// broken is what no boot recovers from: waiting on would only lose time.
var broken = regexp.MustCompile(`Kernel panic - not syncing.*|Out of memory: Killed.*`)

// expect waits until pattern matches the text after the last match, and
// returns the match with its groups. A pattern that ends in $ waits for the
// end of the line. It fails at the deadline, at the end of the machine and at a
// kernel panic that pattern does not ask for.
func (c *console) expect(pattern string, within time.Duration) ([]string, error) {
	re := regexp.MustCompile("(?m)" + pattern)
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	for {
		text, changed, ended := c.state()
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

// tail is the last n lines of all text.
func (c *console) tail(n int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := strings.Split(strings.TrimRight(string(c.text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func TestConsole(t *testing.T) {
	c := newConsole()
	script := []string{"\x1b[2J\x1b", "[0mboot\r\nlog", "in: ", "ready (over", "lay2)\r\n\x1bc", "ready again\n"}
	go func() {
		for _, s := range script {
			_, _ = io.WriteString(c, s)
		}
		c.end(errors.New("QEMU ended"))
	}()
	for _, tt := range []struct{ pattern, want, err string }{
		{`^login: `, "login: ", ""},
		{`ready \((\w+).*$`, "overlay2", ""}, // not "over"
		{`^boot`, "", "QEMU ended"},          // before what has matched already
		{`ready (.*)`, "again", ""},
		{`ready`, "", `waiting for "ready": QEMU ended`},
	} {
		got, err := c.expect(tt.pattern, 10*time.Second)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %q", tt.pattern, err, tt.err)
			}
			continue
		}
		if err != nil || got[len(got)-1] != tt.want {
			t.Errorf("%s: %q, %v, want %q", tt.pattern, got, err, tt.want)
		}
	}
	if got := c.tail(2); got != "login: ready (overlay2)\nready again" {
		t.Errorf("tail: %q", got)
	}
}

func TestConsoleGivesUp(t *testing.T) {
	c := newConsole()
	if _, err := c.expect("never", time.Millisecond); err == nil || !strings.Contains(err.Error(), "not within 1ms") {
		t.Errorf("deadline: %v", err)
	}
	_, _ = io.WriteString(c, "[    1.0] Kernel panic - not syncing: No working init found.\n")
	if _, err := c.expect("docker", time.Minute); err == nil || !strings.Contains(err.Error(), "No working init") {
		t.Errorf("panic: %v", err)
	}
	if _, err := c.expect("Kernel panic", time.Minute); err != nil {
		t.Errorf("a panic that is asked for: %v", err)
	}
}
