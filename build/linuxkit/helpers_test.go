package linuxkit

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"reflect"
	"sort"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// images is a Resolver over a map of expanded references.
type images map[string]v1.Image

func (i images) Image(_ context.Context, ref string) (v1.Image, error) {
	if img, ok := i[ref]; ok {
		return img, nil
	}
	return nil, fmt.Errorf("MANIFEST_UNKNOWN: %s", ref)
}

// image builds an image of a configuration and layers of entries, lowest first.
func image(t testing.TB, config v1.Config, layers ...[]Entry) v1.Image {
	t.Helper()
	img := empty.Image
	for _, entries := range layers {
		img = must(mutate.AppendLayers(img, gzipped(t, entries...)))
	}
	file := must(img.ConfigFile()).DeepCopy()
	file.Config = config
	return must(mutate.ConfigFile(img, file))
}

// gzipped makes a layer that must be decompressed, as those of registries.
func gzipped(t testing.TB, entries ...Entry) v1.Layer {
	t.Helper()
	data := content(t, must(NewLayer(Epoch, entries...)))
	return must(tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}))
}

func labelled(t testing.TB, label string) v1.Image {
	t.Helper()
	return image(t, v1.Config{Labels: map[string]string{LabelKey: label}, Entrypoint: []string{"/bin/x"}})
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func content(t testing.TB, layer v1.Layer) []byte {
	t.Helper()
	r := must(layer.Uncompressed())
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// treeNode is a file of the oracle's tree.
type treeNode struct {
	hdr  tar.Header
	data string
}

func (n treeNode) String() string {
	s := fmt.Sprintf("%c %04o %d:%d", n.hdr.Typeflag, n.hdr.Mode, n.hdr.Uid, n.hdr.Gid)
	if n.hdr.Linkname != "" {
		s += " -> " + n.hdr.Linkname
	}
	if n.data != "" {
		s += " " + n.data
	}
	return s
}

// tree is the naive oracle of flattening and placing: a map of paths. It
// makes no parents: those that the parts do not list are not in it.
type tree map[string]treeNode

func unpack(t testing.TB, parts []Part) tree {
	t.Helper()
	all := tree{}
	for _, part := range parts {
		for name, n := range flatten(t, part.Layers) {
			name = path.Join(part.Prefix, name)
			if have, ok := all[name]; ok && have.hdr.Typeflag == tar.TypeDir && n.hdr.Typeflag != tar.TypeDir {
				all.remove(name)
			}
			all[name] = n
		}
	}
	return all
}

func (t tree) remove(name string) {
	delete(t, name)
	for p := range t {
		if strings.HasPrefix(p, name+"/") {
			delete(t, p)
		}
	}
}

func flatten(t testing.TB, layers []v1.Layer) tree {
	t.Helper()
	all := tree{}
	for _, layer := range layers {
		upper := tree{}
		tr := tar.NewReader(bytes.NewReader(content(t, layer)))
		for {
			hdr, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			name := cleanName(hdr.Name)
			if dir, base := path.Split(name); strings.HasPrefix(base, ".wh.") {
				all.remove(dir + strings.TrimPrefix(base, ".wh."))
				continue
			}
			upper[name] = treeNode{*hdr, string(must(io.ReadAll(tr)))}
		}
		for name, n := range upper {
			if n.hdr.Typeflag != tar.TypeDir {
				all.remove(name)
			}
			all[name] = n
		}
	}
	return all
}

func (t tree) paths() []string {
	var all []string
	for p := range t {
		all = append(all, p)
	}
	sort.Strings(all)
	return all
}

// file returns the content of a file that must be there.
func (t tree) file(tb testing.TB, name string) string {
	tb.Helper()
	n, ok := t[name]
	if !ok {
		tb.Fatalf("no %s in\n%s", name, strings.Join(t.paths(), "\n"))
	}
	return n.data
}

// parse parses one file that must be right.
func parse(t testing.TB, yaml string) *Config {
	t.Helper()
	cfg, err := Parse(Source{"hook.yaml", []byte(yaml)})
	if err != nil {
		t.Fatalf("%v\n%s", err, yaml)
	}
	return cfg
}

// layout parses and lays out one file that must be right.
func layout(t testing.TB, yaml string, images images, opts Options) []Part {
	t.Helper()
	parts, err := Layout(t.Context(), parse(t, yaml), images, opts)
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

// one resolves the container of a file that has one.
func one(t testing.TB, yaml, label string, opts Options) *ResolvedContainer {
	t.Helper()
	img := labelled(t, label)
	r, err := Resolve(t.Context(), parse(t, yaml), ResolverFunc(func(context.Context, string) (v1.Image, error) { return img, nil }), opts)
	if err != nil {
		t.Fatal(err)
	}
	return r.Containers[0]
}

// equalJSON compares as JSON: order and space do not count.
func equalJSON(t testing.TB, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("%v in %s", err, want)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func toJSON(t testing.TB, v any) string {
	t.Helper()
	return string(must(marshal(v)))
}

func try(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// imageOf makes an image of layers as they are.
func imageOf(t testing.TB, layers ...v1.Layer) v1.Image {
	t.Helper()
	return must(mutate.AppendLayers(empty.Image, layers...))
}

// checkLayer checks that an uncompressed layer is what it says, each time it
// is read.
func checkLayer(t testing.TB, layer v1.Layer) {
	t.Helper()
	data := content(t, layer)
	if again := content(t, layer); !bytes.Equal(data, again) {
		t.Error("reads differ")
	}
	if size := must(layer.Size()); size != int64(len(data)) || size%512 != 0 {
		t.Errorf("%d bytes, Size says %d", len(data), size)
	}
	want := fmt.Sprintf("sha256:%x", sha256.Sum256(data))
	if must(layer.Digest()).String() != want || must(layer.DiffID()).String() != want {
		t.Errorf("hashes are not those of the content")
	}
	if mt := must(layer.MediaType()); mt != types.OCIUncompressedLayer {
		t.Error(mt)
	}
}
