package zstdlong

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// sequence is literals followed by a repetition, as the format codes them:
// each number as a code, which FSE compresses, and the bits that tell the
// numbers of that code apart. Until gather makes that of it, bits is what add
// was told: sequences are added between steps of the search, which has no
// registers to spare and jumps that the processor guesses wrong.
type sequence struct {
	bits                       uint64 // the extra bits
	width                      uint8  // how many those are
	llCode, mlCode, offsetCode uint8
}

// Where add puts literals, the repetition's length and the offset's code: none
// is more than the bits hold, as a block has 2^17 bytes, and MaxWindow 2^27.
const (
	lengthShift = 18
	offsetShift = 36
	lengthMask  = 1<<lengthShift - 1
)

func (s sequence) literals() uint32 { return uint32(s.bits) & lengthMask }
func (s sequence) length() uint32   { return uint32(s.bits>>lengthShift) & lengthMask }
func (s sequence) offset() uint32   { return uint32(s.bits >> offsetShift) }

// add appends a sequence; offset is what offsetCode returned.
func (w *blockWriter) add(literals, length int, offset uint32) {
	n := len(w.sequences)
	w.sequences = w.sequences[:n+1]
	w.sequences[n].bits = uint64(literals) | uint64(length)<<lengthShift | uint64(offset)<<offsetShift
}

// fewLiterals is how many most sequences have at most: a copy of a fixed size
// is faster.
const fewLiterals = 16

// gather takes the literals that are between the repetitions out of the
// content src, and gives the sequences their codes.
func (w *blockWriter) gather(src []byte) {
	all := w.literals[:cap(w.literals)]
	to := all
	for _, s := range w.sequences {
		n := s.literals()
		if n <= fewLiterals && fewLiterals <= len(src) {
			copy(to[:fewLiterals], src[:fewLiterals])
		} else {
			copy(to, src[:n])
		}
		to = to[n:]
		src = src[n+s.length():]
	}
	copy(to, src)
	w.literals = all[:len(all)-len(to)+len(src)]
	w.encode()
}

// encode gives the sequences their codes, and counts those.
func (w *blockWriter) encode() {
	w.counts = [3][maxSymbols]uint32{}
	lls, ofs, mls := &w.counts[0], &w.counts[1], &w.counts[2]
	sequences := w.sequences
	for i := range sequences {
		s := &sequences[i]
		literals, length, offset := s.literals(), s.length()-3, s.offset()
		ll, ml := llCodes.of(literals), mlCodes.of(length)
		of := uint8(bits.Len32(offset) - 1)
		lls[ll.code%maxSymbols]++
		ofs[of%maxSymbols]++
		mls[ml.code%maxSymbols]++
		s.llCode, s.mlCode, s.offsetCode = ll.code, ml.code, of
		width := ll.width + ml.width
		s.width = width + of
		s.bits = uint64(literals-ll.base) | uint64(length-ml.base)<<(ll.width&63) | uint64(offset&lowBits[of&31])<<(width&63)
	}
}

// appendSequences writes the sequences section (RFC 8878, 3.1.1.3.2).
func (w *blockWriter) appendSequences(out []byte) []byte {
	n := len(w.sequences)
	switch {
	case n == 0:
		return append(out, 0)
	case n < 128:
		out = append(out, byte(n))
	case n < 0x7f00:
		out = append(out, byte(n>>8)+128, byte(n))
	default:
		out = append(out, 255, byte(n-0x7f00), byte((n-0x7f00)>>8))
	}
	ll, of, ml := &w.counts[0], &w.counts[1], &w.counts[2]
	modes := len(out)
	out = append(out, 0)
	var mode [3]byte
	out, mode[0] = w.ll.choose(out, ll, n, 9, &defaultLL)
	out, mode[1] = w.of.choose(out, of, n, 8, &defaultOF)
	out, mode[2] = w.ml.choose(out, ml, n, 9, &defaultML)
	out[modes] = mode[0]<<6 | mode[1]<<4 | mode[2]<<2
	return w.appendBitstream(out)
}

// appendBitstream writes the sequences last to first: the decoder reads
// backwards. What it reads first of a sequence stands last.
func (w *blockWriter) appendBitstream(out []byte) []byte {
	// Bytes of a sequence: 26 bits of states, 31 of literals and repetition (a
	// block is too short for both to have 16), 27 of the offset.
	const most = 12
	ll, of, ml := &w.ll, &w.of, &w.ml
	sequences := w.sequences
	last := &sequences[len(sequences)-1]
	llState, ofState, mlState := ll.begin(last.llCode), of.begin(last.offsetCode), ml.begin(last.mlCode)
	start := len(out)
	out = slices.Grow(out, len(sequences)*most+16)
	buf := out[start:cap(out)]
	b := bitWriter{}.put(last.bits, uint(last.width))
	for i := len(sequences) - 2; i >= 0; i-- {
		s := &sequences[i]
		var n, m, k uint
		var x, y, z uint64
		x, n, ofState = of.step(ofState, s.offsetCode)
		y, m, mlState = ml.step(mlState, s.mlCode)
		z, k, llState = ll.step(llState, s.llCode)
		b = b.flush(buf).put(x, n).put(y, m).put(z, k)
		if b.n+uint(s.width) < 64 {
			b = b.put(s.bits, uint(s.width))
		} else { // not at once: 26 bits of states, 58 others and what flush left
			few := min(uint(s.width), 32)
			b = b.flush(buf).put(s.bits&(1<<32-1), few).flush(buf).put(s.bits>>32, uint(s.width)-few)
		}
	}
	b = b.flush(buf)
	b = b.put(uint64(mlState)&(1<<ml.log-1), uint(ml.log))
	b = b.put(uint64(ofState)&(1<<of.log-1), uint(of.log))
	b = b.put(uint64(llState)&(1<<ll.log-1), uint(ll.log))
	b = b.put(1, 1).align(buf) // where the decoder begins
	return out[:start+b.at]
}

// bitWriter collects bits, the lowest first. It is passed and returned, not
// pointed to, so that it is in registers.
type bitWriter struct {
	bits uint64
	n    uint // of them: less than 64
	at   int  // bytes written
}

// put appends n bits, above which v is zero. After a flush there is room for 56.
func (b bitWriter) put(v uint64, n uint) bitWriter {
	return bitWriter{b.bits | v<<(b.n&63), b.n + n, b.at}
}

// flush writes whole bytes, and some that are overwritten.
func (b bitWriter) flush(buf []byte) bitWriter {
	binary.LittleEndian.PutUint64(buf[b.at:b.at+8], b.bits)
	return bitWriter{b.bits >> (b.n & 56), b.n & 7, b.at + int(b.n>>3)}
}

// align ends with zero bits up to a whole byte.
func (b bitWriter) align(buf []byte) bitWriter {
	b.n += -b.n & 7
	return b.flush(buf)
}
