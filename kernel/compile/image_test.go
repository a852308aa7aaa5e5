package compile

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// compiledKernel is what fetch leaves: a folder with files.
func compiledKernel(t *testing.T, names ...string) *Kernel {
	t.Helper()
	k := &Kernel{Release: "6.12.48", dir: t.TempDir()}
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(k.dir, n), bytes.Repeat([]byte(n), 10000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func testImage(t *testing.T, s Spec, names ...string) v1.Image {
	t.Helper()
	img, err := newImage(s, compiledKernel(t, names...))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// TestImage: same files, same bytes, and an image that is what it says.
func TestImage(t *testing.T) {
	all := []string{"kernel", "kernel.tar", "System.map", "dtbs.tar.gz"}
	img := testImage(t, spec(), all...)
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	first, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := testImage(t, spec(), all...).Digest(); again != first {
		t.Errorf("%s, then %s", first, again)
	}
	if without, _ := testImage(t, spec(), all[:3]...).Digest(); without == first {
		t.Error("dtbs.tar.gz is not in it")
	}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for label, want := range map[string]string{
		labelVersion: "6.12.48", labelConfig: "vm-6.12.y-x86_64", labelHash: strings.Repeat("a", 64), labelSource: "linux.tar",
		"org.opencontainers.image.version": "6.12.48", labelInputs: spec().hash(),
	} {
		if m.Annotations[label] != want {
			t.Errorf("annotation %s is %q, want %q", label, m.Annotations[label], want)
		}
	}
	if _, err := newImage(spec(), &Kernel{dir: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("no error without a folder")
	}
}

// TestDeliver pushes to a real registry and exports.
func TestDeliver(t *testing.T) {
	refused := false
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refused {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	defer srv.Close()
	tag, err := name.NewTag(strings.TrimPrefix(srv.URL, "http://") + "/hook-kernel:" + spec().Tag())
	if err != nil {
		t.Fatal(err)
	}
	img := testImage(t, spec(), "kernel", "kernel.tar", "System.map")
	want, _ := img.Digest()
	file := filepath.Join(t.TempDir(), "kernel.tar")
	b, r := &Builder{}, &Result{}
	if err := b.deliver(t.Context(), tag, img, Want{Push: true, Export: file}, r); err != nil {
		t.Fatal(err)
	}
	pushed, err := remote.Image(tag)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := pushed.Digest(); got != want || r.Digest != want {
		t.Errorf("pushed %s, said %s, want %s", got, r.Digest, want)
	}
	exported, err := tarball.ImageFromPath(file, &tag)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := exported.ConfigName(); got != must(img.ConfigName()) {
		t.Errorf("exported %s", got)
	}
	refused = true
	err = b.deliver(t.Context(), tag, img, Want{Push: true}, r)
	var h interface{ Hint() string }
	if !errors.As(err, &h) || !strings.Contains(h.Hint(), "docker login") || !strings.Contains(err.Error(), tag.Name()) {
		t.Errorf("%v", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestOriginal: an image that went through Docker is the same in the registry.
func TestOriginal(t *testing.T) {
	img := testImage(t, spec(), "kernel", "kernel.tar", "System.map")
	want := must(img.Digest())
	tag := must(name.NewTag("a.test/b:c"))
	file := filepath.Join(t.TempDir(), "saved.tar")
	if err := tarball.WriteToFile(file, tag, img); err != nil { // without annotations, as docker save
		t.Fatal(err)
	}
	saved, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if must(saved.Digest()) == want {
		t.Fatal("the test shows nothing")
	}
	again, err := original(saved, filepath.Join(t.TempDir(), layerName))
	if err != nil {
		t.Fatal(err)
	}
	if got := must(again.Digest()); got != want {
		t.Errorf("%s, then %s", want, got)
	}
	foreign := must(mutate.CreatedAt(saved, v1.Time{Time: epoch.AddDate(1, 0, 0)}))
	if got, err := original(foreign, filepath.Join(t.TempDir(), layerName)); err != nil || must(got.Digest()) != must(foreign.Digest()) {
		t.Errorf("another image was changed: %v", err)
	}
}

// TestExportIsWholeOrNot: a full disk or an interrupt leaves the old file.
func TestExportIsWholeOrNot(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "kernel.tar")
	if err := os.WriteFile(file, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	img := testImage(t, spec(), "kernel", "kernel.tar", "System.map")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := export(ctx, must(name.NewTag("a.test/b:c")), img, file); err == nil {
		t.Error("no error")
	}
	if got, _ := os.ReadFile(file); string(got) != "old" {
		t.Error("the old file is gone")
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	for path, want := range map[string]string{filepath.Join(dir, "none", "x.tar"): "there is no folder", dir: "no file"} {
		if err := checkExport(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
