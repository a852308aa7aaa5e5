package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCacheLeftovers: what a killed kernel build left is listed, and goes
// whatever its age; what a living one has stays.
func TestCacheLeftovers(t *testing.T) {
	dir := t.TempDir()
	for path, text := range map[string]string{"hooksmith-kernel-dead/kernel.tar": "12345", "hooksmith-kernel-living/kernel.tar": "123", "blobs/sha256/ab/ab": "1"} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	living, err := os.Open(filepath.Join(dir, "hooksmith-kernel-living"))
	if err != nil {
		t.Fatal(err)
	}
	defer living.Close()
	if err := unix.Flock(int(living.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	cache := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := runHere(t.Context(), append(append([]string{"cache"}, args...), "--cache-dir", dir)...)
		if code != exitOK {
			t.Fatalf("%q: exit code %d: %s", args, code, stderr)
		}
		return strings.Join(strings.Fields(stdout), " ")
	}
	if got := cache("ls"); !strings.Contains(got, "leftover 1 files 5 ") || !strings.Contains(got, "total 2 files 6 ") {
		t.Error(got)
	}
	if got := cache("prune"); !strings.Contains(got, "removed 1 of 2 files, 5 ") {
		t.Error(got)
	}
	if got := cache("prune", "--all"); !strings.Contains(got, "removed 1 of 1 files, 1 ") {
		t.Error(got)
	}
	for name, want := range map[string]bool{"hooksmith-kernel-dead": false, "hooksmith-kernel-living/kernel.tar": true} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
