package build

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hooksmith/build/fetch"
)

// A changed file of the template makes one segment anew; the bytes are those
// of a build from nothing.
func TestRebuildMakesWhatChanged(t *testing.T) {
	opt := fileOptions(t, linuxkitFile)
	first, err := Build(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	opt.Files[0].Data = bytes.Replace(opt.Files[0].Data, []byte("hello"), []byte("bye"), 1)
	opt.Out = t.TempDir()
	second, err := Build(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range second.Segments {
		if (s.SHA256 != first.Segments[i].SHA256) != (s.Name == groupFiles) {
			t.Errorf("segment %s: changed: %t", s.Name, s.SHA256 != first.Segments[i].SHA256)
		}
	}
	opt.Cache, opt.Out = &fetch.Cache{Dir: t.TempDir(), Offline: true}, t.TempDir()
	clean, err := Build(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	compareHashes(t, hashes(clean), hashes(second))
	if clean.BuildID != second.BuildID || clean.BuildID == first.BuildID {
		t.Error("build ids do not follow the inputs")
	}
}

// A lock file of image digests holds the build to them.
func TestLockedImages(t *testing.T) {
	opt := fileOptions(t, linuxkitFile)
	if _, err := Build(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	lock, err := ParseLock(LockName, must(os.ReadFile(filepath.Join(opt.Out, LockName))))
	if err != nil {
		t.Fatal(err)
	}
	opt.Lock = lock
	if _, err := Build(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	images := fileImages(t)
	images["docker.io/library/one:1"] = images["docker.io/library/two:1"]
	opt.Images = images
	_, err = Build(t.Context(), opt)
	if err == nil || !strings.Contains(err.Error(), "~ image docker.io/library/one:1: sha256:") {
		t.Errorf("error %v", err)
	}
}

func TestManifestOfFile(t *testing.T) {
	opt := fileOptions(t, linuxkitFile)
	opt.NoSBOM = true
	if _, err := Build(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	var m Manifest
	if err := json.Unmarshal(must(os.ReadFile(filepath.Join(opt.Out, ManifestName))), &m); err != nil {
		t.Fatal(err)
	}
	images := 0
	for _, in := range m.Builds[0].Inputs {
		if in.Kind == "image" && strings.HasPrefix(in.Version, "sha256:") {
			images++
		}
	}
	if images != 4 {
		t.Errorf("%d images among the inputs, want 4", images)
	}
	if _, err := os.Stat(filepath.Join(opt.Out, SBOMName)); !errors.Is(err, os.ErrNotExist) {
		t.Error("an SBOM in spite of NoSBOM")
	}
}

// A second build of the same has nothing to do, and notices whatever else has
// touched its files.
func TestUpToDate(t *testing.T) {
	opt := fileOptions(t, linuxkitFile)
	opt.Program = "one"
	initrd := filepath.Join(opt.Out, "test-initrd.img")
	build := func() (rebuilt bool) {
		t.Helper()
		before, err := noteOf(opt.Out, "test-initrd.img")
		a, buildErr := Build(t.Context(), opt)
		if buildErr != nil {
			t.Fatal(buildErr)
		}
		after := must(noteOf(opt.Out, "test-initrd.img"))
		if len(a.Files) != 3 || len(a.Segments) == 0 {
			t.Errorf("artifacts: %+v", a)
		}
		return err != nil || before != after
	}
	want := func(name string, rebuilt bool) {
		t.Helper()
		if got := build(); got != rebuilt {
			t.Errorf("%s: built again: %t", name, got)
		}
	}
	want("first", true)
	want("nothing changed", false)
	data := must(os.ReadFile(initrd))
	data[len(data)/2] ^= 1
	if err := os.WriteFile(initrd, data, 0o644); err != nil {
		t.Fatal(err)
	}
	want("damaged", true)
	if err := os.Remove(filepath.Join(opt.Out, ChecksumName)); err != nil {
		t.Fatal(err)
	}
	want("checksums gone", true)
	opt.Program = "two"
	want("another program", true)
	opt.Level = 1
	want("another level", true)
	opt.Files[0].Data = append(opt.Files[0].Data, "# comment\n"...)
	want("another file", true)
	want("the same", false)
	opt.Program = ""
	want("a program without a name", true)
}
