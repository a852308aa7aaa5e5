package embed

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// FuzzBundle: a bundle is read or refused, and what is read can be embedded.
func FuzzBundle(f *testing.F) {
	for _, name := range []string{"bundle-current.yaml", "bundle-older.yaml"} {
		f.Add(must(os.ReadFile("testdata/" + name)))
	}
	f.Add([]byte("<html>"))
	f.Add([]byte("kind: Bundles\nspec: {versionsBundles: [{tinkerbell: {a: {uri: r/tinkerbell/hub/x}}}]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 {
			return
		}
		b, err := ParseBundle("b", data)
		if err != nil {
			return
		}
		list, err := b.Wants("")
		if err != nil {
			t.Fatalf("a bundle that was read: %v", err)
		}
		set, _, err := Merge(list)
		if err != nil {
			t.Fatal(err)
		}
		checkNames(t, set)
	})
}

// FuzzImagesFile: the same for images.txt.
func FuzzImagesFile(f *testing.F) {
	f.Add([]byte("quay.io/a/b:1 127.0.0.1/embedded/b true\n# comment\nalpine"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := ParseImagesFile("f", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Fatalf("error without the file: %v", err)
			}
			return
		}
		checkNames(t, list)
	})
}

// FuzzIndex: a layout's index is read or refused, and what is read is a set.
func FuzzIndex(f *testing.F) {
	entry := `{"mediaType":"x","size":1,"digest":"` + digest("a") + `","annotations":{`
	f.Add([]byte(`{"manifests":[` + entry + `"dev.hooksmith.embed":"{\"source\":\"a:1\",\"names\":[\"a:1\"],\"digests\":[\"` + digest("b") + `\"]}"}}]}`))
	f.Add([]byte(`{"manifests":[` + entry + `"org.opencontainers.image.ref.name":"r/x:1"}},` + entry + `"io.containerd.image.name":"r/x:1"}}]}`))
	f.Add([]byte(`{"manifests":[` + entry + `"vnd.docker.reference.type":"x"}},` + entry + `"org.opencontainers.image.ref.name":"1"}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, _, err := parseIndex("set", data)
		if err != nil {
			return
		}
		set, dropped, err := Merge(list)
		if err != nil || len(set) == 0 {
			t.Fatalf("an index that was read: %d of %d images, %v", len(set), len(list), err)
		}
		checkNames(t, set)
		checkNames(t, dropped)
	})
}

func checkNames(t *testing.T, set []Want) {
	for _, w := range set {
		for _, name := range w.Names {
			if again, err := tagged(name); err != nil || again != name {
				t.Fatalf("name %q is not as docker has it: %q, %v", name, again, err)
			}
		}
	}
}

// FuzzLayer: any bytes as a layer over another one give a tar that stays below
// its folders and writes through no link, and docker gets the same bytes back.
func FuzzLayer(f *testing.F) {
	lower := tarOf(folder("etc/"), regular("etc/passwd", "root"), symlink("lib", "usr/lib"), folder("tmp/", mode(0o1777)))
	f.Add(tarOf(folder("etc/"), hardlink("x", "etc/passwd"), whiteout("etc/.wh.passwd")))
	f.Add(tarOf(whiteout(".wh..wh..opq"), symlink("a", "/"), regular("a/b", "1"), regular("a", "2")))
	f.Add(tarOf(whiteout(".wh.etc"), folder("etc/"), regular("etc/x", "1", xattr("user.a", "b")), folder("etc/")))
	f.Add(tarOf(regular("tmp/a/b/c", "1"), hardlink("tmp/d", "tmp/a/b/c"), hardlink("tmp/e", "/tmp/d")))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 {
			return
		}
		img := imageOf(static.NewLayer(lower, types.DockerUncompressedLayer), static.NewLayer(data, types.DockerUncompressedLayer))
		s, err := NewStore([]Image{{Want: Want{Source: "a"}, Image: img}})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := s.Layers[1].WriteTo(&out); err != nil {
			return
		}
		checkTar(t, s.Layers[1].ChainID(), &out)
	})
}

func checkTar(t *testing.T, chain v1.Hash, r io.Reader) {
	id, link := cacheID(chain)
	kinds := map[string]byte{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(h.Name, "/")
		inside := name == "overlay2/l/"+link || strings.HasPrefix(name+"/", "overlay2/"+id+"/") || strings.HasPrefix(name+"/", "image/overlay2/layerdb/sha256/"+chain.Hex+"/")
		if !inside || strings.Contains("/"+name+"/", "/../") {
			t.Fatalf("%q is outside of the layer", name)
		}
		if h.Typeflag == tar.TypeLink && !strings.HasPrefix(h.Linkname, "overlay2/"+id+"/diff/") {
			t.Fatalf("%q is a link to %q", name, h.Linkname)
		}
		for i, c := range name {
			if c == '/' && kinds[name[:i]] != 0 && kinds[name[:i]] != tar.TypeDir {
				t.Fatalf("%q is below %q, which is no directory", name, name[:i])
			}
		}
		if h.Typeflag != tar.TypeDir && kinds[name] == tar.TypeDir {
			for below := range kinds {
				if strings.HasPrefix(below, name+"/") {
					delete(kinds, below)
				}
			}
		}
		kinds[name] = h.Typeflag
	}
}
