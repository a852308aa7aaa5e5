package linuxkit

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// maxVisits bounds the work on a document whose aliases make it large.
const maxVisits = 1_000_000

// decoder turns nodes into settings and collects what is wrong with them.
type decoder struct {
	problems
	visits int
}

// A reader makes a value of a node, or reports a problem and returns zero.
type reader[T any] func(d *decoder, at where, n *node) T

// A field puts the value of one key where it belongs.
type field func(d *decoder, at where, e entry)

type fields map[string]field

// set is a field that keeps presence and place.
func set[T any](to *Setting[T], read reader[T]) field {
	return func(d *decoder, at where, e entry) {
		*to = Setting[T]{Value: read(d, at, e.value), Set: true, Pos: e.pos}
		for _, item := range e.value.items {
			to.Elems = append(to.Elems, item.pos)
		}
	}
}

// put is a field that keeps the value alone.
func put[T any](to *T, read reader[T]) field {
	return func(d *decoder, at where, e entry) { *to = read(d, at, e.value) }
}

// ignore is a field whose value is checked and dropped.
func ignore[T any](read reader[T]) field {
	return func(d *decoder, at where, e entry) { read(d, at, e.value) }
}

// is reports whether the node is of the kind, and the problem if not.
func (d *decoder) is(at where, n *node, want kind) bool {
	if d.visits++; d.visits > maxVisits {
		if d.visits == maxVisits+1 {
			d.fail(n.pos, at, "the document is too large once its aliases are resolved")
		}
		return false
	}
	switch {
	case n.kind == want:
		return true
	case n.kind == null:
		d.fail(n.pos, at, "has no value, want %s; remove the key or write %s", want, emptyValue(want))
	case want == text && n.kind != list && n.kind != object:
		d.fail(n.pos, at, "want a string, got %s; write \"%.40s\" in quotes", n.kind, n.text)
	case want == integer && n.kind == text:
		if _, ok := parseNumber(n.text); ok {
			d.fail(n.pos, at, "want a whole number, got a string; write %.40s without quotes", n.text)
			return false
		}
		fallthrough
	default:
		d.fail(n.pos, at, "want %s, got %s", want, n.kind)
	}
	return false
}

func emptyValue(k kind) string {
	switch k {
	case list:
		return "[]"
	case object:
		return "{}"
	}
	return "a value"
}

// object decodes the keys of an object, all of which must be known.
func (d *decoder) object(at where, n *node, known fields, required ...string) {
	if !d.is(at, n, object) {
		return
	}
	seen := map[string]Pos{}
	for _, e := range n.entries {
		if first, ok := seen[e.key]; ok {
			d.fail(e.pos, at, "key %.80q is here twice, first in line %d", e.key, first.Line)
			continue
		}
		seen[e.key] = e.pos
		read, ok := known[e.key]
		switch {
		case !ok && d.full:
		case !ok:
			d.fail(e.pos, at, "unknown key %.80q%s", e.key, didYouMean(e.key, known.names()))
		default:
			read(d, at.sub(e.key), e)
		}
	}
	for _, key := range required {
		if _, ok := seen[key]; !ok {
			d.fail(n.pos, at, "missing key %q", key)
		}
	}
}

func (f fields) names() []string {
	names := make([]string, 0, len(f))
	for name := range f {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// check is a test of a string's form.
type check func(string) error

// stringOf reads a string and checks its form.
func stringOf(checks ...check) reader[string] {
	return func(d *decoder, at where, n *node) string {
		if !d.is(at, n, text) {
			return ""
		}
		for _, check := range checks {
			if err := check(n.text); err != nil {
				d.fail(n.pos, at, "%v", err)
				return ""
			}
		}
		return n.text
	}
}

// readBool reads true or false, and the yes, no, on, off of YAML 1.1.
func readBool(d *decoder, at where, n *node) bool {
	if n.kind == text && n.plain && slices.Contains([]string{"yes", "no", "on", "off"}, strings.ToLower(n.text)) {
		n.kind = boolean // the document is written out again by Metadata
	}
	return d.is(at, n, boolean) && isTrue(n.text)
}

// intOf reads a whole number between least and most.
func intOf[T int | int64 | uint16 | uint32 | uint64](least int64, most uint64) reader[T] {
	return func(d *decoder, at where, n *node) T {
		if !d.is(at, n, integer) {
			return 0
		}
		low, ok := n.number.int64()
		tooLow := n.number.negative && (!ok || low < least) || !n.number.negative && least > 0 && n.number.abs < uint64(least)
		if tooLow || !n.number.negative && n.number.abs > most {
			d.fail(n.pos, at, "%.40s is not between %d and %d", n.text, least, most)
			return 0
		}
		if n.number.negative {
			return T(low)
		}
		return T(n.number.abs)
	}
}

var (
	readInt64  = intOf[int64](math.MinInt64, math.MaxInt64)
	readUint16 = intOf[uint16](0, math.MaxUint16)
	readUint32 = intOf[uint32](0, math.MaxUint32)
	readUint64 = intOf[uint64](0, math.MaxUint64)
)

// pointer is for the optional numbers of the runtime-spec.
func pointer[T any](read reader[T]) reader[*T] {
	return func(d *decoder, at where, n *node) *T {
		value := read(d, at, n)
		return &value
	}
}

// listOf reads a list. The result has an element for every node, so that
// indices agree.
func listOf[T any](read reader[T]) reader[[]T] {
	return func(d *decoder, at where, n *node) []T {
		if !d.is(at, n, list) {
			return nil
		}
		values := make([]T, 0, min(len(n.items), maxTokens))
		for i, item := range n.items {
			values = append(values, read(d, at.index(i), item))
		}
		return values
	}
}

// objectOf reads an object into a struct.
func objectOf[T any](known func(*T) fields, required ...string) reader[T] {
	return func(d *decoder, at where, n *node) T {
		var value T
		d.object(at, n, known(&value), required...)
		return value
	}
}

// readMap reads an object of free keys with strings as values.
func readMap(d *decoder, at where, n *node) map[string]string {
	if !d.is(at, n, object) {
		return nil
	}
	values := map[string]string{}
	for _, e := range n.entries {
		if _, ok := values[e.key]; ok {
			d.fail(e.pos, at, "key %.80q is here twice", e.key)
		}
		values[e.key] = stringOf()(d, at.sub(e.key), e.value)
	}
	return values
}

// readID reads a number or the name of a container.
func readID(d *decoder, at where, n *node) ID {
	if n.kind == text {
		return ID{Name: n.text}
	}
	if n.kind != integer {
		d.fail(n.pos, at, "want a number or the name of a container, got %s", n.kind)
		return ID{}
	}
	return ID{Num: readUint32(d, at, n)}
}

// oneOf checks against a list of words.
func oneOf(words ...string) check {
	return func(s string) error {
		if slices.Contains(words, s) {
			return nil
		}
		return fmt.Errorf("%.80q is none of %s%s", s, strings.Join(words, ", "), didYouMean(s, words))
	}
}
