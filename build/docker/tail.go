package docker

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// tailLines is how much of an output an error shows.
const tailLines = 30

// Tail keeps the last lines of an output, for the error at its end, and passes
// it on.
type Tail struct {
	W     io.Writer // gets all of it; nil: nobody
	lines []string
	open  string // a line whose end did not come yet
}

// Write never fails for what it keeps; an error is W's.
func (t *Tail) Write(b []byte) (int, error) {
	t.keep(string(b))
	if t.W == nil {
		return len(b), nil
	}
	return t.W.Write(b)
}

// add is Write where the end of the reader is no reason to stop.
func (t *Tail) add(s string) {
	if s != "" {
		_, _ = t.Write([]byte(s))
	}
}

func (t *Tail) keep(s string) {
	lines := strings.Split(t.open+s, "\n")
	t.open = lines[len(lines)-1]
	if len(t.open) > 4096 {
		t.open = t.open[len(t.open)-4096:]
	}
	for _, l := range lines[:len(lines)-1] {
		if l = strings.TrimRight(l, " \r"); l != "" {
			t.lines = append(t.lines, l)
		}
	}
	if n := len(t.lines); n > tailLines {
		t.lines = append([]string(nil), t.lines[n-tailLines:]...)
	}
}

// Lines are the last lines of the output.
func (t *Tail) Lines() []string {
	t.keep("\n")
	return t.lines
}

// Explain is an error with the message and the last lines.
func (t *Tail) Explain(message string) error {
	lines := t.Lines()
	if len(lines) == 0 {
		return errors.New(message)
	}
	return fmt.Errorf("%s\nthe end of its output:\n  %s", message, strings.Join(lines, "\n  "))
}
