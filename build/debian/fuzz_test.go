package debian

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"path"
	"strings"
	"testing"
	"testing/fstest"
)

// FuzzDeb: whatever a .deb contains, its layer is an error or a tar of clean,
// distinct paths, and no more than allowed.
func FuzzDeb(f *testing.F) {
	format, control := member{"debian-binary", []byte("2.0\n")}, member{"control.tar", controlOf(f, "foo", "1", "amd64")}
	data := tarOf(f, entry{name: "./bin/"}, entry{name: "./bin/a", body: "a"}, entry{name: "./usr/b", link: "../bin/a"}, entry{name: "./c", kind: tar.TypeLink, link: "./bin/a"})
	f.Add(arOf(format, control, member{"data.tar", data}))
	f.Add(arOf(format, member{"control.tar.gz", gzipped(control.data)}, member{"data.tar.gz", gzipped(data)}))
	f.Add(arOf(format, member{"control.tar.xz", xzStored(control.data)}, member{"data.tar.xz", xzStored(data)}))
	f.Add(arOf(format, member{"control.tar.zst", zstded(control.data)}, member{"data.tar.zst", zstded(data)}))
	f.Fuzz(func(t *testing.T, deb []byte) {
		sum := sha256.Sum256(deb)
		p := &Package{Name: "foo", Version: "1", Architecture: "amd64", Size: int64(len(deb)), SHA256: hex.EncodeToString(sum[:])}
		s, err := readPackage(io.NopCloser(bytes.NewReader(deb)), p, nil, limits{unpacked: 1 << 20, entries: 100})
		if err != nil {
			return
		}
		defer s.Close()
		checkLayerTar(t, s)
	})
}

// checkLayerTar reads a layer to its end or its error.
func checkLayerTar(t *testing.T, r io.Reader) {
	tr := tar.NewReader(r)
	seen := map[string]bool{}
	total := int64(0)
	for {
		h, err := tr.Next()
		if err != nil {
			return
		}
		name := strings.TrimSuffix(h.Name, "/")
		if !fs.ValidPath(name) || name == "." || seen[name] || mergedDirs[strings.Split(name, "/")[0]] {
			t.Fatalf("layer has path %q", h.Name)
		}
		seen[name] = true
		if h.Typeflag == tar.TypeLink && !seen[h.Linkname] {
			t.Fatalf("hard link %q to %q", name, h.Linkname)
		}
		n, err := io.Copy(io.Discard, tr)
		if total += n; total > 1<<20 {
			t.Fatal("limit is exceeded")
		}
		if err != nil {
			return
		}
	}
}

// FuzzMergeLink: a link that moves must still lead to what it led to.
func FuzzMergeLink(f *testing.F) {
	f.Add("bin/a", "../usr/lib/b")
	f.Add("lib/x/y", "../../etc/z")
	f.Add("usr/bin/a", "/bin/a")
	f.Fuzz(func(t *testing.T, old, target string) {
		if !fs.ValidPath(old) || old == "." || target == "" {
			return
		}
		follow := func(at, target string) string {
			if !path.IsAbs(target) {
				target = path.Join("/", path.Dir(at), target)
			}
			return usrMerge(strings.TrimPrefix(path.Clean(target), "/"))
		}
		merged, self := mergeLink(old, target)
		if got, want := follow(usrMerge(old), merged), follow(old, target); !self && got != want {
			t.Errorf("%q -> %q leads to %q, after the merge %q -> %q to %q", old, target, want, usrMerge(old), merged, got)
		}
	})
}

// FuzzPackages: the fast scan finds what a full parse finds.
func FuzzPackages(f *testing.F) {
	f.Add([]byte("Package: a\nVersion: 1\n\nPackage: b\nArchitecture: all\n"))
	f.Add([]byte("\n\nVersion: 1\nPackage: a\n\n\n\nPackage:\n b\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := scanPackages(&chunkReader{bytes.NewReader(text), 7}, newNameSet([]string{"*"}))
		if err != nil {
			return
		}
		whole, err := scanPackages(bytes.NewReader(text), newNameSet([]string{"*"}))
		if err != nil || len(whole.stanzas) != len(got.stanzas) || !bytes.Equal(whole.names, got.names) {
			t.Fatalf("the size of reads changes the result: %q, %q", got, whole)
		}
		for _, s := range got.stanzas {
			if p, err := parseStanza(s); err == nil && p.Name != string(stanzaName(s)) && !bytes.Contains(s, []byte("\r")) {
				t.Errorf("scanned %q, parsed %q", stanzaName(s), p.Name)
			}
		}
	})
}

// FuzzRelease: no panic, and only sane entries.
func FuzzRelease(f *testing.F) {
	f.Add([]byte("Codename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\nSHA256:\n " + strings.Repeat("a", 64) + " 12 main/binary-amd64/Packages.xz\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRelease(text)
		if err != nil {
			return
		}
		for name, file := range r.files {
			if !fs.ValidPath(name) || file.size < 0 || !validSHA256(file.sha256) {
				t.Errorf("%q: %+v", name, file)
			}
		}
	})
}

// FuzzSources: any text may stand in /etc/apt.
func FuzzSources(f *testing.F) {
	f.Add([]byte("deb [signed-by=/x] http://a.example/debian trixie main\n"))
	f.Add([]byte("Types: deb\nURIs: http://a.example/debian\nSuites: x\nComponents: main\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m := HostMirrors(fstest.MapFS{"etc/apt/sources.list": {Data: text}, "etc/apt/sources.list.d/x.sources": {Data: text}})
		for _, base := range append(m.Main, m.Security...) {
			if !strings.HasPrefix(base, "http") || strings.ContainsAny(base, " \n") || strings.HasSuffix(base, "/") {
				t.Errorf("mirror %q", base)
			}
		}
	})
}

// FuzzDefinition: a definition is refused with its file's name, or it can be
// expanded for every architecture.
func FuzzDefinition(f *testing.F) {
	f.Add([]byte(testImage))
	f.Add([]byte("name: a-b\nfiles: [{path: x, mode: 0755}]\nlabel: {a: [1, {b: c}]}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := ParseDefinition("x.yaml", text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "x.yaml") {
				t.Errorf("error %q does not name the file", err)
			}
			return
		}
		for _, arch := range Architectures() {
			x, err := d.expand(arch)
			if err != nil {
				t.Fatalf("%s: %v", arch, err)
			}
			for _, file := range x.files {
				if !fs.ValidPath(file.Path) {
					t.Errorf("path %q", file.Path)
				}
			}
		}
	})
}

// FuzzCopyright: any text may stand in a copyright file.
func FuzzCopyright(f *testing.F) {
	f.Add("Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nLicense: GPL-2+ and (MIT or Expat)\n")
	f.Fuzz(func(t *testing.T, text string) {
		names, _ := Licenses(strings.NewReader(text))
		for _, n := range names {
			if n == "" || strings.ContainsAny(n, "\n,") {
				t.Errorf("licence %q", n)
			}
		}
	})
}
