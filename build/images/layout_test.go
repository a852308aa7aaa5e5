package images

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// writeLayout makes an OCI layout of images by name; "" is no name.
func writeLayout(t *testing.T, images map[string]mutate.Appendable) string {
	t.Helper()
	dir := t.TempDir()
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for n, img := range images {
		var opts []layout.Option
		key, n, annotated := strings.Cut(n, "=")
		if !annotated {
			key, n = refNameAnnotation, key
		}
		if n != "" {
			opts = append(opts, layout.WithAnnotations(map[string]string{key: n}))
		}
		switch x := img.(type) {
		case v1.ImageIndex:
			err = l.AppendIndex(x, opts...)
		case v1.Image:
			err = l.AppendImage(x, opts...)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLayouts(t *testing.T) {
	short, full, tag, containerd := imageOf(t, "amd64", gzLayer(t, 1, 500)), imageOf(t, "amd64", gzLayer(t, 2, 500)), imageOf(t, "amd64", gzLayer(t, 3, 500)), imageOf(t, "amd64", gzLayer(t, 4, 500))
	multi := indexWith(child(t, "linux/amd64", "amd64"), child(t, "linux/arm64", "arm64"))
	unnamed := imageOf(t, "amd64", gzLayer(t, 5, 500))
	dir := writeLayout(t, map[string]mutate.Appendable{
		"short:1": short, "ghcr.io/full/name:1": full, "v7": tag, imageNameAnnotation + "=docker.io/con/tainerd:2": containerd,
		"multi": multi, "": unnamed, "ghcr.io/arm/only:1": imageOf(t, "arm64"),
	})
	pair := writeLayout(t, map[string]mutate.Appendable{"app:1": imageOf(t, "arm64", gzLayer(t, 6, 10)), refNameAnnotation + "=docker.io/library/app:1": imageOf(t, "amd64", gzLayer(t, 7, 10))})
	amd := mustChild(t, multi, "linux/amd64")
	for _, tt := range []struct {
		name, ref string
		layouts   []string
		want      v1.Hash
		wantErr   []string
	}{
		{"short name", "short:1", []string{dir}, digestOf(t, short), nil},
		{"expanded", "docker.io/library/short:1", []string{dir}, digestOf(t, short), nil},
		{"full name", "ghcr.io/full/name:1", []string{dir}, digestOf(t, full), nil},
		{"another tag", "ghcr.io/full/name:2", []string{dir}, v1.Hash{}, []string{"no image of that name", "it has ", "ghcr.io/full/name:1", "v7"}},
		{"just the tag", "ghcr.io/any/thing:v7", []string{dir}, digestOf(t, tag), nil},
		{"containerd's annotation", "con/tainerd:2", []string{dir}, digestOf(t, containerd), nil},
		{"index", "multi", []string{dir}, amd, nil},
		{"digest", "whatever@" + digestOf(t, unnamed).String(), []string{dir}, digestOf(t, unnamed), nil},
		{"digest of an index", "whatever@" + digestOf(t, multi).String(), []string{dir}, amd, nil},
		{"digest inside an index", "whatever:9@" + amd.String(), []string{dir}, amd, nil},
		{"unknown digest", "short:1@sha256:" + strings.Repeat("1", 64), []string{dir}, v1.Hash{}, []string{"nothing with digest sha256:111"}},
		{"other platform", "ghcr.io/arm/only:1", []string{dir}, v1.Hash{}, []string{"no image for linux/amd64, only for linux/arm64"}},
		{"second layout", "short:1", []string{pair, dir}, digestOf(t, short), nil},
		{"two manifests of one name", "app:1", []string{dir, pair}, v1.Hash{}, nil},
		{"no layout", "a:1", []string{t.TempDir()}, v1.Hash{}, []string{"no OCI layout", "skopeo copy"}},
		{"not there", "a:1", []string{"/nonexistent/layout"}, v1.Hash{}, []string{"/nonexistent/layout", "no such file"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := sources(t, func(s *Sources) { s.Layouts, s.Offline = tt.layouts, true })
			img, err := s.Image(t.Context(), tt.ref)
			if tt.wantErr != nil {
				wantError(t, err, append(tt.wantErr, "layout "+tt.layouts[0])...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := digestOf(t, img); tt.want != (v1.Hash{}) && got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if label(t, img) != "amd64" {
				t.Errorf("image for %s", label(t, img))
			}
			contents(t, img)
			if pins := s.Resolved(); len(pins) != 1 || pins[0].Source != "layout" {
				t.Errorf("pins %v", pins)
			}
		})
	}
}

func mustChild(t *testing.T, idx v1.ImageIndex, p string) v1.Hash {
	t.Helper()
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range m.Manifests {
		if d.Platform.String() == p {
			return d.Digest
		}
	}
	t.Fatalf("no child for %s", p)
	return v1.Hash{}
}

func TestDamagedLayouts(t *testing.T) {
	img := imageOf(t, "amd64", gzLayer(t, 1, 5000))
	layers, _ := img.Layers()
	blob := func(dir string, h v1.Hash) string { return filepath.Join(dir, "blobs", "sha256", h.Hex) }
	for _, tt := range []struct {
		name    string
		damage  func(dir string) error
		wantErr string
	}{
		{"index.json is cut", func(dir string) error { return os.Truncate(filepath.Join(dir, "index.json"), 20) }, "reading index.json"},
		{"index.json is missing", func(dir string) error { return os.Remove(filepath.Join(dir, "index.json")) }, "index.json"},
		{"layer is missing", func(dir string) error { return os.Remove(blob(dir, digestOf(t, layers[0]))) }, "it lacks the layer sha256:"},
		{"layer is cut", func(dir string) error { return os.Truncate(blob(dir, digestOf(t, layers[0])), 100) }, "only 100 of"},
		{"layer is another", func(dir string) error {
			n, _ := layers[0].Size()
			return os.WriteFile(blob(dir, digestOf(t, layers[0])), make([]byte, n), 0o644)
		}, "wrong content"},
		{"configuration is missing", func(dir string) error { h, _ := img.ConfigName(); return os.Remove(blob(dir, h)) }, "it lacks the configuration sha256:"},
		{"manifest is empty", func(dir string) error { return os.Truncate(blob(dir, digestOf(t, img)), 0) }, "only 0 of"},
	} {
		dir := writeLayout(t, map[string]mutate.Appendable{"app:1": img})
		if err := tt.damage(dir); err != nil {
			t.Fatal(err)
		}
		s := sources(t, func(s *Sources) { s.Layouts, s.Offline = []string{dir}, true })
		got, err := s.Image(t.Context(), "app:1")
		if err == nil {
			_, err = tryContents(got)
		}
		t.Run(tt.name, func(t *testing.T) { wantError(t, err, tt.wantErr) })
	}
}

// TestSparseIndex: a layout into which only one platform of an index was copied.
func TestSparseIndex(t *testing.T) {
	idx := indexWith(child(t, "linux/amd64", "amd64"), child(t, "linux/arm64", "arm64"))
	dir := writeLayout(t, map[string]mutate.Appendable{"app:1": idx})
	if err := os.Remove(filepath.Join(dir, "blobs", "sha256", mustChild(t, idx, "linux/arm64").Hex)); err != nil {
		t.Fatal(err)
	}
	s := sources(t, func(s *Sources) { s.Layouts, s.Offline = []string{dir}, true })
	contents(t, mustImage(t, s, "app:1"))
	s = sources(t, func(s *Sources) {
		s.Layouts, s.Offline, s.Platform = []string{dir}, true, v1.Platform{OS: "linux", Architecture: "arm64"}
	})
	_, err := s.Image(t.Context(), "app:1")
	wantError(t, err, "no image for linux/arm64, only for linux/amd64")
}

// TestOrder: layouts before registries; what was asked is listed in order.
func TestOrder(t *testing.T) {
	tr := newRegistry(t)
	there, here := imageOf(t, "amd64", gzLayer(t, 1, 50)), imageOf(t, "amd64", gzLayer(t, 2, 50))
	tr.add(t, "app:1", there)
	dir := writeLayout(t, map[string]mutate.Appendable{tr.ref("app:1"): here})
	with := func(s *Sources) { s.Layouts = []string{dir} }
	if digestOf(t, mustImage(t, sources(t, with), tr.ref("app:1"))) != digestOf(t, here) {
		t.Error("the registry came before the layout")
	}
	pins := []Pin{{Ref: tr.ref("app:1"), Digest: digestOf(t, there).String()}}
	if digestOf(t, mustImage(t, sources(t, with, func(s *Sources) { s.Pins = pins }), tr.ref("app:1"))) != digestOf(t, there) {
		t.Error("the layout's image is not the pinned one, but was taken")
	}
	_, err := sources(t, with).Image(t.Context(), tr.ref("none:1"))
	wantError(t, err, "not found; the places asked:\n  layout "+dir+": it has no image of that name: it has "+tr.ref("app:1")+"\n  registry "+tr.host+": it has no such image in none")
	pins[0].Digest = "sha256:" + strings.Repeat("3", 64)
	_, err = sources(t, with, func(s *Sources) { s.Pins = pins }).Image(t.Context(), tr.ref("app:1"))
	wantError(t, err, "the lock file pins sha256:333", "--pull")
	var nf *NotFoundError
	if !asError(err, &nf) || len(nf.Places) != 3 {
		t.Errorf("error %#v", err)
	}
}

// TestOnlyIn: what is to come from one layout alone is asked of nobody else,
// and other references are asked for as ever.
func TestOnlyIn(t *testing.T) {
	tr := newRegistry(t)
	there, here := imageOf(t, "amd64", gzLayer(t, 1, 50)), imageOf(t, "amd64", gzLayer(t, 2, 50))
	tr.add(t, "app:1", there)
	tr.add(t, "gone:1", there)
	tr.add(t, "other:1", there)
	dir := writeLayout(t, map[string]mutate.Appendable{tr.ref("app:1"): here})
	byDigest := tr.ref("gone@" + digestOf(t, there).String())
	other := writeLayout(t, map[string]mutate.Appendable{tr.ref("gone:1"): there})
	s := sources(t, func(s *Sources) {
		s.Layouts = []string{other}
		s.OnlyIn = map[string]string{tr.ref("app:1"): dir, tr.ref("gone:1"): dir, byDigest: dir}
	})
	if digestOf(t, mustImage(t, s, tr.ref("app:1"))) != digestOf(t, here) {
		t.Error("another image than the layout's")
	}
	for _, ref := range []string{tr.ref("gone:1"), byDigest} {
		_, err := s.Image(t.Context(), ref)
		wantError(t, err, "layout "+dir+": it has no")
		if strings.Contains(err.Error(), "registry") || strings.Contains(err.Error(), other) {
			t.Errorf("others were asked: %v", err)
		}
	}
	if n := tr.total(""); n != 0 {
		t.Errorf("%d requests went to the registry", n)
	}
	contents(t, mustImage(t, s, tr.ref("other:1")))
	_, err := sources(t, func(s *Sources) { s.OnlyIn = map[string]string{"A B": dir} }).Image(t.Context(), "app:1")
	wantError(t, err, "no image reference")
}

// legacySave writes what Docker before 25 writes: a folder for each layer,
// links where images share one.
func legacySave(t *testing.T, images map[string]v1.Image) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var entries []entry
	seen := map[v1.Hash]string{}
	for _, n := range sortedKeys(images) {
		raw, _ := images[n].RawConfigFile()
		h, _, _ := v1.SHA256(bytes.NewReader(raw))
		e := entry{Config: h.Hex + ".json", RepoTags: []string{n}}
		tarFile(tw, e.Config, raw)
		layers, _ := images[n].Layers()
		for i, l := range layers {
			dir := fmt.Sprintf("%s%02d", h.Hex[:60], i)
			tarFile(tw, dir+"/VERSION", []byte("1.0"))
			tarFile(tw, dir+"/json", []byte("{}"))
			diffID, _ := l.DiffID()
			if first, ok := seen[diffID]; ok {
				_ = tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: dir + "/layer.tar", Linkname: "../" + first})
			} else {
				seen[diffID] = dir + "/layer.tar"
				rc, err := uncompressed(l)
				if err != nil {
					t.Fatal(err)
				}
				tarFile(tw, dir+"/layer.tar", rc)
			}
			e.Layers = append(e.Layers, dir+"/layer.tar")
		}
		entries = append(entries, e)
	}
	b, _ := json.Marshal(entries)
	tarFile(tw, "manifest.json", b)
	tarFile(tw, "repositories", []byte("{}"))
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// ociSave writes a layout as newer Docker does, with manifest.json or without.
func ociSave(t *testing.T, dir string, legacy []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		b, err := os.ReadFile(path)
		tarFile(tw, filepath.ToSlash(rel), b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if legacy != nil {
		tarFile(tw, "manifest.json", legacy)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestArchives(t *testing.T) {
	shared := gzLayer(t, 1, 5000)
	a, b := imageOf(t, "amd64", shared, gzLayer(t, 2, 100)), imageOf(t, "amd64", shared, gzLayer(t, 3, 100))
	legacy := legacySave(t, map[string]v1.Image{"app:1": a, "ghcr.io/x/b:2": b})
	oci := ociSave(t, writeLayout(t, map[string]mutate.Appendable{"app:1": a, imageNameAnnotation + "=ghcr.io/x/b:2": b}), nil)
	multi := indexWith(child(t, "linux/amd64", "amd64"), child(t, "linux/arm64", "arm64"))
	sparse := writeLayout(t, map[string]mutate.Appendable{imageNameAnnotation + "=docker.io/library/app:1": multi})
	if err := os.Remove(filepath.Join(sparse, "blobs", "sha256", mustChild(t, multi, "linux/arm64").Hex)); err != nil {
		t.Fatal(err)
	}
	crane := filepath.Join(t.TempDir(), "crane.tar") // gzipped layers at the top
	tag, _ := name.NewTag("app:1")
	if err := tarball.WriteToFile(crane, tag, a); err != nil {
		t.Fatal(err)
	}
	craneBytes, _ := os.ReadFile(crane)
	for _, tt := range []struct {
		name, ref string
		archive   []byte
		want      v1.Image // layers are compared
		wantErr   string
	}{
		{"docker save", "app:1", legacy, a, ""},
		{"a shared layer is a link", "ghcr.io/x/b:2", legacy, b, ""},
		{"compressed", "app:1", gz(t, legacy), a, ""},
		{"zstd", "app:1", zst(t, legacy, false), a, ""},
		{"crane", "app:1", craneBytes, a, ""},
		{"OCI archive", "app:1", oci, a, ""},
		{"OCI archive, containerd's name", "ghcr.io/x/b:2", oci, b, ""},
		{"index of which a part was saved", "app:1", ociSave(t, sparse, nil), nil, ""},
		{"another name", "app:2", legacy, nil, "no image of that name: it has app:1, ghcr.io/x/b:2"},
		{"cut", "app:1", legacy[:len(legacy)/2], nil, "unexpected EOF"},
		{"no images", "app:1", tarOf(t, "etc/passwd", []byte("x")), nil, "no archive of images"},
		{"not a tar", "app:1", []byte(strings.Repeat("no tar ", 200)), nil, "reading the archive"},
		{"a layer is missing", "app:1", tarOf(t, "manifest.json", []byte(`[{"Config":"c.json","Layers":["l"],"RepoTags":["app:1"]}]`)), nil, `names "c.json", which is not in the archive`},
		{"manifest.json is not JSON", "app:1", tarOf(t, "manifest.json", []byte(`x`)), nil, "reading manifest.json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "images.tar")
			if err := os.WriteFile(file, tt.archive, 0o644); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for run := range 2 { // the second time from the cache
				reads := 0
				s := sources(t, func(s *Sources) {
					s.Dir, s.Layouts, s.Offline = dir, []string{file}, true
					s.Progress = func(string, int64) (func(int64), func(error)) {
						reads++
						return func(int64) {}, func(error) {}
					}
				})
				img, err := s.Image(t.Context(), tt.ref)
				if tt.wantErr != "" {
					wantError(t, err, tt.wantErr)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				got := contents(t, img)
				if reads != 1-run {
					t.Errorf("run %d: archive read %d times", run+1, reads)
				}
				if tt.want == nil {
					continue
				}
				layers, _ := tt.want.Layers()
				for i, l := range layers {
					want, err := uncompressed(l)
					if err != nil || !bytes.Equal(got[i], want) {
						t.Errorf("layer %d differs (%v)", i, err)
					}
				}
			}
			left, _ := filepath.Glob(filepath.Join(dir, "partial", "*"))
			if len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
