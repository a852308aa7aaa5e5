package kernel

import (
	"bytes"
)

// infoKeys are the keys that the kernel's macros and modpost write into
// .modinfo. The search takes only these for part of the section; any other
// makes it give up.
var infoKeys = map[string]bool{
	"alias": true, "author": true, "depends": true, "description": true, "firmware": true,
	"import_ns": true, "intree": true, "license": true, "livepatch": true, "name": true,
	"parm": true, "parmtype": true, "retpoline": true, "scmversion": true, "softdep": true,
	"srcversion": true, "staging": true, "vermagic": true, "version": true, "weakdep": true,
}

// anchor begins one string of every module's .modinfo, and of no other section.
var anchor = []byte("\x00vermagic=")

const (
	// lookAhead is how many bytes behind the section must have been read: what
	// follows has to be seen to know that it does not belong to it.
	lookAhead = 512
	// maxPadding is the most zero bytes that may separate two strings: objects
	// that were linked together may have been aligned.
	maxPadding = 64
)

// infoSearch looks for the .modinfo section in the growing beginning of a
// module, without the section table.
//
// It accepts a run of zero-ended "key=value" strings with known keys around
// the vermagic, if the run holds what modpost writes exactly once (depends,
// name, vermagic), with the right name and release, if it holds a license, and
// if neither the bytes before nor those behind it could be strings of the
// section that the run has missed. The neighbours may be string tables of the
// program: a message there that happens to be "alias=..", directly before or
// behind, would be taken as an alias too. No module of Debian's kernels has
// one (a test compares all of them with the section table).
type infoSearch struct {
	name    string
	release string
	from    int  // offset up to which there is no anchor
	off     bool // the section cannot be told apart: leave it to the section table
}

// find returns the section if b holds it completely, else nil.
func (s *infoSearch) find(b []byte) []byte {
	if s.off {
		return nil
	}
	i := bytes.Index(b[s.from:], anchor)
	if i < 0 {
		s.from = max(0, len(b)-len(anchor)+1)
		return nil
	}
	s.from += i
	begin, okBefore := runBegin(b, s.from+1)
	end, okBehind := runEnd(b, s.from+1)
	if end+lookAhead > len(b) {
		return nil // read on
	}
	if okBefore && okBehind && s.plausible(b[begin:end]) {
		return b[begin:end]
	}
	s.off = true
	return nil
}

// runBegin goes back from the string at pos over the strings with known keys.
func runBegin(b []byte, pos int) (begin int, ok bool) {
	for begin = pos; begin > 1; {
		last := bytes.TrimRight(b[max(0, begin-maxPadding):begin], "\x00")
		end := max(0, begin-maxPadding) + len(last)
		if len(last) == 0 {
			return begin, true // a gap: no strings of the section before it
		}
		start := max(0, end-maxInfo)
		start += bytes.LastIndexByte(b[start:end], 0) + 1
		if !isInfo(b[start:end]) {
			return begin, !mayHoldInfo(b[start:end])
		}
		begin = start
	}
	return begin, true
}

// runEnd goes on from the string at pos over the strings with known keys. It
// returns the offset behind the zero byte of the last one.
func runEnd(b []byte, pos int) (end int, ok bool) {
	for end = pos; ; {
		rest := b[end:min(len(b), end+maxInfo)]
		text := bytes.TrimLeft(rest[:min(len(rest), maxPadding)], "\x00")
		if len(text) == 0 {
			return end, true
		}
		start := end + min(len(rest), maxPadding) - len(text)
		known := isInfo(b[start:])
		n := bytes.IndexByte(b[start:], 0)
		if n < 0 && (known || len(b)-start < lookAhead) {
			return len(b), false // the string is not complete: read on
		}
		if !known {
			return end, !mayHoldInfo(b[start:min(len(b), start+lookAhead)])
		}
		end = start + n + 1
	}
}

// isInfo reports whether s is a string with a known key.
func isInfo(s []byte) bool {
	key, _, ok := bytes.Cut(s[:min(len(s), 32)], []byte("="))
	return ok && infoKeys[string(key)]
}

// mayHoldInfo reports whether s could be an unknown string of the section, or
// hold a known one behind something else.
func mayHoldInfo(s []byte) bool {
	if key, _, ok := bytes.Cut(s, []byte("=")); ok && len(key) > 0 && isWord(key) {
		return true
	}
	for len(s) > 0 {
		i := bytes.IndexByte(s, '=')
		if i < 0 {
			return false
		}
		for key := range infoKeys {
			if bytes.HasSuffix(s[:i], []byte(key)) {
				return true
			}
		}
		s = s[i+1:]
	}
	return false
}

func isWord(key []byte) bool {
	for _, c := range key {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// plausible checks that the run is the whole section of the module asked for.
func (s *infoSearch) plausible(run []byte) bool {
	var depends, names, vermagics, licenses int
	for pair := range bytes.SplitSeq(run, []byte{0}) {
		key, value, _ := bytes.Cut(pair, []byte("="))
		switch string(key) {
		case "depends":
			depends++
		case "name":
			names++
			if normalName(string(value)) != s.name {
				return false
			}
		case "vermagic":
			vermagics++
			if !bytes.HasPrefix(value, []byte(s.release+" ")) {
				return false
			}
		case "license":
			licenses++
		}
	}
	return depends == 1 && names == 1 && vermagics == 1 && licenses >= 1
}
