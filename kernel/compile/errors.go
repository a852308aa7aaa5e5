package compile

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// hint is an error with the next step, which the command line prints.
type hint struct {
	err  error
	text string
}

func (h *hint) Error() string { return h.err.Error() }
func (h *hint) Unwrap() error { return h.err }
func (h *hint) Hint() string  { return h.text }

func hintf(err error, format string, args ...any) error {
	return &hint{err, fmt.Sprintf(format, args...)}
}

// ExitError is a command of a workspace that ended with another status than 0.
type ExitError struct {
	Command []string
	Status  int
	Lines   []string // the end of its output
	Errors  []string // lines before that which look like the reason
}

func (e *ExitError) Error() string {
	text := fmt.Sprintf("%s: exit status %d", strings.Join(e.Command, " "), e.Status)
	if len(e.Errors) > 0 {
		text += "\nwhat looks like the reason:\n  " + strings.Join(e.Errors, "\n  ")
	}
	if len(e.Lines) > 0 {
		text += "\nthe end of its output:\n  " + strings.Join(e.Lines, "\n  ")
	}
	return text
}

// killedLine is what make, gcc, collect2 and the shells print of a program that
// was killed, which is not the one whose status we get.
var killedLine = regexp.MustCompile(`Killed signal terminated program|terminated with signal 9\b|: \*\*\* .*\] (?:Killed|Error 137)|^Killed$|: +\d+ Killed\b`)

// killed reports whether the command, or a program that it ran, was killed.
func (e *ExitError) killed() bool {
	return e.Status == 137 || slices.ContainsFunc(slices.Concat(e.Errors, e.Lines), killedLine.MatchString)
}

// reduced is the error with only those lines that tell: where the reason is
// known, what make said of it is not wanted.
func (e *ExitError) reduced(tells func(line string) bool) *ExitError {
	short := &ExitError{Command: e.Command, Status: e.Status}
	for _, l := range slices.Concat(e.Errors, e.Lines) {
		if tells(l) && !slices.Contains(short.Errors, l) {
			short.Errors = append(short.Errors, l)
		}
	}
	return short
}

// maxErrorLines is how many lines that look like the reason are kept: the first.
const maxErrorLines = 12

var looksWrong = regexp.MustCompile(`\berror:|: \*\*\*|undefined reference|ERROR:|\bKilled\b|(?i:no space left)`)

// errorLines keeps the lines of an output that look like errors: with many
// jobs, make's own last lines come long after them.
type errorLines struct {
	open  []byte
	lines []string
}

func (e *errorLines) Write(b []byte) (int, error) {
	n := len(b)
	for len(e.lines) < maxErrorLines {
		i := strings.IndexByte(string(b), '\n')
		if i < 0 {
			break
		}
		line := append(e.open, b[:i]...)
		e.open, b = e.open[:0], b[i+1:]
		if looksWrong.Match(line) {
			e.lines = append(e.lines, strings.ToValidUTF8(string(line[:min(len(line), 500)]), "?"))
		}
	}
	if len(e.lines) < maxErrorLines && len(e.open)+len(b) <= 64<<10 {
		e.open = append(e.open, b...)
	} else {
		e.open = e.open[:0]
	}
	return n, nil
}
