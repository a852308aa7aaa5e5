package zstdlong

import (
	"encoding/binary"
	"math/bits"
)

// repeat says that length bytes at pos are those at pos-offset.
type repeat struct{ pos, length, offset int }

// sparse finds long repetitions anywhere in the window. It looks at one
// position in 128, and chooses those by the bytes that stand there, so that
// the same ones are chosen wherever the content turns up again. What two
// chosen positions have in common then grows in both directions.
type sparse struct {
	table []seen
	found []repeat
}

// seen says where bytes were last seen, and more of their hash than led there:
// most others are told apart without a look at the bytes, which are not in the
// processor's cache.
type seen struct {
	pos   int32 // 0: nowhere
	check uint32
}

const (
	sparseLog = 19
	minRepeat = 40 // shorter ones are left to the matcher
	sampled   = 32 // bytes that tell a position from others
)

const (
	prime5 = 889523592379 << 24    // of the lowest five bytes
	prime6 = 227718039650203 << 16 // of the lowest six
	primeA = 0x9e3779b185ebca87
	primeB = 0xc2b2ae3d27d4eb4f
	primeC = 0x165667b19e3779f9
)

func load64(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }
func load32(b []byte, i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }

// find returns the repetitions of b[from:end], in order and apart.
func (s *sparse) find(b []byte, from, end, window int) []repeat {
	s.found = s.found[:0]
	covered := from
	stop := end - sampled
	var batch [32]candidate // at once: most of the table is not in the processor's cache
	for i := from; i <= stop; {
		n := 0
		for ; i <= stop && n <= len(batch)-8; i += 8 {
			for m := chosen(b, i); m != 0; m &= m - 1 {
				p := i + bits.TrailingZeros64(m)>>3
				if p > stop {
					break
				}
				h := fingerprint(b[p : p+sampled])
				batch[n&31] = candidate{p, uint32(h), s.table[h>>(64-sparseLog)], h >> (64 - sparseLog)}
				n++
			}
		}
		for k := range batch[:n] {
			covered = s.visit(b, &batch[k], covered, end, window)
		}
	}
	return s.found
}

// candidate is a position that was chosen, and what the table has for it.
type candidate struct {
	pos   int
	check uint32
	was   seen
	index uint64
}

// chosen says at which of eight positions from i on to look: bit 7 of their
// bytes. They are those where seven bits that four bytes make are a certain
// number, one in 128; in a run of one byte there is none. The bits of a byte
// only meet bits of others that are at the same distance wherever i is.
func chosen(b []byte, i int) uint64 {
	const low, number = 0x7f7f7f7f7f7f7f7f, 0x5b5b5b5b5b5b5b5b
	p := b[i : i+11]
	x := binary.LittleEndian.Uint64(p) ^ binary.LittleEndian.Uint64(p[2:])
	y := binary.LittleEndian.Uint64(p[1:]) ^ binary.LittleEndian.Uint64(p[3:])
	return ^((x^y>>1^number)&low + low | low)
}

// visit enters a position into the table and takes the repetition, if any,
// that is found there beyond covered.
func (s *sparse) visit(b []byte, c *candidate, covered, end, window int) int {
	i, was := c.pos, int(c.was.pos)
	s.table[c.index] = seen{int32(i), c.check}
	if c.was.check != c.check || was == 0 || i < covered || i-was > window {
		return covered
	}
	length := matchLength(b, was, i, end)
	back := matchBack(b, was, i, covered)
	if length+back < minRepeat {
		return covered
	}
	s.found = append(s.found, repeat{i - back, length + back, i - was})
	return i + length
}

// fingerprint hashes sampled bytes.
func fingerprint(p []byte) uint64 {
	_ = p[sampled-1]
	h := binary.LittleEndian.Uint64(p) * primeA
	h = (bits.RotateLeft64(h, 31) ^ binary.LittleEndian.Uint64(p[8:])) * primeB
	h = (bits.RotateLeft64(h, 27) ^ binary.LittleEndian.Uint64(p[16:])) * primeC
	h = (bits.RotateLeft64(h, 29) ^ binary.LittleEndian.Uint64(p[24:])) * primeA
	return h ^ h>>32
}

// matchLength is how many bytes from b[at] on are those from b[was] on,
// was < at.
func matchLength(b []byte, was, at, end int) int {
	start := at
	for at+8 <= end {
		if x := load64(b, was) ^ load64(b, at); x != 0 {
			return at - start + bits.TrailingZeros64(x)>>3
		}
		was += 8
		at += 8
	}
	for at < end && b[was] == b[at] {
		was++
		at++
	}
	return at - start
}

// matchBack is how many bytes before b[at], not before b[low], are those
// before b[was].
func matchBack(b []byte, was, at, low int) int {
	n := 0
	for at-n > low && was-n > 0 && b[was-n-1] == b[at-n-1] {
		n++
	}
	return n
}

// slide corrects the positions after shift bytes were dropped.
func slide(table []seen, shift int) {
	for i := range table {
		table[i].pos = int32(max(int(table[i].pos)-shift, 0))
	}
}
