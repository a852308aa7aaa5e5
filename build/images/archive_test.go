package images

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// TestArchiveIsImportedAgain when a part of it was pruned, or it changed.
func TestArchiveIsImportedAgain(t *testing.T) {
	a, b := imageOf(t, "amd64", gzLayer(t, 1, 5000)), imageOf(t, "amd64", gzLayer(t, 2, 5000))
	file := filepath.Join(t.TempDir(), "images.tar")
	write := func(img v1.Image) {
		if err := os.WriteFile(file, legacySave(t, map[string]v1.Image{"app:1": img}), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(a)
	s := sources(t, func(s *Sources) { s.Layouts, s.Offline = []string{file}, true })
	first := mustImage(t, s, "app:1")
	layers, _ := first.Layers()
	if err := os.Remove(s.store.blobPath(digestOf(t, layers[0]))); err != nil {
		t.Fatal(err)
	}
	contents(t, mustImage(t, s, "app:1"))
	write(b)
	second := mustImage(t, s, "app:1")
	if digestOf(t, first) == digestOf(t, second) {
		t.Error("the changed archive was not read")
	}
	contents(t, second)
}

// TestDamagedCacheOfArchive: what the cache has of an archive and is damaged
// there comes from the archive again, which is not blamed.
func TestDamagedCacheOfArchive(t *testing.T) {
	file := filepath.Join(t.TempDir(), "images.tar")
	img := imageOf(t, "amd64", gzLayer(t, 1, 5000))
	all := indexWith(mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: platform("linux/amd64")}})
	if err := os.WriteFile(file, ociSave(t, writeLayout(t, map[string]mutate.Appendable{"app:1": all}), nil), 0o644); err != nil {
		t.Fatal(err)
	}
	s := sources(t, func(s *Sources) { s.Layouts, s.Offline = []string{file}, true })
	contents(t, mustImage(t, s, "app:1"))
	path := s.store.blobPath(digestOf(t, img))
	damaged, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged[len(damaged)/2] ^= 1
	if err := os.WriteFile(path, damaged, 0o644); err != nil {
		t.Fatal(err)
	}
	contents(t, mustImage(t, s, "app:1"))
}

func FuzzArchive(f *testing.F) {
	f.Add([]byte(`[{"Config":"a","Layers":["b"],"RepoTags":["app:1"]}]`), []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:`+strings.Repeat("1", 64)+`"]}}`), "b", "../a")
	f.Add([]byte(`[{"Config":"/../a","Layers":null}]`), []byte(`{}`), "a", "a")
	s, err := openStore(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, manifest, config []byte, name, link string) {
		var buf bytes.Buffer
		tw := tar.NewWriter(&buf)
		tarFile(tw, "a", config)
		tarFile(tw, name, manifest)
		_ = tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: link})
		tarFile(tw, "manifest.json", manifest)
		tarFile(tw, "index.json", config)
		tw.Flush()
		images, err := s.importArchive(t.Context(), &buf)
		if err != nil {
			return
		}
		for _, n := range images {
			if d, err := choose(t.Context(), storeContent{s}, []v1.Descriptor{n.Desc}, hostPlatform()); err == nil {
				_, _ = newImage(t.Context(), storeContent{s}, d)
			}
		}
	})
}
