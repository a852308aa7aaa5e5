package build

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
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

// A folder of several builds has a lock file for all of them.
func TestLockOfSeveralBuilds(t *testing.T) {
	first := fileOptions(t, linuxkitFile)
	second := fileOptions(t, "init: [init:1]\n")
	second.Out, second.Flavor = first.Out, FileFlavor("second", "amd64")
	build := func(opt Options) {
		t.Helper()
		if _, err := Build(t.Context(), opt); err != nil {
			t.Fatal(err)
		}
	}
	locked := func() *Lock {
		t.Helper()
		return must(ParseLock(LockName, must(os.ReadFile(filepath.Join(first.Out, LockName)))))
	}
	build(first)
	build(second)
	first.Lock = locked()
	build(first)
	if got := slices.Sorted(maps.Keys(locked().Flavors)); !slices.Equal(got, []string{"second", "test"}) {
		t.Errorf("the lock file has %q", got)
	}
	// A build whose files are gone has no place in the manifest, nor here.
	if err := os.Remove(filepath.Join(first.Out, "second-initrd.img")); err != nil {
		t.Fatal(err)
	}
	build(first)
	if got := slices.Sorted(maps.Keys(locked().Flavors)); !slices.Equal(got, []string{"test"}) {
		t.Errorf("the lock file has %q", got)
	}
	// One that nobody can read is written anew.
	if err := os.WriteFile(filepath.Join(first.Out, LockName), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	build(first)
	if locked().Flavors["test"] == nil {
		t.Error("the lock file has not been written anew")
	}
}

// What a template no longer makes does not stay beside what it makes now: a
// machine would boot an old kernel with a new initramfs.
func TestOutdatedFiles(t *testing.T) {
	opt := fileOptions(t, linuxkitFile)
	check := func(yaml string, format Format, want ...string) {
		t.Helper()
		opt.Files[0].Data, opt.Format = []byte(yaml), format
		if _, err := Build(t.Context(), opt); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range must(os.ReadDir(opt.Out)) {
			if strings.HasPrefix(e.Name(), "test") {
				got = append(got, e.Name())
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("the folder has %q, want %q", got, want)
		}
	}
	const without, withCmdline = "init: [init:1]\n", "kernel: {image: 'kernel:6.6.1', cmdline: a}\n"
	check(linuxkitFile, KernelInitrd, "test-cmdline", "test-initrd.img", "test-kernel")
	check(without, Tar, "test-cmdline", "test-initrd.img", "test-kernel", "test.tar")
	check(withCmdline, KernelInitrd, "test-cmdline", "test-initrd.img", "test-kernel", "test.tar")
	check(without, KernelInitrd, "test-initrd.img", "test.tar")
	check(withCmdline, KernelInitrd, "test-cmdline", "test-initrd.img", "test-kernel", "test.tar")
	mine := filepath.Join(opt.Out, "test-kernel")
	if err := os.WriteFile(mine, []byte("a kernel of someone else"), 0o644); err != nil {
		t.Fatal(err)
	}
	check(without, KernelInitrd, "test-initrd.img", "test-kernel", "test.tar")
}

// A damaged index of a layer costs a look at the layer, and no error.
func TestDamagedIndexIsMadeAgain(t *testing.T) {
	opt := fileOptions(t, linuxkitFile)
	first, err := Build(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	err = filepath.WalkDir(opt.Cache.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && bytes.HasPrefix(data, []byte("hooksmith layer index")) {
			damaged++
			data[len(data)/2] ^= 1
			err = os.WriteFile(path, data, 0o644)
		}
		return err
	})
	if err != nil || damaged < 4 {
		t.Fatalf("%d indexes: %v", damaged, err)
	}
	again, err := Build(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if again.Files[2].SHA256 != first.Files[2].SHA256 {
		t.Error("other bytes")
	}
}

// A kernel that was damaged in the cache is not what machines get.
func TestDamagedKernelIsTakenOutAgain(t *testing.T) {
	opt := fileOptions(t, linuxkitFile)
	for _, damaged := range []int{1, 1, 0} {
		if _, err := Build(t.Context(), opt); err != nil {
			t.Fatal(err)
		}
		if got := must(os.ReadFile(filepath.Join(opt.Out, "test-kernel"))); string(got) != "a kernel" {
			t.Errorf("the kernel is %q", got)
		}
		for _, path := range must(filepath.Glob(filepath.Join(opt.Cache.Dir, "derived", "*", "*-8"))) {
			if string(must(os.ReadFile(path))) == "a kernel" && damaged > 0 {
				damaged--
				if err := os.WriteFile(path, []byte("A KERNEL"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		if damaged != 0 {
			t.Error("the kernel is not in the cache")
		}
	}
}
