package build

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A signature stays while what it signs does, and no longer.
func TestSignatureOfAnEarlierBuild(t *testing.T) {
	opt := fileOptions(t, linuxkitFile)
	var said bytes.Buffer
	opt.Log = slog.New(slog.NewTextHandler(&said, nil))
	build := func() {
		t.Helper()
		if _, err := Build(t.Context(), opt); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(opt.Out, "hook.json.minisig")
	signed := func() bool { _, err := os.Stat(path); return err == nil }
	sign := func() {
		if err := os.WriteFile(path, []byte("a signature"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build()
	sign()
	build() // the same again
	if !signed() || strings.Contains(said.String(), "signature") {
		t.Errorf("the signature of the same build is gone: %s", &said)
	}
	changed := bytes.Replace(opt.Files[0].Data, []byte("hello"), []byte("bye"), 1)
	before := opt.Files[0].Data
	opt.Files[0].Data = []byte("no: [template")
	if _, err := Build(t.Context(), opt); err == nil || !signed() {
		t.Errorf("a build that failed: %v, signed: %v", err, signed())
	}
	opt.Files[0].Data = changed
	build()
	if signed() || !strings.Contains(said.String(), "signature") {
		t.Errorf("the signature of another build is there, or it is not said: %s", &said)
	}
	opt.Files[0].Data = before
	build()
	sign()
	opt.NoSBOM = true
	build()
	if signed() {
		t.Error("the signature of a build with an SBOM is there")
	}
}

// A build that fails leaves no folder that it made, and none that was there
// is lost.
func TestFailedBuildLeavesNoFolder(t *testing.T) {
	images := fileImages(t)
	images["docker.io/library/bad:1"] = testImage(t, v1.Config{}, static.NewLayer(bytes.Repeat([]byte("no tar"), 200), types.DockerUncompressedLayer))
	opt := fileOptions(t, "init: ['bad:1']\n")
	opt.Images = images
	there := t.TempDir()
	for _, out := range []string{filepath.Join(there, "out", "hook"), there} {
		opt.Out = out
		if _, err := Build(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "tar") {
			t.Errorf("want an error of the layer: %v", err)
		}
	}
	if left := must(os.ReadDir(there)); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// What a build that was killed has left in the folder goes with the next one;
// what only looks like it stays.
func TestKilledBuildIsRemoved(t *testing.T) {
	opt := fileOptions(t, linuxkitFile)
	dirs := []string{".hooksmith-123", ".hooksmith-mine", ".hooksmith-", ".hooksmith"}
	for _, dir := range dirs {
		if err := os.MkdirAll(filepath.Join(opt.Out, dir, "below"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(opt.Out, ".hooksmith-5")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Build(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range must(os.ReadDir(opt.Out)) {
		if strings.HasPrefix(e.Name(), ".") {
			left = append(left, e.Name())
		}
	}
	if want := []string{".hooksmith", ".hooksmith-", ".hooksmith-5", ".hooksmith-mine"}; !slices.Equal(left, want) {
		t.Errorf("left %q, want %q", left, want)
	}
}
