package gunzip

import "math/bits"

// An entry of a table says what the next bits are. It is zero where no code
// begins like that; else
//
//	literal  isLiteral | value<<8            | length of the code
//	number   isNumber | base<<14 | length<<8 | length and extra bits
//	link     isLink | index<<16 | bits of the second table<<8
//	end      isEnd                           | length
type entry uint32

const (
	isLiteral entry = 1 << 31
	isNumber  entry = 1 << 30
	isLink    entry = 1 << 29
	isEnd     entry = 1 << 12

	maxLength  = 15
	maxLiteral = 288
	maxNumbers = 32
)

// table decodes a Huffman code: its first bits lead to an entry, or to a link
// and on to a second table. It has a fixed size, so that indices need no check:
// complete codes of up to 288 symbols and 15 bits take less (a second table of
// 2^k entries has more than k symbols), and there is no incomplete one but of
// one symbol.
type table struct {
	bits    uint // of the first
	used    int
	entries [tableSize]entry
}

const (
	tableSize = 1 << 12
	tableMask = tableSize - 1
)

// build makes the table of the code whose symbols have these lengths (RFC
// 1951, 3.2.2), and mean these entries but for the length. It reports whether
// there is such a code: complete, or with a single symbol.
func (t *table) build(size uint, lengths []uint8, meaning []entry) bool {
	var count [maxLength + 1]int
	for _, n := range lengths {
		count[n]++
	}
	count[0] = 0
	var next [maxLength + 2]uint
	left, longest := 1, 0
	for n := 1; n <= maxLength; n++ {
		left = left<<1 - count[n]
		if left < 0 {
			return false
		}
		next[n+1] = (next[n] + uint(count[n])) << 1
		if count[n] > 0 {
			longest = n
		}
	}
	if left > 0 && longest > 1 {
		return false
	}
	t.reset(size)
	t.link(size, lengths, next)
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		code := uint(bits.Reverse16(uint16(next[n]))) >> (16 - n)
		next[n]++
		t.enter(code, uint(n), meaning[symbol])
	}
	return true
}

func (t *table) reset(size uint) {
	t.bits = size
	clear(t.entries[:max(t.used, 1<<size)])
	t.used = 1 << size
}

// link makes a second table for each beginning of codes that are longer than
// the first one's bits, as large as the longest of them needs.
func (t *table) link(size uint, lengths []uint8, next [maxLength + 2]uint) {
	for _, n := range lengths {
		if n == 0 {
			continue
		}
		code := uint(bits.Reverse16(uint16(next[n]))) >> (16 - n)
		next[n]++
		if uint(n) <= size {
			continue
		}
		first := &t.entries[code&(1<<size-1)]
		*first = max(*first, isLink|entry(uint(n)-size)<<8)
	}
	for i := range 1 << size {
		if e := t.entries[i]; e != 0 {
			t.entries[i] |= entry(t.used) << 16
			t.used += 1 << (e >> 8 & 15)
		}
	}
}

// enter puts a code wherever it is what the bits begin with.
func (t *table) enter(code, n uint, meaning entry) {
	part, size := t.entries[:1<<t.bits], t.bits
	e := meaning + entry(n)
	if meaning&(isLiteral|isEnd) == 0 {
		e += entry(n) << 8
	}
	if n > t.bits {
		l := part[code&(1<<t.bits-1)]
		size = uint(l >> 8 & 15)
		part = t.entries[l>>16&tableMask:][:1<<size]
		code >>= t.bits
		n -= t.bits
	}
	for i := code; i < 1<<size; i += 1 << n {
		part[i] = e
	}
}

// Meanings of the symbols (RFC 1951, 3.2.5 and 3.2.7).
var (
	literals  = literalMeanings()
	distances = numbers(maxNumbers, 30, 1, 4, 2, 0)
	plain     = plainMeanings()
)

func literalMeanings() []entry {
	var m []entry
	for v := range 256 {
		m = append(m, isLiteral|entry(v)<<8)
	}
	m = append(m, isEnd)
	lengths := numbers(31, 28, 3, 8, 4, 0)
	lengths[28] = isNumber | 258<<14
	return append(m, lengths...)
}

// numbers are the meanings of n symbols, of which some are defined: the first
// ones plain from base on, then step with each count of extra bits.
func numbers(n, defined int, base, first, step, extra entry) []entry {
	m := make([]entry, n)
	for i := range defined {
		if e := entry(i); e >= first && (e-first)%step == 0 {
			extra++
		}
		m[i] = isNumber | base<<14 | extra
		base += 1 << extra
	}
	return m
}

// plainMeanings are those of the lengths' own code.
func plainMeanings() []entry {
	m := make([]entry, 19)
	for v := range m {
		m[v] = isLiteral | entry(v)<<8
	}
	return m
}
