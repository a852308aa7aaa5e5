package kconfig

import (
	"strconv"
	"strings"
)

const (
	// unknownMark stands in expanded text for what only the compiler or a
	// shell could tell.
	unknownMark   = "\x00"
	maxMacroDepth = 32
	maxMacroText  = 64 << 10
	maxMacroSteps = 1 << 20 // a tree for x86 takes about 10 000
)

// macros are the variables of Kconfig's preprocessor.
type macros struct {
	values map[string]string
	steps  int
}

// assign does NAME = text, NAME := text and NAME += text. Recursive and
// simple variables only differ if a later assignment changes what the text
// names; no kernel does that, but := has to be expanded where it stands.
func (m *macros) assign(name, op, text string) {
	switch op {
	case ":=":
		text = m.expand(text, nil, 0)
	case "+=":
		if old, ok := m.values[name]; ok {
			text = old + " " + text
		}
	}
	m.values[name] = text[:min(len(text), maxMacroText)]
}

// expand replaces each $(...) in text; args are $(1), $(2) and so on.
func (m *macros) expand(text string, args []string, depth int) string {
	if m.steps++; depth > maxMacroDepth || m.steps > maxMacroSteps {
		return unknownMark
	}
	var b strings.Builder
	for {
		i := strings.Index(text, "$(")
		if i < 0 {
			b.WriteString(text)
			break
		}
		b.WriteString(text[:i])
		end := closing(text, i+1)
		if end < 0 {
			b.WriteString(text[i:])
			break
		}
		b.WriteString(m.call(splitArgs(text[i+2:end]), args, depth))
		text = text[end+1:]
		if b.Len() > maxMacroText {
			return unknownMark
		}
	}
	return b.String()
}

// call is the value of a variable or of a function with arguments.
func (m *macros) call(parts, args []string, depth int) string {
	name := m.expand(parts[0], args, depth+1)
	if n, err := strconv.Atoi(name); err == nil {
		if n >= 1 && n <= len(args) {
			return args[n-1]
		}
		return ""
	}
	switch name {
	case "info", "warning-if", "error-if":
		return ""
	case "shell", "filename", "lineno":
		return unknownMark
	}
	value, ok := m.values[name]
	if !ok {
		return unknownMark // of the environment, or the compiler's
	}
	given := make([]string, 0, len(parts)-1)
	for _, p := range parts[1:] {
		given = append(given, m.expand(p, args, depth+1))
	}
	return m.expand(value, given, depth+1)
}

// closing is the index of the parenthesis that closes the one at open, or -1.
func closing(text string, open int) int {
	level := 0
	for i := open; i < len(text); i++ {
		switch text[i] {
		case '(':
			level++
		case ')':
			if level--; level == 0 {
				return i
			}
		}
	}
	return -1
}

// splitArgs splits at the commas that are in no inner parentheses.
func splitArgs(s string) []string {
	var parts []string
	level, start := 0, 0
	for i := range len(s) {
		switch {
		case s[i] == '(':
			level++
		case s[i] == ')':
			level--
		case s[i] == ',' && level == 0:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}
