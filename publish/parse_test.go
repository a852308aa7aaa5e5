package publish_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hooksmith/publish"
)

const bundleText = `kind: Bundles
spec:
  versionsBundles:
  - kubeVersion: "1.30"
    tinkerbell: {tinkerbellStack: {hook: {vmlinuz: {amd: {name: vmlinuz-x86_64, uri: "https://h/old/vmlinuz-x86_64"}}}}}
  - kubeVersion: "1.31"
    tinkerbell:
      tinkerbellStack:
        hook:
          initramfs: {amd: {name: initramfs-x86_64, uri: "BASE/initramfs-x86_64"}, arm: {uri: "BASE/initramfs-aarch64"}}
          vmlinuz: {amd: {name: vmlinuz-x86_64, uri: "BASE/vmlinuz-x86_64"}}
          iso: {amd: {uri: "BASE/hook-x86_64-efi-initrd.iso"}}
`

// TestFetchBundle: what a bundle names is recorded, and what changes later at
// its origin is refused.
func TestFetchBundle(t *testing.T) {
	origin := t.TempDir()
	for _, name := range []string{"vmlinuz-x86_64", "initramfs-x86_64", "initramfs-aarch64", "hook-x86_64-efi-initrd.iso"} {
		must(t, os.WriteFile(filepath.Join(origin, name), []byte(strings.Repeat(name, 20000)), 0o644))
	}
	server := httptest.NewServer(http.FileServer(http.Dir(origin)))
	defer server.Close()
	bundle := filepath.Join(t.TempDir(), "bundle.yaml")
	must(t, os.WriteFile(bundle, []byte(strings.ReplaceAll(bundleText, "BASE", server.URL)), 0o644))
	dir := t.TempDir()
	// A part of an earlier try: it is continued.
	must(t, os.WriteFile(filepath.Join(dir, ".vmlinuz-x86_64.origin.part"), []byte(strings.Repeat("vmlinuz-x86_64", 10000)), 0o644))
	opt := publish.FetchOptions{Source: bundle, Dir: dir, Retry: quick}
	r, err := publish.Fetch(t.Context(), opt)
	must(t, err)
	if len(r.Files) != 4 || r.ID != idOf(t, dir) {
		t.Errorf("%+v", r)
	}
	whole(t, publish.Options{Dest: dir}, "")
	again, err := publish.Fetch(t.Context(), opt)
	if err != nil || again.Moved != 0 || again.ID != r.ID {
		t.Errorf("again: %+v, %v", again, err)
	}
	must(t, os.WriteFile(filepath.Join(origin, "vmlinuz-x86_64"), []byte("another"), 0o644))
	must(t, os.Remove(filepath.Join(dir, "vmlinuz-x86_64")))
	if _, err := publish.Fetch(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "not what it was") {
		t.Errorf("changed at its origin: %v", err)
	}
	opt.KubeVersion = "1.29"
	if _, err := publish.Fetch(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "1.31, 1.30") {
		t.Errorf("a version that is not there: %v", err)
	}
}

// TestFetchRefuses: tampered, truncated and swapped files get no name.
func TestFetchRefuses(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"tampered":  func(dir string) error { return os.WriteFile(dir+"/vmlinuz-x86_64", make([]byte, kernelSize), 0o644) },
		"truncated": func(dir string) error { return os.Truncate(dir+"/initramfs-x86_64", 100) },
		"swapped":   func(dir string) error { return os.Rename(dir+"/vmlinuz-test-x86_64", dir+"/initramfs-test-x86_64") },
	} {
		src, dir := newSet(t, 1, 1, 10_000), t.TempDir()
		must(t, spoil(src))
		start := time.Now()
		_, err := publish.Fetch(t.Context(), publish.FetchOptions{Source: src, Dir: dir, Retry: quick})
		if err == nil {
			t.Errorf("%s: fetched", name)
		}
		if _, err := os.Stat(filepath.Join(dir, "hook.json")); err == nil {
			t.Errorf("%s: hook.json is there after %s", name, time.Since(start))
		}
	}
}

func FuzzParseIndex(f *testing.F) {
	f.Add([]byte(`{"schema":1,"current":"0123456789abcdef","sets":[{"id":"0123456789abcdef","complete":true,"files":[]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := publish.ParseIndex(data)
		if err == nil && x.Current != "" && len(x.Current) != 16 {
			t.Errorf("current %q", x.Current)
		}
	})
}

func FuzzParseBundle(f *testing.F) {
	f.Add([]byte(strings.ReplaceAll(bundleText, "BASE", "http://h")), "")
	f.Fuzz(func(t *testing.T, data []byte, version string) {
		files, err := publish.ParseBundle(data, version)
		if err == nil && len(files) == 0 {
			t.Error("no files and no error")
		}
		for _, file := range files {
			if strings.ContainsAny(file.Name, "/\\") {
				t.Errorf("%+v", file)
			}
		}
	})
}
