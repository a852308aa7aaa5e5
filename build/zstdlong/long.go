package zstdlong

import (
	"encoding/binary"
	"math/bits"
)

// repeat says that length bytes at pos are those at pos-offset.
type repeat struct{ pos, length, offset int }

// sparse finds long repetitions anywhere in the window. It looks at one
// position in 64, and chooses those by the bytes that stand there, so that
// the same ones are chosen wherever the content turns up again. What two
// chosen positions have in common then grows in both directions.
type sparse struct {
	table []sparseEntry
	found []repeat
}

type sparseEntry struct {
	pos   int32
	check uint32
}

const (
	sparseLog  = 19
	sampleBits = 6
	minRepeat  = 40 // shorter ones are left to the matcher
	sampled    = 32 // bytes that tell a position from others
)

const (
	prime8  = 0xcf1bbcdcb7a56463
	prime5  = 889523592379 << 24
	primeA  = 0x9e3779b185ebca87
	primeB  = 0xc2b2ae3d27d4eb4f
	primeC  = 0x165667b19e3779f9
	noMatch = 0
)

func load64(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }
func load32(b []byte, i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }

// find returns the repetitions of b[from:end], in order and apart.
func (s *sparse) find(b []byte, from, end, window int) []repeat {
	if s.table == nil {
		s.table = make([]sparseEntry, 1<<sparseLog)
	}
	s.found = s.found[:0]
	covered := from
	for i, stop := from, end-sampled; i <= stop; i++ {
		const chosen = 0x2a // not that of zeros
		if load64(b, i)*prime8>>(64-sampleBits) != chosen {
			continue
		}
		h := fingerprint(b[i : i+sampled])
		e := &s.table[h>>(64-sparseLog)]
		was, check := int(e.pos), uint32(h)
		hit := e.check == check
		*e = sparseEntry{int32(i), check}
		if !hit || i < covered || was >= i || i-was > window {
			continue
		}
		length := matchLength(b, was, i, end)
		back := matchBack(b, was, i, covered)
		if length+back < minRepeat {
			continue
		}
		s.found = append(s.found, repeat{i - back, length + back, i - was})
		covered = i + length
	}
	return s.found
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

func (s *sparse) slide(shift int) {
	for i, e := range s.table {
		if e.pos = int32(max(int(e.pos)-shift, 0)); e.pos == 0 {
			e.check = 0
		}
		s.table[i] = e
	}
}
