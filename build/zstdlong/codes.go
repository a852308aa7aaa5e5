package zstdlong

import "math/bits"

// Tables of RFC 8878, 3.1.1.3.2.1.1 (codes and their extra bits) and
// 3.1.1.3.2.2 (default distributions).
var (
	llBits = [maxSymbols]uint8{16: 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	mlBits = [maxSymbols]uint8{32: 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

	llCodes = codes(llBits)
	mlCodes = codes(mlBits) // of what a length is more than 3
	lowBits = masks()       // a load is faster than the shift by a number that is not known

	defaultLL = standard(6, 4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1,
		2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1)
	defaultML = standard(6, 1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
		1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1)
	defaultOF = standard(5, 1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1)
)

// symbol is a code for numbers from base on, which width more bits tell apart.
type symbol struct {
	base        uint32
	code, width uint8
}

// codeTable has the codes of the numbers below direct, and then those of
// larger ones by their length in bits.
type codeTable [direct + 32]symbol

const direct = 128

func (t *codeTable) of(v uint32) *symbol {
	if v < direct {
		return &t[v]
	}
	return &t[direct+bits.Len32(v)]
}

// codes makes the table of codes, each of which stands for as many numbers as
// its extra bits tell apart.
func codes(extra [maxSymbols]uint8) (t codeTable) {
	for c, n := 0, 0; n <= maxBlock; c++ {
		entry := symbol{uint32(n), uint8(c), extra[c]}
		end := n + 1<<extra[c]
		if n >= direct {
			t[direct+bits.Len(uint(n))] = entry
		}
		for ; n < min(end, direct); n++ {
			t[n] = entry
		}
		n = end
	}
	return t
}

// masks are the numbers of so many bits, all ones.
func masks() (t [32]uint32) {
	for i := range t {
		t[i] = 1<<i - 1
	}
	return t
}

func standard(log uint8, norm ...int16) fseTable {
	t := fseTable{log: log, symbols: len(norm)}
	copy(t.norm[:], norm)
	t.build()
	return t
}
