package gunzip

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

// TestBroken: wherever a source ends or fails, its error comes out, after
// nothing that is not in the file.
func TestBroken(t *testing.T) {
	content := append(noise(150), strings.Repeat("some text that repeats ", 20)...)
	lost := errors.New("connection lost")
	for _, level := range []int{gzip.HuffmanOnly, 0, 1, 9} {
		packed := bytes.Repeat(pack(t, content, level), 2)
		want := bytes.Repeat(content, 2)
		for cut := range len(packed) + 1 {
			for _, cause := range []error{io.EOF, io.ErrUnexpectedEOF, lost} {
				got, err := read(io.MultiReader(bytes.NewReader(packed[:cut]), iotest.ErrReader(cause)))
				if !bytes.HasPrefix(want, got) {
					t.Fatalf("level %d, %v after %d bytes: %q", level, cause, cut, got)
				}
				whole := cause == io.EOF && (cut == len(packed)/2 || cut == len(packed))
				switch {
				case whole && (err != nil || len(got) != cut*len(want)/len(packed)):
					t.Fatalf("level %d, whole after %d bytes: %d bytes, %v", level, cut, len(got), err)
				case !whole && cut == 0 && err != cause, !whole && cut > 0 && cause == io.EOF && err != io.ErrUnexpectedEOF, cause != io.EOF && !errors.Is(err, cause):
					t.Fatalf("level %d, %v after %d bytes: %v", level, cause, cut, err)
				}
			}
		}
	}
}

// read returns what comes out before the end, whose error is nil, or an error.
func read(r io.Reader) ([]byte, error) {
	z, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// TestBrokenHeader is the same within all fields of a header.
func TestBrokenHeader(t *testing.T) {
	for seed := range uint64(20) {
		g := &generator{r: rand.New(rand.NewPCG(seed, 4))}
		g.header()
		for cut := 1; cut < len(g.out); cut += 1 + len(g.out)/200 {
			if _, err := read(bytes.NewReader(g.out[:cut])); err != io.ErrUnexpectedEOF {
				t.Fatalf("seed %d, %d of %d bytes: %v", seed, cut, len(g.out), err)
			}
		}
	}
}

// TestLongName: a name has 511 bytes at most.
func TestLongName(t *testing.T) {
	for n := 509; n < 515; n++ {
		for _, flag := range []byte{1 << 3, 1 << 4} {
			head := []byte{0x1f, 0x8b, 8, flag, 0, 0, 0, 0, 0, 0}
			head = append(append(head, bytes.Repeat([]byte{'n'}, n)...), 0, 3, 0) // an empty block
			compare(t, append(head, make([]byte, 8)...))
		}
	}
}

// TestErrors: errors stay, and are those of both sides.
func TestErrors(t *testing.T) {
	packed := pack(t, noise(2000), 6)
	z, err := NewReader(bytes.NewReader(packed[:1000]))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := z.WriteTo(io.Discard); err != io.ErrUnexpectedEOF {
			t.Errorf("a cut file: %v", err)
		}
	}
	full := errors.New("full")
	if z, err = NewReader(bytes.NewReader(packed)); err != nil {
		t.Fatal(err)
	}
	if _, err := z.WriteTo(failing{full}); err != full {
		t.Errorf("a writer that fails: %v", err)
	}
	if _, err := read(io.MultiReader(bytes.NewReader(packed[:1000]), silent{})); err != io.ErrNoProgress {
		t.Errorf("a reader that reads nothing: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, nil }

// TestLarge: the size in a trailer is that of the content modulo 4 GiB, most
// of which is left out here.
func TestLarge(t *testing.T) {
	packed := pack(t, noise(2000), 6)
	for _, left := range []uint32{0, 1, 5, 1 << 31} {
		binary.LittleEndian.PutUint32(packed[len(packed)-4:], 2000-left)
		z, err := NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		z.size = -left
		if n, err := z.WriteTo(io.Discard); n != 2000 || err != nil {
			t.Errorf("%d bytes before 4 GiB: %d bytes, %v", left, n, err)
		}
	}
}

// TestOddCodes: of codes with one symbol or none, only what is not defined is
// an error, and only where it occurs.
func TestOddCodes(t *testing.T) {
	const none, dynamic = -1, 1 | 2<<1 // the last block
	for _, test := range []struct {
		name  string
		plain [][2]int // the first symbols of the lengths' code, in the order of RFC 1951, and their lengths
		bits  string   // what follows
		good  bool
	}{
		{"no lengths", nil, "0", false},
		{"one length, the other bit", [][2]int{{18, 1}}, "1", false},
		{"one length, 1,100 zeros", [][2]int{{18, 1}}, strings.Repeat("0"+"1111111", 8), false},
		// 0: 18, 1: 1. 256 literals that do not occur, the end; one distance.
		{"only an end, no distance", [][2]int{{18, 1}, {0, 2}, {1, 2}}, "0" + "1111111" + "0" + "1101011" + "11" + "10" + "0", true},
		{"only an end, a distance", [][2]int{{18, 1}, {0, 2}, {1, 2}}, "0" + "1111111" + "0" + "1101011" + "11" + "11" + "0", true},
		{"not the end", [][2]int{{18, 1}, {0, 2}, {1, 2}}, "0" + "1111111" + "0" + "1101011" + "11" + "11" + "1", false},
		{"more lengths than there are", [][2]int{{18, 1}, {0, 2}, {1, 2}}, "0" + "1111111" + "0" + "1101011" + "11" + "0" + "0000000" + "0", false},
		{"the one before, of none", [][2]int{{18, 1}, {1, 2}, {16, 2}}, "11" + "00" + "0" + "1111111" + "0" + "0001011" + "10" + "10" + "0", false},
		{"no end", [][2]int{{18, 1}, {0, 2}, {1, 2}}, "0" + "1111111" + "0" + "1101011" + "10" + "11" + "0", false},
	} {
		g := &generator{out: []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0}}
		g.put(dynamic, 3)
		g.put(0, 10) // 257 literals, 1 distance
		g.put(18-4, 4)
		for _, s := range []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1} {
			i := slices.IndexFunc(test.plain, func(p [2]int) bool { return p[0] == s })
			if i == none {
				g.put(0, 3)
				continue
			}
			g.put(test.plain[i][1], 3)
		}
		for _, b := range test.bits {
			g.put(int(b-'0'), 1)
		}
		g.align()
		g.out = append(g.out, make([]byte, 8)...) // of nothing
		if _, err := read(bytes.NewReader(g.out)); (err == nil) != test.good {
			t.Errorf("%s: %v", test.name, err)
		}
		compare(t, g.out)
	}
}

// TestConcurrent: Readers have nothing in common.
func TestConcurrent(t *testing.T) {
	var wg sync.WaitGroup
	for name, content := range contents() {
		packed := pack(t, content, 6)
		wg.Go(func() {
			for range 3 {
				if got, err := read(bytes.NewReader(packed)); err != nil || !bytes.Equal(got, content) {
					t.Errorf("%s: %d bytes, want %d: %v", name, len(got), len(content), err)
				}
			}
		})
	}
	wg.Wait()
}
