package zstdlong

import (
	"math/bits"
	"slices"

	"github.com/klauspost/compress/huff0"
)

// sequence is literals followed by a repetition, as the format codes them:
// each number as a code, which FSE compresses, and the bits that tell the
// numbers of that code apart.
type sequence struct {
	literals, match, offset uint32 // the extra bits
	llCode, mlCode, ofCode  uint8
}

// blockWriter writes blocks (RFC 8878, 3.1.1.2).
type blockWriter struct {
	literals  []byte
	sequences []sequence
	huff      huff0.Scratch
	ll, ml    fseTable
	of        fseTable
	counts    [3][maxSymbols]uint32
}

func (w *blockWriter) init() {
	w.huff.Reuse = huff0.ReusePolicyNone // there is no table before the first block
	w.huff.WantLogLess = 4
	w.literals = make([]byte, 0, maxBlock+16)
	w.sequences = make([]sequence, 0, maxBlock/minMatch+1)
}

func (w *blockWriter) reset() {
	w.literals, w.sequences = w.literals[:0], w.sequences[:0]
}

// addLiterals appends b[from:to]. Most of them are few, for which a copy of a
// fixed size is faster.
func (w *blockWriter) addLiterals(b []byte, from, to int) {
	const most = 16
	n := len(w.literals)
	if to-from <= most && from+most <= len(b) && n+most <= cap(w.literals) {
		copy(w.literals[n:n+most], b[from:from+most])
		w.literals = w.literals[:n+to-from]
		return
	}
	w.literals = append(w.literals, b[from:to]...)
}

// add appends a sequence. Its literals are in w.literals.
func (w *blockWriter) add(literals, length int, offset uint32) {
	ll, ml := uint32(literals), uint32(length-3)
	w.sequences = append(w.sequences, sequence{})
	s := &w.sequences[len(w.sequences)-1] // written in place: it is the hottest of all stores
	s.literals, s.match, s.offset, s.ofCode = ll, ml, offset, uint8(bits.Len32(offset)-1)
	if ll < uint32(len(llCodes)) {
		s.llCode = llCodes[ll]
	} else {
		s.llCode = uint8(bits.Len32(ll)-1) + 19
	}
	if ml < uint32(len(mlCodes)) {
		s.mlCode = mlCodes[ml]
	} else {
		s.mlCode = uint8(bits.Len32(ml)-1) + 36
	}
}

// Types of blocks.
const (
	rawBlock = iota
	rleBlock
	compressedBlock
)

func appendBlockHeader(out []byte, last bool, kind, size int) []byte {
	h := size<<3 | kind<<1
	if last {
		h |= 1
	}
	return append(out, byte(h), byte(h>>8), byte(h>>16))
}

// append writes the block of the content src, which the sequences and the
// literals describe. It reports whether they are in it: else it is of another
// kind, and the decoder's recent offsets remain what they were.
func (w *blockWriter) append(out, src []byte, last bool) (_ []byte, sequences bool) {
	if len(src) > 1 && len(w.literals) <= 1 && len(w.sequences) == 1 && allEqual(src) {
		return append(appendBlockHeader(out, last, rleBlock, len(src)), src[0]), false
	}
	start := len(out)
	out = appendBlockHeader(out, last, compressedBlock, 0)
	out = w.appendLiterals(out)
	out = w.appendSequences(out)
	size := len(out) - start - 3
	if size < len(src) {
		appendBlockHeader(out[:start], last, compressedBlock, size)
		return out, true
	}
	w.huff.Reuse = huff0.ReusePolicyNone // the decoder has not seen this block's table
	return append(appendBlockHeader(out[:start], last, rawBlock, len(src)), src...), false
}

func allEqual(b []byte) bool {
	return matchLength(b, 0, 1, len(b)) == len(b)-1
}

// Types of literals sections (RFC 8878, 3.1.1.3.1.1).
const (
	rawLiterals = iota
	rleLiterals
	huffmanLiterals
	treelessLiterals // with the Huffman table of the block before
)

// appendLiterals writes the literals section.
func (w *blockWriter) appendLiterals(out []byte) []byte {
	n := len(w.literals)
	var packed []byte
	var reused bool
	var err error
	switch {
	case n >= 1024:
		packed, reused, err = huff0.Compress4X(w.literals, &w.huff)
	case n > 32:
		packed, reused, err = huff0.Compress1X(w.literals, &w.huff)
	default:
		err = huff0.ErrIncompressible
	}
	switch {
	case err == huff0.ErrUseRLE:
		return append(appendLiteralsSize(out, rleLiterals, n), w.literals[0])
	case err != nil: // also where a sixteenth is not saved
		return append(appendLiteralsSize(out, rawLiterals, n), w.literals...)
	}
	w.huff.Reuse = huff0.ReusePolicyAllow
	kind := uint64(huffmanLiterals)
	if reused {
		kind = treelessLiterals
	}
	size := uint64(len(packed))
	var h uint64
	var bytes int
	switch m := max(n, len(packed)); {
	case n < 1024:
		h, bytes = kind|uint64(n)<<4|size<<14, 3
	case m < 1<<14:
		h, bytes = kind|2<<2|uint64(n)<<4|size<<18, 4
	default:
		h, bytes = kind|3<<2|uint64(n)<<4|size<<22, 5
	}
	for range bytes {
		out = append(out, byte(h))
		h >>= 8
	}
	return append(out, packed...)
}

func appendLiteralsSize(out []byte, kind, n int) []byte {
	switch {
	case n < 1<<5:
		return append(out, byte(kind|n<<3))
	case n < 1<<12:
		return append(out, byte(kind|1<<2|n<<4), byte(n>>4))
	}
	return append(out, byte(kind|3<<2|n<<4), byte(n>>4), byte(n>>12))
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
	w.counts = [3][maxSymbols]uint32{}
	ll, of, ml := &w.counts[0], &w.counts[1], &w.counts[2]
	for i := range w.sequences {
		s := &w.sequences[i]
		ll[s.llCode&63]++
		of[s.ofCode&63]++
		ml[s.mlCode&63]++
	}
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
	last := w.sequences[len(w.sequences)-1]
	llState, ofState, mlState := ll.begin(last.llCode), of.begin(last.ofCode), ml.begin(last.mlCode)
	b := bitWriter{out: slices.Grow(out, len(w.sequences)*most+8)}
	b.sequence(last)
	for i := len(w.sequences) - 2; i >= 0; i-- {
		s := w.sequences[i]
		var n, m, k uint8
		var x, y, z uint64
		x, n, ofState = of.step(ofState, s.ofCode)
		y, m, mlState = ml.step(mlState, s.mlCode)
		z, k, llState = ll.step(llState, s.llCode)
		b.put(x|y<<(n&63)|z<<((n+m)&63), n+m+k)
		b.sequence(s)
	}
	b.put(uint64(mlState)&(1<<ml.log-1), ml.log)
	b.put(uint64(ofState)&(1<<of.log-1), of.log)
	b.put(uint64(llState)&(1<<ll.log-1), ll.log)
	b.put(1, 1) // where the decoder begins
	return b.align()
}

// sequence appends a sequence's extra bits.
func (b *bitWriter) sequence(s sequence) {
	l, m := llBits[s.llCode&63], mlBits[s.mlCode&63]
	x := uint64(s.literals)&(1<<(l&63)-1) | uint64(s.match)&(1<<(m&63)-1)<<(l&63)
	b.put(x, l+m)
	b.flush()
	b.put(uint64(s.offset)&(1<<(s.ofCode&63)-1), s.ofCode)
	b.flush()
}
