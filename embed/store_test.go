package embed

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// TestStore: two images that share a layer.
func TestStore(t *testing.T) {
	base, top := layerOf(folder("bin/"), regular("bin/sh", "shell")), layerOf(regular("x", "1"))
	a, b := imageOf(base), imageOf(base, top)
	index := digest("d")
	s, err := NewStore([]Image{
		{Want: Want{Source: "example.org/x/a:1", Names: []string{"127.0.0.1/embedded/a:latest"}}, Image: a, Digests: []string{must(a.Digest()).String()}},
		{Want: Want{Source: "alpine:3", Names: []string{"alpine:3", "127.0.0.1/embedded/b:v2"}}, Image: b, Digests: []string{index, must(b.Digest()).String()}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Layers) != 2 || s.Images[1].Layers[0] != s.Images[0].Layers[0] {
		t.Errorf("%d layers for two images that share one", len(s.Layers))
	}
	baseID, topID := must(base.DiffID()), must(top.DiffID())
	chain := digestOf([]byte(baseID.String() + " " + topID.String()))
	if got := s.Layers[1].ChainID().String(); got != chain {
		t.Errorf("chain ID %s, want %s", got, chain)
	}
	lines := must(list(must(s.Head.Uncompressed())))
	ids := []string{must(a.ConfigName()).String(), must(b.ConfigName()).String()}
	for _, want := range []string{
		"5 ./ 0710 0:0", "5 overlay2 0710 0:0", "5 overlay2/l 0700 0:0",
		"image/overlay2/imagedb/content/sha256/" + strings.TrimPrefix(ids[0], "sha256:"),
	} {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, want) }) {
			t.Errorf("head lacks %q", want)
		}
	}
	var names struct{ Repositories map[string]map[string]string }
	if err := json.Unmarshal(fileIn(t, s.Head, "image/overlay2/repositories.json"), &names); err != nil {
		t.Fatal(err)
	}
	for repository, refs := range map[string]map[string]string{
		"127.0.0.1/embedded/a": {"127.0.0.1/embedded/a:latest": ids[0]},
		"127.0.0.1/embedded/b": {"127.0.0.1/embedded/b:v2": ids[1]},
		"alpine":               {"alpine:3": ids[1], "alpine@" + index: ids[1], "alpine@" + must(b.Digest()).String(): ids[1]},
		"example.org/x/a":      {"example.org/x/a@" + must(a.Digest()).String(): ids[0]},
	} {
		for name, id := range refs {
			if names.Repositories[repository][name] != id {
				t.Errorf("%s is %q, want %s", name, names.Repositories[repository][name], id)
			}
		}
	}
	upper, lowerLink := s.Layers[1], "l/"
	_, link := cacheID(s.Layers[0].ChainID())
	lowerLink += link
	id, _ := cacheID(upper.ChainID())
	for name, want := range map[string]string{
		"overlay2/" + id + "/lower":                                          lowerLink,
		"image/overlay2/layerdb/sha256/" + upper.ChainID().Hex + "/parent":   baseID.String(),
		"image/overlay2/layerdb/sha256/" + upper.ChainID().Hex + "/diff":     topID.String(),
		"image/overlay2/layerdb/sha256/" + upper.ChainID().Hex + "/size":     "1",
		"image/overlay2/layerdb/sha256/" + upper.ChainID().Hex + "/cache-id": id,
	} {
		if got := string(fileIn(t, upper, name)); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// fileIn is the content of a file of a layer's tar.
func fileIn(t *testing.T, l v1.Layer, name string) []byte {
	t.Helper()
	rc := must(l.Uncompressed())
	defer rc.Close()
	b := must(io.ReadAll(rc))
	lines := must(list(bytes.NewReader(b)))
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line, "0 "+name+" "); ok {
			var s string
			if _, quoted, ok := strings.Cut(rest, ` "`); ok {
				if err := json.Unmarshal([]byte(unhex(`"`+quoted)), &s); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
			}
			return []byte(s)
		}
	}
	t.Fatalf("no %s", name)
	return nil
}

// unhex leaves a quoted string of Go as JSON has it.
func unhex(s string) string { return strings.ReplaceAll(s, `\x`, `\\x`) }

// TestLayer: the parts of a store are layers as any other, and the same bytes
// each time.
func TestLayer(t *testing.T) {
	s := storeOf(t, layerOf(folder("etc/"), regular("etc/a", "1")), layerOf(regular("etc/b", "2"), whiteout("etc/.wh.a")))
	for _, l := range append(slices.Clone(s.Layers), s.Head) {
		var b bytes.Buffer
		n, err := l.WriteTo(&b)
		if got := must(l.DiffID()).String(); err != nil || got != digestOf(b.Bytes()) || n != must(l.Size()) {
			t.Errorf("%s: DiffID %s, error %v", l.Name(), got, err)
		}
	}
	again := storeOf(t, layerOf(folder("etc/"), regular("etc/a", "1")), layerOf(regular("etc/b", "2"), whiteout("etc/.wh.a")))
	for i, l := range s.Layers {
		if l.Identity() != again.Layers[i].Identity() || must(l.DiffID()) != must(again.Layers[i].DiffID()) {
			t.Errorf("layer %d: another one the second time", i)
		}
	}
	rc := must(s.Layers[0].Uncompressed()) // closed early, it leaves nothing behind
	must(rc.Read(make([]byte, 10)))
	if err := rc.Close(); err != nil {
		t.Error(err)
	}
}

// TestBadImages: what docker could not run is refused before anything is read.
// TestLayerVersion: other bytes of a layer, be it by another version of the
// library that compresses its tar-split, need another layerVersion: caches find
// a layer by its Identity.
func TestLayerVersion(t *testing.T) {
	const want = "3 14a3612256f3a648fa2d1c9233eb5560e29f25a2a7ef06e9e99d29324f079deb"
	store := storeOf(t, layerOf(folder("etc", mode(0o755)), regular("etc/motd", strings.Repeat("hello ", 1000)), symlink("etc/link", "motd")),
		layerOf(whiteout("etc/.wh.motd"), hardlink("etc/again", "etc/link")))
	h := sha256.New()
	for _, l := range append([]*Layer{store.Head}, store.Layers...) {
		rc := must(l.Uncompressed())
		if _, err := io.Copy(h, rc); err != nil {
			t.Fatal(err)
		}
		rc.Close()
	}
	if got := layerVersion + " " + hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("version and bytes are %s, want %s: if the bytes are meant to be others, raise layerVersion", got, want)
	}
}

func TestBadImages(t *testing.T) {
	foreign := mutate.Addendum{Layer: layerOf(regular("f", "")), MediaType: types.DockerForeignLayer, URLs: []string{"https://example.org/windows"}}
	var many []v1.Layer
	for i := range 126 {
		many = append(many, layerOf(regular("f", strings.Repeat("x", i))))
	}
	if _, err := NewStore([]Image{{Image: imageOf(many[:125]...)}}); err != nil {
		t.Errorf("125 layers, which docker takes: %v", err)
	}
	chart := mutate.ConfigMediaType(imageOf(layerOf(regular("f", ""))), "application/vnd.cncf.helm.config.v1+json")
	short := must(imageOf(layerOf(regular("f", "")), static.NewLayer([]byte("x"), types.DockerLayer)).ConfigFile()).DeepCopy()
	short.RootFS.DiffIDs = short.RootFS.DiffIDs[:1]
	for name, tt := range map[string]struct {
		img  v1.Image
		want string
	}{
		"foreign layer": {must(mutate.Append(imageOf(), foreign)), "foreign layer"},
		"no layers":     {imageOf(), "no layers"},
		"too many":      {imageOf(many...), "126 layers, and docker takes 125"},
		"helm chart":    {chart, "no container image"},
		"short config":  {must(mutate.ConfigFile(imageOf(layerOf(regular("f", "")), layerOf()), short)), "lists 1"},
	} {
		_, err := NewStore([]Image{{Want: Want{Source: "example.org/a:1", Origin: "images.txt:3"}, Image: tt.img}})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "example.org/a:1 (images.txt:3)") {
			t.Errorf("%s: error %v, want %q, with image and origin", name, err, tt.want)
		}
	}
	a, b := imageOf(layerOf(regular("a", ""))), imageOf(layerOf(regular("b", "")))
	_, err := NewStore([]Image{
		{Want: Want{Source: "a", Names: []string{"x:1"}}, Image: a}, {Want: Want{Source: "b", Names: []string{"x:1"}}, Image: b},
	})
	if err == nil || !strings.Contains(err.Error(), "x:1 stands for two images") {
		t.Errorf("one name for two: %v", err)
	}
}
