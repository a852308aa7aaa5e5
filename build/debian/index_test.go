package debian

import (
	"io"
	"slices"
	"strings"
	"testing"
)

func TestIndexNewestWins(t *testing.T) {
	r := newTestRepo(t)
	r.add("trixie", "foo", "1.0-1", "amd64", []byte("main"))
	r.add("trixie-updates", "foo", "1.0-1+deb13u1", "amd64", []byte("updates"))
	r.add("trixie-security", "foo", "1.0-1+deb13u2", "amd64", []byte("security"))
	r.add("trixie-security", "foo", "1.0-1+deb13u2~bpo1", "amd64", []byte("older"))
	r.add("trixie", "epoch", "1:0.5", "amd64", []byte("epoch"))
	r.add("trixie-security", "epoch", "9.9", "amd64", []byte("no epoch"))
	r.add("trixie", "both", "2", "all", []byte("any"))
	r.add("trixie", "other", "3", "arm64", []byte("arm"))
	r.add("trixie-updates", "same", "4", "amd64", []byte("same"))
	r.add("trixie", "same", "4", "amd64", []byte("same"))
	r.publish()
	repo, err := Open(t.Context(), &httpFetcher{}, r.options())
	if err != nil {
		t.Fatal(err)
	}
	x, err := repo.Index(t.Context(), "amd64", "foo", "epoch", "both", "same")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"foo": "1.0-1+deb13u2 trixie-security debian-security", "epoch": "1:0.5 trixie debian", "both": "2 trixie debian", "same": "4 trixie debian",
	} {
		p, err := x.Package(name)
		if err != nil {
			t.Error(err)
		} else if got := p.Version + " " + p.Suite + " " + string(p.Archive); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if _, err := x.Package("other"); err == nil {
		t.Error("package of another architecture found")
	}
	if p, err := x.Version("foo", "1.0-1"); err != nil || p.Suite != "trixie" {
		t.Errorf("Version: %v %v", p, err)
	}
	_, err = x.Version("foo", "7")
	wantError(t, err, "1.0-1+deb13u2, 1.0-1+deb13u2~bpo1, 1.0-1+deb13u1, 1.0-1, not as 7")
}

func TestIndexMissing(t *testing.T) {
	r := newTestRepo(t)
	r.add("trixie", "docker.io", "1", "amd64", []byte("x"))
	r.add("trixie", "libfoo2t64", "1", "amd64", []byte("x"))
	r.publish()
	repo, err := Open(t.Context(), &httpFetcher{}, r.options())
	if err != nil {
		t.Fatal(err)
	}
	x, err := repo.Index(t.Context(), "amd64", "docker", "firmware-bnx2", "libfoo2")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"docker":        `package "docker" is not in trixie, trixie-updates, trixie-security (main) for amd64; did you mean docker.io?`,
		"firmware-bnx2": "firmware is in the component non-free-firmware",
		"libfoo2":       "did you mean libfoo2t64?",
		"docker.io":     "the index was not read for it",
		"zzz\n":         "is not in",
	} {
		_, err := x.Package(name)
		wantError(t, err, want)
	}
	_, err = repo.Index(t.Context(), "../amd64")
	wantError(t, err, "architecture")
	_, err = repo.Index(t.Context(), "riscv64")
	wantError(t, err, `trixie, trixie-updates, trixie-security (main) has no package index of component "main" for riscv64`)
}

func TestIndexPrefersByHash(t *testing.T) {
	r := newTestRepo(t)
	r.add("trixie", "foo", "1", "amd64", []byte("x"))
	r.suites["trixie-security"].release["Acquire-By-Hash"] = "no"
	r.suites["trixie-updates"].noGzip = true
	r.publish()
	f := &httpFetcher{}
	repo, err := Open(t.Context(), f, r.options())
	if err != nil {
		t.Fatal(err)
	}
	// The mirror is being updated: the plain name has the next index already.
	r.files["/debian/dists/trixie/main/binary-amd64/Packages.gz"] = gzipped([]byte("Package: foo\nVersion: 2\n"))
	x, err := repo.Index(t.Context(), "amd64", "foo")
	if err != nil {
		t.Fatal(err)
	}
	if p, err := x.Package("foo"); err != nil || p.Version != "1" {
		t.Errorf("got %v, %v", p, err)
	}
	byHash := func(part string) bool {
		return slices.ContainsFunc(f.urls, func(u string) bool { return strings.Contains(u, part) && strings.Contains(u, "/by-hash/") })
	}
	if !byHash("dists/trixie/") || byHash("trixie-security") {
		t.Errorf("asked for %q", f.urls)
	}
}

func TestIndexRefuses(t *testing.T) {
	const plain = "/debian/dists/trixie/main/binary-amd64/Packages.gz"
	big := gzipped([]byte("Package: foo\n" + strings.Repeat("A: b\n", 500000)))
	tests := []struct {
		name  string
		index []byte
		want  string
	}{
		{"hash mismatch", nil, "SHA-256 is"},
		{"truncated", gzipped([]byte("Package: foo\nVersion: 1\n"))[:20], "unexpected EOF"},
		{"longer", append(gzipped([]byte("Package: foo\n")), make([]byte, 1<<20)...), "longer than the promised"},
		{"bomb", big, "unpacked package index is larger than allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newTestRepo(t)
			r.add("trixie", "foo", "1", "amd64", []byte("x"))
			r.publish()
			repo, err := Open(t.Context(), &httpFetcher{}, r.options())
			if err != nil {
				t.Fatal(err)
			}
			s := repo.suites[0]
			job := s.jobs("main", "amd64")[0]
			content := tt.index
			if content == nil { // same length, another byte
				content = slices.Clone(r.files[plain])
				content[4] ^= 1 // gzip's mtime: only the hash can tell
			}
			if tt.name == "bomb" {
				job.file = indexFile{sha256: job.file.sha256, size: int64(len(content))}
			}
			f, err := tempFile(content)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			_, err = job.scan(f, newNameSet(nil))
			wantError(t, err, tt.want)
		})
	}
}

func TestIndexBadStanza(t *testing.T) {
	good := "Package: foo\nVersion: 1\nArchitecture: amd64\nFilename: pool/f.deb\nSize: 1\nSHA256: " + strings.Repeat("a", 64) + "\n"
	if _, err := parseStanza([]byte(good)); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ old, new, want string }{
		{"Filename: pool/f.deb", "Filename: ../../etc/passwd", "leaves the archive"},
		{"Filename: pool/f.deb", "Filename: /etc/passwd", "leaves the archive"},
		{"Size: 1", "Size: -1", "out of bounds"},
		{"Size: 1", "Size: 99999999999999", "out of bounds"},
		{"Size: 1", "Size: many", "bad Size"},
		{strings.Repeat("a", 64), "abc", "bad SHA256"},
		{strings.Repeat("a", 64), strings.Repeat("A", 64), "bad SHA256"},
		{"Version: 1", "Version: one two", "version"},
		{"Package: foo", "Package: ../foo", "not allowed"},
		{"Architecture: amd64", "Architecture: ../x", "architecture"},
		{"Version: 1", "Version", "no ':'"},
	}
	for _, tt := range tests {
		_, err := parseStanza([]byte(strings.Replace(good, tt.old, tt.new, 1)))
		wantError(t, err, tt.want)
	}
}

func TestResolveMeta(t *testing.T) {
	r := newTestRepo(t)
	kernel := func(suite, abi, version string) {
		r.add(suite, "linux-image-"+abi+"-amd64", version, "amd64", []byte(abi), "Depends: kmod, linux-base (>= 4.12~), initramfs-tools | linux-initramfs-tool\n", "Source: linux-signed-amd64 (6.12+1)\n")
		r.add(suite, "linux-image-amd64", version, "amd64", []byte("meta"+abi), "Depends: linux-image-"+abi+"-amd64 (= "+version+")\n")
	}
	kernel("trixie", "6.12.107+deb13", "6.12.107-1")
	kernel("trixie-security", "6.12.117+deb13", "6.12.117-1")
	r.add("trixie", "linux-image-broken", "1", "amd64", []byte("b"), "Depends: linux-image-gone\n")
	r.add("trixie", "linux-image-loop", "1", "amd64", []byte("l"), "Depends: linux-image-loop2\n")
	r.add("trixie", "linux-image-loop2", "1", "amd64", []byte("l"), "Depends: linux-image-loop\n")
	r.publish()
	repo, err := Open(t.Context(), &httpFetcher{}, r.options())
	if err != nil {
		t.Fatal(err)
	}
	x, err := repo.Index(t.Context(), "amd64", "linux-image-*")
	if err != nil {
		t.Fatal(err)
	}
	p, err := x.ResolveMeta("linux-image-amd64")
	if err != nil || p.Name != "linux-image-6.12.117+deb13-amd64" || p.Version != "6.12.117-1" {
		t.Fatalf("got %v, %v", p, err)
	}
	if p.Source != "linux-signed-amd64" || p.SourceVersion != "6.12+1" {
		t.Errorf("source is %s %s", p.Source, p.SourceVersion)
	}
	if url := p.URLs(repo.Mirrors())[0]; !strings.Contains(url, "linux-image-6.12.117%2Bdeb13-amd64_6.12.117-1_amd64.deb") {
		t.Errorf("+ is not escaped in %s", url)
	}
	if f, err := p.Open(t.Context(), &httpFetcher{}, repo.Mirrors()); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
	if same, err := x.ResolveMeta(p.Name); err != nil || same != p {
		t.Errorf("a package that is no meta package resolves to %v, %v", same, err)
	}
	_, err = x.ResolveMeta("linux-image-broken")
	wantError(t, err, "resolving meta package linux-image-broken", "linux-image-gone")
	_, err = x.ResolveMeta("linux-image-loop")
	wantError(t, err, "chain")
}

func TestScanPackages(t *testing.T) {
	text := "Package: a\nVersion: 1\n\nVersion: 2\nPackage: b\n\n\n\nPackage:c\nVersion: 3\n\nNothing: here\n\nPackage: ab"
	for _, size := range []int{1, 2, 3, 7, 1000} {
		got, err := scanPackages(&chunkReader{strings.NewReader(text), size}, newNameSet([]string{"b", "a*"}))
		if err != nil {
			t.Fatal(err)
		}
		var stanzas []string
		for _, s := range got.stanzas {
			stanzas = append(stanzas, strings.TrimSpace(string(s)))
		}
		wantLines(t, stanzas, []string{"Package: a\nVersion: 1", "Version: 2\nPackage: b", "Package: ab"})
		if string(got.names) != "a\nb\nc\nab\n" {
			t.Errorf("names %q", got.names)
		}
	}
	_, err := scanPackages(io.MultiReader(strings.NewReader("Package: x\n"), &endless{}), newNameSet(nil))
	wantError(t, err, "a stanza is longer than")
}

type chunkReader struct {
	r    io.Reader
	size int
}

func (c *chunkReader) Read(p []byte) (int, error) { return c.r.Read(p[:min(len(p), c.size)]) }

type endless struct{}

func (*endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestLibraryPackage(t *testing.T) {
	x := &Index{names: []byte("\nlibfoo1\nlibbar2-3\nlibtime4t64\nlibunder-score5\nzlib1g\nlibc6\nlibdevmapper1.02.1\nlibvar1-suffix\n")}
	for soname, want := range map[string]string{
		"libfoo.so.1": "libfoo1", "libbar2.so.3": "libbar2-3", "libtime.so.4": "libtime4t64", "libunder_score.so.5": "libunder-score5",
		"libz.so.1": "zlib1g", "libm.so.6": "libc6", "ld-linux-x86-64.so.2": "libc6", "libdevmapper.so.1.02.1": "libdevmapper1.02.1",
		"libvar.so.1": "libvar1-suffix", "libnone.so.1": "", "libplain.so": "", "": "", "libfoo.so.1\nlibbar": "", ".so.1": "",
	} {
		if got := x.LibraryPackage(soname); got != want {
			t.Errorf("%q is in %q, want %q", soname, got, want)
		}
	}
}
