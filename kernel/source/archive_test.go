package source_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"hooksmith/kernel/source"
)

var wantTree = []string{
	"linux/ 755 ", "linux/COPYING 644 GPL", "linux/Makefile 644 " + makefile("6.12.48"),
	"linux/scripts/ 755 ", "linux/scripts/run.sh 755 #!/bin/sh", "linux/scripts/link -> ../COPYING",
}

func TestOpen(t *testing.T) {
	plain := makeTar(t, tree("linux-6.12.48", "6.12.48"))
	inside := []member{{name: "./"}}
	for _, m := range tree("linux-6.12.48", "6.12.48")[1:] {
		m.name = strings.Replace(m.name, "linux-6.12.48", ".", 1)
		inside = append(inside, m)
	}
	git := append([]member{{kind: tar.TypeXGlobalHeader, body: strings.Repeat("a", 40)}}, tree("linux", "6.12.48")...)
	for name, pack := range map[string]func() []byte{
		"linux.tar":      func() []byte { return plain },
		"linux.tar.gz":   func() []byte { return gz(t, plain) },
		"linux.tar.xz":   func() []byte { return by(t, "xz", plain) },
		"linux.tar.zst":  func() []byte { return zst(t, plain) },
		"linux.tar.bz2":  func() []byte { return by(t, "bzip2", plain) },
		"wrong-name.zip": func() []byte { return gz(t, plain) },
		"inside.tar":     func() []byte { return makeTar(t, inside) },
		"git.tar":        func() []byte { return makeTar(t, git) },
	} {
		t.Run(name, func(t *testing.T) {
			packed := pack()
			path := write(t, name, packed)
			s, err := source.Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			if s.Version() != "6.12.48" || s.Hash() != sha(packed) || s.String() != path {
				t.Errorf("%s %s %s", s, s.Version(), s.Hash())
			}
			got, err := read(t, s.Tar)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, wantTree) {
				t.Errorf("got %q\nwant %q", got, wantTree)
			}
			if err := source.CheckSeries(s, "6.12"); err != nil {
				t.Error(err)
			}
			wantError(t, source.CheckSeries(s, "6.6"), path, "6.12.48", "6.6")
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	with := func(more ...member) []byte { return makeTar(t, append(tree("l", "6.12.48"), more...)) }
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "empty"},
		{"web page", []byte("<!DOCTYPE html><html>Log in"), "web page"},
		{"zip", []byte("PK\x03\x04............"), "zip file"},
		{"text", []byte("hello"), "not a tar"},
		{"cut gzip", gz(t, with())[:60], "unexpected EOF"},
		{"no kernel", makeTar(t, []member{{name: "x/"}, {name: "x/Makefile", body: "all:\n"}}), "not a kernel's source"},
		{"no makefile", makeTar(t, []member{{name: "x/"}, {name: "x/README", body: "VERSION = 6"}}), "not a kernel's source"},
		{"nested kernel", makeTar(t, []member{{name: "x/"}, {name: "x/linux/Makefile", body: makefile("6.12.1")}}), "not a kernel's source"},
		{"strange version", makeTar(t, []member{{name: "x/Makefile", body: "VERSION = $(shell id)\nPATCHLEVEL = 1\n"}}), "which is none"},
		{"dot dot", with(member{name: "l/../../etc/passwd", body: "x"}), "leaves the archive"},
		{"absolute", with(member{name: "/etc/passwd", body: "x"}), "leaves the archive"},
		{"beside", with(member{name: "m/x", body: "x"}), "stands beside"},
		{"link out", with(member{name: "l/x", link: "../../etc/passwd", kind: tar.TypeSymlink}), "out of the source"},
		{"absolute link", with(member{name: "l/x", link: "/etc/passwd", kind: tar.TypeSymlink}), "out of the source"},
		{"hard link out", with(member{name: "l/x", link: "/etc/passwd", kind: tar.TypeLink}), "leaves the archive"},
		{"hard link to nothing", with(member{name: "l/x", link: "l/y", kind: tar.TypeLink}), "no file before it"},
		{"through a link", with(member{name: "l/d", link: "scripts", kind: tar.TypeSymlink}, member{name: "l/d/x", body: "x"}), "below d, which is no folder"},
		{"twice", with(member{name: "l/COPYING", body: "x"}), "twice"},
		{"device", with(member{name: "l/null", kind: tar.TypeChar}), "no source has"},
		{"long name", with(member{name: "l/" + strings.Repeat("x/", 3000), body: ""}), "longer than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := source.Open(t.Context(), write(t, "x.tar", tt.data))
			if err == nil {
				_, err = read(t, s.Tar)
			}
			wantError(t, err, tt.want, "x.tar")
		})
	}
}

// A source that changes after it was opened is not what its hash says.
func TestChanged(t *testing.T) {
	path := write(t, "l.tar.gz", gz(t, makeTar(t, tree("l", "6.12.48"))))
	s, err := source.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, gz(t, makeTar(t, append(tree("l", "6.12.48"), member{name: "l/evil", body: "x"}))), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = read(t, s.Tar)
	wantError(t, err, "its SHA-256 is")

	if err := os.WriteFile(path, []byte("<html>"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = read(t, s.Tar)
	wantError(t, err, "web page", "its SHA-256 is")
}

// Whoever stops early, or is cancelled, leaves nothing behind.
func TestCloseEarly(t *testing.T) {
	members := append(tree("l", "6.12.48"), member{name: "l/big", body: strings.Repeat("x", 4<<20)})
	s, err := source.Open(t.Context(), write(t, "l.tar", makeTar(t, members)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Tar(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 600)); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err = s.Tar(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestDownload(t *testing.T) {
	packed := gz(t, makeTar(t, tree("linux-6.12.48", "6.12.48")))
	base := kernelOrg(t, map[string][]byte{"/x.tar.gz": packed})
	s, err := source.Download(t.Context(), &fetcher{}, base+"/x.tar.gz", sha(packed))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, s.Tar); err != nil || !slices.Equal(got, wantTree) || s.Version() != "6.12.48" {
		t.Errorf("%s: %q, %v", s.Version(), got, err)
	}
	_, err = source.Download(t.Context(), &fetcher{}, base+"/x.tar.gz", sha(nil))
	wantError(t, err, "another file")
	_, err = source.Download(t.Context(), &fetcher{}, base+"/x.tar.gz", "1234")
	wantError(t, err, "64 hexadecimal digits")
}

// FuzzOpen: whatever an archive holds, reading it ends, and what comes out is
// below linux/.
func FuzzOpen(f *testing.F) {
	f.Add(makeTar(f, tree("l", "6.12.48")))
	f.Add(gz(f, makeTar(f, append(tree("l", "6.12.48"), member{name: "l/x", link: "../COPYING", kind: tar.TypeSymlink}))))
	f.Add([]byte("\xfd7zXZ\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		open := func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
		s, err := source.NewArchive(t.Context(), source.Archive{Name: "x", ID: "x", Open: open})
		if err != nil {
			return
		}
		got, err := read(t, s.Tar)
		for _, line := range got {
			if name, _, _ := strings.Cut(line, " "); !strings.HasPrefix(name, "linux/") || strings.Contains(name, "..") {
				t.Errorf("member %q (%v)", line, err)
			}
		}
	})
}
