package linuxkit

import (
	"fmt"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Error is a mistake in a file or label. Parse and Resolve join all that they
// find (errors.Join).
type Error struct {
	Pos     Pos
	Where   string // the item and key, such as `services[2] "docker": runtime.bindNS`; may be empty
	Message string
	Err     error // the cause, if it is more than the message
}

func (e *Error) Error() string {
	var parts []string
	if pos := e.Pos.String(); pos != "" {
		parts = append(parts, pos)
	}
	if e.Where != "" {
		parts = append(parts, e.Where)
	}
	return strings.Join(append(parts, e.Message), ": ")
}

func (e *Error) Unwrap() error { return e.Err }

// where is the item and key that a message is about.
type where struct{ item, key string }

func (w where) String() string {
	switch {
	case w.item == "":
		return w.key
	case w.key == "":
		return w.item
	}
	return w.item + ": " + w.key
}

// sub returns the place of a key below w.
func (w where) sub(key string) where {
	if w.key != "" {
		key = w.key + "." + key
	}
	return where{w.item, key}
}

// index returns the place of an element of the list at w.
func (w where) index(i int) where { return where{w.item, fmt.Sprintf("%s[%d]", w.key, i)} }

// maxErrors bounds what one hostile file can make us say.
const maxErrors = 100

// problems collects errors.
type problems struct {
	errs []error
	full bool
}

func (p *problems) fail(pos Pos, at where, format string, args ...any) {
	p.add(&Error{Pos: pos, Where: at.String(), Message: fmt.Sprintf(format, args...)})
}

func (p *problems) add(err error) {
	if len(p.errs) < maxErrors {
		p.errs = append(p.errs, err)
		return
	}
	if !p.full {
		p.full = true
		p.errs = append(p.errs, fmt.Errorf("more than %d errors: not all are shown", maxErrors))
	}
}

// didYouMean returns `; did you mean "x"?` if one of the names is close to the
// given one, else "".
func didYouMean(given string, names []string) string {
	const longest = 64 // the distance is quadratic: do not measure what cannot be meant
	best, bestDistance := "", 3
	if len(given) > longest {
		return ""
	}
	for _, name := range names {
		d := levenshtein.ComputeDistance(strings.ToLower(given), strings.ToLower(name))
		if d < bestDistance && d < len(name) {
			best, bestDistance = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}
