package syslog

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxWord is the most that is kept of a name; RFC 5424 allows 255 for the longest.
const maxWord = 255

// cleanWord is text for one line: no line breaks either.
func cleanWord(s string) string {
	s = clean(s[:min(len(s), 4*maxWord)], false)
	for len(s) > maxWord {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

// cleanText keeps line breaks and tabs.
func cleanText(s string) string { return clean(s, true) }

// clean makes text that a machine sent safe for a terminal and a page: terminal
// sequences (colours, window titles) go as a whole, control characters and
// those that turn the direction of writing go alone, bytes that are no UTF-8 become U+FFFD.
func clean(s string, breaks bool) string {
	if harmless(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		if s[i] == 0x1b {
			i += sequence(s[i:])
			continue
		}
		c, size := utf8.DecodeRuneInString(s[i:])
		i += size
		switch {
		case breaks && (c == '\n' || c == '\t'):
			b.WriteRune(c)
		case !breaks && unicode.IsSpace(c):
			b.WriteByte(' ')
		case unicode.In(c, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp):
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// harmless: printable ASCII only.
func harmless(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// sequence is the length of the terminal sequence (ECMA-48) that s begins with:
// ESC [ up to a letter, ESC ] up to BEL or ESC \, ESC and one character. One that
// does not end, or is longer than any that means something, is its ESC alone.
func sequence(s string) int {
	const longest = 256
	s = s[:min(len(s), longest)]
	switch {
	case len(s) < 2:
		return 1
	case s[1] == '[':
		for i := 2; i < len(s); i++ {
			if s[i] >= 0x40 && s[i] <= 0x7e {
				return i + 1
			}
			if s[i] < 0x20 || s[i] > 0x7e {
				return 1
			}
		}
		return 1
	case strings.IndexByte("]PX^_", s[1]) >= 0:
		for i := 2; i < len(s); i++ {
			if s[i] == 0x07 {
				return i + 1
			}
			if s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\' {
				return i + 2
			}
		}
		return 1
	case s[1] >= 0x30 && s[1] <= 0x7e:
		return 2
	}
	return 1
}
