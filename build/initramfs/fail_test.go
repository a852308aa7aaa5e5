package initramfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hooksmith/build/rootfs"
)

// TestWriteRefuses has one case for what newc or the kernel cannot do.
func TestWriteRefuses(t *testing.T) {
	one := func(name string, n *rootfs.Inode) []Segment {
		return []Segment{{Name: "base", Tree: treeOf(t, files{name: n})}}
	}
	two := func(lower, upper files) []Segment {
		return []Segment{{Name: "base", Tree: treeOf(t, lower)}, {Name: "top", Tree: treeOf(t, upper)}}
	}
	huge := file(0o644, "x")
	huge.Size = 1 << 32
	twin := file(0o644, "twin")
	for _, tc := range []struct {
		name     string
		segments []Segment
		want     []string
	}{
		{"no segment", nil, []string{"at least one"}},
		{"no tree", []Segment{{Name: "base"}}, []string{`"base"`, "no tree"}},
		{"compression", []Segment{{Name: "base", Tree: treeOf(t, nil), Compression: "lz4"}}, []string{`"lz4"`, "zstd, gzip or none"}},
		{"zstd level", []Segment{{Name: "base", Tree: treeOf(t, nil), Level: 23}}, []string{"level 23", "zstd"}},
		{"gzip level", []Segment{{Name: "base", Tree: treeOf(t, nil), Compression: Gzip, Level: 10}}, []string{"level 10", "gzip"}},
		{"level of none", []Segment{{Name: "base", Tree: treeOf(t, nil), Compression: None, Level: 1}}, []string{"level 1", "none"}},
		{"socket", one("run/s", node(rootfs.ModeSocket|0o777)), []string{`"run/s"`, "socket"}},
		{"4 GiB", one("var/huge", huge), []string{`"var/huge"`, "4294967296", "4 GiB"}},
		{"trailer", one("TRAILER!!!", file(0o644, "")), []string{`"TRAILER!!!"`}},
		{"major", one("dev/x", device(rootfs.ModeBlock, 4096, 0)), []string{`"dev/x"`, "4096:0"}},
		{"minor", one("dev/x", device(rootfs.ModeChar, 0, 1<<20)), []string{`"dev/x"`, "0:1048576"}},
		{"owner", one("x", &rootfs.Inode{Mode: rootfs.ModeFile, UID: -1}), []string{`"x"`, "-1:0"}},
		{"type", one("x", &rootfs.Inode{Mode: 0o644}), []string{`"x"`, "mode 644"}},
		{"target", one("x", symlink(strings.Repeat("x", 4096))), []string{`"x"`, "4096"}},
		{"path", []Segment{{Name: "base", Tree: treeOf(t, files{strings.Repeat("d/", 2000) + "x": file(0, "")}).Place(strings.Repeat("p/", 50))}},
			[]string{"4097 bytes"}},
		{"writes through hard links", two(files{"a": twin, "b": twin}, files{"b": file(0o644, "new")}),
			[]string{`"top"`, `"b"`, `"base"`, "2 names", "Dedup"}},
		{"file over a full directory", two(files{"d/x": file(0o644, "")}, files{"d": file(0o644, "")}), []string{`"d"`, "not empty"}},
		{"device over device", two(files{"d": device(rootfs.ModeChar, 1, 1)}, files{"d": device(rootfs.ModeChar, 1, 2)}), []string{`"d"`, "device number"}},
		{"implied directory over symlink", two(files{"lib": symlink("usr/lib")}, files{"lib/x": file(0, "")}), []string{`"lib"`, "symbolic link"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			_, err := Write(t.Context(), &out, tc.segments, Options{})
			if err == nil || out.Len() > 0 {
				t.Fatalf("error %v after %d bytes", err, out.Len())
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}

// failingWriter fails after some bytes, as a full disk does.
type failingWriter struct{ left int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, syscall.ENOSPC
	}
	return len(p), nil
}

func TestWriteFails(t *testing.T) {
	text := pseudoText(20 << 20)
	big := treeOf(t, files{"big": file(0o644, text), "a": file(0o644, "x")})
	part := treeOf(t, files{"big": file(0o644, text[:8<<20]), "a": file(0o644, "x")})
	shrunk := rootfs.NewFile(0o644, []byte("x"))
	shrunk.Size = 1 << 20
	for _, kind := range []Compression{Zstd, Gzip, None} {
		before := runtime.NumGoroutine()
		dir := t.TempDir()
		opt := Options{TempDir: dir}
		segments := []Segment{{Name: "big", Tree: part, Compression: kind}, {Name: "small", Tree: sample(t), Compression: kind}}

		for _, left := range []int{0, 100, 1 << 20} {
			if _, err := Write(t.Context(), &failingWriter{left}, segments, opt); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), `"big"`) {
				t.Errorf("%s: disk full after %d: %v", kind, left, err)
			}
			wantEmpty(t, dir)
		}

		ctx, cancel := context.WithCancel(t.Context())
		var written atomic.Int64
		opt.Progress = func(n int64) { written.Add(n); cancel() }
		if _, err := Write(ctx, io.Discard, []Segment{{Name: "big", Tree: big, Compression: kind}, segments[1]}, opt); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: cancelled: %v", kind, err)
		}
		if n := written.Load(); n > 10<<20 {
			t.Errorf("%s: %d bytes were written after the end of the context", kind, n)
		}
		wantEmpty(t, dir)

		opt.Progress = nil
		bad := []Segment{{Name: "bad", Tree: treeOf(t, files{"etc/shrunk": shrunk, "big": file(0o644, text[:2<<20])}), Compression: kind}, segments[1]}
		if _, err := Write(t.Context(), io.Discard, bad, opt); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), `"etc/shrunk"`) {
			t.Errorf("%s: a shrunk layer: %v", kind, err)
		}
		wantEmpty(t, dir)

		if _, err := Write(t.Context(), io.Discard, segments, Options{TempDir: filepath.Join(dir, "none")}); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: no folder: %v", kind, err)
		}
		wantGoroutines(t, string(kind), before)
	}
}

// TestTempFull: the folder for temporary files is full.
func TestTempFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a small tmpfs needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("mount: %v", err)
	}
	defer syscall.Unmount(dir, 0)
	tree := treeOf(t, files{"big": file(0o644, pseudoText(20<<20))})
	for _, kind := range []Compression{Zstd, Gzip, None} {
		before := runtime.NumGoroutine()
		_, err := Write(t.Context(), io.Discard, []Segment{{Name: "base", Tree: tree, Compression: kind}}, Options{TempDir: dir})
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", kind, err)
		}
		wantEmpty(t, dir)
		wantGoroutines(t, string(kind), before)
	}
}

// wantGoroutines waits until no more goroutines run than before.
func wantGoroutines(t *testing.T, what string, before int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if runtime.NumGoroutine() <= before {
			return
		}
	}
	t.Errorf("%s: %d goroutines are left over", what, runtime.NumGoroutine()-before)
}
