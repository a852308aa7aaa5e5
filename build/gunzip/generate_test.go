package gunzip

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"math/rand/v2"
	"os/exec"
	"slices"
	"testing"
)

// generator writes gzip files as no compressor would: any code, any division
// into blocks, any way to write the lengths of codes. What it chooses is r's.
type generator struct {
	r       *rand.Rand
	faults  int // one of so many things is wrong; 0: none
	out     []byte
	acc     uint64
	n       uint
	content []byte // of the member
}

func (g *generator) chance(n int) bool { return n > 0 && g.r.IntN(n) == 0 }
func (g *generator) fault() bool       { return g.chance(g.faults) }

// put writes the k low bits of v, the lowest first.
func (g *generator) put(v, k int) {
	g.acc |= uint64(v) << g.n
	for g.n += uint(k); g.n >= 8; g.n -= 8 {
		g.out = append(g.out, byte(g.acc))
		g.acc >>= 8
	}
}

func (g *generator) align() { g.put(0, int(-g.n&7)) }

// prefix is a Huffman code: its symbols' lengths and bits.
type prefix struct {
	lengths []uint8
	codes   []uint16
	used    []int
}

func (g *generator) symbol(p *prefix, s int) { g.put(int(p.codes[s]), int(p.lengths[s])) }

// newPrefix is a code of some symbols out of size, these among them, complete
// unless there is but one or that is the fault.
func (g *generator) newPrefix(size, longest int, with ...int) *prefix {
	p := &prefix{lengths: make([]uint8, size)}
	p.used = with
	for _, s := range g.r.Perm(size)[:g.r.IntN(size+1)] {
		if !slices.Contains(with, s) && !g.chance(4) {
			p.used = append(p.used, s)
		}
	}
	depths := g.depths(len(p.used), longest)
	if len(depths) > 0 && g.fault() {
		depths[g.r.IntN(len(depths))] = uint8(1 + g.r.IntN(longest))
	}
	for i, s := range p.used {
		p.lengths[s] = depths[i]
	}
	p.assign()
	return p
}

// depths are those of the leaves of a binary tree, in any order.
func (g *generator) depths(n, longest int) []uint8 {
	if n < 2 {
		return []uint8{1}[:n]
	}
	d, shape := []uint8{1, 1}, g.r.IntN(3)
	for len(d) < n {
		i := g.r.IntN(len(d))
		switch shape {
		case 0:
			i = len(d) - 1 // the deepest
		case 1:
			i = slices.Index(d, slices.Min(d))
		}
		for int(d[i]) == longest {
			i = g.r.IntN(len(d))
		}
		d[i]++
		d = append(d, d[i])
	}
	g.r.Shuffle(n, func(i, j int) { d[i], d[j] = d[j], d[i] })
	return d
}

// assign gives the codes (RFC 1951, 3.2.2), also where there is no such code.
func (p *prefix) assign() {
	p.codes = make([]uint16, len(p.lengths))
	code := uint16(0)
	for n := uint8(1); n <= 15; n++ {
		code <<= 1
		for s, l := range p.lengths {
			if l == n {
				p.codes[s] = bits.Reverse16(code) >> (16 - n)
				code++
			}
		}
	}
}

func fixedPrefixes() (literal, distance *prefix) {
	literal = &prefix{lengths: slices.Concat(slices.Repeat([]uint8{8}, 144), slices.Repeat([]uint8{9}, 112), slices.Repeat([]uint8{7}, 24), slices.Repeat([]uint8{8}, 8))}
	distance = &prefix{lengths: slices.Repeat([]uint8{5}, 32)}
	for _, p := range []*prefix{literal, distance} {
		for s := range p.lengths {
			p.used = append(p.used, s)
		}
		p.assign()
	}
	return literal, distance
}

// dynamic writes the lengths of two new codes.
func (g *generator) dynamic() (literal, distance *prefix) {
	literal, distance = g.newPrefix(286, 15, 256), g.newPrefix(30, 15)
	if g.fault() {
		literal.lengths[256] = 0
	}
	g.lengths(literal, distance)
	return literal, distance
}

// lengths writes the lengths of codes (RFC 1951, 3.2.7).
func (g *generator) lengths(literal, distance *prefix) {
	nl, nd := 286, 30
	for nl > 257 && literal.lengths[nl-1] == 0 && !g.chance(9) {
		nl--
	}
	for nd > 1 && distance.lengths[nd-1] == 0 && !g.chance(9) {
		nd--
	}
	all := slices.Concat(literal.lengths[:nl], distance.lengths[:nd])
	if g.fault() {
		nl, nd = 257+g.r.IntN(32), 1+g.r.IntN(32)
	}
	symbols := g.runs(all)
	var with []int
	for _, s := range symbols {
		if !slices.Contains(with, s[0]) {
			with = append(with, s[0])
		}
	}
	own := g.newPrefix(19, 7, with...)
	order := []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	n := 19
	for n > 4 && own.lengths[order[n-1]] == 0 && !g.chance(9) {
		n--
	}
	g.put(nl-257, 5)
	g.put(nd-1, 5)
	g.put(n-4, 4)
	for _, s := range order[:n] {
		g.put(int(own.lengths[s]), 3)
	}
	for _, s := range symbols {
		g.symbol(own, s[0])
		g.put(s[1], map[int]int{16: 2, 17: 3, 18: 7}[s[0]])
	}
}

// runs are the symbols of lengths, and what their extra bits are.
func (g *generator) runs(all []uint8) (symbols [][2]int) {
	for i := 0; i < len(all); {
		n := 1
		for i+n < len(all) && all[i+n] == all[i] {
			n++
		}
		if n > 3 && g.chance(3) {
			n -= g.r.IntN(n)
		}
		again := i > 0 && all[i-1] == all[i]
		switch {
		case g.fault():
			symbols = append(symbols, [2]int{16, 3})
			n = 0
			i++
		case again && n >= 3 && !g.chance(4):
			n = min(n, 6)
			symbols = append(symbols, [2]int{16, n - 3})
		case all[i] == 0 && n >= 11 && !g.chance(9):
			n = min(n, 138)
			symbols = append(symbols, [2]int{18, n - 11})
		case all[i] == 0 && n >= 3 && !g.chance(9):
			n = min(n, 10)
			symbols = append(symbols, [2]int{17, n - 3})
		default:
			n = 1
			symbols = append(symbols, [2]int{int(all[i]), 0})
		}
		i += n
	}
	return symbols
}

// Base and extra bits of lengths from symbol 257 on, and of distances (RFC
// 1951, 3.2.5), written down here a second time.
var (
	lengthBase    = []int{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra   = []int{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distanceBase  = []int{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distanceExtra = []int{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

// symbols writes what a block holds.
func (g *generator) symbols(literal, distance *prefix) {
	for range g.r.IntN(1 << g.r.IntN(13)) {
		s := literal.used[g.r.IntN(len(literal.used))]
		if s == 256 && !g.fault() {
			continue
		}
		if s <= 256 {
			g.symbol(literal, s)
			g.content = append(g.content, byte(s))
			continue
		}
		d, far := g.distance(distance)
		if d < 0 || s > 285 && !g.fault() {
			continue
		}
		g.symbol(literal, s)
		length := 0
		if s <= 285 {
			extra := g.extra(lengthExtra[s-257])
			g.put(extra, lengthExtra[s-257])
			length = lengthBase[s-257] + extra
		}
		g.symbol(distance, d)
		if d < 30 {
			g.put(far-distanceBase[d], distanceExtra[d])
		}
		for from := len(g.content) - far; length > 0 && from >= 0 && far > 0; length-- {
			g.content = append(g.content, g.content[from])
			from++
		}
	}
	g.symbol(literal, 256)
}

// extra is a number of so many bits, often the first or the last.
func (g *generator) extra(bits int) int {
	switch g.r.IntN(4) {
	case 0:
		return 0
	case 1:
		return 1<<bits - 1
	}
	return g.r.IntN(1 << bits)
}

// distance chooses a symbol and how far back it leads, as far as there is
// content; the symbol is -1 where there is none.
func (g *generator) distance(p *prefix) (symbol, far int) {
	if len(p.used) == 0 {
		return -1, 0
	}
	d := p.used[g.r.IntN(len(p.used))]
	if d >= 30 {
		if g.fault() {
			return d, 0
		}
		return -1, 0
	}
	far = distanceBase[d] + g.extra(distanceExtra[d])
	if far > len(g.content) && !g.fault() {
		if far = len(g.content); far < distanceBase[d] {
			return -1, 0
		}
	}
	return d, far
}

// stored writes a block that is not compressed.
func (g *generator) stored() {
	b := make([]byte, g.extra(g.r.IntN(17)))
	for i := range b {
		b[i] = byte(g.r.Uint32())
	}
	g.align()
	wrong := 0
	if g.fault() {
		wrong = 1 << g.r.IntN(16)
	}
	g.put(len(b), 16)
	g.put(len(b)^0xffff^wrong, 16)
	g.out = append(g.out, b...)
	g.content = append(g.content, b...)
}

// block writes a block of any kind.
func (g *generator) block(last int) {
	kind := g.r.IntN(3)
	if g.fault() {
		kind = 3
	}
	g.put(last, 1)
	g.put(kind, 2)
	switch kind {
	case 0:
		g.stored()
	case 1:
		g.symbols(fixedPrefixes())
	case 2:
		g.symbols(g.dynamic())
	}
}

// header writes a member's header (RFC 1952, 2.3) with any of the optional
// fields.
func (g *generator) header() {
	const hasCRC, hasExtra, hasName, hasComment = 1 << 1, 1 << 2, 1 << 3, 1 << 4
	flags := byte(g.r.Uint32()) & 0x1f
	h := []byte{0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 5, 6}
	if flags&hasExtra != 0 {
		n := g.extra(g.r.IntN(17))
		h = append(binary.LittleEndian.AppendUint16(h, uint16(n)), make([]byte, n)...)
	}
	for _, flag := range []byte{hasName, hasComment} {
		if flags&flag != 0 {
			h = append(append(h, bytes.Repeat([]byte{'n'}, g.extra(9))...), 0)
		}
	}
	if flags&hasCRC != 0 {
		h = binary.LittleEndian.AppendUint16(h, uint16(crc32.ChecksumIEEE(h)))
	}
	if g.fault() {
		h[g.r.IntN(len(h))] ^= byte(1 << g.r.IntN(8))
	}
	g.out = append(g.out, h...)
}

func (g *generator) member() (content []byte) {
	g.content = nil
	g.header()
	for range g.r.IntN(4) {
		g.block(0)
	}
	g.block(1)
	g.trailer()
	return g.content
}

// trailer ends a member.
func (g *generator) trailer() {
	g.align()
	trailer := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(g.content)), uint32(len(g.content)))
	if g.fault() {
		trailer[g.r.IntN(8)] ^= byte(1 << g.r.IntN(8))
	}
	g.out = append(g.out, trailer...)
}

// file writes members, and returns what they hold.
func (g *generator) file() (content []byte) {
	for range 1 + g.r.IntN(3) {
		content = append(content, g.member()...)
	}
	if g.fault() {
		g.out = append(g.out, make([]byte, g.r.IntN(20))...)
	}
	return content
}

// TestGenerated reads what is right, with gzip's opinion of it.
func TestGenerated(t *testing.T) {
	var all, want []byte
	for seed := range uint64(400) {
		g := &generator{r: rand.New(rand.NewPCG(seed, 1))}
		content := g.file()
		if got, err := read(bytes.NewReader(g.out)); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("seed %d: %d bytes, want %d: %v", seed, len(got), len(content), err)
		}
		compare(t, g.out)
		all, want = append(all, g.out...), append(want, content...)
	}
	program, err := exec.LookPath("gzip")
	if err != nil {
		return
	}
	cmd := exec.CommandContext(t.Context(), program, "-dc")
	cmd.Stdin = bytes.NewReader(all)
	if got, err := cmd.Output(); err != nil || !bytes.Equal(got, want) {
		t.Errorf("gzip gives %d bytes, want %d: %v", len(got), len(want), err)
	}
}

// TestFaults takes and refuses what the standard library does.
func TestFaults(t *testing.T) {
	wrong := 0
	for seed := range uint64(1000) {
		g := &generator{r: rand.New(rand.NewPCG(seed, 2)), faults: 20 << (seed % 8)}
		g.file()
		compare(t, g.out)
		if _, err := read(bytes.NewReader(g.out)); err != nil {
			wrong++
		}
	}
	if wrong < 200 || wrong > 800 {
		t.Errorf("%d of 1000 are wrong: the generator makes too few of one kind", wrong)
	}
}

// chosenBy is a source of what the fuzzer chooses, and of anything after that.
type chosenBy struct {
	data []byte
	rest *rand.PCG
}

func (c *chosenBy) Uint64() uint64 {
	if len(c.data) == 0 {
		return c.rest.Uint64()
	}
	var b [8]byte
	c.data = c.data[copy(b[6:], c.data):]
	return binary.LittleEndian.Uint64(b[:]) | 1
}

func FuzzGenerated(f *testing.F) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 3))
		choices := make([]byte, 20<<(seed%8))
		for i := range choices {
			choices[i] = byte(r.Uint32())
		}
		f.Add(choices, uint16(20<<(seed%6)))
	}
	f.Fuzz(func(t *testing.T, choices []byte, faults uint16) {
		g := &generator{r: rand.New(&chosenBy{choices, rand.NewPCG(1, 1)}), faults: int(faults)}
		g.file()
		compare(t, g.out)
	})
}
