package build

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sync/errgroup"

	"hooksmith/build/debian"
	"hooksmith/build/fetch"
)

// benchImages are images of HookOS's size together, by what Debian packages
// they hold: a dozen, about 560 MB of files.
var benchImages = map[string][]string{
	"init":       {"runc", "ca-certificates"},
	"containerd": {"containerd"},
	"docker":     {"docker.io", "docker-cli", "iptables", "tini"},
	"crun":       {"crun", "conmon", "nftables"},
	"buildah":    {"buildah"},
	"skopeo":     {"skopeo"},
	"udev":       {"udev", "kmod", "libkmod2"},
	"dhcp":       {"dhcpcd-base", "iproute2"},
	"sshd":       {"openssh-server", "openssh-client"},
	"python":     {"python3.13-minimal", "libpython3.13-minimal", "libpython3.13-stdlib"},
	"tools":      {"gdb", "git", "perl-base"},
	"storage":    {"lvm2", "mdadm", "e2fsprogs", "xfsprogs", "btrfs-progs", "qemu-utils"},
}

// benchBase is in all of them.
var benchBase = []string{"libc6", "busybox-static", "libseccomp2", "libssl3t64"}

// TestWriteBenchLayout writes the OCI layout and the LinuxKit file that
// scripts/bench-build.sh builds, into the folder that the variable names.
func TestWriteBenchLayout(t *testing.T) {
	dir := os.Getenv("HOOKSMITH_BENCH_LAYOUT")
	if dir == "" {
		t.Skip("for scripts/bench-build.sh")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	c := &fetch.Cache{Dir: filepath.Join(cache, "hooksmith-test", "build")}
	names := slices.Clone(benchBase)
	for _, list := range benchImages {
		names = append(names, list...)
	}
	keys := must(debian.ReadKeyring(os.DirFS("../configs/keyrings")))
	repo := must(debian.Open(t.Context(), c, debian.Options{Mirrors: debian.HostMirrors(os.DirFS("/")), Keys: keys}))
	index := must(repo.Index(t.Context(), "amd64", names...))
	layers := map[string]v1.Layer{}
	for _, name := range names {
		layers[name] = nil
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	made := make(chan struct{}, 1)
	made <- struct{}{}
	for name := range layers {
		g.Go(func() error {
			pkg, err := index.Package(name)
			if err != nil {
				return err
			}
			l, err := compressed(filepath.Join(dir, "tmp-"+name), debian.NewLayer(pkg, func() (io.ReadCloser, error) { return pkg.Open(t.Context(), c, repo.Mirrors()) }))
			<-made
			layers[name] = l
			made <- struct{}{}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	writeBenchLayout(t, dir, layers)
	left := must(filepath.Glob(filepath.Join(dir, "tmp-*")))
	for _, path := range left {
		_ = os.Remove(path)
	}
}

// compressed writes a layer as a gzip file, as registries have it.
func compressed(path string, l v1.Layer) (v1.Layer, error) {
	rc, err := l.Uncompressed()
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := io.Copy(f, rc); err != nil {
		return nil, err
	}
	return tarball.LayerFromFile(path)
}

func writeBenchLayout(t *testing.T, dir string, layers map[string]v1.Layer) {
	p := must(layout.Write(filepath.Join(dir, "layout"), empty.Index))
	file := "init: [bench/init:1]\nservices:\n"
	for _, image := range slices.Sorted(maps.Keys(benchImages)) {
		var list []v1.Layer
		for _, pkg := range slices.Concat(benchBase, benchImages[image]) {
			list = append(list, layers[pkg])
		}
		config := v1.Config{Entrypoint: []string{"/usr/bin/" + image}}
		img := testImage(t, config, list...)
		cf := must(img.ConfigFile()).DeepCopy()
		cf.OS, cf.Architecture = "linux", "amd64"
		img = must(mutate.ConfigFile(img, cf))
		ref := "docker.io/bench/" + image + ":1"
		err := p.ReplaceImage(img, match.Name(ref), layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": ref}))
		if err != nil {
			t.Fatal(err)
		}
		if image != "init" {
			file += fmt.Sprintf("  - {name: %s, image: 'bench/%s:1'}\n", image, image)
		}
	}
	file += "files:\n  - {path: etc/motd, mode: '0644', contents: \"hello\\n\"}\n"
	if err := os.WriteFile(filepath.Join(dir, "bench.yml"), []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
}
