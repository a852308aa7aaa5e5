package zstdlong

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// contentOf makes content of pieces by the choices of r: noise that fills
// blocks, runs of a byte, words, and repetitions of what is before, whole or
// with changes.
func contentOf(r *rand.Rand) []byte {
	var b []byte
	for range 1 + r.IntN(12) {
		n := 1 + r.IntN(1<<r.IntN(19))
		if r.IntN(4) == 0 {
			n = max(1, maxBlock-len(b)%maxBlock+r.IntN(3)-1) // to the end of a block, or nearly
		}
		switch from := r.IntN(len(b) + 1); r.IntN(6) {
		case 0:
			b = append(b, noise(uint64(n), n)...)
		case 1:
			b = append(b, bytes.Repeat([]byte{byte(r.IntN(256))}, n)...)
		case 2:
			b = append(b, code(uint64(n%8), n)...)
		case 3:
			b = append(b, bytes.Repeat(noise(uint64(n), 1+n%40), n/40+1)...)
		case 4:
			b = append(b, b[from:min(len(b), from+n)]...)
		case 5:
			changed := bytes.Clone(b[from:min(len(b), from+n)])
			for i := r.IntN(100); i < len(changed); i += 1 + r.IntN(1<<r.IntN(12)) {
				changed[i]++
			}
			b = append(b, changed...)
		}
	}
	return b
}

// optionsOf are options for n bytes.
func optionsOf(r *rand.Rand, n int) Options {
	opt := Options{Window: 1 << r.IntN(22)}
	if r.IntN(3) == 0 {
		opt.Window = 0
	}
	if r.IntN(2) == 0 {
		opt.Size = int64(n)
	}
	return opt
}

// FuzzContent: what the fuzzer composes comes back, and in how many calls of
// Write it is written does not show.
func FuzzContent(f *testing.F) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 6))
		choices := make([]byte, 8<<(seed%6))
		for i := range choices {
			choices[i] = byte(r.Uint32())
		}
		f.Add(choices)
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		r := rand.New(&chosenBy{choices, rand.NewPCG(uint64(len(choices)), 7)})
		content := contentOf(r)
		opt := optionsOf(r, len(content))
		frame := pack(t, content, opt, 1+r.IntN(1<<20))
		if got := unpack(t, frame); !bytes.Equal(got, content) {
			t.Fatalf("%+v: %d bytes, want %d, first difference at %d", opt, len(got), len(content), matchLengthOf(got, content))
		}
		if !bytes.Equal(pack(t, content, opt, max(1, len(content))), frame) {
			t.Errorf("%+v: other bytes in one write", opt)
		}
	})
}

// TestContents is the same for the zstd program, in one run of it.
func TestContents(t *testing.T) {
	var all, want []byte
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 8))
		content := contentOf(r)
		all = append(all, pack(t, content, optionsOf(r, len(content)), 1<<30)...)
		want = append(want, content...)
	}
	reference(t, all, want)
}
