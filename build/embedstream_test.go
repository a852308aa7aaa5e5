package build

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hooksmith/build/fetch"
	"hooksmith/build/initramfs"
	"hooksmith/build/rootfs"
	"hooksmith/embed"
)

// orderedLayer is a layer that can be streamed.
func orderedLayer() v1.Layer {
	return tarLayer(
		tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o711},
		tar.Header{Typeflag: tar.TypeDir, Name: "usr/", Mode: 0o750, Uid: 3, Gid: 4},
		tar.Header{Typeflag: tar.TypeReg, Name: "usr/zebra", Mode: 0o4755, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02"}},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/link", Linkname: "zebra", Mode: 0o777},
		tar.Header{Typeflag: tar.TypeDir, Name: "etc/", Mode: 0o755},
		tar.Header{Typeflag: tar.TypeReg, Name: "etc/.wh..wh..opq"},
		tar.Header{Typeflag: tar.TypeReg, Name: "etc/caf\xe9", Mode: 0o600, Uid: 100000, Gid: 1 << 31},
		tar.Header{Typeflag: tar.TypeReg, Name: "usr/.wh.gone"},
		tar.Header{Typeflag: tar.TypeFifo, Name: "usr/pipe", Mode: 0o622},
	)
}

// unorderedLayers are some that are read twice.
func unorderedLayers() map[string]v1.Layer {
	dir := tar.Header{Typeflag: tar.TypeDir, Name: "usr/", Mode: 0o750}
	file := tar.Header{Typeflag: tar.TypeReg, Name: "usr/a", Mode: 0o600}
	late := dir
	late.Mode = 0o700
	return map[string]v1.Layer{
		"hard link":                tarLayer(dir, file, tar.Header{Typeflag: tar.TypeLink, Name: "usr/b", Linkname: "usr/a"}),
		"implied directory":        tarLayer(file),
		"directory described anew": tarLayer(dir, file, late),
		"no order at all":          tarLayer(file, dir),
	}
}

// neverOrdered is a layer in which a file comes once more after it got another
// name, which is then that of a file that is gone.
func neverOrdered() v1.Layer {
	file := tar.Header{Typeflag: tar.TypeReg, Name: "a", Mode: 0o600}
	return tarLayer(file, tar.Header{Typeflag: tar.TypeLink, Name: "b", Linkname: "a"}, file)
}

// numberedLayer is a layer in which the content of a file is the number of its
// entry, so that those of one path have one size.
func numberedLayer(headers ...tar.Header) v1.Layer {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i, h := range headers {
		if h.Typeflag == tar.TypeReg && !strings.Contains(h.Name, ".wh.") {
			h.Size = 3
		}
		err := w.WriteHeader(&h)
		if err == nil && h.Size > 0 {
			_, err = fmt.Fprintf(w, "%03d", i)
		}
		if err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return static.NewLayer(b.Bytes(), types.DockerUncompressedLayer)
}

// TestStreamedContents: of entries that land in one place, the last one's
// content is there, however it is read; docker has no other.
func TestStreamedContents(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600} }
	for name, headers := range map[string][]tar.Header{
		"through a link":  {file("d/x"), {Typeflag: tar.TypeSymlink, Name: "l", Linkname: "d"}, file("l/x")},
		"and another one": {file("d/x"), {Typeflag: tar.TypeLink, Name: "y", Linkname: "d/x"}, {Typeflag: tar.TypeSymlink, Name: "l", Linkname: "d"}, file("l/x")},
		"a link over it":  {file("b"), file("a"), {Typeflag: tar.TypeSymlink, Name: "l", Linkname: "."}, {Typeflag: tar.TypeLink, Name: "l/b", Linkname: "a"}},
	} {
		read := func(level int) map[string]string {
			b := must(embedder(&fetch.Cache{Dir: t.TempDir()}, imageMap{"a": testImage(t, v1.Config{}, numberedLayer(headers...))}, want(t, "a=first")))
			defer b.layers.Close()
			b.opt.Level = level
			var out bytes.Buffer
			must(b.writeEmbedded(t.Context(), &out, t.TempDir()))
			files, _ := unpacked(t, &out)
			return files
		}
		if got, want := read(3), read(20); !maps.Equal(got, want) {
			t.Errorf("%s:\n%v\ninstead of\n%v", name, got, want)
		}
	}
}

// storeLayers are the layers of the store of one image.
func storeLayers(t *testing.T, b *builder) []*embed.Layer {
	t.Helper()
	return must(b.embedStore(t.Context())).Layers
}

// TestStoredIndex: the index that is made while a layer is read is that of its
// tar, so that the contents are found in the tar when they are needed.
func TestStoredIndex(t *testing.T) {
	base, upper := embedLayers()
	layers := unorderedLayers()
	layers["base"], layers["upper"], layers["ordered"] = base, upper, orderedLayer()
	for name, l := range layers {
		b := must(embedder(&fetch.Cache{Dir: t.TempDir()}, imageMap{"a": testImage(t, v1.Config{}, l)}, want(t, "a=first")))
		defer b.layers.Close()
		stored := storeLayers(t, b)[0]
		var out bytes.Buffer
		must(stored.WriteTo(&out))
		wanted := must(must(rootfs.Index(bytes.NewReader(out.Bytes()), int64(out.Len()))).MarshalBinary())
		read := must(readEntries(t.Context(), stored, nil, func(int64) {}))
		if !bytes.Equal(must(read.MarshalBinary()), wanted) {
			t.Errorf("%s: the index differs from that of the tar", name)
		}
	}
}

// TestStreamedLayers: a layer comes out as it is, streamed or not, and has a
// tar in the cache only if it is not.
func TestStreamedLayers(t *testing.T) {
	layers := unorderedLayers()
	layers["ordered"], layers["never"] = orderedLayer(), neverOrdered()
	for name, l := range layers {
		source := imageMap{"a": testImage(t, v1.Config{}, l)}
		written := func(level int) (map[string]string, []string, bool) {
			b := must(embedder(&fetch.Cache{Dir: t.TempDir()}, source, want(t, "a=first")))
			defer b.layers.Close()
			b.opt.Level = level
			var out bytes.Buffer
			must(b.writeEmbedded(t.Context(), &out, t.TempDir()))
			files, attributes := unpacked(t, &out)
			return files, attributes, b.layers.cached(storeLayers(t, b)[0])
		}
		files, attributes, spooled := written(3)
		wantFiles, wantAttributes, always := written(20) // an encoder that has to know the size
		if !maps.Equal(files, wantFiles) || !slices.Equal(attributes, wantAttributes) {
			t.Errorf("%s:\n%v %v\ninstead of\n%v %v", name, files, attributes, wantFiles, wantAttributes)
		}
		if spooled != (name == "never") || !always {
			t.Errorf("%s: a tar in the cache: %v, at level 20: %v", name, spooled, always)
		}
	}
}

// TestStreamedAgain: the bytes are the same whatever of them the cache has
// kept, and without the layers if that is all.
func TestStreamedAgain(t *testing.T) {
	for name, l := range map[string]v1.Layer{"ordered": orderedLayer(), "read twice": unorderedLayers()["hard link"], "never": neverOrdered()} {
		t.Run(name, func(t *testing.T) { streamedAgain(t, l) })
	}
}

func streamedAgain(t *testing.T, l v1.Layer) {
	cache := &fetch.Cache{Dir: t.TempDir()}
	source := imageMap{"a": testImage(t, v1.Config{}, l)}
	build := func(source imageMap) []byte {
		b := must(embedder(cache, source, want(t, "a=first")))
		defer b.layers.Close()
		var out bytes.Buffer
		must(b.writeEmbedded(t.Context(), &out, t.TempDir()))
		return out.Bytes()
	}
	before := build(source)
	derived := must(filepath.Glob(filepath.Join(cache.Dir, "derived", "*", "*")))
	if len(derived) < 4 {
		t.Fatalf("the cache has only %q", derived)
	}
	for _, gone := range derived {
		if err := os.Remove(gone); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(build(source), before) {
			t.Errorf("other bytes without %s", gone)
		}
	}
	b := must(embedder(cache, source, want(t, "a=first")))
	b.ahead = initramfs.NewAhead(initramfs.Options{Cache: cache, Program: b.opt.Program})
	if l := storeLayers(t, b)[0]; !b.storedCached(l) {
		t.Error("all that is needed is in the cache, and the layer would be downloaded")
	}
	if !bytes.Equal(build(imageMap{"a": testImage(t, v1.Config{}, unreadable{l})}), before) {
		t.Error("other bytes without the layer")
	}
}

// TestDamagedIndex: a damaged index is made again in the build that finds it.
func TestDamagedIndex(t *testing.T) {
	for _, level := range []int{3, 20} { // streamed, and by a tar
		cache := &fetch.Cache{Dir: t.TempDir()}
		source := imageMap{"a": testImage(t, v1.Config{}, orderedLayer())}
		build := func() ([]byte, error) {
			b := must(embedder(cache, source, want(t, "a=first")))
			defer b.layers.Close()
			b.opt.Level = level
			var out bytes.Buffer
			_, err := b.writeEmbedded(t.Context(), &out, t.TempDir())
			return out.Bytes(), err
		}
		before := must(build())
		damaged := 0
		for _, file := range must(filepath.Glob(filepath.Join(cache.Dir, "derived", "*", "*"))) {
			data := must(os.ReadFile(file))
			if !bytes.HasPrefix(data, []byte("hooksmith layer index")) {
				continue
			}
			damaged++
			data[len(data)/2] ^= 1
			if err := os.WriteFile(file, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if again, err := build(); err != nil || !bytes.Equal(again, before) || damaged == 0 {
			t.Errorf("level %d: %d were damaged: %v, same bytes: %v", level, damaged, err, bytes.Equal(again, before))
		}
	}
}

// TestStreamedState: a tar that another build left does not stand for the
// segment, and the failure of a build does not decide how the next is made.
func TestStreamedState(t *testing.T) {
	cache := &fetch.Cache{Dir: t.TempDir()}
	open := func(level int, base *rootfs.Tree) (*builder, error) {
		b := must(embedder(cache, imageMap{"a": testImage(t, v1.Config{}, orderedLayer())}, want(t, "a=first")))
		b.opt.Level = level
		b.ahead = initramfs.NewAhead(initramfs.Options{TempDir: t.TempDir(), Cache: cache, Program: b.opt.Program})
		t.Cleanup(func() {
			if err := errors.Join(b.ahead.Close(), b.layers.Close()); err != nil {
				t.Error(err)
			}
		})
		_, err := b.embedTrees(t.Context(), base)
		return b, err
	}
	impossible := must(rootfs.New(map[string]*rootfs.Inode{"run/socket": {Mode: rootfs.ModeSocket}}))
	b := must(open(3, impossible)) // the tar is made
	l := storeLayers(t, b)[0]
	if cache.Has(b.orderKey(l, once)) || cache.Has(b.orderKey(l, twice)) || !b.layers.cached(l) {
		t.Errorf("noted as without order: %v %v; a tar: %v", cache.Has(b.orderKey(l, once)), cache.Has(b.orderKey(l, twice)), b.layers.cached(l))
	}
	b.ahead.Over(must(rootfs.New(map[string]*rootfs.Inode{"run": {Mode: rootfs.ModeDir | 0o755}})))
	if b.storedCached(l) {
		t.Error("there is only a tar, and the layer would not be downloaded")
	}
	if b := must(open(20, nil)); !b.storedCached(l) {
		t.Error("there is the tar that is needed, and the layer would be downloaded")
	}
	if b := must(open(3, nil)); !b.storedCached(l) {
		t.Error("the segment is there, and the layer would be downloaded")
	}
}

// TestStreamedProgress: what is shown is what the images take, cached or not.
func TestStreamedProgress(t *testing.T) {
	cache := &fetch.Cache{Dir: t.TempDir()}
	layers := unorderedLayers()
	for round := range 2 {
		for name, l := range map[string]v1.Layer{"ordered": orderedLayer(), "hard link": layers["hard link"]} {
			b := must(embedder(cache, imageMap{"a": testImage(t, v1.Config{}, l)}, want(t, "a=first")))
			defer b.layers.Close()
			var shown shownBytes
			b.opt.Observer = &shown
			b.ahead = initramfs.NewAhead(initramfs.Options{TempDir: t.TempDir(), Cache: cache, Program: b.opt.Program})
			defer b.ahead.Close()
			var size int64
			for _, tree := range must(b.embedTrees(t.Context(), nil)) {
				size += tree.tree.Size()
			}
			if shown.n.Load() != size || size == 0 {
				t.Errorf("%s, round %d: %d bytes shown of %d", name, round, shown.n.Load(), size)
			}
			if again := round == 0 && name == "hard link"; again != (shown.back.Load() < 0) {
				t.Errorf("%s, round %d: the count went back by %d", name, round, shown.back.Load())
			}
		}
	}
}

// shownBytes is an observer that counts.
type shownBytes struct{ n, back atomic.Int64 }

func (s *shownBytes) Begin(string, int64) fetch.Task { return s }
func (s *shownBytes) Add(n int64)                    { s.n.Add(n); s.back.Add(min(n, 0)) }
func (s *shownBytes) Done(error)                     {}

// unreadable is a layer whose blob is gone.
type unreadable struct{ v1.Layer }

func (unreadable) Uncompressed() (io.ReadCloser, error) { return nil, errors.New("the blob is gone") }

// FuzzStreamed: whatever is in a layer, streamed or not, the kernel unpacks the
// same of it.
func FuzzStreamed(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7})
	f.Add([]byte("a directory, a file, a link"))
	names := []string{"a", "b", "a/a", "a/b", "b/a", "/a/a", ".wh.a", "a/.wh.b", "a/.wh..wh..opq", "./"}
	kinds := []byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeFifo}
	f.Fuzz(func(t *testing.T, steps []byte) {
		if len(steps) > 40 {
			return
		}
		var headers []tar.Header
		for _, s := range steps {
			h := tar.Header{Name: names[int(s)%len(names)], Typeflag: kinds[int(s)/len(names)%len(kinds)], Mode: 0o700 + int64(s)>>6}
			if h.Name == "./" {
				h.Typeflag = tar.TypeDir
			}
			if strings.Contains(h.Name, ".wh.") {
				h.Typeflag = tar.TypeReg
			}
			if h.Typeflag == tar.TypeSymlink || h.Typeflag == tar.TypeLink {
				h.Linkname = names[int(s)>>4%6]
			}
			headers = append(headers, h)
		}
		source := imageMap{"a": testImage(t, v1.Config{}, numberedLayer(headers...))}
		written := func(level int) (files map[string]string, attributes []string, err error) {
			b := must(embedder(&fetch.Cache{Dir: t.TempDir()}, source, want(t, "a=first")))
			defer b.layers.Close()
			b.opt.Level = level
			var out bytes.Buffer
			if _, err := b.writeEmbedded(t.Context(), &out, t.TempDir()); err != nil {
				return nil, nil, err
			}
			files, attributes = unpacked(t, &out)
			return files, attributes, nil
		}
		files, attributes, err := written(3)
		wantFiles, wantAttributes, wantErr := written(20)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%v streamed, %v of the tar", err, wantErr)
		}
		if !maps.Equal(files, wantFiles) || !slices.Equal(attributes, wantAttributes) {
			t.Errorf("\n%v %v\ninstead of\n%v %v", files, attributes, wantFiles, wantAttributes)
		}
	})
}
