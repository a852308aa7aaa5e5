package images

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

var appFiles = map[string]string{
	"Dockerfile": "FROM scratch\nCOPY . /\n", "etc/conf": "a", "run.sh": "#!/bin/sh\n", "link": "-> run.sh",
	".dockerignore": "*.log\n/tmp\n!keep.log\n", "noise.log": "1", "keep.log": "2", "tmp/x": "3",
}

// TestFolderTag: what changes the image changes its tag, and nothing else.
func TestFolderTag(t *testing.T) {
	tag := func(t *testing.T, change func(dir string) error) string {
		root := t.TempDir()
		dir := folder(t, root, "hook-app", appFiles)
		if change != nil {
			if err := change(dir); err != nil {
				t.Fatal(err)
			}
		}
		return oneFolder(t, root, "ghcr.io/me/").Ref
	}
	same := tag(t, nil)
	if !strings.HasPrefix(same, "ghcr.io/me/hook-app:") || !strings.HasSuffix(same, "-amd64") || len(same) != len("ghcr.io/me/hook-app:12345678-amd64") {
		t.Errorf("reference %q", same)
	}
	for _, tt := range []struct {
		name    string
		change  func(dir string) error
		differs bool
	}{
		{"the same again", nil, false},
		{"other times", func(dir string) error { return os.Chtimes(dir+"/run.sh", anHourAgo, anHourAgo) }, false},
		{"an ignored file", func(dir string) error { return os.WriteFile(dir+"/noise.log", []byte("x"), 0o644) }, false},
		{"a file in an ignored folder", func(dir string) error { return os.WriteFile(dir+"/tmp/y", nil, 0o644) }, false},
		{"a socket", func(dir string) error {
			l, err := net.Listen("unix", filepath.Join(dir, "s"))
			if err == nil {
				t.Cleanup(func() { l.Close() })
			}
			return err
		}, false},
		{"content", func(dir string) error { return os.WriteFile(dir+"/etc/conf", []byte("b"), 0o644) }, true},
		{"a file that an exception brings back", func(dir string) error { return os.WriteFile(dir+"/keep.log", []byte("b"), 0o644) }, true},
		{"mode", func(dir string) error { return os.Chmod(dir+"/run.sh", 0o755) }, true},
		{"mode of a folder", func(dir string) error { return os.Chmod(dir+"/etc", 0o700) }, true},
		{"set-user-id", func(dir string) error { return os.Chmod(dir+"/run.sh", 0o644|fs.ModeSetuid) }, true},
		{"target of a link", func(dir string) error {
			return errors.Join(os.Remove(dir+"/link"), os.Symlink("etc/conf", dir+"/link"))
		}, true},
		{"a link for a file", func(dir string) error {
			return errors.Join(os.Remove(dir+"/run.sh"), os.Symlink("etc/conf", dir+"/run.sh"))
		}, true},
		{"an empty folder", func(dir string) error { return os.Mkdir(dir+"/new", 0o755) }, true},
		{"a name", func(dir string) error { return os.Rename(dir+"/etc/conf", dir+"/etc/cong") }, true},
		{"Dockerfile", func(dir string) error { return os.WriteFile(dir+"/Dockerfile", []byte("FROM scratch\n"), 0o644) }, true},
		{".dockerignore", func(dir string) error { return os.WriteFile(dir+"/.dockerignore", nil, 0o644) }, true},
		{"Dockerfile.dockerignore comes first", func(dir string) error { return os.WriteFile(dir+"/Dockerfile.dockerignore", []byte("tmp\n"), 0o644) }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tag(t, tt.change); (got != same) != tt.differs {
				t.Errorf("tag %s, of the unchanged folder %s", got, same)
			}
		})
	}
}

// TestFolderHash is the format, so that others can compute it.
func TestFolderHash(t *testing.T) {
	root := t.TempDir()
	dir := folder(t, root, "app", map[string]string{"Dockerfile": "FROM scratch\n", "bin/run": "x", "l": "-> bin/run"})
	if err := errors.Join(os.Chmod(dir+"/bin", 0o755), os.Chmod(dir+"/bin/run", 0o755), os.Chmod(dir+"/Dockerfile", 0o644)); err != nil {
		t.Fatal(err)
	}
	sum := func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }
	lines := "-0644 " + sum("FROM scratch\n") + "  images/app/Dockerfile\n" +
		"d0755 " + sum("") + "  images/app/bin\n" +
		"-0755 " + sum("x") + "  images/app/bin/run\n" +
		"l " + sum("bin/run") + "  images/app/l\n"
	want := "docker.io/library/app:" + sum(lines)[:8] + "-amd64"
	if got := oneFolder(t, root, "").Ref; got != want {
		t.Errorf("reference %s, want %s", got, want)
	}
}

func TestReadFolders(t *testing.T) {
	root := t.TempDir()
	folder(t, root, "b", map[string]string{"Dockerfile": "FROM scratch\n"})
	folder(t, root, "a", map[string]string{"Dockerfile": "FROM scratch\n"})
	folder(t, root, "no-dockerfile", map[string]string{"x": ""})
	folder(t, root, ".", map[string]string{"README": ""})
	got, err := ReadFolders(t.Context(), root, "quay.io/tinkerbell/hook-", amd64)
	if err != nil || len(got) != 2 || got[0].Name != "a" || got[1].Name != "b" {
		t.Fatalf("%v, %v", got, err)
	}
	if !strings.HasPrefix(got[0].Ref, "quay.io/tinkerbell/hook-a:") || got[0].local {
		t.Errorf("%+v", got[0])
	}
	_, err = ReadFolders(t.Context(), filepath.Join(root, "none"), "", amd64)
	wantError(t, err, "no such file", filepath.Join(root, "none"))
	_, err = ReadFolders(t.Context(), filepath.Join(root, "a"), "", amd64) // a folder too deep
	wantError(t, err, "has no folder with a Dockerfile", "DIR/NAME/Dockerfile")
	for name, damage := range map[string]func(dir string) error{
		"neither file, folder nor symbolic link": func(dir string) error { return syscall.Mkfifo(dir+"/fifo", 0o644) },
		".dockerignore":                          func(dir string) error { return os.WriteFile(dir+"/.dockerignore", []byte("[a-\n"), 0o644) },
	} {
		root := t.TempDir()
		dir := folder(t, root, "app", map[string]string{"Dockerfile": ""})
		if err := damage(dir); err != nil {
			t.Fatal(err)
		}
		folder(t, root, "other", map[string]string{"Dockerfile": ""})
		got, err := ReadFolders(t.Context(), root, "", amd64)
		if err != nil || len(got) != 2 {
			t.Fatalf("%v, %v", got, err)
		}
		s := sources(t, func(s *Sources) { s.Folders = got })
		_, err = s.Image(t.Context(), got[0].Ref)
		wantError(t, err, name, dir)
	}
	root = t.TempDir()
	folder(t, root, "Upper Case", map[string]string{"Dockerfile": ""})
	_, err = ReadFolders(t.Context(), root, "", amd64)
	wantError(t, err, "Upper Case", "cannot be the name of an image")
}

func TestContextTar(t *testing.T) {
	dir := folder(t, t.TempDir(), "app", appFiles)
	files, err := contextFiles(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := writeContext(t.Context(), &buf, files); err != nil {
		t.Fatal(err)
	}
	var got []string
	for tr := tar.NewReader(&buf); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" {
			t.Errorf("%s belongs to %d:%d %s", h.Name, h.Uid, h.Gid, h.Uname)
		}
		got = append(got, h.Name+h.Linkname)
	}
	want := []string{".dockerignore", "Dockerfile", "etc/", "etc/conf", "keep.log", "linkrun.sh", "run.sh"}
	if !slices.Equal(got, want) {
		t.Errorf("context %q, want %q", got, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := writeContext(ctx, io.Discard, files); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestExceptionInIgnoredFolder: an exception brings a file back together with
// its folders.
func TestExceptionInIgnoredFolder(t *testing.T) {
	dir := folder(t, t.TempDir(), "app", map[string]string{
		"Dockerfile": "", ".dockerignore": "*\n!a/b/keep\n", "a/b/keep": "1", "a/b/drop": "2", "a/c/drop": "3", "drop": "4",
	})
	files, err := contextFiles(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		got = append(got, f.name)
	}
	if want := []string{".dockerignore", "Dockerfile", "a", "a/b", "a/b/keep"}; !slices.Equal(got, want) {
		t.Errorf("context %q, want %q", got, want)
	}
}
