package hardware

import (
	"fmt"
	"strings"
)

// Selector picks machines by labels, as kubectl's -l does:
//
//	type=worker,zone!=b,gpu,!spare
//
// All terms must hold. != also holds where the label is not there. The empty
// selector picks every machine.
type Selector struct {
	terms []term
}

type term struct {
	key, value string
	op         operator
}

type operator uint8

const (
	equal operator = iota
	notEqual
	exists
	absent
)

// ParseSelector reads a selector.
func ParseSelector(s string) (Selector, error) {
	var sel Selector
	if strings.TrimSpace(s) == "" {
		return sel, nil
	}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(s, ",") {
		t := parseTerm(strings.TrimSpace(part))
		if err := checkLabel(t.key, t.value); err != nil {
			return Selector{}, fmt.Errorf("selector %s: %s: %w", quote(s), quote(part), err)
		}
		// A doubled term would count twice in Specificity.
		if text := t.String(); !seen[text] {
			seen[text] = true
			sel.terms = append(sel.terms, t)
		}
	}
	return sel, nil
}

func parseTerm(s string) term {
	if key, value, ok := strings.Cut(s, "!="); ok {
		return term{strings.TrimSpace(key), strings.TrimSpace(value), notEqual}
	}
	if key, value, ok := strings.Cut(s, "="); ok {
		value = strings.TrimPrefix(value, "=") // a==b
		return term{strings.TrimSpace(key), strings.TrimSpace(value), equal}
	}
	if key, ok := strings.CutPrefix(s, "!"); ok {
		return term{key: strings.TrimSpace(key), op: absent}
	}
	return term{key: s, op: exists}
}

// Match reports whether labels satisfy every term.
func (s Selector) Match(labels map[string]string) bool {
	for _, t := range s.terms {
		value, ok := labels[t.key]
		var holds bool
		switch t.op {
		case equal:
			holds = ok && value == t.value
		case notEqual:
			holds = !ok || value != t.value
		case exists:
			holds = ok
		case absent:
			holds = !ok
		}
		if !holds {
			return false
		}
	}
	return true
}

// Specificity is the number of terms: of two selectors that pick a machine,
// the one with more of them means it more closely.
func (s Selector) Specificity() int { return len(s.terms) }

// String writes the selector as ParseSelector reads it.
func (s Selector) String() string {
	all := make([]string, len(s.terms))
	for i, t := range s.terms {
		all[i] = t.String()
	}
	return strings.Join(all, ",")
}

func (t term) String() string {
	switch t.op {
	case equal:
		return t.key + "=" + t.value
	case notEqual:
		return t.key + "!=" + t.value
	case absent:
		return "!" + t.key
	}
	return t.key
}
