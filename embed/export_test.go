package embed

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

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
