package initramfs

import (
	"archive/tar"
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"hooksmith/build/rootfs"
)

// benchLayer is a tar on disk of about 200 MB: three programs, a hundred
// files of a megabyte, half of them twins, and ten thousand small ones.
func benchLayer(tb testing.TB) *os.File {
	tb.Helper()
	f, err := os.Create(filepath.Join(tb.TempDir(), "layer.tar"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	text := pseudoText(64 << 20)
	buffered := bufio.NewWriter(f)
	w := tar.NewWriter(buffered)
	add := func(name, body string) {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(body))}); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			tb.Fatal(err)
		}
	}
	add("usr/bin/dockerd", text[:60<<20])
	add("usr/bin/containerd", text[20<<20:60<<20])
	add("usr/bin/runc", text[1<<20:11<<20])
	for i := range 100 {
		add(fmt.Sprintf("usr/lib/%d.so", i), text[i/2*12345:][:1<<20])
	}
	for i := range 10_000 {
		add(fmt.Sprintf("usr/share/%d/%d", i/100, i), text[i*100:][:i%2000])
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	if err := buffered.Flush(); err != nil {
		tb.Fatal(err)
	}
	return f
}

// build is the way from a layer to an initramfs.
func build(tb testing.TB, f *os.File, kind Compression, level int) []Info {
	tb.Helper()
	info, err := f.Stat()
	if err != nil {
		tb.Fatal(err)
	}
	layer, err := rootfs.Index(f, info.Size())
	if err != nil {
		tb.Fatal(err)
	}
	tree, err := rootfs.Flatten(layer)
	if err != nil {
		tb.Fatal(err)
	}
	if tree, err = tree.Dedup(tb.Context(), nil); err != nil {
		tb.Fatal(err)
	}
	infos, err := Write(tb.Context(), io.Discard, []Segment{{Name: "base", Tree: tree, Compression: kind, Level: level}}, Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return infos
}

// BenchmarkBuild is Index, Flatten, Dedup and Write.
func BenchmarkBuild(b *testing.B) {
	f := benchLayer(b)
	for _, kind := range []Compression{None, Zstd, Gzip} {
		b.Run(string(kind), func(b *testing.B) {
			b.ReportAllocs()
			var infos []Info
			for b.Loop() {
				infos = build(b, f, kind, 0)
			}
			b.SetBytes(infos[0].Unpacked)
			b.ReportMetric(float64(infos[0].Size), "bytes")
		})
	}
}

// BenchmarkZstdLevels compares levels on a real archive: set the environment
// variable INITRAMFS_SAMPLE to a plain cpio or any other file.
func BenchmarkZstdLevels(b *testing.B) {
	name := os.Getenv("INITRAMFS_SAMPLE")
	if name == "" {
		b.Skip("INITRAMFS_SAMPLE is not set")
	}
	for _, level := range []int{1, 3, 6, 20, 21} {
		b.Run(fmt.Sprint(level), func(b *testing.B) {
			info, err := os.Stat(name)
			if err != nil {
				b.Fatal(err)
			}
			var out sink
			for b.Loop() {
				out = sink{w: io.Discard, hash: noHash{}}
				compressFile(b, name, &out, Zstd.encoder(level, info.Size()))
			}
			b.SetBytes(info.Size())
			b.ReportMetric(float64(out.n)/float64(info.Size()), "ratio")
		})
	}
}

func compressFile(b *testing.B, name string, out io.Writer, enc encoder) {
	f, err := os.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	z, err := enc.open(out)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{z}, struct{ io.Reader }{f}, make([]byte, copyBuffer)); err != nil {
		b.Fatal(err)
	}
	if err := z.Close(); err != nil {
		b.Fatal(err)
	}
}
