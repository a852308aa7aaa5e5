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
	batch [32]candidate
	n     int // of the batch
}

// seen says where bytes were last seen, and more of them than led there: most
// others are told apart without a look at the bytes, which are not in the
// processor's cache. It is the position and 32 bits, as one number, which the
// processor loads and stores at once.
type seen uint64

func sighting(pos int, check uint64) seen { return seen(uint64(pos)<<32 | uint64(uint32(check))) }

// pos is 0 where nothing was seen.
func (s seen) pos() int { return int(s >> 32) }

const (
	sparseLog = 19
	minRepeat = 40 // shorter ones are left to the matcher
	sampled   = 32 // bytes that tell a position from others
)

const (
	prime6 = 227718039650203 << 16 // of the lowest six bytes
	primeA = 0x9e3779b185ebca87
	primeB = 0xc2b2ae3d27d4eb4f
	primeC = 0x165667b19e3779f9
)

// A slice b[i:i+8] takes fewer instructions to check than b[i:].
func load64(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i : i+8]) }
func load32(b []byte, i int) uint32 { return binary.LittleEndian.Uint32(b[i : i+4]) }

// find returns the repetitions of b[from:end], in order and apart.
func (s *sparse) find(b []byte, from, end, window int) []repeat {
	s.found = s.found[:0]
	covered := from
	for i := from; i <= end-sampled; {
		i = s.choose(b[:end], i)
		// All the table's entries at once: most are not in the processor's
		// cache, and it fetches those together that so few instructions need.
		for k := range s.batch[:s.n] {
			c := &s.batch[k]
			c.was = s.table[c.hash>>(64-sparseLog)]
		}
		for k := range s.batch[:s.n] {
			covered = s.visit(b, &s.batch[k], covered, end, window)
		}
		if n := len(s.found); n > 0 && s.found[n-1].offset < window/2 {
			// The table has all that already, for half a window at least. To enter
			// it once more would take longer and make the frame no smaller.
			i = max(i, covered)
		}
	}
	return s.found
}

// choose fills the batch with chosen positions of b from i on, and returns how
// far it came.
func (s *sparse) choose(b []byte, i int) int {
	n := 0
	for i >= 0 && i <= len(b)-sampled && n <= len(s.batch)-8 {
		m := chosen(load64(b, i)^load64(b, i+2), load64(b, i+1)^load64(b, i+3))
		for ; m != 0; m &= m - 1 {
			p := i + bits.TrailingZeros64(m)>>3
			if p > len(b)-sampled {
				break
			}
			s.batch[n%len(s.batch)] = candidate{pos: p, hash: fingerprint(b[p : p+sampled])}
			n++
		}
		i += 8
	}
	s.n = n
	return i
}

// candidate is a position that was chosen, and what the table has for it.
type candidate struct {
	pos  int
	hash uint64
	was  seen
}

// chosen says at which of eight positions to look: bit 7 of their bytes. They
// are those where seven bits that four bytes make are a certain number, one in
// 128; in a run of one byte there is none. x is the bytes from the positions on
// and those two farther (XOR), y those one and three farther. The bits of a byte
// only meet bits of others that are at the same distance wherever it is.
func chosen(x, y uint64) uint64 {
	const low, number = 0x7f7f7f7f7f7f7f7f, 0x5b5b5b5b5b5b5b5b
	return ^((x^y>>1^number)&low + low | low)
}

// visit enters a position into the table and takes the repetition, if any,
// that is found there beyond covered.
func (s *sparse) visit(b []byte, c *candidate, covered, end, window int) int {
	i, was := c.pos, c.was.pos()
	s.table[c.hash>>(64-sparseLog)] = sighting(i, c.hash)
	if uint32(c.was) != uint32(c.hash) || was == 0 || i < covered || i-was > window {
		return covered
	}
	length := matchLength(b[:end], was, i)
	back := matchBack(b, was, i, 0, covered)
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
func matchLength(b []byte, was, at int) int {
	q := b[at:]
	p := b[was:][:len(q):len(q)]
	i := 0
	for ; i < len(q)-7; i += 8 {
		if x := load64(p, i) ^ load64(q, i); x != 0 {
			return i + bits.TrailingZeros64(x)>>3
		}
	}
	for i < len(q) && p[i] == q[i] {
		i++
	}
	return i
}

// matchBack is how many bytes before b[at], not before b[low], are those
// before b[was], not before b[first].
func matchBack(b []byte, was, at, first, low int) int {
	n := 0
	for at-n > low && was-n > first && b[was-n-1] == b[at-n-1] {
		n++
	}
	return n
}

// slide corrects the positions after shift bytes were dropped.
func slide(table []seen, shift int) {
	for i := range table {
		table[i] = sighting(max(table[i].pos()-shift, 0), uint64(table[i]))
	}
}
