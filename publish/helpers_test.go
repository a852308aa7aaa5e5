package publish_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hooksmith/build"
	"hooksmith/publish"
	"hooksmith/publish/store"
	"hooksmith/publish/verify"
)

// slow: HOOKSMITH_SLOW=1 has every fault injected everywhere and every race run
// a hundred times, which takes minutes.
var slow = os.Getenv("HOOKSMITH_SLOW") != ""

// quick is patience that does not keep a test waiting.
var quick = store.Patience{Tries: 4, Pause: 10 * time.Millisecond}

// kernelSize is that of every kernel of a test.
const kernelSize = 50_000

// newSet makes a folder as a build leaves it. Equal seeds give equal bytes;
// kernel is the kernel's own seed.
func newSet(t testing.TB, seed, kernel uint64, size int) string {
	t.Helper()
	dir := t.TempDir()
	files := []build.File{
		writeArtifact(t, dir, "initramfs-test-x86_64", "initramfs", seed, size),
		writeArtifact(t, dir, "vmlinuz-test-x86_64", "kernel", kernel, kernelSize),
	}
	m := build.Manifest{Schema: 1, Builds: []build.Artifacts{{BuildID: fmt.Sprintf("%064x", seed), Flavor: "test", OutputID: "test-x86_64", Arch: "x86_64",
		Generator: "test", Kernel: build.KernelInfo{Version: fmt.Sprintf("6.12.%d", kernel)}, Files: files}}}
	var sums bytes.Buffer
	for i := range files {
		f := &m.Builds[0].Files[i]
		alias := map[string]string{"kernel": "vmlinuz-x86_64", "initramfs": "initramfs-x86_64"}[f.Role]
		f.Aliases = []string{alias}
		must(t, os.Link(filepath.Join(dir, f.Name), filepath.Join(dir, alias)))
		fmt.Fprintf(&sums, "%s  %s\n%s  %s\n", f.SHA512, f.Name, f.SHA512, alias)
	}
	data, err := json.Marshal(m)
	must(t, err)
	for name, b := range map[string][]byte{build.ManifestName: data, build.ChecksumName: sums.Bytes(),
		build.SBOMName: []byte(fmt.Sprintf(`{"seed":%d}`, seed)), build.LockName: []byte("lock\n")} {
		must(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
	}
	return dir
}

func writeArtifact(t testing.TB, dir, name, role string, seed uint64, size int) build.File {
	t.Helper()
	b := make([]byte, size)
	var key [32]byte
	copy(key[:], fmt.Sprint(role, seed))
	if _, err := rand.NewChaCha8(key).Read(b); err != nil {
		t.Fatal(err)
	}
	must(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
	s256, s512 := sha256.Sum256(b), sha512.Sum512(b)
	return build.File{Name: name, Role: role, Arch: "x86_64", Size: int64(size), SHA256: hex.EncodeToString(s256[:]), SHA512: hex.EncodeToString(s512[:])}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func idOf(t testing.TB, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, build.ManifestName))
	must(t, err)
	return verify.ID(b)
}

// sourceOf reads a destination as a client with the right to read.
type sourceOf struct {
	store.Store
	prefix string
}

func (s sourceOf) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	return s.Get(ctx, s.prefix+name, 0, -1)
}

// standing tells which of the sets the files below prefix are; "mixed" if they
// are from several, "" if there is none.
func standing(t testing.TB, opt publish.Options, prefix string, dirs ...string) string {
	t.Helper()
	st, err := store.Open(t.Context(), opt.Dest, opt.Access)
	must(t, err)
	defer st.Close()
	found := map[string]int{}
	for _, name := range []string{"initramfs-x86_64", "vmlinuz-x86_64"} {
		rc, err := store.Retry(st, quick).Get(t.Context(), prefix+name, 0, -1)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		must(t, err)
		b, err := io.ReadAll(rc)
		must(t, errors.Join(err, rc.Close()))
		for _, dir := range dirs {
			if want, err := os.ReadFile(filepath.Join(dir, name)); err == nil && bytes.Equal(b, want) {
				found[dir]++
			}
		}
	}
	for _, dir := range dirs {
		if found[dir] == 2 {
			return dir
		}
	}
	if len(found) == 0 {
		return ""
	}
	return "mixed"
}

// whole verifies all files below prefix against the hook.json there.
func whole(t testing.TB, opt publish.Options, prefix string) {
	t.Helper()
	st, err := store.Open(t.Context(), opt.Dest, opt.Access)
	must(t, err)
	defer st.Close()
	report, err := verify.Set(t.Context(), sourceOf{store.Retry(st, quick), prefix}, verify.Options{})
	must(t, err)
	must(t, report.Err())
}

// until waits for something that takes as long as it takes.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 2 minutes for %s", what)
		}
	}
}

func sumOfFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
