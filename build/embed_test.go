package build

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hooksmith/build/fetch"
	"hooksmith/build/initramfs"
	"hooksmith/build/linuxkit"
	"hooksmith/build/rootfs"
	"hooksmith/embed"
)

// tarLayer is a layer of headers; the content of a file is its name.
func tarLayer(headers ...tar.Header) v1.Layer {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg && !strings.Contains(h.Name, ".wh.") {
			h.Size = int64(len(h.Name))
		}
		if h.ModTime.IsZero() {
			h.ModTime = linuxkit.Epoch
		}
		if err := w.WriteHeader(&h); err != nil {
			panic(err)
		}
		if h.Size > 0 {
			must(io.WriteString(w, h.Name))
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return static.NewLayer(b.Bytes(), types.DockerUncompressedLayer)
}

func embedLayers() (base, upper v1.Layer) {
	base = tarLayer(
		tar.Header{Typeflag: tar.TypeDir, Name: "etc/", Mode: 0o750, Uid: 3, Gid: 4},
		tar.Header{Typeflag: tar.TypeReg, Name: "etc/old", Mode: 0o600},
		tar.Header{Typeflag: tar.TypeReg, Name: "ping", Mode: 0o4755, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02"}},
		tar.Header{Typeflag: tar.TypeLink, Name: "pong", Linkname: "ping"},
		tar.Header{Typeflag: tar.TypeFifo, Name: "pipe", Mode: 0o622},
		tar.Header{Typeflag: tar.TypeDir, Name: "dev/", Mode: 0o755},
		tar.Header{Typeflag: tar.TypeChar, Name: "dev/null", Mode: 0o666, Devmajor: 1, Devminor: 3},
		tar.Header{Typeflag: tar.TypeDir, Name: "caf\xe9/", Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.user.\xff": "\xfe"}}, // Latin-1
	)
	upper = tarLayer(
		tar.Header{Typeflag: tar.TypeReg, Name: ".wh.pipe"},
		tar.Header{Typeflag: tar.TypeDir, Name: "etc/", Mode: 0o755},
		tar.Header{Typeflag: tar.TypeReg, Name: "etc/.wh..wh..opq"},
		tar.Header{Typeflag: tar.TypeReg, Name: "etc/new", Mode: 0o644},
		tar.Header{Typeflag: tar.TypeReg, Name: "caf\xe9/.wh..wh..opq"},
	)
	return base, upper
}

func want(t testing.TB, text string) embed.Want {
	t.Helper()
	w, err := embed.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// embedder is a builder of flavors with hooksmith's init that has images to
// embed and nothing else.
func embedder(cache *fetch.Cache, source linuxkit.Resolver, wants ...embed.Want) (*builder, error) {
	return planOnlyEmbed(context.Background(), Options{Cache: cache, Embed: wants, Images: source, Program: "test"})
}

// writeEmbedded writes the segments of the embedded images, as a build does.
func (b *builder) writeEmbedded(ctx context.Context, w io.Writer, tmp string) ([]initramfs.Info, error) {
	opt := initramfs.Options{TempDir: tmp, Cache: b.opt.Cache, Program: b.opt.Program}
	b.ahead = initramfs.NewAhead(opt)
	defer b.ahead.Close()
	trees, err := b.embedTrees(ctx, nil)
	if err != nil {
		return nil, err
	}
	cuts := b.embedCuts(trees)
	all := []*rootfs.Tree{}
	for _, t := range trees {
		all = append(all, t.tree)
	}
	attributes, err := b.xattrCut(true, all...)
	if err != nil {
		return nil, err
	}
	if attributes != nil {
		cuts = append(cuts, *attributes)
	}
	opt.Ahead = b.ahead
	if at, ok := w.(io.WriterAt); ok {
		opt.Placed = func(infos []initramfs.Info) (int, io.WriterAt) { return len(infos), at }
	}
	return initramfs.Write(ctx, w, segmentsOf(cuts), opt)
}

// TestEmbedSegments: what the kernel unpacks, and what the init then sets, is
// what the store says, file by file.
func TestEmbedSegments(t *testing.T) {
	base, upper := embedLayers()
	source := imageMap{"a": testImage(t, v1.Config{}, base), "b": testImage(t, v1.Config{}, base, upper)}
	b := must(embedder(&fetch.Cache{Dir: t.TempDir()}, source, want(t, "a=first"), want(t, "b=second")))
	defer b.layers.Close()
	var out bytes.Buffer
	must(b.writeEmbedded(t.Context(), &out, t.TempDir()))
	got, attributes := unpacked(t, &out)

	wanted := map[string]string{}
	wantAttributes := []string{}
	for _, l := range append([]*embed.Layer{b.store.Head}, b.store.Layers...) {
		rc := must(l.Uncompressed())
		for tr := tar.NewReader(rc); ; {
			h, err := tr.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			name := strings.TrimSuffix(filepath.Join(embedDir, h.Name), "/")
			content := string(must(io.ReadAll(tr)))
			kind := map[byte]uint32{
				tar.TypeReg: rootfs.ModeFile, tar.TypeDir: rootfs.ModeDir, tar.TypeSymlink: rootfs.ModeLink, tar.TypeFifo: rootfs.ModeFifo, tar.TypeChar: rootfs.ModeChar,
			}[h.Typeflag]
			if h.Typeflag == tar.TypeLink {
				wanted[name] = wanted[filepath.Join(embedDir, h.Linkname)]
				continue
			}
			wanted[name] = fmt.Sprintf("%o %d:%d %d:%d %q", kind|uint32(h.Mode), h.Uid, h.Gid, h.Devmajor, h.Devminor, content+h.Linkname)
			for key, value := range h.PAXRecords {
				if attribute, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
					wantAttributes = append(wantAttributes, fmt.Sprintf("/%s %s %q", name, attribute, value))
				}
			}
		}
		rc.Close()
	}
	for name, w := range wanted {
		if got[name] != w {
			t.Errorf("%s: %s, want %s", name, got[name], w)
		}
	}
	if len(got) != len(wanted)+4 { // etc, etc/hooksmith and the manifest; the root
		t.Errorf("%d files, want %d and 4", len(got), len(wanted))
	}
	// The second name of ping is the same file; the manifest has both.
	for _, w := range wantAttributes {
		if !slices.Contains(attributes, w) {
			t.Errorf("attributes %q lack %q", attributes, w)
		}
	}
	if len(wantAttributes) != 4 || len(attributes) != 5 {
		t.Errorf("attributes %q, want %q and the other name of ping", attributes, wantAttributes)
	}
}

// unpacked reads an initramfs: what its files are, and the manifest of their
// attributes.
func unpacked(t *testing.T, r io.Reader) (files map[string]string, attributes []string) {
	t.Helper()
	files = map[string]string{}
	var manifest []byte
	links := map[string]string{}
	err := initramfs.Read(r, initramfs.Limits{}, func(e initramfs.Entry, content io.Reader) error {
		b := must(io.ReadAll(content))
		if key := fmt.Sprint(e.Segment, " ", e.Ino); e.Links > 1 && e.Mode&rootfs.ModeType == rootfs.ModeFile {
			if len(b) == 0 {
				b = []byte(links[key])
			}
			links[key] = string(b)
		}
		if e.Name == xattrsFile {
			manifest = b
		}
		files[e.Name] = fmt.Sprintf("%o %d:%d %d:%d %q", e.Mode, e.UID, e.GID, e.Major, e.Minor, string(b)+e.Target)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dec := json.NewDecoder(bytes.NewReader(manifest)); dec.More(); {
		var x xattrRecord
		if err := dec.Decode(&x); err != nil {
			t.Fatal(err)
		}
		attributes = append(attributes, fmt.Sprintf("%s %s %q", x.Path, x.Name, x.Value))
	}
	return files, attributes
}

// TestEmbedCache: one image more costs only its own layers.
func TestEmbedCache(t *testing.T) {
	base, upper := embedLayers()
	source := imageMap{"a": testImage(t, v1.Config{}, base), "b": testImage(t, v1.Config{}, base, upper)}
	cache := &fetch.Cache{Dir: t.TempDir()}
	files := func() map[string]bool {
		m := map[string]bool{}
		err := filepath.WalkDir(filepath.Join(cache.Dir, "derived"), func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				m[path] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	build := func(wants ...embed.Want) []initramfs.Info {
		b := must(embedder(cache, source, wants...))
		defer b.layers.Close()
		return must(b.writeEmbedded(t.Context(), io.Discard, t.TempDir()))
	}
	first := build(want(t, "a=first"))
	before := files()
	second := build(want(t, "a=first"), want(t, "b=second"))
	if first[1].Name != second[1].Name || first[1].SHA256 != second[1].SHA256 {
		t.Errorf("the layer of the first image: %+v, then %+v", first[1], second[1])
	}
	now := files()
	for path := range before {
		if !now[path] {
			t.Errorf("%s is gone", path)
		}
	}
	// Index and segment of the new layer; segment of the head; the manifest.
	if added := len(now) - len(before); added != 4 {
		t.Errorf("%d files were added to the cache, want 4", added)
	}
	again := len(now)
	build(want(t, "a=first"), want(t, "b=second"))
	if n := len(files()); n != again {
		t.Errorf("nothing changed, and %d files were added to the cache", n-again)
	}
}

// TestEmbedWithLinuxKit: with another init than ours images are flattened, and
// that is said.
func TestEmbedWithLinuxKit(t *testing.T) {
	base, upper := embedLayers()
	opt := fileOptions(t, linuxkitFile)
	images := fileImages(t)
	images["example.org/b:1"] = testImage(t, v1.Config{Entrypoint: []string{"/ping"}}, base, upper)
	opt.Images, opt.Embed = images, []embed.Want{want(t, "example.org/b:1=second:v2")}
	var log bytes.Buffer
	opt.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a, err := Build(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(log.String(), "for nothing") {
		t.Errorf("what was compressed ahead was not used:\n%s", &log)
	}
	for _, want := range []string{"each embedded image becomes a single layer", "attributes of an embedded image are lost", "/ping", "hard links of an embedded image", "tink-worker", "--agent"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, &log)
		}
	}
	if len(a.Embedded) != 1 || len(a.Embedded[0].Digests) > 0 || a.Embedded[0].Names[0] != "127.0.0.1/embedded/second:v2" {
		t.Errorf("hook.json: %+v", a.Embedded)
	}
	got := entries(t, filepath.Join(opt.Out, "test-initrd.img"))
	var below []string
	for name, what := range got {
		if _, rest, ok := strings.Cut(name, "/diff/"); ok {
			below = append(below, rest+" "+what)
		}
	}
	slices.Sort(below)
	want := []string{"caf\xe9 040755 ", "dev 040755 ", "etc 040755 ", "etc/new 100644 etc/new", "ping 104755 ping", "pong 104755 ping"}
	if !slices.Equal(below, want) {
		t.Errorf("flattened: %q, want %q", below, want)
	}
	if !strings.HasPrefix(got["etc/init.d/001-images-mount.sh"], "100755 #!/bin/sh") {
		t.Errorf("nobody mounts the store: %q", got["etc/init.d/001-images-mount.sh"])
	}
	id := strings.TrimPrefix(a.Embedded[0].ID, "sha256:")
	if got[embedDir+"/image/overlay2/imagedb/content/sha256/"+id] == "" {
		t.Error("the configuration of the flattened image is not there")
	}

	opt.Out, opt.OneSegment = t.TempDir(), true
	one, err := Build(t.Context(), opt)
	if err != nil || len(one.Segments) != 1 || one.Embedded[0].ID != a.Embedded[0].ID {
		t.Fatalf("in one segment: %v", err)
	}
	if again := entries(t, filepath.Join(opt.Out, "test-initrd.img")); len(again) != len(got) {
		t.Errorf("in one segment: %d files, not %d", len(again), len(got))
	}
	opt.Out, opt.Format = t.TempDir(), Tar
	if _, err := Build(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	if b := must(os.ReadFile(filepath.Join(opt.Out, "test.tar"))); !bytes.Contains(b, []byte(embedDir+"/overlay2/")) {
		t.Error("the tar has no embedded images")
	}
}

// TestEmbedErrors: what cannot be embedded is named, with who wants it.
func TestEmbedErrors(t *testing.T) {
	base, _ := embedLayers()
	disk := tarLayer(tar.Header{Typeflag: tar.TypeBlock, Name: "disk", Mode: 0o660, Devmajor: 8})
	for _, tt := range []struct {
		ref  string
		want string
	}{
		{"example.org/none:1", "image to embed example.org/none:1 (--embed example.org/none:1): MANIFEST_UNKNOWN"},
		{"example.org/disk:1", `"/disk" is a device node`},
		{"example.org/empty:1", "no layers"},
	} {
		opt := fileOptions(t, linuxkitFile)
		images := fileImages(t)
		images["example.org/disk:1"], images["example.org/empty:1"] = testImage(t, v1.Config{}, base, disk), testImage(t, v1.Config{})
		opt.Images, opt.Embed = images, []embed.Want{want(t, tt.ref)}
		_, err := Build(t.Context(), opt)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "(--embed "+tt.ref+")") {
			t.Errorf("%s: error %v, want %q", tt.ref, err, tt.want)
		}
	}
}
