package build

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hooksmith/build/fetch"
)

// flipCached changes the byte after the first place of text in every file of
// the cache that has it and no gzip or zstd in front, with its size and times.
func flipCached(t *testing.T, cache, text string) (flipped int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(cache, "derived"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		st, data := must(os.Stat(path)), must(os.ReadFile(path))
		if i := bytes.Index(data, []byte(text)); i >= 0 {
			flipped++
			data[i+len(text)] ^= 1
			if err := os.WriteFile(path, data, 0o644); err != nil {
				return err
			}
			return os.Chtimes(path, st.ModTime(), st.ModTime())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return flipped
}

// TestDamagedTar: a byte of an unpacked layer that has changed in the cache does
// not get into a new segment; the layer is unpacked again in the same build.
func TestDamagedTar(t *testing.T) {
	const mark = "the unpacked layer's own text: "
	big := mark + strings.Repeat("x", 3*tarBlock)
	images := fileImages(t)
	images["docker.io/library/big:1"] = testImage(t, v1.Config{Entrypoint: []string{"/big"}}, gzipped(t, text("big", big)))
	opt := fileOptions(t, linuxkitFile, "services:\n  - {name: big, image: 'big:1'}\n")
	opt.Images = images
	if _, err := Build(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	opt.Log = slog.New(slog.NewTextHandler(&said, nil))
	opt.Cache = &fetch.Cache{Dir: opt.Cache.Dir, Offline: true, Log: opt.Log}
	opt.Level, opt.Out = 1, t.TempDir() // all segments are made anew
	if n := flipCached(t, opt.Cache.Dir, mark); n != 1 {
		t.Fatalf("%d files of the cache have it", n)
	}
	again, err := Build(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "unpacked layer in the cache is damaged") {
		t.Errorf("not said: %s", &said)
	}
	if n := flipCached(t, opt.Cache.Dir, mark); n != 1 { // the new one: it was kept
		t.Errorf("%d files of the cache have it", n)
	}
	opt.Cache, opt.Out = &fetch.Cache{Dir: t.TempDir(), Offline: true}, t.TempDir()
	compareHashes(t, hashes(must(Build(t.Context(), opt))), hashes(again))
}

func TestLayerTarReads(t *testing.T) {
	whole := make([]byte, 5*tarBlock+1234)
	rand.New(rand.NewSource(1)).Read(whole)
	w := &sumWriter{w: io.Discard}
	for rest := whole; len(rest) > 0; {
		n, err := w.Write(rest[:min(len(rest), 100_003)])
		if err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if _, sums, err := cutSums(w.sums.appendTo([]byte("index")), int64(len(whole))); err != nil || fmt.Sprint(sums) != fmt.Sprint(w.sums) {
		t.Errorf("%v, %v, want %v", err, sums, w.sums)
	}
	file := func(change func(b []byte) []byte) *os.File {
		path := filepath.Join(t.TempDir(), "tar")
		if err := os.WriteFile(path, change(bytes.Clone(whole)), 0o644); err != nil {
			t.Fatal(err)
		}
		f := must(os.Open(path))
		t.Cleanup(func() { f.Close() })
		return f
	}
	same := func(b []byte) []byte { return b }
	flip := func(at int) func([]byte) []byte { return func(b []byte) []byte { b[at] ^= 1; return b } }
	damages := map[string]func([]byte) []byte{
		"none": same, "first": flip(0), "middle": flip(2*tarBlock + 5), "last": flip(len(whole) - 1),
		"short": func(b []byte) []byte { return b[:3*tarBlock+7] },
	}
	for name, damage := range damages {
		for _, step := range []int{1000, tarBlock, 3*tarBlock + 17, len(whole)} {
			made := 0
			tar := newLayerTar(file(damage), w.sums, func(error) (*os.File, blockSums, error) { made++; return file(same), w.sums, nil })
			got := make([]byte, len(whole))
			for at := 0; at < len(whole); at += step {
				end := min(at+step, len(whole))
				if n, err := tar.ReadAt(got[at:end], int64(at)); n != end-at || err != nil && err != io.EOF {
					t.Fatalf("%s, %d at %d: %d, %v", name, step, at, n, err)
				}
			}
			if !bytes.Equal(got, whole) || made > 1 || (made == 1) != (name != "none") {
				t.Errorf("%s, step %d: same bytes: %v, made again %d times", name, step, bytes.Equal(got, whole), made)
			}
		}
	}
	tar := newLayerTar(file(flip(9)), w.sums, func(error) (*os.File, blockSums, error) { return file(flip(10)), w.sums, nil })
	if _, err := tar.ReadAt(make([]byte, 10), 0); err == nil {
		t.Error("what is damaged twice was read")
	}
}
