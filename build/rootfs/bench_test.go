package rootfs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// manyFiles is a tar on disk of n small files in directories of 100.
func manyFiles(tb testing.TB, n int) *os.File {
	tb.Helper()
	items := make([]item, 0, n+n/100)
	for i := range n {
		if i%100 == 0 {
			items = append(items, dir(fmt.Sprintf("usr/lib/modules/%04d/", i/100), 0o755))
		}
		items = append(items, file(fmt.Sprintf("usr/lib/modules/%04d/file-%d.ko", i/100, i), strings.Repeat("x", i%700)))
	}
	p := filepath.Join(tb.TempDir(), "layer.tar")
	if err := os.WriteFile(p, tarOf(tb, items...), 0o644); err != nil {
		tb.Fatal(err)
	}
	f, err := os.Open(p)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	return f
}

func index(tb testing.TB, f *os.File) *Layer {
	tb.Helper()
	info, err := f.Stat()
	if err != nil {
		tb.Fatal(err)
	}
	l, err := Index(f, info.Size())
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// TestManyFiles puts a hundred thousand files through everything and bounds
// the memory of it.
func TestManyFiles(t *testing.T) {
	const n = 100_000
	f := manyFiles(t, n)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l := index(t, f)
	tree, err := Flatten(l)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > n*700 {
		t.Errorf("a layer and a tree of %d files take %d MB", n, used>>20)
	}
	if want := n + n/100 + 3; tree.Len() != want {
		t.Errorf("%d paths, want %d", tree.Len(), want)
	}
	linked, err := tree.Dedup(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := linked.Size(); got != 699*4096 {
		t.Errorf("%d bytes after Dedup, want a page for each of 699 contents", got)
	}
	data, err := l.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Load(f, data)
	if err != nil {
		t.Fatal(err)
	}
	compareLayers(t, again, l)
}

const benchFiles = 100_000

func BenchmarkIndex(b *testing.B) {
	f := manyFiles(b, benchFiles)
	b.ReportAllocs()
	for b.Loop() {
		index(b, f)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchFiles, "ns/file")
}

func BenchmarkLoad(b *testing.B) {
	f := manyFiles(b, benchFiles)
	data, err := index(b, f).MarshalBinary()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load(f, data); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchFiles, "ns/file")
	b.ReportMetric(float64(len(data))/benchFiles, "bytes/file")
}

func BenchmarkFlatten(b *testing.B) {
	l := index(b, manyFiles(b, benchFiles))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Flatten(l); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchFiles, "ns/file")
}

func BenchmarkMerge(b *testing.B) {
	tree, err := Flatten(index(b, manyFiles(b, benchFiles)))
	if err != nil {
		b.Fatal(err)
	}
	moved := tree.Place("containers/services/x/lower")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Merge(tree, moved); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2/benchFiles, "ns/file")
}

// BenchmarkDedup hashes 200 MB in 20 files of equal size.
func BenchmarkDedup(b *testing.B) {
	const size = 10 << 20
	var items []item
	for i := range 20 {
		items = append(items, file(fmt.Sprint(i), strings.Repeat(string(rune('a'+i%10)), size)))
	}
	data := tarOf(b, items...)
	l, err := Index(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		b.Fatal(err)
	}
	tree, err := Flatten(l)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(20 * size)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tree.Dedup(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadTree reads a tree through its FS.
func BenchmarkReadTree(b *testing.B) {
	tree, err := Flatten(index(b, manyFiles(b, 10_000)))
	if err != nil {
		b.Fatal(err)
	}
	fsys := tree.FS()
	b.ReportAllocs()
	for b.Loop() {
		for _, p := range tree.paths {
			f, err := fsys.Open(p)
			if err != nil {
				b.Fatal(err)
			}
			if r, ok := f.(io.WriterTo); ok {
				_, _ = r.WriteTo(io.Discard)
			}
			f.Close()
		}
	}
}
