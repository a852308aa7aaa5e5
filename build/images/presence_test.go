package images

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// parts are the digests of an image's manifest, configuration and layers.
func parts(t *testing.T, img v1.Image) (manifest, config v1.Hash, layers []v1.Hash) {
	t.Helper()
	config, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	all, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		layers = append(layers, digestOf(t, l))
	}
	return digestOf(t, img), config, layers
}

// TestPartialCopies: what may be absent from a layout, as a folder and as an
// archive, and what tells a damaged copy.
func TestPartialCopies(t *testing.T) {
	amd, arm := imageOf(t, "amd64", gzLayer(t, 1, 500), gzLayer(t, 2, 500)), imageOf(t, "arm64", gzLayer(t, 3, 500), gzLayer(t, 4, 500))
	note := imageOf(t, "unknown", gzLayer(t, 5, 10))
	add := func(img v1.Image, arch, os string) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: os, Architecture: arch}}}
	}
	idx := indexWith(add(amd, "amd64", "linux"), add(arm, "arm64", "linux"), add(note, "unknown", "unknown"))
	other := imageOf(t, "amd64", gzLayer(t, 6, 500))
	amdManifest, _, amdLayers := parts(t, amd)
	armManifest, armConfig, armLayers := parts(t, arm)
	noteManifest, noteConfig, noteLayers := parts(t, note)
	otherManifest, _, otherLayers := parts(t, other)
	arm64 := v1.Platform{OS: "linux", Architecture: "arm64"}
	const damaged = "it is cut short or incomplete: "
	for _, tt := range []struct {
		name     string
		without  []v1.Hash
		ref      string // "": app:1
		platform v1.Platform
		folder   string // the error; "": none
		archive  string
	}{
		{name: "all is there"},
		{name: "no attestation", without: append(noteLayers, noteManifest, noteConfig)},
		{name: "another platform was not copied", without: append(armLayers, armManifest, armConfig)},
		{name: "of another platform there is a manifest alone", without: append(armLayers, armConfig)},
		{name: "the other platform is asked for", without: append(armLayers, armManifest, armConfig), platform: arm64,
			folder:  "no image for linux/arm64, only for linux/amd64: its index names " + armManifest.String() + ", but that was not copied",
			archive: "no image for linux/arm64, only for linux/amd64: its index names " + armManifest.String() + ", but that was not copied"},
		{name: "the other platform, of which there is a manifest alone", without: append(armLayers, armConfig), platform: arm64,
			folder: "no image for linux/arm64, only for linux/amd64", archive: "no image for linux/arm64, only for linux/amd64"},
		{name: "the other platform by digest", without: append(armLayers, armManifest, armConfig), ref: "app@" + armManifest.String(), platform: arm64,
			folder: "but that was not copied", archive: "but that was not copied"},
		{name: "a layer of the platform", without: amdLayers[1:], folder: damaged + "it lacks the layer " + amdLayers[1].String(), archive: damaged + "it lacks the layer " + amdLayers[1].String()},
		{name: "a layer of another platform", without: armLayers[1:], archive: damaged + "it lacks the layer " + armLayers[1].String()},
		{name: "all of the index", without: []v1.Hash{amdManifest, armManifest}, folder: damaged + "it has an index, but none of its images", archive: damaged + "it lacks the manifest sha256:"},
		{name: "the index", without: []v1.Hash{digestOf(t, idx)}, folder: damaged, archive: damaged + "it lacks the manifest " + digestOf(t, idx).String()},
		{name: "an image beside it", without: []v1.Hash{otherManifest}, archive: damaged + "it lacks the manifest " + otherManifest.String()},
		{name: "that image is asked for", without: []v1.Hash{otherManifest}, ref: "other:1", folder: damaged + "it lacks the manifest " + otherManifest.String(), archive: damaged},
		{name: "a layer of that image", without: otherLayers, ref: "other:1", folder: damaged + "it lacks the layer " + otherLayers[0].String(), archive: damaged},
	} {
		dir := writeLayout(t, map[string]mutate.Appendable{"app:1": idx, "other:1": other})
		for _, h := range tt.without {
			if err := os.Remove(filepath.Join(dir, "blobs", "sha256", h.Hex)); err != nil {
				t.Fatal(err)
			}
		}
		file := filepath.Join(t.TempDir(), "images.tar")
		if err := os.WriteFile(file, ociSave(t, dir, nil), 0o644); err != nil {
			t.Fatal(err)
		}
		cache := t.TempDir()
		for _, place := range []struct{ kind, path, wantErr string }{{"folder", dir, tt.folder}, {"archive", file, tt.archive}, {"archive again", file, tt.archive}} {
			t.Run(tt.name+", "+place.kind, func(t *testing.T) {
				s := sources(t, func(s *Sources) {
					s.Dir, s.Layouts, s.Offline = cache, []string{place.path}, true
					if tt.platform.OS != "" {
						s.Platform = tt.platform
					}
				})
				ref := "app:1"
				if tt.ref != "" {
					ref = tt.ref
				}
				img, err := s.Image(t.Context(), ref)
				if place.wantErr == "" {
					if err != nil {
						t.Fatal(err)
					}
					contents(t, img)
					return
				}
				wantError(t, err, place.wantErr)
				registry := strings.Contains(err.Error(), "\n  registry ")
				if hard := strings.Contains(err.Error(), damaged); hard == registry {
					t.Errorf("other places asked: %v; error %v", registry, err)
				}
			})
		}
	}
}

// TestCutArchives: an archive that was cut anywhere is an error that says so,
// also between two of its files, where archive/tar sees an end.
func TestCutArchives(t *testing.T) {
	img := imageOf(t, "amd64", gzLayer(t, 1, 700), newLayerOf(t, tarOf(t, "f", nil), tarOf(t, "f", nil), types.OCIUncompressedLayer)) // that ends with zeros
	for name, whole := range map[string][]byte{
		"OCI": ociSave(t, writeLayout(t, map[string]mutate.Appendable{"app:1": img}), nil),
		"old": legacySave(t, map[string]v1.Image{"app:1": img}),
	} {
		file := filepath.Join(t.TempDir(), "images.tar")
		s := sources(t, func(s *Sources) { s.Layouts, s.Offline = []string{file}, true })
		for n := len(whole); n >= 512; n -= 512 {
			if err := os.WriteFile(file, whole[:n], 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := s.Image(t.Context(), "app:1")
			if n > len(whole)-1024 { // one block of zeros is an end, as with GNU tar
				if err != nil {
					t.Errorf("%s, %d of %d bytes: %v", name, n, len(whole), err)
				}
				continue
			}
			if err == nil || !strings.Contains(err.Error(), "it is cut short or incomplete") || !strings.Contains(err.Error(), "copy it again") {
				t.Errorf("%s, cut at %d of %d bytes: %v", name, n, len(whole), err)
			}
		}
	}
}

// TestStandIn: of two entries of one name, that which was saved is taken.
func TestStandIn(t *testing.T) {
	amd, arm := imageOf(t, "amd64", gzLayer(t, 1, 500)), imageOf(t, "arm64", gzLayer(t, 2, 500))
	dir := writeLayout(t, map[string]mutate.Appendable{refNameAnnotation + "=app:1": amd, imageNameAnnotation + "=app:1": arm})
	manifest, config, layers := parts(t, arm)
	for _, h := range append(layers, manifest, config) {
		if err := os.Remove(filepath.Join(dir, "blobs", "sha256", h.Hex)); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "images.tar")
	if err := os.WriteFile(file, ociSave(t, dir, nil), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{dir, file} {
		s := sources(t, func(s *Sources) { s.Layouts, s.Offline = []string{place}, true })
		contents(t, mustImage(t, s, "app:1"))
	}
	if _, err := sources(t, func(s *Sources) { s.Offline = true }).InArchive(t.Context(), file); err != nil {
		t.Error(err)
	}
}

// TestManyLost: an index.json in which nothing is whole costs no more than its
// length.
func TestManyLost(t *testing.T) {
	hash := func(n int) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%064x", n)} }
	common := "example.org/image:"
	i := inventory{sizes: map[v1.Hash]int64{}, known: map[v1.Hash]*lack{}}
	var all []named
	for n := range 100 * maxManifests { // each held against each would take many minutes
		d := v1.Descriptor{Digest: hash(n), Size: 1}
		if n%2 == 0 {
			i.sizes[d.Digest] = 1
		}
		i.known[d.Digest] = &lack{part: "manifest", desc: d, has: -1}
		all = append(all, named{Names: []string{common + fmt.Sprint(n/2*2), common + fmt.Sprint(n)}, Desc: d})
	}
	_, err := i.whole(t.Context(), all)
	wantError(t, err, "it lacks the manifest "+hash(0).String(), fmt.Sprintf("%d more of its %d images", len(all)/2-1, len(all)))
	there := i.present(all)
	for _, tt := range []struct {
		name string
		of   named
		want bool
	}{
		{"another of the name is there", named{Names: []string{"y", common + "4"}, Desc: v1.Descriptor{Digest: hash(5)}}, true},
		{"it is that itself", named{Names: []string{common + "4"}, Desc: v1.Descriptor{Digest: hash(4)}}, false},
		{"the other is not there", named{Names: []string{common + "5"}, Desc: v1.Descriptor{Digest: hash(4)}}, false},
		{"no name", named{Desc: v1.Descriptor{Digest: hash(5)}}, false},
	} {
		if got := there.standIn(tt.of); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// TestZeros: what is read after a file's end, up to the end of a tar.
func TestZeros(t *testing.T) {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	tarFile(tw, "zeros", make([]byte, 513))
	tw.Flush()
	cutOff := buf.Len()
	tw.Close()
	for n, want := range map[int]bool{cutOff: true, cutOff + 512: false, buf.Len(): false} {
		s, err := openStore(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		u := &unpacked{s: s, files: map[string]v1.Descriptor{}}
		if err := u.read(t.Context(), io.LimitReader(bytes.NewReader(buf.Bytes()), int64(n))); err != nil || u.cut != want {
			t.Errorf("%d of %d bytes: cut %v, %v", n, buf.Len(), u.cut, err)
		}
	}
}
