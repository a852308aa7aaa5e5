package gunzip

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	kgzip "github.com/klauspost/compress/gzip"
)

func pack(tb testing.TB, content []byte, level int) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		tb.Fatal(err)
	}
	w.Name, w.Comment, w.Extra = "a name", "a comment", []byte("extra")
	if _, err := w.Write(content); err != nil {
		tb.Fatal(err)
	}
	if err := errors.Join(w.Flush(), w.Close()); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func contents() map[string][]byte {
	skewed := noise(900_000) // long codes
	for i := range skewed {
		skewed[i] = byte(rare(skewed[i], skewed[(i+7)%len(skewed)]))
	}
	var words []byte
	for i := range 200_000 {
		words = append(words, "abcdefghijklmnopqrstuvwxyz0123456789"[i*i%31:][:i*7%5+1]...)
	}
	return map[string][]byte{
		"nothing": {}, "a byte": {1}, "zeros": make([]byte, 1<<20), "noise": noise(700_000), "skewed": skewed, "words": words,
		"text":      []byte(strings.Repeat("all work and no play makes a dull boy\n", 30_000)),
		"period 3":  bytes.Repeat([]byte("abc"), 200_000),
		"period 15": bytes.Repeat([]byte("abcdefghijklmno"), 50_000),
		"far back":  bytes.Repeat(noise(32<<10), 12),
		"mixed":     bytes.Join([][]byte{noise(100_000), words, make([]byte, 70_000), skewed}, nil),
	}
}

// rare makes some values a thousand times as frequent as others.
func rare(a, b byte) int {
	n := 0
	for ; a&1 == 1; a >>= 1 {
		n++
	}
	return n*16 + int(b&15)*int(b>>4&1)
}

func TestReader(t *testing.T) {
	for name, content := range contents() {
		for _, level := range []int{gzip.HuffmanOnly, gzip.NoCompression, 1, 6, 9} {
			packed := pack(t, content, level)
			for how, r := range map[string]io.Reader{"": bytes.NewReader(packed), " in halves": iotest.HalfReader(bytes.NewReader(packed)), " with EOF": iotest.DataErrReader(bytes.NewReader(packed))} {
				z, err := NewReader(r)
				if err != nil {
					t.Fatalf("%s level %d%s: %v", name, level, how, err)
				}
				got, err := io.ReadAll(struct{ io.Reader }{z})
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("%s level %d%s: %d bytes, want %d: %v", name, level, how, len(got), len(content), err)
				}
			}
		}
	}
}

// TestOtherWriter reads what another compressor writes, byte by byte.
func TestOtherWriter(t *testing.T) {
	for name, content := range contents() {
		if len(content) > 100_000 {
			content = content[:100_000]
		}
		var b bytes.Buffer
		w, err := kgzip.NewWriterLevel(&b, 6)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		z, err := NewReader(iotest.OneByteReader(&b))
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if _, err := z.WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), content) {
			t.Errorf("%s: %d bytes, want %d: %v", name, got.Len(), len(content), err)
		}
	}
}

// TestMembers: an estargz layer has one member for each file.
func TestMembers(t *testing.T) {
	var packed, want []byte
	for range 40 {
		for _, content := range [][]byte{noise(5), {}, []byte(strings.Repeat("x", 70_000)), noise(3000)} {
			packed = append(packed, pack(t, content, 6)...)
			want = append(want, content...)
		}
	}
	z, err := NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d: %v", len(got), len(want), err)
	}
}

// TestDamaged: every cut and every changed byte is an error, or gives what the
// standard library gives.
func TestDamaged(t *testing.T) {
	content := append(noise(300), strings.Repeat("some text that repeats ", 40)...)
	for _, level := range []int{0, 1, 9, gzip.HuffmanOnly} {
		packed := pack(t, content, level)
		for i := range packed {
			compare(t, packed[:i])
			for _, change := range []byte{1, 0x10, 0x80, 0xff} {
				other := bytes.Clone(packed)
				other[i] ^= change
				compare(t, other)
			}
		}
		compare(t, append(packed, 0))
		compare(t, append(packed, packed[:12]...))
	}
}

// compare reads with this package and the standard library. Both take the same
// and refuse the rest for the same reason, but that what is damaged may be
// noticed here before anything else is.
func compare(t *testing.T, packed []byte) {
	t.Helper()
	const limit = 4 << 20
	var got []byte
	z, err := NewReader(bytes.NewReader(packed))
	if err == nil {
		got, err = io.ReadAll(io.LimitReader(z, limit))
	}
	var want []byte
	std, wantErr := gzip.NewReader(bytes.NewReader(packed))
	if wantErr == nil {
		want, wantErr = io.ReadAll(io.LimitReader(std, limit))
	}
	var damaged flate.CorruptInputError
	if errors.As(wantErr, &damaged) {
		wantErr = errCorrupt
	}
	if err != wantErr && (err != errCorrupt || wantErr == nil) {
		t.Fatalf("%x: error %v, the standard library says %v", packed[:min(len(packed), 4000)], err, wantErr)
	}
	if err == nil && !bytes.Equal(got, want) {
		t.Fatalf("%x: other content", packed[:min(len(packed), 4000)])
	}
}

func FuzzReader(f *testing.F) {
	for _, content := range contents() {
		for _, level := range []int{0, 1, 9, gzip.HuffmanOnly} {
			f.Add(pack(f, content[:min(len(content), 3000)], level))
		}
	}
	f.Fuzz(func(t *testing.T, packed []byte) { compare(t, packed) })
}

// FuzzDeflate gives the decoder streams whose container is right.
func FuzzDeflate(f *testing.F) {
	for _, content := range contents() {
		for _, level := range []int{0, 1, 9, gzip.HuffmanOnly} {
			packed := pack(f, content[:min(len(content), 3000)], level)
			f.Add(packed[10+2+5+7+10 : len(packed)-8])
		}
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(stream)), 4<<20))
		packed := append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0}, stream...)
		z, err := NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.LimitReader(z, 4<<20))
		if wantErr == nil && !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, want %d: %v", len(got), len(want), err)
		}
		if wantErr != nil && err == nil {
			t.Fatalf("no error, the standard library says %v", wantErr)
		}
	})
}
