package docker

import (
	"fmt"
	"strings"
)

// hint is an error in words of ours, with the next step.
type hint struct {
	text string
	err  error
}

func (h *hint) Error() string { return h.text }
func (h *hint) Unwrap() error { return h.err }

// Hinted is an error that says it in other words, with the next step. The one
// that it is about stays reachable by errors.Is and errors.As.
func Hinted(err error, format string, args ...any) error {
	return &hint{fmt.Sprintf(format, args...), err}
}

// Brief is an error's text in one line, and of a long one the start: bodies of
// error pages are long.
func Brief(err error) string {
	s := strings.Join(strings.Fields(err.Error()), " ")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "..."
	}
	return s
}
