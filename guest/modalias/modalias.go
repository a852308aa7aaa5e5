// Package modalias matches module aliases, and spells modules' names, as modprobe does, for the guest, which loads modules, and for those who say
// beforehand which one it will load. It imports nothing of ours.
package modalias

import "strings"

// Wildcards are the characters that end the literal prefix of an alias pattern.
const Wildcards = `*?[\`

// Match says whether s matches the pattern of a module alias, by the rules of fnmatch(3) without flags: * and ? match
// a slash too, which path.Match does not allow. Both are as Normal spells them, where - is no _ any more. It takes time
// proportional to the product of the lengths at worst.
func Match(pattern, s string) bool {
	star, retry := -1, 0
	p, i := 0, 0
	for i < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			star, retry = p, i
			p++
			continue
		}
		if width, ok := matchOne(pattern[p:], s[i]); ok {
			p += width
			i++
			continue
		}
		if star < 0 {
			return false
		}
		retry++
		p, i = star+1, retry
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchOne matches one character with the front of the pattern and says how much of the pattern that took.
func matchOne(pattern string, c byte) (width int, ok bool) {
	if pattern == "" {
		return 0, false
	}
	switch pattern[0] {
	case '?':
		return 1, true
	case '[':
		if end := classEnd(pattern); end > 0 {
			return end + 1, inClass(pattern[1:end], c)
		}
	case '\\':
		if len(pattern) > 1 {
			return 2, pattern[1] == c
		}
	}
	return 1, pattern[0] == c
}

// classEnd is the index of the bracket that closes the one in front, or -1. One directly behind [ or [! is a member.
func classEnd(pattern string) int {
	start := 1
	if start < len(pattern) && (pattern[start] == '!' || pattern[start] == '^') {
		start++
	}
	if start >= len(pattern) {
		return -1
	}
	end := strings.IndexByte(pattern[start+1:], ']')
	if end < 0 {
		return -1
	}
	return start + 1 + end
}

func inClass(class string, c byte) bool {
	want := true
	if class[0] == '!' || class[0] == '^' {
		want, class = false, class[1:]
	}
	for i := 0; i < len(class); i++ {
		low, high := class[i], class[i]
		if i+2 < len(class) && class[i+1] == '-' {
			high = class[i+2]
			i += 2
		}
		if low <= c && c <= high {
			return want
		}
	}
	return !want
}
