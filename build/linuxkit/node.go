package linuxkit

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// node is a value of a YAML or JSON document with its place. Nodes do not
// change, but for a string that turns out to be a boolean (readBool). An alias
// shares the node of its anchor, so a document is a graph without cycles.
type node struct {
	kind    kind
	pos     Pos
	text    string // of a scalar: a string's value, else as it is written
	plain   bool   // a string that is not quoted
	number  number // of an integer
	items   []*node
	entries []entry
}

// entry is a key of an object and its value.
type entry struct {
	key   string
	pos   Pos
	value *node
}

type kind int

const (
	null kind = iota
	boolean
	integer
	float
	text
	list
	object
)

// String returns the kind as an error message names it.
func (k kind) String() string {
	return [...]string{"nothing", "a boolean", "a whole number", "a number", "a string", "a list", "an object"}[k]
}

// number is a whole number between -2^64 and 2^64.
type number struct {
	negative bool
	abs      uint64
}

func (n number) int64() (int64, bool) {
	switch {
	case !n.negative:
		return int64(n.abs), n.abs <= math.MaxInt64
	case n.abs <= 1<<63:
		return -int64(n.abs), true
	}
	return 0, false
}

// get returns the value of a key, or nil.
func (n *node) get(key string) *node {
	for _, e := range n.entries {
		if e.key == key {
			return e.value
		}
	}
	return nil
}

// parseNumber reads a whole number as YAML 1.1 and 1.2 write it: decimal, 0x,
// 0o, 0b, or octal with a leading zero, underscores between digits.
func parseNumber(s string) (number, bool) {
	negative := strings.HasPrefix(s, "-")
	digits := strings.ReplaceAll(strings.TrimLeft(s, "+-"), "_", "")
	abs, err := strconv.ParseUint(digits, 0, 64)
	return number{negative && abs != 0, abs}, err == nil
}

// MarshalJSON writes the document with the keys in their order.
func (n *node) MarshalJSON() ([]byte, error) {
	switch n.kind {
	case null:
		return []byte("null"), nil
	case boolean:
		return json.Marshal(isTrue(n.text))
	case integer:
		if n.number.negative {
			return fmt.Appendf(nil, "-%d", n.number.abs), nil
		}
		return fmt.Appendf(nil, "%d", n.number.abs), nil
	case float:
		f, err := strconv.ParseFloat(n.text, 64)
		if err != nil {
			return nil, err
		}
		return json.Marshal(f)
	case text:
		return json.Marshal(n.text)
	case list:
		if len(n.items) == 0 {
			return []byte("[]"), nil
		}
		return json.Marshal(n.items)
	}
	return n.marshalObject()
}

func (n *node) marshalObject() ([]byte, error) {
	out := []byte{'{'}
	for i, e := range n.entries {
		if i > 0 {
			out = append(out, ',')
		}
		key, err := json.Marshal(e.key)
		if err != nil {
			return nil, err
		}
		value, err := e.value.MarshalJSON()
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, key...), ':'), value...)
	}
	return append(out, '}'), nil
}

// isTrue reports whether a boolean, as it is written, is true.
func isTrue(s string) bool {
	switch strings.ToLower(s) {
	case "true", "yes", "on":
		return true
	}
	return false
}
