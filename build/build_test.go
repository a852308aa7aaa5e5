package build

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hooksmith/build/debian"
	"hooksmith/build/fetch"
	"hooksmith/build/initramfs"
	"hooksmith/configs"
	"hooksmith/guest/embedded"
)

// The tests here build the cloud flavor from Debian's real packages, which stay
// below os.UserCacheDir()/hooksmith-test. They are skipped without a mirror,
// and under the race detector, where unpacking takes minutes: `make test` runs
// them without it.

const testFlavor = "hook-debian-cloud-amd64"

// liveOptions returns options that build the test flavor into a new folder.
func liveOptions(t testing.TB) Options {
	t.Helper()
	if raceDetector {
		t.Skip("unpacking Debian's packages takes minutes under the race detector")
	}
	if _, err := embedded.FS().Open("guest-linux-amd64"); err != nil {
		t.Skip("the guest program is not built: make guest")
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	opt := options(t, filepath.Join(dir, "hooksmith-test", "build"), t.TempDir())
	if _, err := NewPlan(t.Context(), opt); err != nil {
		t.Skipf("no Debian mirror: %v", err)
	}
	return opt
}

func options(t testing.TB, cache, out string) Options {
	t.Helper()
	flavors, err := LoadFlavors(configs.FS)
	if err != nil {
		t.Fatal(err)
	}
	flavor, err := flavors.Find(testFlavor)
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Flavor: flavor, Out: out, Version: "test", Compression: initramfs.Zstd, Level: 1,
		Mirrors: debian.HostMirrors(os.DirFS("/")),
		Configs: configs.FS, Guest: embedded.FS(), Cache: &fetch.Cache{Dir: cache},
	}
}

// hashes are the checksums of a build's files, by name.
func hashes(a *Artifacts) map[string]string {
	m := map[string]string{}
	for _, f := range a.Files {
		m[f.Name] = f.SHA256
	}
	return m
}

// The same bytes come out with an empty cache of unpacked layers, as another
// user, a day later, in another time zone and with another umask, and from the
// lock file of the first build.
func TestSameBytes(t *testing.T) {
	if dir := os.Getenv("HOOKSMITH_TEST_SAME_BYTES"); dir != "" {
		sameBytesChild(t, dir)
		return
	}
	opt := liveOptions(t)
	first, err := Build(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	want := hashes(first)

	t.Run("elsewhere", func(t *testing.T) {
		if os.Getuid() != 0 {
			t.Skip("only root can be another user")
		}
		dir, err := os.MkdirTemp("", "hooksmith-other-user-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		exe := filepath.Join(dir, "build.test")
		copyFile(t, os.Args[0], exe, 0o755)
		if err := os.CopyFS(filepath.Join(dir, "cache", "blobs"), os.DirFS(filepath.Join(opt.Cache.Dir, "blobs"))); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{dir, filepath.Join(dir, "cache")} {
			if err := os.Chmod(path, 0o777); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(exe, "-test.run=^TestSameBytes$", "-test.v")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOOKSMITH_TEST_SAME_BYTES="+dir, "TZ=Asia/Kathmandu", "HOME="+dir, "TMPDIR="+dir, "GOMAXPROCS=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		m, err := ReadManifest(filepath.Join(dir, "out"))
		if err != nil {
			t.Fatal(err)
		}
		compareHashes(t, hashes(&m.Builds[0]), want)
		for _, name := range []string{ManifestName, SBOMName, ChecksumName, LockName} {
			a, _ := os.ReadFile(filepath.Join(opt.Out, name))
			b, _ := os.ReadFile(filepath.Join(dir, "out", name))
			if len(a) == 0 || string(a) != string(b) {
				t.Errorf("%s differs", name)
			}
		}
	})
	t.Run("locked and offline", func(t *testing.T) {
		opt := opt
		text, err := os.ReadFile(filepath.Join(opt.Out, LockName))
		if err != nil {
			t.Fatal(err)
		}
		if opt.Lock, err = ParseLock(LockName, text); err != nil {
			t.Fatal(err)
		}
		opt.Out = t.TempDir()
		opt.Cache = &fetch.Cache{Dir: opt.Cache.Dir, Offline: true}
		again, err := Build(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		compareHashes(t, hashes(again), want)

		opt.Vars = map[string]string{"HOOK_VERSION": "other"}
		if _, err := Build(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "variable HOOK_VERSION") {
			t.Errorf("an input that the lock file does not have: error %v", err)
		}
	})
	t.Run("SOURCE_DATE_EPOCH", func(t *testing.T) {
		opt := opt
		opt.Out, opt.Epoch = t.TempDir(), time.Unix(1_000_000_000, 0)
		a, err := Build(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		newest := newestEntry(t, filepath.Join(opt.Out, a.Files[1].Name))
		if newest.After(opt.Epoch) {
			t.Errorf("an entry is of %s", newest)
		}
	})
}

// sameBytesChild is the build of another user.
func sameBytesChild(t *testing.T, dir string) {
	syscall.Umask(0o077)
	opt := options(t, filepath.Join(dir, "cache"), filepath.Join(dir, "out"))
	opt.Now = func() time.Time { return time.Now().Add(24 * time.Hour) }
	if _, err := Build(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
}

func compareHashes(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, sum := range want {
		if got[name] != sum {
			t.Errorf("%s: sha256 %s, want %s", name, got[name], sum)
		}
	}
}

func newestEntry(t *testing.T, path string) (newest time.Time) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = initramfs.Read(f, initramfs.Limits{}, func(e initramfs.Entry, _ io.Reader) error {
		if e.ModTime.After(newest) {
			newest = e.ModTime
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return newest
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, mode); err != nil {
		t.Fatal(err)
	}
}

// stopAt cancels a build in the middle of its n-th task.
type stopAt struct {
	mu   sync.Mutex
	name string
	stop func()
}

func (s *stopAt) Begin(name string, _ int64) fetch.Task {
	return &stopTask{s, strings.Contains(name, s.name)}
}

type stopTask struct {
	*stopAt
	hit bool
}

func (s *stopTask) Add(int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hit {
		s.stop()
	}
}
func (s *stopTask) Done(error) {}

func TestInterruptedBuildLeavesTheOldFiles(t *testing.T) {
	opt := liveOptions(t)
	if err := os.WriteFile(filepath.Join(opt.Out, "initramfs-x86_64"), []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	opt.Observer = &stopAt{name: "compressing", stop: cancel}
	if _, err := Build(ctx, opt); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want cancelled", err)
	}
	onlyOld(t, opt.Out)
}

func TestFullDisk(t *testing.T) {
	opt := liveOptions(t)
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	if err := syscall.Mount("tmpfs", opt.Out, "tmpfs", 0, "size=24m"); err != nil {
		t.Skip(err)
	}
	defer syscall.Unmount(opt.Out, 0)
	if err := os.WriteFile(filepath.Join(opt.Out, "initramfs-x86_64"), []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Build(t.Context(), opt)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "initramfs") {
		t.Errorf("error %v, want one that names the file and the full disk", err)
	}
	onlyOld(t, opt.Out)
}

func onlyOld(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != "initramfs-x86_64" {
		t.Errorf("the folder now holds %v", entries)
	}
}

func TestMirrorDown(t *testing.T) {
	opt := options(t, t.TempDir(), t.TempDir())
	opt.Cache.Retries, opt.Cache.Backoff = 1, time.Millisecond
	var err error
	if opt.Mirrors, err = debian.ParseMirror("http://127.0.0.1:1/debian"); err != nil {
		t.Fatal(err)
	}
	opt.Mirrors.Security = opt.Mirrors.Main
	if _, err := Build(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("error %v does not name the mirror", err)
	}
}

func TestUnavailableFlavor(t *testing.T) {
	opt := options(t, t.TempDir(), t.TempDir())
	opt.Flavor.Unavailable = "because of the test"
	if _, err := NewPlan(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "because of the test") {
		t.Errorf("error %v", err)
	}
}

func TestLock(t *testing.T) {
	pkg := &debian.Package{
		Name: "runc", Version: "1", Architecture: "amd64", Source: "runc", SourceVersion: "1", Archive: debian.MainArchive,
		Suite: "trixie", Filename: "pool/main/r/runc/runc_1_amd64.deb", Size: 1, SHA256: strings.Repeat("a", 64),
	}
	l := &Lock{}
	l.Put(&LockedFlavor{ID: "f", Kernel: "runc", Packages: []*debian.Package{pkg}})
	text, err := l.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseLock("x.lock", text)
	if err != nil {
		t.Fatal(err)
	}
	newer := *pkg
	newer.Version = "2"
	if got := back.Put(&LockedFlavor{ID: "f", Kernel: "runc", Packages: []*debian.Package{&newer}}); len(got) != 1 || got[0] != "~ package runc: 1 -> 2" {
		t.Errorf("changes: %q", got)
	}
	for name, bad := range map[string]string{
		"not JSON":      "{",
		"other version": `{"version": 9}`,
		"empty flavor":  `{"version": 1, "flavors": {"f": null}}`,
		"escaping path": strings.Replace(string(text), "pool/main", "../../etc", 1),
		"short hash":    strings.Replace(string(text), strings.Repeat("a", 64), "a", 1),
	} {
		if _, err := ParseLock("x.lock", []byte(bad)); err == nil || !strings.Contains(err.Error(), "x.lock") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if !json.Valid(text) {
		t.Error("no JSON")
	}
}
