package gunzip

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestLongestSymbols has matches of 48 bits, the most there are, after
// literals of all lengths: what is left of 64 bits must not run out.
func TestLongestSymbols(t *testing.T) {
	g := &generator{r: rand.New(rand.NewPCG(1, 5))}
	g.header()
	g.far()
	// Codes of 1, 2, 3 .. 14, 15 and 15 bits.
	literal, distance := &prefix{lengths: make([]uint8, 286)}, &prefix{lengths: make([]uint8, 30)}
	for i := range 14 {
		literal.lengths[65+i], distance.lengths[i] = uint8(i+1), uint8(i+1)
		literal.used, distance.used = append(literal.used, 65+i), append(distance.used, i)
	}
	literal.lengths[256], literal.lengths[65+13] = literal.lengths[65+13], 0
	literal.used[13] = 283
	literal.lengths[283], literal.lengths[284] = 15, 15
	distance.lengths[28], distance.lengths[29] = 15, 15
	literal.used = append(literal.used, 284)
	distance.used = append(distance.used, 28, 29, 28, 29, 28, 29, 28, 29, 28, 29)
	literal.assign()
	distance.assign()
	for range 60 {
		g.put(2<<1, 3)
		g.lengths(literal, distance)
		g.symbols(literal, distance)
	}
	g.block(1)
	g.trailer()
	if got, err := read(bytes.NewReader(g.out)); err != nil || !bytes.Equal(got, g.content) {
		t.Errorf("%d bytes, want %d: %v", len(got), len(g.content), err)
	}
	compare(t, g.out)
}

// far writes more than the window.
func (g *generator) far() {
	for range 2 {
		g.put(0, 3)
		g.align()
		g.put(0xffff, 32)
		g.out = append(g.out, noise(0xffff)...)
		g.content = append(g.content, noise(0xffff)...)
	}
}

// TestUndefinedSymbols: fixed codes have some that mean nothing.
func TestUndefinedSymbols(t *testing.T) {
	for _, symbols := range [][2]int{{286, 0}, {287, 0}, {257, 30}, {285, 31}, {257, 29}} {
		g := &generator{r: rand.New(rand.NewPCG(1, 7))}
		g.header()
		g.far()
		g.put(1|1<<1, 3)
		literal, distance := fixedPrefixes()
		g.symbol(literal, symbols[0])
		g.symbol(distance, symbols[1])
		g.put(0, 13)
		g.symbol(literal, 256)
		g.trailer()
		want := errCorrupt
		if symbols[0] < 286 && symbols[1] < 30 {
			want = gzip.ErrChecksum // the trailer is of what is before
		}
		if _, err := read(bytes.NewReader(g.out)); err != want {
			t.Errorf("%v: %v", symbols, err)
		}
		compare(t, g.out)
	}
}

// TestCounts: there are at most 286 literals and 30 distances.
func TestCounts(t *testing.T) {
	for literals := 257; literals <= 288; literals++ {
		for distances := 1; distances <= 32; distances++ {
			g := &generator{out: []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0}}
			g.put(1|2<<1, 3)
			g.put(literals-257, 5)
			g.put(distances-1, 5)
			g.put(18-4, 4)
			// 18: 0, 0: 10, 1: 11, and these are the lengths of 256 and 1.
			for _, length := range []int{2: 1, 3: 2, 17: 2} {
				g.put(length, 3)
			}
			g.put(0|127<<1|0<<8|107<<9|3<<16, 18)
			for range literals - 257 + distances {
				g.put(1, 2)
			}
			g.put(0, 1) // the end
			g.align()
			g.out = append(g.out, make([]byte, 8)...)
			if _, err := read(bytes.NewReader(g.out)); (err == nil) != (literals <= 286 && distances <= 30) {
				t.Fatalf("%d literals, %d distances: %v", literals, distances, err)
			}
			compare(t, g.out)
		}
	}
}

// TestBuild makes tables of complete codes only, and of single symbols.
func TestBuild(t *testing.T) {
	g := &generator{r: rand.New(rand.NewPCG(1, 8))}
	var made code
	var literal literals
	var distance distances
	for range 20_000 {
		longest := 7 + 8*g.r.IntN(2)
		lengths := g.depths(g.r.IntN(100), longest)
		for range g.r.IntN(3) {
			if len(lengths) > 0 {
				l := &lengths[g.r.IntN(len(lengths))]
				*l = uint8(max(1, min(longest, int(*l)-1+g.r.IntN(3))))
			}
		}
		space := 0
		for _, l := range lengths {
			space += 1 << (15 - l)
		}
		want := space == 1<<15 || len(lengths) == 0 || len(lengths) == 1 && lengths[0] == 1
		if got := literal.build(&made, lengths); got != want {
			t.Fatalf("%d: %v", lengths, got)
		}
		lengths = lengths[:min(len(lengths), maxNumbers)]
		if got, want := distance.build(&made, lengths), literal.build(&made, lengths); got != want {
			t.Fatalf("%d: %v, of distances %v", lengths, want, got)
		}
	}
}

// TestTooFar: nothing before its own member is referred to, wherever in the
// buffer that begins.
func TestTooFar(t *testing.T) {
	literal, distance := fixedPrefixes()
	for _, before := range []int{0, 1, window - 1, window, window + 1, outputSize - window - 1, outputSize - window, outputSize - 6, outputSize - 1, outputSize, outputSize + 1, 2*outputSize - window - 3} {
		first := pack(t, make([]byte, before), 6)
		for far := 5; far <= 6; far++ {
			g := &generator{r: rand.New(rand.NewPCG(1, 9)), out: bytes.Clone(first)}
			g.header()
			g.put(1|1<<1, 3)
			for i := range 5 {
				g.symbol(literal, i)
				g.content = append(g.content, byte(i))
			}
			g.symbol(literal, 257) // three bytes, from so far back:
			g.symbol(distance, 4)
			g.put(far-5, 1)
			g.content = append(g.content, 0, 1, 2)
			g.symbol(literal, 256)
			g.trailer()
			if _, err := read(bytes.NewReader(g.out)); (err == nil) != (far == 5) {
				t.Errorf("%d back of 5, after %d: %v", far, before, err)
			}
			compare(t, g.out)
		}
	}
}

// TestRepeat copies every length from the shortest distances.
func TestRepeat(t *testing.T) {
	z := new(inflater)
	for distance := 1; distance < 8; distance++ {
		for length := 3; length <= 258; length++ {
			want := make([]byte, distance+length)
			clear(z.out[:len(want)+20])
			copy(want, noise(distance))
			copy(z.out[:], want)
			for i := range length {
				want[distance+i] = want[i]
			}
			if z.repeat(uint(distance), uint(distance), uint(length)); !bytes.Equal(z.out[:len(want)], want) {
				t.Fatalf("%d bytes from %d back", length, distance)
			}
		}
	}
}

// TestShortMatches is the same for the copies that need no call.
func TestShortMatches(t *testing.T) {
	literal, distance := fixedPrefixes()
	for far := 1; far <= 40; far++ {
		g := &generator{r: rand.New(rand.NewPCG(uint64(far), 6))}
		g.header()
		g.put(1|1<<1, 3)
		for i := range 2 * far {
			g.symbol(literal, 100+i)
			g.content = append(g.content, byte(100+i))
		}
		d := 0
		for d < 29 && distanceBase[d+1] <= far {
			d++
		}
		for s := 257; s < 286; s++ {
			g.symbol(literal, s)
			g.put(0, lengthExtra[s-257])
			g.symbol(distance, d)
			g.put(far-distanceBase[d], distanceExtra[d])
			for range lengthBase[s-257] {
				g.content = append(g.content, g.content[len(g.content)-far])
			}
			g.symbol(literal, 7)
			g.content = append(g.content, 7)
		}
		g.symbol(literal, 256)
		g.trailer()
		t.Run(fmt.Sprint(far), func(t *testing.T) {
			if got, err := read(bytes.NewReader(g.out)); err != nil || !bytes.Equal(got, g.content) {
				t.Errorf("%d bytes, want %d: %v", len(got), len(g.content), err)
			}
		})
	}
}
