package zstdlong

import "math/bits"

// matcher finds repetitions nearby, in a table of where six bytes were last
// seen (zstd's fast strategy), between those that are known already. A second
// table, of eight bytes, makes the result 1.5% smaller and takes a fifth more
// time; a larger one does not fit into the processor's cache beside the other.
type matcher struct {
	near   []seen
	recent [3]int // offsets last used, as the decoder keeps them
}

const (
	nearLog  = 16
	minMatch = 4
	margin   = minMatch + 8 // bytes read from a position on
)

func (m *matcher) init() {
	m.recent = [3]int{1, 4, 8} // RFC 8878, 3.1.1.5
}

// split divides b[from:end] into literals and repetitions. It returns those
// of known that reach past the end.
func (m *matcher) split(b []byte, from, end, window int, known []repeat, out *blockWriter) []repeat {
	at, anchor := from, from
	for len(known) > 0 && known[0].pos < end {
		r := known[0]
		anchor = m.search(b, at, anchor, r.pos, window, out)
		length := min(r.length, end-r.pos)
		if length >= minMatch {
			out.add(r.pos-anchor, length, m.offsetCode(r.offset, r.pos-anchor))
			anchor = r.pos + length
		}
		at = r.pos + length
		if length < r.length {
			known[0] = repeat{end, r.length - length, r.offset}
			break
		}
		known = known[1:]
	}
	m.search(b, at, anchor, end, window, out)
	return known
}

// offsetCode is how an offset is written: 1 to 3 for a recent one, else three
// more than it is (RFC 8878, 3.1.1.5).
func (m *matcher) offsetCode(offset, literals int) uint32 {
	r := &m.recent
	shift := 0 // without literals, the codes mean the next of them
	if literals == 0 {
		shift = 1
	}
	switch {
	case offset == r[0] && literals > 0:
		return 1
	case offset == r[1]:
		r[0], r[1] = offset, r[0]
		return uint32(2 - shift)
	case offset == r[2]:
		r[0], r[1], r[2] = offset, r[0], r[1]
		return uint32(3 - shift)
	case literals == 0 && offset == r[0]-1:
		r[0], r[1], r[2] = offset, r[0], r[1]
		return 3
	}
	r[0], r[1], r[2] = offset, r[0], r[1]
	return uint32(offset + 3)
}

// search finds repetitions of b[at:end]; a match begins before end and ends
// there at the latest. It returns where the literals begin that are left.
func (m *matcher) search(b []byte, at, anchor, end, window int, out *blockWriter) int {
	b = b[:min(end+margin-minMatch, len(b))] // what follows may be looked at
	if at >= len(b)-margin {
		return anchor
	}
	near := (*[1 << nearLog]seen)(m.near)
	low := max(end-window, 0)
	at = max(at, 1) // 0 in the tables: nothing was seen
	for at < len(b)-margin {
		rep := m.recent[0]
		if at+1-rep < low {
			rep = 1 // the other is not in the window
		}
		pos, was := scan(b, near, at, at-anchor, low, rep)
		if was < 0 {
			break
		}
		if was == 0 {
			was = pos - rep
		}
		length := minMatch
		if x := load64(b, was+minMatch) ^ load64(b, pos+minMatch); x != 0 { // most are short
			length += bits.TrailingZeros64(x) >> 3
		} else {
			length += 8 + matchLength(b, was+minMatch+8, pos+minMatch+8)
		}
		length = min(length, end-pos)
		code := uint32(1)
		if pos-was != m.recent[0] || pos == anchor {
			back := matchBack(b, was, pos, low, anchor)
			length += back
			code = m.offsetCode(pos-was, pos-back-anchor)
			pos -= back
		}
		out.add(pos-anchor, length, code)
		at = pos + length
		if at < len(b)-margin {
			enter(near, pos+2, load64(b, pos+2))
			enter(near, at-2, load64(b, at-2))
			at = m.again(b, near, at, end, low, out)
		}
		anchor = at
	}
	return anchor
}

// scan looks from at on for a position whose bytes are those at another,
// which is not before low, and enters those that it passes. What it returns
// for the repetition is 0 if that is at the offset rep, and -1 if there is none.
//
// It is a function of its own so that the loop has the registers for itself.
// The slices are as long as they are for no check of bounds to be in it.
func scan(b []byte, near *[1 << nearLog]seen, at, literals, low, rep int) (pos, was int) {
	p := b[at:]
	q := b[at+1-rep:][:len(p):len(p)]
	_ = near[0] // it is not nil: the loop need not ask
	for i := 0; i >= 0 && i < len(p)-margin; {
		x := load64(p, i)
		e := &near[x*prime6>>(64-nearLog)]
		last := *e
		*e = sighting(at+i, x)
		if load32(q, i) == load32(p, i+1) {
			return at + i + 1, 0
		}
		if uint32(last) == uint32(x) && last.pos() > low {
			return at + i, last.pos()
		}
		i += 1 + (i+literals)>>5 // ever faster where nothing is found
	}
	return 0, -1
}

// enter says that the bytes x are at a position.
func enter(near *[1 << nearLog]seen, at int, x uint64) {
	near[x*prime6>>(64-nearLog)] = sighting(at, x)
}

// again takes matches of the second recent offset that follow one another,
// and returns where they end.
func (m *matcher) again(b []byte, near *[1 << nearLog]seen, at, end, low int, out *blockWriter) int {
	for at < len(b)-margin {
		was := at - m.recent[1]
		if was < low || load32(b, was) != load32(b, at) {
			break
		}
		enter(near, at, load64(b, at))
		length := min(minMatch+matchLength(b, was+minMatch, at+minMatch), end-at)
		m.recent[0], m.recent[1] = m.recent[1], m.recent[0]
		out.add(0, length, 1) // of no literals: the second one
		at += length
	}
	return at
}
