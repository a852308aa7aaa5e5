package zstdlong

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// Where the format changes how it writes a number, and its neighbours.
var (
	literalEdges = []int{0, 1, 2, 15, 16, 17, 18, 19, 20, 23, 24, 31, 32, 33, 47, 48, 63, 64, 127, 128, 255, 256, 511, 512, 1023, 1024, 4095, 4096, 16383, 16384, 32768, 65535, 65536, maxBlock - 4}
	lengthEdges  = []int{3, 4, 5, 34, 35, 36, 37, 42, 43, 46, 47, 50, 51, 66, 67, 82, 83, 98, 99, 130, 131, 257, 258, 259, 514, 515, 1026, 1027, 16386, 16387, 65535, 65536, 65538, 65539, maxBlock - 1, maxBlock}
	countEdges   = []int{0, 1, 2, 3, 23, 24, 25, 26, 127, 128, 129, 255, 256, 257, 2048, 2049, 4096, 0x7eff, 0x7f00, 0x7f01, maxBlock / minMatch}
	symbolEdges  = []int{1, 2, 3, 4, 16, 127, 128, 129, 130, 254, 255, 256}
)

// generator makes blocks of all kinds. What it chooses is the source's.
type generator struct {
	*rand.Rand
	*frames
	noise  *rand.Rand // for literals
	values int        // that they have
	skew   bool
}

func pick[T any](g *generator, of []T) T { return of[g.IntN(len(of))] }

// bytes are n literals: of equally frequent values, or some more than others.
func (g *generator) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		v := g.noise.IntN(g.values)
		if g.skew {
			v = int(float64(g.values) * g.noise.Float64() * g.noise.Float64() * g.noise.Float64() * g.noise.Float64())
		}
		b[i] = byte(7 - v)
	}
	return b
}

// number is one of edges up to limit, or any from the first one on, mostly small.
func (g *generator) number(edges []int, limit int) int {
	if g.IntN(3) == 0 {
		if n := pick(g, edges); n <= limit {
			return n
		}
	}
	return min(limit, edges[0]+int(g.ExpFloat64()*float64(int(1)<<g.IntN(10))))
}

// offset is how far back a repetition is: a recent one, the window, or any.
func (g *generator) offset(before int) int {
	far := min(before, g.window)
	n := far
	switch g.IntN(5) {
	case 0, 1:
		n = g.match.recent[g.IntN(3)]
	case 2:
		n = g.match.recent[0] - 1 // has a code of its own, without literals
	case 3:
		n = 1 + int(float64(far-1)*g.Float64()*g.Float64()*g.Float64())
	}
	if n < 1 || n > far {
		return far
	}
	return n
}

// next adds a block.
func (g *generator) next() {
	if g.values == 0 || g.IntN(3) == 0 {
		g.values, g.skew = pick(g, symbolEdges), g.IntN(2) == 0
	}
	count := g.number(countEdges, maxBlock/minMatch)
	most := pick(g, []int{0, 1, 4, 100, maxBlock}) // literals of a part
	longest := pick(g, []int{minMatch, minMatch, 8, 300, maxBlock})
	room := min(maxBlock, g.window)
	switch g.IntN(8) {
	case 0:
		g.plain(rawBlock, g.bytes(g.number(literalEdges, room)))
		return
	case 1:
		g.plain(rleBlock, bytes.Repeat(g.bytes(1), g.number(literalEdges[1:], room)))
		return
	}
	if count > 2000 && g.IntN(2) == 0 {
		most, longest = 0, minMatch
	}
	var parts []part
	recent, length := g.match.recent, len(g.content)
	for len(parts) < count && room > 0 {
		p := part{literals: g.bytes(min(room, g.number(literalEdges, most)))}
		if length == 0 && len(p.literals) == 0 {
			p.literals = g.bytes(1)
		}
		room -= len(p.literals)
		if p.length = min(room, g.number(lengthEdges[1:], longest)); p.length < 3 {
			break
		}
		room -= p.length
		length += len(p.literals)
		p.offset = g.offset(length)
		length += p.length
		g.match.offsetCode(p.offset, len(p.literals)) // so that it can be chosen again
		parts = append(parts, p)
	}
	g.match.recent = recent
	if rest := g.bytes(min(room, g.number(literalEdges, maxBlock))); g.IntN(4) == 0 {
		g.offer(parts, rest)
	} else {
		g.add(parts, rest)
	}
}

// generate makes a frame by the choices of a source.
func generate(choices rand.Source) *frames {
	g := &generator{Rand: rand.New(choices), noise: rand.New(rand.NewPCG(1, 1))}
	g.frames = newFrame(1 << (10 + g.IntN(14)))
	for range 1 + g.IntN(5) {
		g.next()
	}
	return g.frames
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

func FuzzBlocks(f *testing.F) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 4))
		choices := make([]byte, 10<<(seed%8))
		for i := range choices {
			choices[i] = byte(r.Uint32())
		}
		f.Add(choices)
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		if f := generate(&chosenBy{choices, rand.NewPCG(uint64(len(choices)), 5)}); !bytes.Equal(unpack(t, f.end()), f.content) {
			t.Error("other content")
		}
	})
}

// TestGenerated gives the decoders what no encoder would write, all kinds of
// blocks among it.
func TestGenerated(t *testing.T) {
	const batch = 100
	kinds := map[string]int{}
	for seed := uint64(0); seed < 4*batch; {
		var all, want []byte
		for range batch {
			f := generate(rand.NewPCG(seed, 3))
			count(f.out[6:], kinds) // after the frame's header
			all, want = append(all, f.end()...), append(want, f.content...)
			seed++
		}
		if got := unpack(t, all); !bytes.Equal(got, want) {
			t.Fatalf("up to seed %d: first difference at %d of %d", seed, matchLengthOf(got, want), len(want))
		}
		reference(t, all, want)
	}
	for _, kind := range allKinds {
		if kinds[kind] == 0 {
			t.Errorf("there is no block with %s", kind)
		}
		delete(kinds, kind)
	}
	if len(kinds) > 0 {
		t.Errorf("there are also %v", kinds)
	}
}

// allKinds are what count counts.
var allKinds = []string{
	"block raw", "block RLE", "block compressed",
	"literals raw/0", "literals raw/1", "literals raw/3", "literals RLE/1", "literals RLE/3",
	"literals Huffman/0", "literals Huffman/2", "literals Huffman/3", "literals treeless/0", "literals treeless/2", "literals treeless/3",
	"weights FSE", "weights direct",
	"sequences 0", "sequences in 1 byte", "sequences in 2 bytes", "sequences in 3 bytes",
	"lengths of literals: predefined", "lengths of literals: RLE", "lengths of literals: FSE",
	"offsets: predefined", "offsets: RLE", "offsets: FSE",
	"lengths of matches: predefined", "lengths of matches: RLE", "lengths of matches: FSE",
}

// count counts the kinds of blocks and of their sections, whose heads are read
// here once more (RFC 8878, 3.1.1.2 and 3.1.1.3).
func count(b []byte, kinds map[string]int) {
	for len(b) > 0 {
		h := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
		size := h >> 3
		switch b = b[3:]; h >> 1 & 3 {
		case rawBlock:
			kinds["block raw"]++
		case rleBlock:
			kinds["block RLE"]++
			size = 1
		case compressedBlock:
			kinds["block compressed"]++
			countSequences(b[:size], countLiterals(b[:size], kinds), kinds)
		}
		b = b[size:]
	}
}

// countLiterals returns the size of the literals section.
func countLiterals(b []byte, kinds map[string]int) int {
	kind, format := int(b[0]&3), int(b[0]>>2&3)
	if kind <= rleLiterals && format&1 == 0 {
		format = 0 // one bit, the other is of the size
	}
	kinds[fmt.Sprintf("literals %s/%d", []string{"raw", "RLE", "Huffman", "treeless"}[kind], format)]++
	head, bits := []int{1, 2, 0, 3}[format], []int{5, 12, 0, 20}[format]
	if kind >= huffmanLiterals {
		head, bits = []int{3, 3, 4, 5}[format], []int{10, 10, 14, 18}[format]
	}
	v := 0
	for i := range head {
		v |= int(b[i]) << (8 * i)
	}
	switch kind {
	case rawLiterals:
		return head + v>>(8*head-bits)
	case rleLiterals:
		return head + 1
	case huffmanLiterals:
		kinds["weights "+[]string{"FSE", "direct"}[b[head]>>7]]++
	}
	return head + v>>(8*head-bits)
}

func countSequences(b []byte, at int, kinds map[string]int) {
	if b[at] == 0 {
		kinds["sequences 0"]++
		return
	}
	bytes := 1
	if b[at] >= 128 {
		bytes += 1 + int(b[at])/255
	}
	kinds[fmt.Sprintf("sequences in %d byte%s", bytes, "s"[:min(bytes-1, 1)])]++
	for i, what := range []string{"lengths of literals", "offsets", "lengths of matches"} {
		mode := b[at+bytes] >> (6 - 2*i) & 3
		kinds[what+": "+[]string{"predefined", "RLE", "FSE"}[mode]]++
	}
}
