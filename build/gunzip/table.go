package gunzip

import "math/bits"

const (
	maxLength  = 15
	maxLiteral = 288
	maxNumbers = 32
)

// code is a Huffman code (RFC 1951, 3.2.2): its symbols, the shortest first and
// those of a length in their order.
type code struct {
	symbols [maxLiteral]symbol
	from    [maxLength + 2]int // where those of a length begin
}

// symbol has the bits that stand for it, the first of which is the lowest.
type symbol struct{ value, bits uint16 }

// of returns the symbols of n bits.
func (c *code) of(n int) []symbol { return c.symbols[c.from[n]:c.from[n+1]] }

// assign makes the code whose symbols have these lengths. It reports whether
// there is one, and whether it is complete: all bits mean something. Else it
// has but one symbol, of one bit, or none.
func (c *code) assign(lengths []uint8) (complete, ok bool) {
	var count [maxLength + 1]int
	for _, n := range lengths {
		count[n&maxLength]++
	}
	var next, to [maxLength + 1]uint16
	left, longest := 1, 0
	for n := 1; n <= maxLength; n++ {
		left = left<<1 - count[n]
		if left < 0 {
			return false, false
		}
		if count[n] > 0 {
			longest = n
		}
		next[n] = (next[n-1] + uint16(count[n-1])) << 1
		to[n] = uint16(c.from[n])
		c.from[n+1] = c.from[n] + count[n]
		count[0] = 0 // those have no code
	}
	if left > 0 && longest > 1 {
		return false, false
	}
	for v, n := range lengths {
		if n &= maxLength; n != 0 {
			c.symbols[to[n]] = symbol{uint16(v), bits.Reverse16(next[n]) >> (16 - n)}
			next[n]++
			to[n]++
		}
	}
	return left == 0, true
}

// long places the symbols of more than size bits in tables of their own, one
// for each beginning of size bits and as large as its longest symbol needs, from
// the index used on: link is called once for each, with the beginning, its index
// and its bits, and enter for all entries.
func (c *code) long(size, used int, link func(first, at, n int), enter func(at int, s symbol, n int)) {
	first, width, at := -1, 0, 0
	for n := maxLength; n > size; n-- {
		list := c.of(n)
		for i := range list {
			s := list[len(list)-1-i] // those that begin alike are side by side
			if f := int(s.bits) & (1<<size - 1); f != first {
				first, width, at = f, n-size, used
				used += 1 << width
				link(first, at, width)
			}
			for i := int(s.bits) >> size; i < 1<<width; i += 1 << (n - size) {
				enter(at+i, s, n)
			}
		}
	}
}

// distances is the table of a block's distances.
type distances struct {
	entries [distanceSize]distance
}

// distance says what the next bits are:
//
//	mask of extra bits<<32 | base<<16 | bits of the code<<8 | bits with extra ones
//
// A base of zero is that no code begins like that, or that one is longer than
// distanceBits. That has its entries from an index on, which more bits choose:
//
//	isLink | index<<50 | how many bits
//
// The index is where it makes the distance too large if it does not stay zero,
// so that it is looked at only then.
type distance uint64

const (
	isLink distance = 1 << 63

	// distanceSize is enough: tables of at most 128 entries are for at least 8
	// symbols each, of 32.
	distanceSize = 1 << 10
)

// number is the distance that the bits say.
func (f distance) number(bits uint64) uint {
	return uint(uint32(f)>>16) + uint(bits>>(f>>8&63)&uint64(f>>32))
}

// linked is the entry for bits that have the entry f, a link.
func (t *distances) linked(f distance, bits uint64) distance {
	return t.entries[(uint64(f>>50)+bits>>distanceBits&(1<<(f&15)-1))&(distanceSize-1)]
}

// build makes the table for a code whose symbols have these lengths. It reports
// whether there is such a code.
func (t *distances) build(c *code, lengths []uint8) bool {
	complete, ok := c.assign(lengths)
	if !ok {
		return false
	}
	if !complete {
		clear(t.entries[:1<<distanceBits])
	}
	for n := 1; n <= distanceBits; n++ {
		copy(t.entries[1<<(n-1):1<<n], t.entries[:1<<(n-1)])
		for _, s := range c.of(n) {
			t.entries[s.bits] = distanceOf(s, n)
		}
	}
	c.long(distanceBits, 1<<distanceBits, func(first, at, n int) {
		t.entries[first] = isLink | distance(at)<<50 | distance(n)
	}, func(at int, s symbol, n int) {
		t.entries[at] = distanceOf(s, n)
	})
	return true
}

func distanceOf(s symbol, n int) distance {
	m := distanceMeaning[s.value]
	if m.base == 0 {
		return 0
	}
	return (1<<m.extra-1)<<32 | distance(m.base)<<16 | distance(n)<<8 | distance(n+int(m.extra))
}

// meaning of a symbol: the first of some numbers, and the count of extra bits
// that say which. A base of zero is that there is none.
type meaning struct{ base, extra uint16 }

// Meanings of the symbols (RFC 1951, 3.2.5).
var (
	distanceMeaning = meanings(30, 1, 4, 2)
	lengthMeaning   = lengthMeanings()
)

func lengthMeanings() [maxNumbers]meaning {
	m := meanings(28, 3, 8, 4)
	m[28] = meaning{258, 0}
	return m
}

// meanings are those of n symbols: the first ones plain from base on, then step
// with each count of extra bits.
func meanings(n, base, first, step int) (m [maxNumbers]meaning) {
	extra := 0
	for i := range n {
		if i >= first && (i-first)%step == 0 {
			extra++
		}
		m[i] = meaning{uint16(base), uint16(extra)}
		base += 1 << extra
	}
	return m
}
