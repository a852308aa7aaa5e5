package gunzip

// literals is the table of a block's literals and lengths. Its entries say what
// the next literalBits bits are, as many codes as are in them: a literal or two,
// a length with its extra bits, or a length after a literal. So there are fewer
// questions, and fewer branches that depend on the answer. An entry is
//
//	length-2<<24 | second literal<<16 | first<<8 | number of literals<<6 | bits
//
// where a length less two that is zero is none. Where it is 255, the next code
// is something else, for which others has an entry, from the index on the one
// that so many more bits say:
//
//	isRare | bits<<19 | index<<8
type literals struct {
	entries [1 << literalBits]uint32
	others  [otherSize]other

	plain   [literalBits + 1]int // of a code's symbols of a length: how many are literals
	lengths [256]unit            // that entries have, by the number of their bits
	from    [literalBits + 2]int // where those of so many begin
}

// unit is a length of at most literalBits bits, those for extra ones included.
type unit struct{ bits, entry uint32 }

const (
	lengthShift, lengthLess = 24, 2

	isMatch = 1 << lengthShift
	isRare  = 255 << lengthShift

	endOfBlock  = 256
	firstLength = 257
	lastPlain   = 283 // from the next symbol on, lengths may be too long for an entry, or undefined
)

// other is what a single code means: zero is nothing, and that of a length
//
//	base<<16 | bits of the code<<8 | bits with extra ones
//	isEnd | bits
//	isLiteral | value<<8 | bits
type other uint32

const (
	isLiteral other = 1 << 31
	isEnd     other = 1 << 30

	// otherSize is enough: there are 32 symbols but literals, and tables of at
	// most 8 entries for at least 4 symbols each.
	otherSize = 1 << 10
)

// other is the entry for bits that have a rare entry e.
func (t *literals) other(e uint32, bits uint64) other {
	return t.others[(uint64(e>>8)+bits>>literalBits&(1<<(e>>19&31)-1))&(otherSize-1)]
}

// number is the length that the bits say.
func (o other) number(bits uint64) uint {
	return uint(o>>16&0x1ff) + uint(bits&(1<<(o&63)-1)>>(o>>8&15))
}

// build makes the table for a code whose symbols have these lengths. It reports
// whether there is such a code.
func (t *literals) build(c *code, lengths []uint8) bool {
	complete, ok := c.assign(lengths)
	if !ok {
		return false
	}
	if !complete {
		for i := range t.entries {
			t.entries[i] = isRare // others[0] is nothing
		}
	}
	t.split(c)
	for n := 1; n <= literalBits; n++ {
		// What has fewer bits is the same, whatever the last one is.
		copy(t.entries[1<<(n-1):1<<n], t.entries[:1<<(n-1)])
		for _, s := range c.of(n)[:t.plain[n]] {
			t.entries[s.bits] = literalEntry(s, n)
		}
		for _, u := range t.units(n) {
			t.entries[u.bits] = u.entry
		}
		for k := 1; k < n; k++ {
			t.pairs(c, k, n-k)
		}
	}
	t.rare(c)
	return true
}

func literalEntry(s symbol, n int) uint32 { return uint32(s.value)<<8 | 1<<6 | uint32(n) }

// units are the lengths of n bits.
func (t *literals) units(n int) []unit { return t.lengths[t.from[n]:t.from[n+1]] }

// pairs enters all literals of n bits with all that can follow in k.
func (t *literals) pairs(c *code, n, k int) {
	second, units := c.of(k)[:t.plain[k]], t.units(k)
	if len(second)+len(units) == 0 {
		return
	}
	for _, s := range c.of(n)[:t.plain[n]] {
		e := literalEntry(s, n)
		for _, r := range second {
			t.entries[s.bits|r.bits<<n] = e + uint32(r.value)<<16 + 1<<6 + uint32(k)
		}
		for _, u := range units {
			t.entries[uint32(s.bits)|u.bits<<n] = e + u.entry
		}
	}
}

// split finds what of a code's symbols are literals, and lengths.
func (t *literals) split(c *code) {
	var count [literalBits + 1]int
	for n := 1; n <= literalBits; n++ {
		list := c.of(n)
		i := len(list)
		for ; i > 0 && list[i-1].value >= endOfBlock; i-- {
			if extra, ok := plainLength(list[i-1], n); ok {
				count[n+extra] += 1 << extra
			}
		}
		t.plain[n] = i
	}
	for n, k := range count {
		t.from[n+1] = t.from[n] + k
	}
	next := t.from
	for n := 1; n <= literalBits; n++ {
		for _, s := range c.of(n)[t.plain[n]:] {
			extra, ok := plainLength(s, n)
			if !ok {
				continue
			}
			base := lengthMeaning[s.value-firstLength].base - lengthLess
			for v := range uint32(1) << extra {
				t.lengths[next[n+extra]] = unit{uint32(s.bits) | v<<n, (uint32(base)+v)<<lengthShift | uint32(n+extra)}
				next[n+extra]++
			}
		}
	}
}

// plainLength reports whether a symbol of n bits is a length that entries have,
// and how many extra bits it has.
func plainLength(s symbol, n int) (extra int, ok bool) {
	if s.value < firstLength || s.value > lastPlain {
		return 0, false
	}
	extra = int(lengthMeaning[s.value-firstLength].extra)
	return extra, n+extra <= literalBits
}

// rare enters the symbols that have entries in others.
func (t *literals) rare(c *code) {
	used := 1
	for n := 1; n <= literalBits; n++ {
		for _, s := range c.of(n)[t.plain[n]:] {
			if _, ok := plainLength(s, n); ok {
				continue
			}
			t.others[used] = otherOf(s, n)
			for i := int(s.bits); i < len(t.entries); i += 1 << n {
				t.entries[i] = isRare | uint32(used)<<8
			}
			used++
		}
	}
	c.long(literalBits, used, func(first, at, n int) {
		t.entries[first] = isRare | uint32(n)<<19 | uint32(at)<<8
	}, func(at int, s symbol, n int) {
		t.others[at] = otherOf(s, n)
	})
}

func otherOf(s symbol, n int) other {
	switch {
	case s.value < endOfBlock:
		return isLiteral | other(s.value)<<8 | other(n)
	case s.value == endOfBlock:
		return isEnd | other(n)
	}
	m := lengthMeaning[s.value-firstLength]
	if m.base == 0 {
		return 0
	}
	return other(m.base)<<16 | other(n)<<8 | other(n+int(m.extra))
}
