package embed

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

func destOf(t *testing.T, path string) Dest {
	t.Helper()
	dest, err := ParseDest(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return dest
}

// TestExport: a layout that other tools read, and from which the same set comes
// back.
func TestExport(t *testing.T) {
	base := layerOf(folder("etc/"))
	img := imageOf(base, layerOf(regular("etc/x", "1")))
	own := must(img.Digest()).String()
	set := []Image{
		{Want: Want{Source: "example.org/a:1", Names: []string{"127.0.0.1/embedded/a:latest"}}, Image: img, Digests: []string{own, digest("e")}},
		{Want: Want{Source: "alpine@" + digest("f")}, Image: imageOf(base)},
	}
	dir := t.TempDir()
	for _, dest := range []string{filepath.Join(dir, "layout"), filepath.Join(dir, "set.tar")} {
		var written int64
		if err := Export(t.Context(), destOf(t, dest), set, func(n int64) { written += n }); err != nil {
			t.Fatal(err)
		}
		list, _, err := ReadExport(dest)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != 2 || list[0].Digest != own || !reflect.DeepEqual(list[0].Known, set[0].Digests) || !reflect.DeepEqual(list[0].Names, set[0].Names) {
			t.Errorf("%s: %+v", dest, list)
		}
		if list[0].Ref() != "example.org/a@"+own || list[1].Names != nil || written == 0 {
			t.Errorf("%s: %s, %v, %d bytes", dest, list[0].Ref(), list[1].Names, written)
		}
	}
	read := must(must(layout.FromPath(filepath.Join(dir, "layout"))).Image(must(img.Digest())))
	if must(read.ConfigName()) != must(img.ConfigName()) || len(must(read.Layers())) != 2 {
		t.Error("another tool reads another image")
	}
	blob := filepath.Join(dir, "layout", "blobs", "sha256", must(base.Digest()).Hex)
	before := must(os.Stat(blob))
	if err := Export(t.Context(), destOf(t, filepath.Join(dir, "layout")), set, nil); err != nil || !os.SameFile(before, must(os.Stat(blob))) {
		t.Errorf("what was there was written again: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := Export(ctx, destOf(t, filepath.Join(dir, "stopped.tar")), set, nil)
	if _, there := os.Stat(filepath.Join(dir, "stopped.tar")); !errors.Is(err, context.Canceled) || there == nil {
		t.Errorf("cancelled: %v", err)
	}
	if left := must(filepath.Glob(filepath.Join(dir, ".*"))); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestReadExport: layouts of other tools, and damaged ones.
func TestReadExport(t *testing.T) {
	write := func(index string) string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte(index), 0o644); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	foreign := t.TempDir()
	p := must(layout.Write(foreign, empty.Index))
	for _, name := range []string{"ghcr.io/x/y:1", "latest"} {
		img := imageOf(layerOf(regular("f", name)))
		if err := p.AppendImage(img, layout.WithAnnotations(map[string]string{refAnnotation: name})); err != nil {
			t.Fatal(err)
		}
	}
	list, unnamed, err := ReadExport(foreign)
	if err != nil || len(list) != 1 || list[0].Names[0] != "ghcr.io/x/y:1" || len(unnamed) != 1 || !strings.HasSuffix(unnamed[0], " latest") {
		t.Errorf("another tool's layout: %+v, %q, %v", list, unnamed, err)
	}
	entry := `{"manifests":[{"mediaType":"x","size":1,"digest":"` + digest("a") + `","annotations":{"dev.hooksmith.embed":`
	for index, want := range map[string]string{
		"<html>":                             "index.json",
		`{"manifests":[]}`:                   "it has no images",
		`{"manifests":[{"digest":"md5:x"}]}`: "index.json",
		entry + `"{"}}]}`:                    "dev.hooksmith.embed",
		entry + `"{\"source\":\"A B\"}"}}]}`: "A B",
		entry + `"{\"source\":\"a\",\"names\":[\"../x\"]}"}}]}`:       "../x",
		entry + `"{\"source\":\"a\",\"names\":[\"a\"]}"}}]}`:          "not as docker has it",
		entry + `"{\"source\":\"a\",\"digests\":[\"sha256:1\"]}"}}]}`: "dev.hooksmith.embed",
	} {
		if _, _, err := ReadExport(write(index)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", index, err, want)
		}
	}
}

// TestExportAgain: a folder of ours holds exactly the set, whatever was in it
// before, and its index is never ahead of its blobs.
func TestExportAgain(t *testing.T) {
	base, second := layerOf(folder("etc/")), layerOf(regular("etc/x", "1"))
	small := []Image{{Want: Want{Source: "a:1", Names: []string{"a:1"}}, Image: imageOf(base)}}
	large := append(slices.Clone(small), Image{Want: Want{Source: "b:1", Names: []string{"b:1"}}, Image: imageOf(second)})
	dir := filepath.Join(t.TempDir(), "set")
	dest := destOf(t, dir)
	blobs := filepath.Join(dir, "blobs", "sha256")
	for _, set := range [][]Image{large, small} {
		if err := Export(t.Context(), dest, set, nil); err != nil {
			t.Fatal(err)
		}
		if n := len(must(os.ReadDir(blobs))); n != 3*len(set) { // manifest, configuration, layer
			t.Errorf("%d images: %d blobs", len(set), n)
		}
	}
	layer := filepath.Join(blobs, must(base.Digest()).Hex)
	good := must(os.ReadFile(layer))
	bad := slices.Clone(good)
	bad[100] ^= 1
	for _, damage := range [][]byte{bad, good[:10]} {
		if err := os.WriteFile(layer, damage, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := Export(t.Context(), dest, small, nil); err != nil || !bytes.Equal(must(os.ReadFile(layer)), good) {
			t.Errorf("a damaged blob was left: %v", err)
		}
	}
	before := must(os.ReadFile(filepath.Join(dir, "index.json")))
	broken := append(slices.Clone(small), Image{Want: Want{Source: "z:1"}, Image: imageOf(failing{second})})
	if err := Export(t.Context(), dest, broken, nil); !errors.Is(err, errBroken) {
		t.Errorf("error %v", err)
	}
	if !bytes.Equal(must(os.ReadFile(filepath.Join(dir, "index.json"))), before) {
		t.Error("the index names what is not there")
	}
	begun := destOf(t, filepath.Join(t.TempDir(), "begun"))
	if err := Export(t.Context(), begun, broken, nil); !errors.Is(err, errBroken) {
		t.Errorf("error %v", err)
	}
	if _, _, err := ReadExport(begun.Path); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("an export that was interrupted: %v", err)
	}
	if err := Export(t.Context(), begun, large, nil); err != nil {
		t.Errorf("after an export that was interrupted: %v", err)
	}
}

// TestExportLeftovers: what a crash left in a folder goes with the next export,
// and nothing else in its root.
func TestExportLeftovers(t *testing.T) {
	set := []Image{{Want: Want{Source: "a:1", Names: []string{"a:1"}}, Image: imageOf(layerOf(folder("etc/")))}}
	dir := filepath.Join(t.TempDir(), "set")
	put := func(names ...string) {
		for _, name := range names {
			if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), nil, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
	}
	put("oci-layout", ".oci-layout1") // before there was an index.json
	for range 2 {
		if err := Export(t.Context(), destOf(t, dir), set, nil); err != nil {
			t.Fatal(err)
		}
		var left []string
		for _, e := range must(os.ReadDir(dir)) {
			left = append(left, e.Name())
		}
		left = slices.DeleteFunc(left, func(s string) bool { return slices.Contains([]string{".index.json", ".index.json.old", "README"}, s) })
		if !slices.Equal(left, []string{"blobs", "index.json", "oci-layout"}) || len(must(os.ReadDir(filepath.Join(dir, "blobs/sha256")))) != 3 {
			t.Errorf("there is %q", left)
		}
		put(".index.json123", ".oci-layout99", ".index.json", ".index.json.old", "README", "blobs/sha256/."+digest("a")[7:]+"12")
	}
	for _, name := range []string{".index.json", ".index.json.old", "README"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// TestExportAtOnce: of two exports into one folder, the second is an error.
func TestExportAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "set")
	var second error
	var pending []string
	l := during{layerOf(regular("f", "1")), func() {
		other := []Image{{Want: Want{Source: "b:1", Names: []string{"b:1"}}, Image: imageOf(layerOf(folder("etc/")))}}
		second = Export(t.Context(), destOf(t, dir), other, nil)
		pending = must(filepath.Glob(filepath.Join(dir, "blobs/sha256/.*")))
	}}
	set := []Image{{Want: Want{Source: "a:1", Names: []string{"a:1"}}, Image: imageOf(l)}}
	if err := Export(t.Context(), destOf(t, dir), set, nil); err != nil {
		t.Fatal(err)
	}
	if second == nil || !strings.Contains(second.Error(), "another hooksmith is writing "+dir) {
		t.Errorf("the second: %v", second)
	}
	if len(pending) != 1 { // where a crash leaves it for removeOthers
		t.Errorf("while a layer was written there was %q", pending)
	}
	if list, _, err := ReadExport(dir); err != nil || len(list) != 1 || list[0].Names[0] != "a:1" {
		t.Errorf("%+v, %v", list, err)
	}
	if err := Export(t.Context(), destOf(t, dir), set, nil); err != nil {
		t.Errorf("when the first is over: %v", err)
	}
}

// during is a layer that tells when it is read.
type during struct {
	v1.Layer
	tell func()
}

func (d during) Compressed() (io.ReadCloser, error) {
	d.tell()
	return d.Layer.Compressed()
}

var errBroken = errors.New("broken")

// failing is a layer whose content does not come.
type failing struct{ v1.Layer }

func (failing) Compressed() (io.ReadCloser, error) { return nil, errBroken }

// TestDest: what is not a folder of ours, or no destination, stays as it is.
func TestDest(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.Mkdir(in("d.tar"), 0o755), os.Mkdir(in("empty"), 0o755), os.Mkdir(in("home"), 0o755), os.WriteFile(in("home/file"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	p := must(layout.Write(in("foreign"), empty.Index))
	set := []Image{{Want: Want{Source: "a:1", Names: []string{"a:1"}}, Image: imageOf(layerOf(folder("etc/")))}}
	for _, name := range []string{"ours", "mixed"} {
		if err := Export(t.Context(), destOf(t, in(name)), set, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []layout.Path{p, layout.Path(in("mixed"))} {
		if err := p.AppendImage(imageOf(layerOf(regular("f", "1")))); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]string{
		"": "is empty", in("x.tgz"): "compressed already", in("x.tar.gz"): "compressed already", in("X.TAR.ZST"): "compressed already", "http://x/y": "not a URL",
		in("d.tar"): "d.tar/ to write", in("home/file"): "there is a file", in("home/file/x"): "there is a file", in("home/file/x.tar"): "there is a file",
		in("home"): "no export of hooksmith", in("foreign"): "hooksmith did not put there", in("mixed"): "hooksmith did not put there",
		in("ours"): "", in("empty"): "", in("none"): "", in("none.tar"): "", in("none.TAR"): "", in("d.tar") + "/": "", "-": "",
	} {
		dest, err := ParseDest(text, io.Discard)
		if err == nil {
			err = dest.Check()
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
	was := must(os.ReadFile(in("foreign/index.json")))
	if err := Export(t.Context(), Dest{Path: in("foreign")}, set, nil); err == nil || !bytes.Equal(must(os.ReadFile(in("foreign/index.json"))), was) {
		t.Errorf("another tool's layout was written over: %v", err)
	}
	var stream bytes.Buffer
	if err := errors.Join(Export(t.Context(), must(ParseDest("-", &stream)), set, nil), Export(t.Context(), destOf(t, in("deep/x.TAR")), set, nil)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stream.Bytes(), must(os.ReadFile(in("deep/x.TAR")))) {
		t.Error("the stream is another tar")
	}
}

// TestReadExportForeign: what other tools' layouts and archives are refused
// for, or how they are read.
func TestReadExportForeign(t *testing.T) {
	dir := t.TempDir()
	p := must(layout.Write(filepath.Join(dir, "platforms"), empty.Index))
	for _, arch := range []string{"amd64", "arm64"} {
		img := imageOf(layerOf(regular("f", arch)))
		if err := p.AppendImage(img, layout.WithAnnotations(map[string]string{refAnnotation: "r.example/x:1"}), layout.WithPlatform(v1.Platform{OS: "linux", Architecture: arch})); err != nil {
			t.Fatal(err)
		}
	}
	list, _, err := ReadExport(string(p))
	if err != nil || len(list) != 1 || list[0].Ref() != "r.example/x:1" || list[0].Export == "" {
		t.Errorf("one image for two platforms: %+v, %v", list, err)
	}
	unnamed := must(layout.Write(filepath.Join(dir, "unnamed"), empty.Index))
	if err := unnamed.AppendImage(imageOf(layerOf(regular("f", "1")))); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ReadExport(string(unnamed)); err == nil || !strings.Contains(err.Error(), "--layout "+string(unnamed)+" --embed") {
		t.Errorf("no names: %v", err)
	}
	for magic, want := range map[string]string{"\x1f\x8b\x08\x00": "gzip -d", "\x28\xb5\x2f\xfd": "zstd -d", "text": "no tar, or damaged"} {
		file := filepath.Join(dir, "x")
		if err := os.WriteFile(file, []byte(magic), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ReadExport(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", magic, err, want)
		}
	}
}
