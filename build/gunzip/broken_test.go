package gunzip

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// TestBroken: wherever a source ends or fails, its error comes out, after
// nothing that is not in the file.
func TestBroken(t *testing.T) {
	content := append(noise(300), strings.Repeat("some text that repeats ", 40)...)
	lost := errors.New("connection lost")
	for level := gzip.HuffmanOnly; level <= gzip.BestCompression; level++ {
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
