package zstdlong

import "math/bits"

// maxSymbols is more than there are codes of any kind.
const maxSymbols = 64

// fseTable is the encoder's side of an FSE table (RFC 8878, 4.1): for each
// state and symbol, the next state and the bits that lead there.
type fseTable struct {
	log       uint8
	norm      [maxSymbols]int16 // cells of each symbol; -1: one, of the rarest
	symbols   int               // up to the last that occurs
	next      [1 << maxLog]uint16
	transform [maxSymbols]transform
}

const (
	minLog = 5
	maxLog = 9
)

// transform leads from a state to the next by a symbol.
type transform struct {
	bits  uint32 // see step
	first int32  // where the symbol's states begin in next, less its cells
}

// Ways to tell the decoder which table is used (RFC 8878, 3.1.1.3.2.1).
const (
	predefined = iota
	rle
	compressed
)

// choose makes t the table for symbols that occur count times, n together,
// and appends its description.
func (t *fseTable) choose(out []byte, count *[maxSymbols]uint32, n int, limit uint8, standard *fseTable) ([]byte, byte) {
	t.symbols = 0
	different, covered := 0, true
	for s, c := range count {
		if c == 0 {
			continue
		}
		different++
		t.symbols = s + 1
		covered = covered && standard.norm[s] != 0
	}
	const few = 24 // sequences, for which a table of one's own does not pay
	switch {
	case different == 1:
		*t = fseTable{symbols: t.symbols} // no state, no bits
		return append(out, byte(t.symbols-1)), rle
	case n <= few && covered:
		*t = *standard
		return out, predefined
	}
	t.log = tableLog(n, different, limit)
	t.normalize(count, n)
	t.build()
	return t.appendDescription(out), compressed
}

// tableLog is the logarithm of a table's cells: no more than the sequences
// can make use of, and enough for the symbols.
func tableLog(n, different int, limit uint8) uint8 {
	log := max(bits.Len(uint(n-1))-3, bits.Len(uint(different-1))+1, minLog)
	return uint8(min(log, int(limit)))
}

// normalize shares the cells out by how often symbols occur, at least one to
// each that does. What rounding leaves over or lacks is the most frequent's.
func (t *fseTable) normalize(count *[maxSymbols]uint32, n int) {
	cells := int32(1) << t.log
	left, largest := cells, 0
	for s, c := range count[:t.symbols] {
		share := int32(0)
		if c > 0 {
			share = max(1, int32((uint64(c)<<t.log+uint64(n)/2)/uint64(n)))
		}
		t.norm[s] = int16(share)
		left -= share
		if share > int32(t.norm[largest]) {
			largest = s
		}
	}
	clear(t.norm[t.symbols:])
	for ; left < 0 && int32(t.norm[largest])+left < cells/4; left++ {
		s := t.mostCells() // so many rare ones that one symbol cannot pay for all
		t.norm[s]--
	}
	t.norm[largest] += int16(left)
}

func (t *fseTable) mostCells() int {
	most := 0
	for s, v := range t.norm[:t.symbols] {
		if v > t.norm[most] {
			most = s
		}
	}
	return most
}

// build spreads the symbols over the table as the decoder does, and turns
// that round (RFC 8878, 4.1.1).
func (t *fseTable) build() {
	size := 1 << t.log
	var symbol [1 << maxLog]uint8
	high := size - 1
	var start [maxSymbols + 1]int
	for s, v := range t.norm[:t.symbols] {
		cells := int(v)
		if v == -1 {
			cells = 1
			symbol[high] = uint8(s)
			high--
		}
		start[s+1] = start[s] + cells
	}
	at := 0
	for s, v := range t.norm[:t.symbols] {
		for range max(v, 0) {
			symbol[at] = uint8(s)
			for at = (at + size>>1 + size>>3 + 3) & (size - 1); at > high; {
				at = (at + size>>1 + size>>3 + 3) & (size - 1)
			}
		}
	}
	fill := start
	for i := range size {
		s := symbol[i]
		t.next[fill[s]] = uint16(size + i)
		fill[s]++
	}
	for s, v := range t.norm[:t.symbols] {
		switch v {
		case 0:
		case 1, -1:
			t.transform[s] = transform{uint32(t.log)<<16 - uint32(size), int32(start[s]) - 1}
		default:
			most := uint32(t.log) - uint32(bits.Len32(uint32(v-1))-1)
			t.transform[s] = transform{most<<16 - uint32(v)<<most, int32(start[s]) - int32(v)}
		}
	}
}

// appendDescription writes the cells of each symbol, in as many bits as what
// is left to share out calls for; after a symbol that does not occur, how
// many more do not (RFC 8878, 4.1.1).
func (t *fseTable) appendDescription(out []byte) []byte {
	var buf [2 * maxSymbols]byte // 10 bits of a symbol, and what flush writes beyond
	b := bitWriter{}.put(uint64(t.log-minLog), 4)
	left := int32(1)<<t.log + 1
	for s := 0; left > 1; {
		v := int32(t.norm[s])
		s++
		width := bits.Len32(uint32(left))
		spare := int32(1)<<width - 1 - left // values that need a bit less
		left -= max(v, -v)
		if v++; v < spare {
			b = b.put(uint64(v), uint(width-1))
		} else if v < int32(1)<<(width-1) {
			b = b.put(uint64(v), uint(width))
		} else {
			b = b.put(uint64(v+spare), uint(width))
		}
		if v == 1 && left > 1 {
			zeros := 0
			for t.norm[s+zeros] == 0 {
				zeros++
			}
			s += zeros
			for ; zeros >= 3; zeros -= 3 {
				b = b.put(3, 2).flush(buf[:])
			}
			b = b.put(uint64(zeros), 2)
		}
		b = b.flush(buf[:])
	}
	return append(out, buf[:b.align(buf[:]).at]...)
}

// begin is the state from which the decoder reads the last symbol.
func (t *fseTable) begin(symbol uint8) uint32 {
	if t.log == 0 {
		return 0
	}
	tr := t.transform[symbol%maxSymbols]
	n := (tr.bits + 1<<15) >> 16
	return uint32(t.next[int32((n<<16-tr.bits)>>n)+tr.first])
}

// step leads from a state by a symbol to the next state; x are the n bits by
// which the decoder finds its way back.
func (t *fseTable) step(state uint32, symbol uint8) (x uint64, n uint, next uint32) {
	tr := &t.transform[symbol%maxSymbols]
	k := (state + tr.bits) >> 16 & 31
	return uint64(state & lowBits[k]), uint(k), uint32(t.next[uint32(int32(state>>k)+tr.first)%(1<<maxLog)])
}
