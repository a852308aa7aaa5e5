package build

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"hooksmith/build/fetch"
	"hooksmith/build/initramfs"
)

// writePlaced writes head and segments as a build does, and returns how many
// segments were not hashed.
func writePlaced(t *testing.T, cache *fetch.Cache, head []byte, segments ...[]byte) (skipped int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := newHashing(f)
	want := append([]byte{}, head...)
	write := func(b []byte) {
		if _, err := h.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	write(head)
	var infos []initramfs.Info
	for _, s := range segments {
		sum := sha256.Sum256(s)
		infos = append(infos, initramfs.Info{Offset: int64(len(want) - len(head)), Size: int64(len(s)), SHA256: hex.EncodeToString(sum[:])})
		want = append(append(want, s...), 0, 0)
	}
	skipped = h.place(t.Context(), cache, infos)
	for i, s := range segments {
		if i < skipped {
			if _, err := f.WriteAt(s, int64(len(head))+infos[i].Offset); err != nil {
				t.Fatal(err)
			}
		}
		if i >= skipped {
			write(s)
		}
		if i >= skipped-1 {
			write([]byte{0, 0})
		}
	}
	if err := h.keep(t.Context(), cache); err != nil {
		t.Fatal(err)
	}
	sum256, sum512 := h.finish()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want256, want512 := sha256.Sum256(want), sha512.Sum512(want)
	if !bytes.Equal(got, want) || h.size != int64(len(want)) {
		t.Errorf("the file differs, or its size is not %d: %d", len(want), h.size)
	}
	if !bytes.Equal(sum256, want256[:]) || !bytes.Equal(sum512, want512[:]) {
		t.Errorf("with %d segments skipped: wrong hashes", skipped)
	}
	return skipped
}

// TestHashesResume: what is at the beginning of a former file is not hashed
// again, and the hashes are those of the whole file all the same.
func TestHashesResume(t *testing.T) {
	cache := &fetch.Cache{Dir: t.TempDir()}
	segment := func(i, n int) []byte { return bytes.Repeat(fmt.Appendf(nil, "segment %d ", i), n) }
	a, b, c, d := segment(1, 70_000), segment(2, 3), segment(3, 100_000), segment(4, 1)
	for i, build := range []struct {
		head     string
		segments [][]byte
		skipped  int
	}{
		{"", [][]byte{a, b, c}, 0},
		{"", [][]byte{a, b, c}, 3},
		{"", [][]byte{a, b, d}, 2},
		{"", [][]byte{a, d, c}, 1},
		{"", [][]byte{a, d, b, c}, 2},
		{"", [][]byte{b, a, c}, 0},
		{"early", [][]byte{a, b, c}, 0},
		{"early", [][]byte{a, b, d}, 2},
		{"other", [][]byte{a, b, d}, 0},
	} {
		if got := writePlaced(t, cache, []byte(build.head), build.segments...); got != build.skipped {
			t.Errorf("build %d: %d segments not hashed, want %d", i+1, got, build.skipped)
		}
	}
	// A damaged state is not used.
	err := filepath.WalkDir(cache.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil {
			text[20] ^= 3
			err = os.WriteFile(path, text, 0o644)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := writePlaced(t, cache, nil, a, b, c); got != 0 {
		t.Errorf("%d segments went by damaged states", got)
	}
}
