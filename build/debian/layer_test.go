package debian

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// layerOf makes a layer of a .deb in memory.
func layerOf(p *Package, deb []byte, keep ...string) *Layer {
	return NewLayer(p, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(deb)), nil }, keep...)
}

// unpackDeb returns the entries of a package's layer.
func unpackDeb(deb []byte, lim limits, keep ...string) ([]string, error) {
	p := packageOf("foo", "1", "amd64", deb)
	s, err := readPackage(io.NopCloser(bytes.NewReader(deb)), p, keep, lim)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return tarLines(s)
}

func TestLayer(t *testing.T) {
	long := "usr/share/" + strings.Repeat("long/", 40) + "naïve"
	deb := debOf(t, "foo", "1", "amd64",
		entry{name: "./"}, entry{name: "./usr/"}, entry{name: "./usr/bin/"},
		entry{name: "./usr/bin/foo", body: "program", mode: 0o4755},
		entry{name: "./usr/bin/foo2", kind: tar.TypeLink, link: "./usr/bin/foo"},
		entry{name: "./usr/bin/foo3", link: "foo"},
		entry{name: "./usr/share/doc/foo/"},
		entry{name: "./usr/share/doc/foo/copyright", body: "free"},
		entry{name: "./usr/share/doc/foo/changelog.gz", body: "x"},
		entry{name: "./usr/share/man/man1/foo.1.gz", body: "x"},
		entry{name: "./usr/share/locale/de/LC_MESSAGES/foo.mo", body: "x"},
		entry{name: "./usr/lib/x86_64-linux-gnu/gconv/A.so", body: "x"},
		entry{name: "./etc/init.d/foo", body: "x"},
		entry{name: "./etc/empty"},
		entry{name: "./" + long, body: "n"},
	)
	want := []string{
		"0755 0:0 usr/", "0755 0:0 usr/bin/", "4755 0:0 usr/bin/foo = program", "0644 0:0 usr/bin/foo2 == usr/bin/foo",
		"0644 0:0 usr/bin/foo3 -> foo", "0644 0:0 usr/share/doc/foo/copyright = free", "0644 0:0 etc/empty = ", "0644 0:0 " + long + " = n",
	}
	got, err := unpackDeb(deb, defaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, got, want)
	got, err = unpackDeb(deb, defaultLimits, "usr/share/man/**", "usr/share/locale/de/**")
	if err != nil || !slices.Contains(got, "0644 0:0 usr/share/man/man1/foo.1.gz = x") || !slices.Contains(got, "0644 0:0 usr/share/locale/de/LC_MESSAGES/foo.mo = x") {
		t.Errorf("keep: %q %v", got, err)
	}
}

// TestLayerUsrMerge: packages from before the merge, with links in all
// directions.
func TestLayerUsrMerge(t *testing.T) {
	got, err := unpackDeb(debOf(t, "foo", "1", "amd64",
		entry{name: "./bin/"}, entry{name: "./bin/a", body: "a"},
		entry{name: "./bin/up", link: "../usr/share/x"},
		entry{name: "./bin/lib", link: "../lib/y"},
		entry{name: "./bin/b", link: "a"},
		entry{name: "./bin/hard", kind: tar.TypeLink, link: "./bin/a"},
		entry{name: "./sbin/abs", link: "/bin/a"},
		entry{name: "./sbin/tothere", link: "../usr/bin/c"},
		entry{name: "./lib64/ld.so", link: "/lib/x86_64-linux-gnu/ld.so"},
		entry{name: "./lib/udev/x", link: "../../etc/udev"},
		entry{name: "./usr/bin/"}, entry{name: "./usr/bin/a", link: "/bin/a"}, // compatibility link
		entry{name: "./usr/bin/c", body: "c"},
		entry{name: "./usr/sbin/d", link: "../../bin/a"},
		entry{name: "./lib", link: "usr/lib"}, // base-files
	), defaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, got, []string{
		"0755 0:0 usr/bin/", "0644 0:0 usr/bin/a = a", "0644 0:0 usr/bin/up -> ../share/x", "0644 0:0 usr/bin/lib -> ../lib/y",
		"0644 0:0 usr/bin/b -> a", "0644 0:0 usr/bin/hard == usr/bin/a", "0644 0:0 usr/sbin/abs -> /bin/a", "0644 0:0 usr/sbin/tothere -> ../bin/c",
		"0644 0:0 usr/lib64/ld.so -> /lib/x86_64-linux-gnu/ld.so", "0644 0:0 usr/lib/udev/x -> ../../../etc/udev",
		"0644 0:0 usr/bin/c = c", "0644 0:0 usr/sbin/d -> ../../bin/a",
	})
}

func TestLayerCompressions(t *testing.T) {
	control, data := controlOf(t, "foo", "1", "amd64"), tarOf(t, entry{name: "./usr/foo", body: strings.Repeat("content ", 20000)})
	plain := func(b []byte) []byte { return b }
	for ext, pack := range map[string]func([]byte) []byte{"": plain, ".gz": gzipped, ".xz": xzStored, ".zst": zstded} {
		deb := arOf(member{"debian-binary", []byte("2.0\n")}, member{"_future", []byte("odd")}, member{"control.tar" + ext + "/", pack(control)}, member{"data.tar" + ext, pack(data)}, member{"_more", nil})
		got, err := unpackDeb(deb, defaultLimits)
		if err != nil || len(got) != 1 || len(got[0]) < 160000 {
			t.Errorf("%q: %v, %v", ext, len(got), err)
		}
		// Cut anywhere, it must fail, not end early.
		deb = deb[:len(deb)-arHeaderSize] // without the last member
		for _, n := range []int{len(deb) - 2, len(deb) - 20, len(deb) - 70, len(deb) / 2, len(deb) / 3, 200, 100, 8, 3, 0} {
			if _, err := unpackDeb(deb[:n], defaultLimits); err == nil {
				t.Errorf("%q: %d of %d bytes are accepted", ext, n, len(deb))
			}
		}
	}
}

// TestLayerHostileTar: what no honest package contains.
func TestLayerHostileTar(t *testing.T) {
	tests := []struct {
		name    string
		entries []entry
		want    string
	}{
		{"traversal", []entry{{name: "./../etc/passwd", body: "x"}}, "not allowed"},
		{"traversal inside", []entry{{name: "./usr/../../etc/passwd", body: "x"}}, "not allowed"},
		{"absolute", []entry{{name: "/etc/passwd", body: "x"}}, "not allowed"},
		{"empty component", []entry{{name: "./usr//bin", body: "x"}}, "not allowed"},
		{"newline", []entry{{name: "./usr/a\nb", body: "x"}}, "not allowed"},
		{"below a link", []entry{{name: "./usr/x", link: "/etc"}, {name: "./usr/x/passwd", body: "x"}}, "usr/x/passwd lies below usr/x"},
		{"far below a link", []entry{{name: "./usr/x", link: "/etc"}, {name: "./usr/x/a/b/c", body: "x"}}, "lies below usr/x"},
		{"below a file", []entry{{name: "./usr/x", body: "x"}, {name: "./usr/x/y", body: "x"}}, "lies below usr/x"},
		{"twice", []entry{{name: "./usr/x", body: "x"}, {name: "./usr/x", link: "/etc/shadow"}}, "twice"},
		{"twice after the merge", []entry{{name: "./bin/x", body: "x"}, {name: "./usr/bin/x", body: "y"}}, "twice"},
		{"hard link out", []entry{{name: "./x", kind: tar.TypeLink, link: "../../etc/shadow"}}, "not allowed"},
		{"hard link to nothing", []entry{{name: "./x", kind: tar.TypeLink, link: "./etc/shadow"}}, "not a file of the package"},
		{"hard link to a link", []entry{{name: "./y", link: "/etc/shadow"}, {name: "./x", kind: tar.TypeLink, link: "./y"}}, "not a file of the package"},
		{"hard link to trimmed", []entry{{name: "./usr/share/doc/x/y", body: "x"}, {name: "./x", kind: tar.TypeLink, link: "./usr/share/doc/x/y"}}, "name it in keep"},
		{"empty link", []entry{{name: "./x", kind: tar.TypeSymlink}}, "bad target"},
		{"device", []entry{{name: "./dev/sda", kind: tar.TypeBlock}}, "packages do not contain"},
		{"fifo", []entry{{name: "./x", kind: tar.TypeFifo}}, "packages do not contain"},
		{"too many files", []entry{{name: "./a"}, {name: "./b"}, {name: "./c"}, {name: "./d"}, {name: "./e"}, {name: "./f"}, {name: "./g"}, {name: "./h"}, {name: "./i"}}, "more than 8 files"},
		{"too large", []entry{{name: "./a", body: strings.Repeat("x", 100000)}}, "unpacked package is larger than allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := unpackDeb(debOf(t, "foo", "1", "amd64", tt.entries...), limits{unpacked: 64 << 10, entries: 8})
			wantError(t, err, tt.want, "foo:amd64=1")
		})
	}
}

func TestLayerHostileArchive(t *testing.T) {
	format, control := member{"debian-binary", []byte("2.0\n")}, member{"control.tar.gz", gzipped(controlOf(t, "foo", "1", "amd64"))}
	data := member{"data.tar", tarOf(t, entry{name: "./x"})}
	huge := arOf(format, control, data)
	at := bytes.Index(huge, []byte("data.tar")) + 48
	copy(huge[at:], "9999999999")
	negative := bytes.Clone(huge)
	copy(negative[at:], "-1        ")
	tests := []struct {
		name string
		deb  []byte
		want string
	}{
		{"not an archive", []byte("<html>"), "does not start with !<arch>"},
		{"empty archive", []byte(arMagic), "first member is not debian-binary"},
		{"no format", arOf(control, data), "first member is not debian-binary"},
		{"format 3", arOf(member{"debian-binary", []byte("3.0\n")}, control, data), "not supported"},
		{"long format", arOf(member{"debian-binary", make([]byte, 1000)}, control, data), "larger than 64 bytes"},
		{"no control", arOf(format, data), "data.tar where control.tar should be"},
		{"no data", arOf(format, control), "no data.tar"},
		{"order", arOf(format, data, control), "data.tar where control.tar should be"},
		{"member name", arOf(format, member{"../control.tar", nil}), "not allowed"},
		{"compression", arOf(format, control, member{"data.tar.rar", []byte("x")}), `unknown compression ".rar"`},
		{"double extension", arOf(format, control, member{"data.tar.gz.xz", []byte("x")}), "where data.tar should be"},
		{"huge member", huge, "EOF"},
		{"negative member", negative, "damaged archive header"},
		{"other package", arOf(format, member{"control.tar", controlOf(t, "evil", "1", "amd64")}, data), `its package is "evil", the repository says "foo"`},
		{"other version", arOf(format, member{"control.tar", controlOf(t, "foo", "0.1", "amd64")}, data), `its version is "0.1"`},
		{"no control file", arOf(format, member{"control.tar", tarOf(t)}, data), "no control file"},
		{"garbage", arOf(format, control, member{"data.tar.xz", []byte("not xz at all")}), "data archive"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := unpackDeb(tt.deb, defaultLimits)
			wantError(t, err, tt.want)
		})
	}
}

// TestLayerBomb: a gigabyte of zeros in a megabyte of gzip, in the data and in
// the control archive.
func TestLayerBomb(t *testing.T) {
	var bomb bytes.Buffer
	gz, _ := gzip.NewWriterLevel(&bomb, gzip.BestSpeed)
	w := tar.NewWriter(gz)
	w.WriteHeader(&tar.Header{Name: "./control", Typeflag: tar.TypeReg, Size: 1 << 28})
	zeros := make([]byte, 1<<20)
	for range 1 << 8 {
		w.Write(zeros)
	}
	w.Close()
	gz.Close()
	format, control := member{"debian-binary", []byte("2.0\n")}, member{"control.tar.gz", gzipped(controlOf(t, "foo", "1", "amd64"))}
	_, err := unpackDeb(arOf(format, control, member{"data.tar.gz", bomb.Bytes()}), limits{unpacked: 1 << 22, entries: 10})
	wantError(t, err, "unpacked package is larger than allowed")
	_, err = unpackDeb(arOf(format, member{"control.tar.gz", bomb.Bytes()}), defaultLimits)
	wantError(t, err, "control file is larger than")
}

func TestLayerWrongHash(t *testing.T) {
	deb := debOf(t, "foo", "1", "amd64", entry{name: "./x", body: "x"})
	p := packageOf("foo", "1", "amd64", deb)
	evil := debOf(t, "foo", "1", "amd64", entry{name: "./x", body: "y"})
	for name, content := range map[string][]byte{"other content": evil, "longer": append(bytes.Clone(deb), '\n'), "shorter": deb[:len(deb)-1]} {
		q := *p
		if name == "other content" {
			q.Size = int64(len(evil))
		}
		r, err := layerOf(&q, content).Uncompressed()
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestLayerIsALayer(t *testing.T) {
	deb := debOf(t, "foo", "1", "amd64", entry{name: "./usr/foo", body: "x"})
	p := packageOf("foo", "1", "amd64", deb)
	l := layerOf(p, deb)
	if err := validate.Layer(l); err != nil {
		t.Error(err)
	}
	var _ v1.Layer = l
	a, _ := l.DiffID()
	b, _ := layerOf(p, deb).DiffID()
	if a != b || l.Identity() != layerOf(p, deb).Identity() {
		t.Error("two readings of a package differ")
	}
	if l.Identity() == layerOf(p, deb, "usr/share/doc/**").Identity() {
		t.Error("keep is not part of the identity")
	}
	if layerOf(p, deb, "a", "b").Identity() != layerOf(p, deb, "b", "a").Identity() {
		t.Error("the order of keep is part of the identity")
	}
}

// TestLayerCloses: whatever happens, the .deb is closed once, and a closed
// layer is not read from.
func TestLayerCloses(t *testing.T) {
	deb := debOf(t, "foo", "1", "amd64", entry{name: "./usr/foo", body: "x"})
	for name, content := range map[string][]byte{"good": deb, "bad": []byte("bad")} {
		f := &closeCounter{Reader: bytes.NewReader(content)}
		l := NewLayer(packageOf("foo", "1", "amd64", content), func() (io.ReadCloser, error) { return f, nil })
		if r, err := l.Uncompressed(); err == nil {
			r.Read(make([]byte, 10))
			r.Close()
			r.Close()
			if _, err := r.Read(make([]byte, 10)); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("%s: read after close: %v", name, err)
			}
		}
		if f.closed != 1 {
			t.Errorf("%s: closed %d times", name, f.closed)
		}
	}
}

type closeCounter struct {
	io.Reader
	closed int
}

func (c *closeCounter) Close() error { c.closed++; return nil }

func TestGlobs(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"usr/share/doc/**", "usr/share/doc", true}, {"usr/share/doc/**", "usr/share/doc/a/b", true}, {"usr/share/doc/**", "usr/share/docs", false},
		{"usr/lib/*/gconv/**", "usr/lib/x/gconv/y", true}, {"usr/lib/*/gconv/**", "usr/lib/x/y/gconv/z", false},
		{"usr/**/foo", "usr/foo", true}, {"usr/**/foo", "usr/a/b/foo", true}, {"usr/**/foo", "usr/a/b/foo/c", false},
		{"usr/bin/ctr", "usr/bin/ctr", true}, {"usr/bin/ctr", "usr/bin", false}, {"usr/bin/[ab]*", "usr/bin/bc", true},
	} {
		if got := (globs{tt.pattern}).match(tt.name); got != tt.want {
			t.Errorf("%s matches %s: %v", tt.pattern, tt.name, got)
		}
	}
	for _, bad := range []string{"", ".", "/usr", "usr/", "../x", "usr/[", "**", "**/x", "a/**/b/**/c/**"} {
		if validateGlob(bad) == nil {
			t.Errorf("pattern %q is accepted", bad)
		}
	}
}

func TestLicenses(t *testing.T) {
	const format = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
	for _, tt := range []struct {
		text string
		want []string
	}{
		{format + "\nFiles: *\nLicense: GPL-2+ or Apache-2.0\n\nLicense: GPL-2+\n text License: no\n", []string{"Apache-2.0", "GPL-2+"}},
		{format + "License: GPL-2 with Linux-syscall-note exception\nLicense: (MIT and BSD-3-clause), Expat\n", []string{"BSD-3-clause", "Expat", "GPL-2 with Linux-syscall-note exception", "MIT"}},
		{"Format: http://dep.debian.net/deps/dep5/\nLicense:\n the text\n", nil},
		{"This is busybox.\nLicense:\n  GPL\n", nil},
		{"License: GPL-2\n", nil},
		{"", nil},
	} {
		got, err := Licenses(strings.NewReader(tt.text))
		if err != nil {
			t.Error(err)
		}
		wantLines(t, got, tt.want)
	}
}
