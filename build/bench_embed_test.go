package build

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/google/go-containerregistry/pkg/name"

	"hooksmith/build/debian"
	"hooksmith/build/fetch"
	"hooksmith/build/images"
	"hooksmith/build/initramfs"
	"hooksmith/embed"
)

// benchEmbed are images of about 35, 78 and 196 MB of files, as tools of
// actions are, and a fourth for the cache. The first layer is in all.
var benchEmbed = []struct {
	name   string
	layers [][]string // Debian packages
}{
	{"small", [][]string{{"libc6", "busybox-static"}, {"libssl3t64", "libseccomp2", "runc"}, {"perl-base", "iproute2"}}},
	{"middle", [][]string{{"libc6", "busybox-static"}, {"libssl3t64", "libseccomp2"}, {"docker-cli", "git"}}},
	{"large", [][]string{{"libc6", "busybox-static"}, {"libssl3t64", "libseccomp2"}, {"docker.io", "docker-cli"}, {"python3.13-minimal", "libpython3.13-minimal", "libpython3.13-stdlib", "git"}}},
	{"fourth", [][]string{{"libc6", "busybox-static"}, {"libssl3t64", "libseccomp2"}, {"lvm2", "mdadm", "xfsprogs"}}},
}

// TestWriteBenchEmbed writes the images that scripts/bench-embed.sh embeds
// into the folder that the variable names: an OCI layout, and a docker-save
// archive of each.
func TestWriteBenchEmbed(t *testing.T) {
	dir := os.Getenv("HOOKSMITH_BENCH_EMBED_LAYOUT")
	if dir == "" {
		t.Skip("for scripts/bench-embed.sh")
	}
	cache := must(os.UserCacheDir())
	c := &fetch.Cache{Dir: filepath.Join(cache, "hooksmith-test", "build")}
	var names []string
	for _, img := range benchEmbed {
		names = append(names, slices.Concat(img.layers...)...)
	}
	keys := must(debian.ReadKeyring(os.DirFS("../configs/keyrings")))
	repo := must(debian.Open(t.Context(), c, debian.Options{Mirrors: debian.HostMirrors(os.DirFS("/")), Keys: keys}))
	index := must(repo.Index(t.Context(), "amd64", names...))
	made := map[string]v1.Layer{}
	p := must(layout.Write(filepath.Join(dir, "layout"), empty.Index))
	for _, spec := range benchEmbed {
		var layers []v1.Layer
		for _, packages := range spec.layers {
			key := strings.Join(packages, "+")
			if made[key] == nil {
				var parts []v1.Layer
				for _, name := range packages {
					pkg := must(index.Package(name))
					parts = append(parts, debian.NewLayer(pkg, func() (io.ReadCloser, error) { return pkg.Open(t.Context(), c, repo.Mirrors()) }))
				}
				made[key] = oneLayer(t, filepath.Join(dir, "tmp-"+packages[0]), parts)
			}
			layers = append(layers, made[key])
		}
		img := testImage(t, v1.Config{Entrypoint: []string{"/usr/bin/busybox", "true"}}, layers...)
		cf := must(img.ConfigFile()).DeepCopy()
		cf.OS, cf.Architecture = "linux", "amd64"
		img = must(mutate.ConfigFile(img, cf))
		ref := "example.org/bench/" + spec.name + ":1"
		if err := p.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": ref})); err != nil {
			t.Fatal(err)
		}
		if err := tarball.WriteToFile(filepath.Join(dir, spec.name+".tar"), must(name.NewTag(ref)), img); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range must(filepath.Glob(filepath.Join(dir, "tmp-*"))) {
		_ = os.Remove(path)
	}
}

// oneLayer makes one compressed layer of several.
func oneLayer(t *testing.T, path string, parts []v1.Layer) v1.Layer {
	t.Helper()
	s := newLayers(t.Context(), &fetch.Cache{Dir: t.TempDir()})
	defer s.Close()
	tree := must(s.tree(t.Context(), parts))
	f := must(os.Create(path + ".tar"))
	defer f.Close()
	if err := writeTreeTar(t.Context(), f, tree); err != nil {
		t.Fatal(err)
	}
	l := must(tarball.LayerFromFile(path + ".tar"))
	return must(compressed(path, l))
}

// TestBenchEmbed does what scripts/bench-embed.sh measures: it makes the
// segments of the images that HOOKSMITH_BENCH_EMBED_IMAGES names, from the
// layout in HOOKSMITH_BENCH_EMBED, with the cache there, compressed or plain.
func TestBenchEmbed(t *testing.T) {
	dir := os.Getenv("HOOKSMITH_BENCH_EMBED")
	if dir == "" {
		t.Skip("for scripts/bench-embed.sh")
	}
	source := &images.Sources{
		Layouts: []string{filepath.Join(dir, "layout")}, Dir: filepath.Join(dir, "cache", "images"),
		Platform: v1.Platform{OS: "linux", Architecture: "amd64"}, Offline: true,
	}
	var wants []embed.Want
	for image := range strings.FieldsSeq(os.Getenv("HOOKSMITH_BENCH_EMBED_IMAGES")) {
		wants = append(wants, want(t, fmt.Sprintf("example.org/bench/%s:1=%s", image, image)))
	}
	b := must(embedder(&fetch.Cache{Dir: filepath.Join(dir, "cache")}, source, wants...))
	defer b.layers.Close()
	name := "embed.img"
	if os.Getenv("HOOKSMITH_BENCH_EMBED_PLAIN") != "" {
		name, b.opt.Compression = "embed.cpio", initramfs.None
	}
	f := must(os.Create(filepath.Join(dir, name)))
	defer f.Close()
	infos := must(b.writeEmbedded(t.Context(), f, dir))
	for _, info := range infos {
		t.Logf("%-24s %11d bytes of %d", info.Name, info.Size, info.Unpacked)
	}
}
