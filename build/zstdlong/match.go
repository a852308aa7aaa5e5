package zstdlong

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
			m.emit(b, anchor, r.pos, length, r.offset, out)
			anchor = r.pos + length
		}
		at = r.pos + length
		if length < r.length {
			known[0] = repeat{end, r.length - length, r.offset}
			break
		}
		known = known[1:]
	}
	anchor = m.search(b, at, anchor, end, window, out)
	out.literals = append(out.literals, b[anchor:end]...)
	return known
}

// emit adds a sequence: the literals since anchor, then a repetition.
func (m *matcher) emit(b []byte, anchor, pos, length, offset int, out *blockWriter) {
	out.addLiterals(b, anchor, pos)
	out.add(pos-anchor, length, m.offsetCode(offset, pos-anchor))
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
	const margin = 9 // bytes read from a position on
	if at >= end-margin {
		return anchor
	}
	near := m.near[:1<<nearLog]
	if at == 0 {
		at = 1 // 0 in the tables: nothing was seen
	}
	low := max(end-window, 0)
	for at < end-margin {
		x := load64(b, at)
		e := &near[x*prime6>>(64-nearLog)]
		last := *e
		*e = seen{int32(at), uint32(x)}
		rep := m.recent[0]
		if at+1-rep >= low && load32(b, at+1-rep) == uint32(x>>8) {
			pos := at + 1
			length := minMatch + matchLength(b, pos-rep+minMatch, pos+minMatch, end)
			m.emit(b, anchor, pos, length, rep, out)
			at = pos + length
			anchor = at
			m.learn(b, pos, at, end)
			continue
		}
		if last.check != uint32(x) || int(last.pos) <= low {
			at += 1 + (at-anchor)>>6 // ever faster where nothing is found
			continue
		}
		pos, was := at, int(last.pos)
		length := minMatch + matchLength(b, was+minMatch, pos+minMatch, end)
		for pos > anchor && was > low && b[pos-1] == b[was-1] {
			pos--
			was--
			length++
		}
		m.emit(b, anchor, pos, length, pos-was, out)
		at = pos + length
		anchor = at
		m.learn(b, pos, at, end)
		at, anchor = m.again(b, at, anchor, end, low, out)
	}
	return anchor
}

// learn enters some positions of a match into the tables.
func (m *matcher) learn(b []byte, pos, at, end int) {
	if at > end-10 {
		return
	}
	m.enter(pos+2, load64(b, pos+2))
	m.enter(at-2, load64(b, at-2))
}

// enter says that the bytes x are at a position.
func (m *matcher) enter(at int, x uint64) {
	m.near[x*prime6>>(64-nearLog)] = seen{int32(at), uint32(x)}
}

// again takes matches of the second recent offset that follow one another.
func (m *matcher) again(b []byte, at, anchor, end, low int, out *blockWriter) (int, int) {
	for at < end-9 {
		was := at - m.recent[1]
		if was < low || load32(b, was) != load32(b, at) {
			break
		}
		m.enter(at, load64(b, at))
		length := 4 + matchLength(b, was+4, at+4, end)
		m.emit(b, anchor, at, length, m.recent[1], out)
		at += length
		anchor = at
	}
	return at, anchor
}
