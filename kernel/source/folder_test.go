package source_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hooksmith/kernel/source"
)

// makeFolder makes a kernel in a folder.
func makeFolder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, m := range tree(".", "6.12.48") {
		path := filepath.Join(dir, m.name)
		switch {
		case strings.HasSuffix(m.name, "/"):
			must(t, os.MkdirAll(path, 0o755))
		case m.link != "":
			must(t, os.Symlink(m.link, path))
		default:
			must(t, os.WriteFile(path, []byte(m.body), 0o644|os.FileMode(m.mode)))
		}
	}
	return dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFolder(t *testing.T) {
	dir := makeFolder(t)
	s, err := source.Open(t.Context(), dir)
	must(t, err)
	got, err := read(t, s.Tar)
	if err != nil || !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(wantTree))) || s.Version() != "6.12.48" || len(s.Hash()) != 64 || s.String() != dir {
		t.Errorf("%s %s %s: %q, %v", s, s.Version(), s.Hash(), got, err)
	}
	// The hash is of content: not of times, places, and what git keeps.
	hash := func(change func(dir string)) string {
		t.Helper()
		dir := makeFolder(t)
		change(dir)
		s, err := source.Open(t.Context(), dir)
		must(t, err)
		return s.Hash()
	}
	same := map[string]func(dir string){
		"nothing": func(string) {},
		"times":   func(dir string) { must(t, os.Chtimes(filepath.Join(dir, "COPYING"), time.Unix(1, 0), time.Unix(1, 0))) },
		"umask":   func(dir string) { must(t, os.Chmod(filepath.Join(dir, "COPYING"), 0o600)) },
		"git": func(dir string) {
			cmd := exec.CommandContext(t.Context(), "git", "init", "-q", dir)
			must(t, cmd.Run())
		},
		"worktree": func(dir string) { must(t, os.WriteFile(filepath.Join(dir, ".git"), []byte("gitdir: /x"), 0o644)) },
	}
	for name, change := range same {
		if got := hash(change); got != s.Hash() {
			t.Errorf("%s: another hash", name)
		}
	}
	for name, change := range map[string]func(dir string){
		"content": func(dir string) { must(t, os.WriteFile(filepath.Join(dir, "COPYING"), []byte("MIT"), 0o644)) },
		"mode":    func(dir string) { must(t, os.Chmod(filepath.Join(dir, "COPYING"), 0o755)) },
		"name":    func(dir string) { must(t, os.Rename(filepath.Join(dir, "COPYING"), filepath.Join(dir, "COPYING2"))) },
		"link": func(dir string) {
			must(t, os.Remove(filepath.Join(dir, "scripts/link")))
			must(t, os.Symlink("../Makefile", filepath.Join(dir, "scripts/link")))
		},
		"empty folder": func(dir string) { must(t, os.Mkdir(filepath.Join(dir, "new"), 0o755)) },
	} {
		if hash(change) == s.Hash() {
			t.Errorf("%s: the same hash", name)
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, "COPYING"), []byte("MIT"), 0o644))
	_, err = read(t, s.Tar)
	wantError(t, err, "changed meanwhile", dir)
}

func TestFolderRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(dir string) error
		want   string
	}{
		{"no makefile", func(dir string) error { return os.Remove(filepath.Join(dir, "Makefile")) }, "not a kernel's source"},
		{"another project", func(dir string) error { return os.WriteFile(filepath.Join(dir, "Makefile"), []byte("all:\n"), 0o644) }, "not a kernel's source"},
		{"configured", func(dir string) error { return os.WriteFile(filepath.Join(dir, ".config"), nil, 0o644) }, "make mrproper"},
		{"built", func(dir string) error { return os.MkdirAll(filepath.Join(dir, "include/generated"), 0o755) }, "make mrproper"},
		{"link out", func(dir string) error { return os.Symlink("/etc/passwd", filepath.Join(dir, "x")) }, "out of the source"},
		{"link to the folder above", func(dir string) error { return os.Symlink("..", filepath.Join(dir, "x")) }, "out of the source"},
		{"pipe", func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "x"), 0o644) }, "neither file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := makeFolder(t)
			must(t, tt.change(dir))
			_, err := source.Open(t.Context(), dir)
			wantError(t, err, tt.want, dir)
		})
	}
	_, err := source.Open(t.Context(), "/nonexistent")
	wantError(t, err, "/nonexistent")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = source.Open(ctx, makeFolder(t))
	wantError(t, err, "canceled")
}
