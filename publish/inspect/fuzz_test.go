package inspect

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"hooksmith/publish/hooktest"
)

// FuzzInspect: no initramfs makes Inspect panic, and what it reports can be printed.
func FuzzInspect(f *testing.F) {
	whole := hooktest.Archive(hooktest.Default()...)
	f.Add(whole)
	f.Add(hooktest.Zstd(whole))
	f.Add(hooktest.LZ4(whole))
	f.Add(append(hooktest.Pad(hooktest.Zstd(whole[:2000])), hooktest.Gzip(whole)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		set := &Set{Initramfs: &Artifact{bytes.NewReader(b), "initramfs", int64(len(b))}}
		r, err := Inspect(t.Context(), set, Options{Contents: true})
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := r.WriteText(&out, Style{All: true}); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsRune(out.String(), '\x1b') {
			t.Error("control characters")
		}
		if d := Compare(r, r); !d.Same {
			t.Errorf("not the same as itself: %+v", d)
		}
	})
}

// FuzzParse: the parsers of files that are in the tree.
func FuzzParse(f *testing.F) {
	f.Add([]byte("Package: a\nVersion: 1\nStatus: install ok installed\n\nPackage: b\n"))
	f.Add([]byte("P:a\nV:1\n\nP:b\n"))
	f.Add([]byte(hooktest.Config("/bin/x")))
	f.Add([]byte(`{"Repositories":{"a":{"a:1":"sha256:x"}}}`))
	f.Add([]byte(`{"packages":[{"name":"a","externalRefs":[{"referenceLocator":"pkg:deb/a?arch=amd64&x"}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range append(parseDpkg(b), parseAPK(b)...) {
			if p.Name == "" {
				t.Errorf("a package without a name: %+v", p)
			}
		}
		if s, err := parseService(b); err == nil && s.Privileges == nil {
			t.Error("privileges are null")
		}
		_, _ = parseRepositories(b)
		_, _ = parseSPDX(b)
		var u unpacker
		defer u.close()
		for _, suffix := range moduleSuffixes {
			_, _ = u.vermagic("a"+suffix, bytes.NewReader(b))
		}
	})
}

// FuzzKernel: the configuration inside a kernel image.
func FuzzKernel(f *testing.F) {
	f.Add(hooktest.Kernel(hooktest.Release, "CONFIG_A=y\n"))
	f.Add(hooktest.ARMKernel(hooktest.Release))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = embeddedConfig(bytes.NewReader(b), int64(len(b)))
	})
}

func TestLZ4(t *testing.T) {
	// "abcabcabcabc!" with an overlapping match, then literals.
	got, err := lz4Decode(make([]byte, 0, 64), []byte{0x35, 'a', 'b', 'c', 3, 0, 0x10, '!'})
	if err != nil || string(got) != "abcabcabcabc!" {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"\xf0", "\x10", "\x01a", "\x00\x01\x00", "\x10a\x02\x00", "\x1fa\x01\x00\xff"} {
		if got, err := lz4Decode(make([]byte, 0, 64), []byte(bad)); err == nil {
			t.Errorf("%q gives %q", bad, got)
		}
	}
}

func TestSplit(t *testing.T) {
	whole := hooktest.Archive(hooktest.Default()...)
	packed := hooktest.Pad(hooktest.Zstd(whole))
	file := bytes.Repeat(packed, 3)
	spans, err := split(bytes.NewReader(file), int64(len(file)))
	if err != nil || len(spans) != 3 || spans[2].start != int64(2*len(packed)) {
		t.Errorf("%v, %v", spans, err)
	}
	if _, err := split(bytes.NewReader(make([]byte, 100)), 5000); err == nil {
		t.Error("a file that shrinks is no error")
	}
	many := bytes.Repeat(hooktest.Pad(hooktest.Zstd(nil)), 2*maxSpans)
	spans, err = split(bytes.NewReader(many), int64(len(many)))
	if err != nil || len(spans) != maxSpans || spans[maxSpans-1].end != int64(len(many)) {
		t.Errorf("%d spans, %v", len(spans), err)
	}
}

// TestBombs: what grows without end is given up in time and memory.
func TestBombs(t *testing.T) {
	if raceDetector {
		t.Skip("half a gigabyte through one goroutine: make test runs it without the race detector")
	}
	look := func(b []byte) error {
		_, err := Inspect(t.Context(), &Set{Initramfs: &Artifact{bytes.NewReader(b), "initramfs", int64(len(b))}}, Options{})
		return err
	}
	// 600000 names that are records of nothing.
	var many []hooktest.Entry
	for i := range 600_000 {
		many = append(many, hooktest.Entry{Name: fmt.Sprintf("f%d", i)})
	}
	if err := look(hooktest.Zstd(hooktest.Archive(many...))); err == nil || !strings.Contains(err.Error(), "more records") {
		t.Errorf("many records: %v", err)
	}
	// A folder that becomes a file and a folder again.
	many = many[:0]
	for i := range 20_000 {
		many = append(many, hooktest.Entry{Name: fmt.Sprintf("d%d", i)}, hooktest.Entry{Name: "x", Mode: 0o40755}, hooktest.Entry{Name: "x", Mode: 0o120777, Data: "y"})
	}
	if err := look(hooktest.Zstd(hooktest.Archive(many...))); err != nil {
		t.Errorf("flapping: %v", err)
	}
	// Files of 64 MiB of zeros where a package database should be.
	status := hooktest.Entry{Name: "var/lib/dpkg/status", Data: strings.Repeat("\x00", 64<<20)}
	if err := look(hooktest.Zstd(hooktest.Archive(status, status, status))); err != nil {
		t.Errorf("a large database: %v", err)
	}
}
