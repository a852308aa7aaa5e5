package zstdlong

// Tables of RFC 8878, 3.1.1.3.2.1.1 (codes and their extra bits) and
// 3.1.1.3.2.2 (default distributions).
var (
	llBits = [maxSymbols]uint8{16: 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	mlBits = [maxSymbols]uint8{32: 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

	llCodes = codes[[64]uint8](llBits)
	mlCodes = codes[[128]uint8](mlBits)

	defaultLL = standard(6, 4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1,
		2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1)
	defaultML = standard(6, 1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
		1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1)
	defaultOF = standard(5, 1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1)
)

// codes maps small numbers to the code whose extra bits they need.
func codes[T [64]uint8 | [128]uint8](extra [maxSymbols]uint8) T {
	var t T
	for code, n := 0, 0; n < len(t); code++ {
		for range 1 << extra[code] {
			if n < len(t) {
				t[n] = uint8(code)
				n++
			}
		}
	}
	return t
}

func standard(log uint8, norm ...int16) fseTable {
	t := fseTable{log: log, symbols: len(norm)}
	copy(t.norm[:], norm)
	t.build()
	return t
}
