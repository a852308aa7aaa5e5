package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"hooksmith/build"
)

// hookSet is a folder as a build leaves it, with a hook.json.
func hookSet(t *testing.T, flavor string) string {
	t.Helper()
	dir := hookDir(t)
	a := build.Artifacts{Flavor: flavor, OutputID: "test", Arch: "x86_64"}
	for role, name := range map[string]string{"kernel": "vmlinuz-x86_64", "initramfs": "initramfs-x86_64"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(b)
		a.Files = append(a.Files, build.File{Name: name, Role: role, Arch: "x86_64", Size: int64(len(b)), SHA256: hex.EncodeToString(sum[:])})
	}
	b, err := json.Marshal(build.Manifest{Schema: 1, Builds: []build.Artifacts{a}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, build.ManifestName), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestPublishFlags: what would do something else than was meant is refused
// before anything is published.
func TestPublishFlags(t *testing.T) {
	set := hookSet(t, "a")
	dest := filepath.Join(t.TempDir(), "to here")
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"--rollback is empty", []string{"publish", dest, "--rollback", ""}},
		{"--sign is empty", []string{"publish", dest, "--from", set, "--sign", ""}},
		{"--from is empty", []string{"publish", dest, "--from", ""}},
		{"the destination is empty", []string{"publish", "", "--from", set}},
		{"--url 192.168.2.1/hook: give an absolute URL", []string{"publish", dest, "--from", set, "--url", "192.168.2.1/hook"}},
		{"--keep 0: give", []string{"publish", dest, "--from", set, "--keep", "0"}},
		{"say with --keep", []string{"publish", dest, "--prune"}},
		{"were all set", []string{"publish", dest, "--list", "--prune", "--keep", "1"}},
		{"were all set", []string{"publish", dest, "--rollback", "ab", "--keep", "1"}},
		{"no less than 4k", []string{"publish", dest, "--from", set, "--limit-rate", "100"}},
		{"--key is empty", []string{"fetch", set, dest, "--key", ""}},
		{"--key is empty", []string{"check", set, "--key", ""}},
		{"--cacert is empty", []string{"check", set, "--cacert", ""}},
		{"--html is empty", []string{"inspect", set, "--html", ""}},
		{"--id is empty", []string{"diff", set, set, "--id", ""}},
	} {
		code, out, stderr := runHere(t.Context(), tt.args...)
		if code != exitUsage || out != "" || !strings.Contains(stderr, tt.want) {
			t.Errorf("%v: exit %d, %q, %q", tt.args, code, out, stderr)
		}
	}
	for _, action := range [][]string{{"--list"}, {"--unlock"}, {"--rollback", "ab"}, {"--prune", "--keep", "1"}} {
		if code, _, stderr := runHere(t.Context(), append([]string{"publish", dest}, action...)...); code != exitFailure || !strings.Contains(stderr, "no such file") {
			t.Errorf("%v of nothing: exit %d, %q", action, code, stderr)
		}
	}
	if _, err := os.Lstat(dest); err == nil {
		t.Error("the destination was made")
	}
}

func TestPrune(t *testing.T) {
	dest := filepath.Join(t.TempDir(), "to here")
	if code, _, stderr := runHere(t.Context(), "publish", dest, "--from", hookSet(t, "a")); code != exitOK || !strings.Contains(stderr, "--artifacts '"+dest+"'") || !strings.Contains(stderr, "--url prints") {
		t.Fatalf("exit %d, %q", code, stderr)
	}
	if code, _, stderr := runHere(t.Context(), "publish", dest, "--from", hookSet(t, "b"), "--no-check"); code != exitOK {
		t.Fatalf("exit %d, %q", code, stderr)
	}
	code, _, stderr := runHere(t.Context(), "publish", dest, "--prune", "--keep", "1")
	if code != exitOK || strings.Count(stderr, " removed\n") != 1 {
		t.Errorf("exit %d, %q", code, stderr)
	}
	code, out, _ := runHere(t.Context(), "publish", dest, "--prune", "--keep", "1", "--json")
	var result struct{ Removed []string }
	if err := json.Unmarshal([]byte(out), &result); code != exitOK || err != nil || result.Removed == nil || len(result.Removed) > 0 {
		t.Errorf("exit %d, %q, %v", code, out, err)
	}
}

// TestKeygenFiles: a private key is its owner's alone, and half a pair is not left.
func TestKeygenFiles(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key+".pub", []byte("another's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := runHere(t.Context(), "keygen", key, "--no-password"); code != exitFailure || !strings.Contains(stderr, "--force") {
		t.Errorf("exit %d, %q", code, stderr)
	}
	if _, err := os.Lstat(key); err == nil {
		t.Error("a private key without its public one was left")
	}
	if err := os.WriteFile(key, []byte("old"), 0o644); err != nil { //nolint:gosec // that is what is tried
		t.Fatal(err)
	}
	if err := os.Chmod(key, 0o666); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := runHere(t.Context(), "keygen", key, "--no-password", "--force"); code != exitOK {
		t.Errorf("exit %d, %q", code, stderr)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if code, _, _ := runHere(t.Context(), "sign", hookSet(t, "a"), "--key", key); code != exitOK {
		t.Error("the new key does not sign")
	}
	folder := t.TempDir()
	if code, _, stderr := runHere(t.Context(), "keygen", folder, "--no-password", "--force"); code != exitFailure || !strings.Contains(stderr, "is a folder") {
		t.Errorf("exit %d, %q", code, stderr)
	}
	if _, err := os.Lstat(folder + ".pub"); err == nil {
		t.Error("a public key without its private one was left")
	}
}

// TestInspectPipe: a pipe would have to be waited for.
func TestInspectPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, ref := range map[string]string{"no regular file": pipe, "hooksmith fetch 'oci://host/hook' FOLDER": "oci://host/hook"} {
		if code, _, stderr := runHere(t.Context(), "inspect", ref); code != exitFailure || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d, %q", ref, code, stderr)
		}
	}
}
