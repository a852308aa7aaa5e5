package zstdlong

import "github.com/klauspost/compress/huff0"

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
	w.literals = make([]byte, 0, maxBlock+fewLiterals)
	w.sequences = make([]sequence, 0, maxBlock/minMatch+1)
}

func (w *blockWriter) reset() {
	w.literals, w.sequences = w.literals[:0], w.sequences[:0]
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

// append writes the block of the content src, which the sequences describe. It
// reports whether they are in it: else it is of another
// kind, and the decoder's recent offsets remain what they were.
func (w *blockWriter) append(out, src []byte, last bool) (_ []byte, sequences bool) {
	w.gather(src)
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
	return matchLength(b, 0, 1) == len(b)-1
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
