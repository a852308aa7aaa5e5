package gunzip

import (
	"math/rand/v2"
	"testing"
)

// TestEntries: what tables say of any bits is what the code says, symbol after
// symbol.
func TestEntries(t *testing.T) {
	g := &generator{r: rand.New(rand.NewPCG(1, 10))}
	var made code
	var literal literals
	var distance distances
	paired := 0
	for range 60 {
		p := g.newPrefix(286, maxLength, endOfBlock)
		if !literal.build(&made, p.lengths) {
			t.Fatalf("no code: %d", p.lengths)
		}
		for i := range uint64(1 << literalBits) {
			b := i | g.r.Uint64()<<literalBits
			paired += checkLiteral(t, &literal, p, b)
		}
		p = g.newPrefix(30, maxLength)
		if !distance.build(&made, p.lengths) {
			t.Fatalf("no code: %d", p.lengths)
		}
		for i := range uint64(1 << distanceBits) {
			checkDistance(t, &distance, p, i|g.r.Uint64()<<distanceBits)
		}
	}
	if paired < 1000 {
		t.Errorf("%d entries have two symbols", paired)
	}
}

// first is the symbol that bits begin with, -1 if none.
func (p *prefix) first(b uint64) int {
	for _, s := range p.used {
		if b&(1<<p.lengths[s]-1) == uint64(p.codes[s]) {
			return s
		}
	}
	return -1
}

// checkLiteral returns 1 if there were two symbols.
func checkLiteral(t *testing.T, l *literals, p *prefix, b uint64) (paired int) {
	t.Helper()
	e := l.entries[b&(1<<literalBits-1)]
	rest, count := b, int(e>>6&3)
	for i := range count {
		s := p.first(rest)
		if s != int(e>>8>>(8*i)&0xff) {
			t.Fatalf("%#x, entry %#x: literal %d is not %d", b, e, i, s)
		}
		rest >>= p.lengths[s]
	}
	switch s := p.first(rest); {
	case e >= isRare:
		o := l.other(e, b)
		if count != 0 || e&63 != 0 || o != otherOfPrefix(p, s) {
			t.Fatalf("%#x, entry %#x: %#x for symbol %d", b, e, o, s)
		}
	case e >= isMatch:
		rest >>= p.lengths[s]
		extra := lengthExtra[s-257]
		if int(e>>24)+2 != lengthBase[s-257]+int(rest&(1<<extra-1)) {
			t.Fatalf("%#x, entry %#x: symbol %d", b, e, s)
		}
		rest >>= extra
		count++
	case count == 0:
		t.Fatalf("%#x, entry %#x: nothing", b, e)
	}
	if e < isRare && b>>(e&63) != rest {
		t.Fatalf("%#x, entry %#x: %d bits", b, e, e&63)
	}
	return count / 2
}

func otherOfPrefix(p *prefix, s int) other {
	if s < 0 {
		return 0
	}
	return otherOf(symbol{value: uint16(s)}, int(p.lengths[s]))
}

func checkDistance(t *testing.T, l *distances, p *prefix, b uint64) {
	t.Helper()
	f := l.entries[b&(1<<distanceBits-1)]
	if f >= isLink {
		if d := f.number(b); d-1 < outputArray {
			t.Fatalf("%#x, link %#x: could be a distance of %d", b, f, d)
		}
		f = l.linked(f, b)
	}
	s := p.first(b)
	if s < 0 {
		if f.number(b) != 0 {
			t.Fatalf("%#x, entry %#x: not nothing", b, f)
		}
		return
	}
	rest, extra := b>>p.lengths[s], distanceExtra[s]
	if f.number(b) != uint(distanceBase[s])+uint(rest&(1<<extra-1)) || b>>(f&63) != rest>>extra {
		t.Fatalf("%#x, entry %#x: symbol %d", b, f, s)
	}
}
