package debian_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"hooksmith/build/debian"
	"hooksmith/build/rootfs"
	"hooksmith/configs"
)

// The tests of this file read the real archive, through the mirrors of the
// host's APT sources. Without network they are skipped. Those that download
// and unpack all packages (150 MB) run with HOOKSMITH_TEST_MIRROR=1 only;
// HOOKSMITH_TEST_CACHE names a folder that keeps the downloads.

// openMirror opens trixie, or skips the test if there is no network.
func openMirror(t testing.TB, f *mirrorFetcher) *debian.Repository {
	t.Helper()
	mirrors := debian.HostMirrors(os.DirFS("/"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := f.Latest(ctx, []string{mirrors.Base(debian.MainArchive)[0] + "/dists/" + debian.DefaultSuite + "/InRelease"}, 1<<20); err != nil {
		t.Skipf("no Debian mirror: %v", err)
	}
	repo, err := debian.Open(t.Context(), f, debian.Options{Mirrors: mirrors, Keys: archiveKeys(t)})
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

func archiveKeys(t testing.TB) *debian.Keyring {
	t.Helper()
	keys, err := debian.ShippedKeys(configs.FS)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func definitions(t testing.TB) []*debian.Definition {
	t.Helper()
	dir, err := fs.Sub(configs.FS, "images")
	if err != nil {
		t.Fatal(err)
	}
	defs, err := debian.ReadDefinitions(dir)
	if err != nil {
		t.Fatal(err)
	}
	return defs
}

// guest stands for hooksmith's own program.
var guest = fstest.MapFS{"guest-linux-amd64": {Data: []byte("#!guest amd64")}, "guest-linux-arm64": {Data: []byte("#!guest arm64")}}

// wanted is what a build asks the index for.
func wanted(defs []*debian.Definition, arch string) []string {
	names := []string{"linux-image-*"}
	for _, d := range defs {
		names = append(names, d.PackageNames(arch)...)
	}
	return names
}

// plans settles all shipped definitions for an architecture.
func plans(t testing.TB, repo *debian.Repository, arch string) (*debian.Index, []*debian.Plan) {
	t.Helper()
	defs := definitions(t)
	index, err := repo.Index(t.Context(), arch, wanted(defs, arch)...)
	if err != nil {
		t.Fatal(err)
	}
	var out []*debian.Plan
	for _, d := range defs {
		p, err := d.Plan(arch, index.Package, guest)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return index, out
}

// TestDefinitionsAreThere: the images that the template of HookOS names.
func TestDefinitionsAreThere(t *testing.T) {
	have := map[string]bool{}
	for _, d := range definitions(t) {
		have[d.Name] = true
		if d.Name != "hook-init" && (len(d.Entrypoint) != 2 || d.Entrypoint[0] != "/usr/bin/hookguest" || d.Label == nil) {
			t.Errorf("%s: entrypoint %q, label %v", d.Name, d.Entrypoint, d.Label)
		}
	}
	for _, name := range []string{"hook-init", "hook-docker", "hook-bootkit", "hook-network", "hook-ntpd", "hook-sshd"} {
		if !have[name] {
			t.Errorf("no definition of %s", name)
		}
	}
}

// TestMirrorResolves: what the definitions and flavors name is in the archive.
func TestMirrorResolves(t *testing.T) {
	repo := openMirror(t, newMirrorFetcher(t))
	for _, arch := range []string{"amd64", "arm64"} {
		index, all := plans(t, repo, arch)
		for _, p := range all {
			t.Logf("%s: %d packages", p.Ref, len(p.Packages))
		}
		for _, meta := range []string{"linux-image-" + arch, "linux-image-cloud-" + arch} {
			kernel, err := index.ResolveMeta(meta)
			if err != nil {
				t.Error(err)
			} else if kernel.Name == meta || kernel.Size < 10<<20 {
				t.Errorf("%s resolves to %s of %d bytes", meta, kernel, kernel.Size)
			}
		}
		if _, err := index.Package("no-such-package"); err == nil {
			t.Error("a package that does not exist was found")
		}
	}
}

// TestMirrorImages unpacks every shipped image for every architecture and
// looks for missing libraries and dangling links.
func TestMirrorImages(t *testing.T) {
	if os.Getenv("HOOKSMITH_TEST_MIRROR") != "1" {
		t.Skip("set HOOKSMITH_TEST_MIRROR=1 to download and unpack all packages")
	}
	f := newMirrorFetcher(t)
	repo := openMirror(t, f)
	for _, arch := range []string{"amd64", "arm64"} {
		index, all := plans(t, repo, arch)
		unpacked := unpackAll(t, f, repo.Mirrors(), all)
		for _, p := range all {
			tree, err := rootfs.Flatten(unpacked.layers(t, p)...)
			if err != nil {
				t.Fatalf("%s: %v", p.Ref, err)
			}
			problems, err := debian.CheckTree(tree.FS(), debian.CheckOptions{Arch: arch, Owner: index.LibraryPackage})
			if err != nil {
				t.Fatal(err)
			}
			for _, problem := range problems {
				t.Errorf("%s: %v", p.Ref, problem)
			}
			checkTrimmed(t, p, tree.FS())
			t.Logf("%s: %s", p.Ref, describe(tree))
		}
		unpacked.checkLicenses(t)
	}
}

func describe(tree *rootfs.Tree) string {
	files, size := 0, int64(0)
	tree.Walk(func(_ string, n *rootfs.Inode) error {
		files++
		size += n.Size
		return nil
	})
	return fmt.Sprintf("%d files, %.1f MB", files, float64(size)/1e6)
}

// checkTrimmed looks for what must be in an image, and must not.
func checkTrimmed(t *testing.T, p *debian.Plan, fsys fs.FS) {
	t.Helper()
	must := map[string][]string{
		"hook-init":    {"init", "bin/modprobe", "bin/sh", "usr/bin/docker", "usr/sbin/runc", "etc/ssl/certs/ca-certificates.crt"},
		"hook-docker":  {"usr/sbin/dockerd", "usr/bin/containerd-shim-runc-v2", "usr/bin/docker-init", "usr/sbin/iptables", "usr/sbin/ip6tables-restore", "etc/ssl/certs/ca-certificates.crt"},
		"hook-sshd":    {"usr/sbin/dropbear", "bin/sh"},
		"hook-bootkit": {"etc/ssl/certs/ca-certificates.crt"},
	}
	for _, name := range append(must[p.Definition.Name], "usr/bin/hookguest", "etc/passwd", "lib", "tmp", "proc", "sys", "dev") {
		if info, err := fs.Stat(fsys, name); err != nil || !info.IsDir() && info.Size() == 0 {
			t.Errorf("%s: %s is missing: %v", p.Ref, name, err)
		}
	}
	for _, name := range []string{"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/bin/ctr", "etc/init.d", "usr/share/ca-certificates", "usr/sbin/xtables-legacy-multi"} {
		if _, err := fs.Stat(fsys, name); err == nil {
			t.Errorf("%s: %s is still there", p.Ref, name)
		}
	}
}

// checkLicenses: every package has a copyright file in its layer.
func (s *store) checkLicenses(t *testing.T) {
	t.Helper()
	for id, p := range s.names {
		tree, err := rootfs.Flatten(s.index[id])
		if err != nil {
			t.Fatal(err)
		}
		file, err := tree.FS().Open(p.CopyrightPath())
		if err != nil {
			t.Errorf("%s: %v", p, err)
			continue
		}
		names, err := debian.Licenses(file)
		free := p.Name == "busybox-static" || p.Name == "libcrypt1" // not machine-readable
		if err != nil || len(names) == 0 && !free {
			t.Errorf("%s: licences %q, %v", p, names, err)
		}
		t.Logf("%s: %s", p, strings.Join(names, ", "))
		file.Close()
	}
}

// reportCPU adds the processor time of an operation, which a busy machine
// changes less than the time on the clock.
func reportCPU(b *testing.B) {
	now := func() time.Duration {
		var u syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	start := now()
	b.Cleanup(func() { b.ReportMetric((now()-start).Seconds()/float64(b.N), "cpu-s/op") })
}

// BenchmarkMirrorIndex is what a build with everything cached pays for the
// archive: three releases, their indices for one architecture.
func BenchmarkMirrorIndex(b *testing.B) {
	f := newMirrorFetcher(b)
	defs := definitions(b)
	openMirror(b, f)
	b.ReportAllocs()
	reportCPU(b)
	for b.Loop() {
		repo := openMirror(b, f)
		if _, err := repo.Index(b.Context(), "amd64", wanted(defs, "amd64")...); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMirrorUnpack unpacks all packages of the shipped images in parallel.
func BenchmarkMirrorUnpack(b *testing.B) {
	f := newMirrorFetcher(b)
	repo := openMirror(b, f)
	_, all := plans(b, repo, "amd64")
	unpackAll(b, f, repo.Mirrors(), all)
	b.ReportAllocs()
	reportCPU(b)
	for b.Loop() {
		unpackAll(b, f, repo.Mirrors(), all)
	}
}

// BenchmarkMirrorLayer unpacks single packages, one thread each.
func BenchmarkMirrorLayer(b *testing.B) {
	f := newMirrorFetcher(b)
	repo := openMirror(b, f)
	index, _ := plans(b, repo, "amd64")
	for _, name := range []string{"docker.io", "containerd", "libc6"} {
		b.Run(name, func(b *testing.B) {
			p, err := index.Package(name)
			if err != nil {
				b.Fatal(err)
			}
			reportCPU(b)
			for b.Loop() {
				l := debian.NewLayer(p, func() (io.ReadCloser, error) { return p.Open(b.Context(), f, repo.Mirrors()) })
				r, err := l.Uncompressed()
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 1<<20))
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(n)
				r.Close()
			}
		})
	}
}
