package linuxkit

import (
	"archive/tar"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// The tree of the first container of an image is everybody's.
func TestSection1_6SharedTrees(t *testing.T) {
	source := images{library + "a:1": image(t, v1.Config{}), library + "b:1": image(t, v1.Config{})}
	all := unpack(t, layout(t, `
onboot: [{name: first, image: a:1}, {name: ro, image: b:1, readonly: true}]
services: [{name: second, image: a:1}, {name: third, image: a:1, readonly: true}, {name: rw, image: b:1}]`, source, Options{}))
	for path, want := range map[string]string{
		"containers/onboot/000-first/runtime.json": `"lowerdir=/containers/onboot/000-first/lower"`,
		"containers/services/second/runtime.json":  `"lowerdir=/containers/onboot/000-first/lower"`,
		"containers/services/third/runtime.json":   `"source": "/containers/onboot/000-first/lower"`,
		"containers/onboot/001-ro/runtime.json":    `"source": "/containers/onboot/001-ro/rootfs"`,
		"containers/services/rw/runtime.json":      `"lowerdir=/containers/onboot/001-ro/rootfs"`,
	} {
		if got := all.file(t, path); !strings.Contains(got, want) {
			t.Errorf("%s: no %s in\n%s", path, want, got)
		}
	}
}

func TestSection1_6ReadonlyVolume(t *testing.T) {
	source := images{library + "a:latest": image(t, v1.Config{})}
	yaml := "volumes: [{name: v, image: a, readonly: true}]"
	if _, ok := unpack(t, layout(t, yaml, source, Options{}))["containers/volumes/v/tmp"]; ok {
		t.Error("a tmp makes the init mount a writable overlay")
	}
	if _, ok := unpack(t, layout(t, yaml, source, Options{Compat: true}))["containers/volumes/v/tmp"]; !ok {
		t.Error("LinuxKit makes tmp in any case")
	}
}

// indexes is a resolver that has indexes.
type indexes struct {
	images
	index v1.ImageIndex
}

func (i indexes) Index(_ context.Context, ref string) (v1.ImageIndex, error) {
	if i.index == nil {
		return nil, fmt.Errorf("no index %s", ref)
	}
	return i.index, nil
}

func TestSection1_6OCIVolume(t *testing.T) {
	platform := func(arch string, layers int64) v1.Image {
		img := must(random.Image(1000, layers))
		config := must(img.ConfigFile()).DeepCopy()
		config.OS, config.Architecture = "linux", arch
		return must(mutate.ConfigFile(img, config))
	}
	amd64, arm64 := platform("amd64", 2), platform("arm64", 1)
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: amd64, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: arm64, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}})
	tests := []struct {
		name, keys string
		source     Resolver
		blobs      int
		err        string
	}{
		{"all", "", indexes{nil, index}, 4 + 3, ""},
		{"one platform", "platforms: [linux/arm64]", indexes{nil, index}, 3, ""},
		{"single image", "", images{library + "a:latest": amd64}, 4, ""},
		{"missing platform", "platforms: [linux/riscv64]", indexes{nil, index}, 0, `hook.yaml:1:12: volumes[0] "v": no image for linux/riscv64; there are linux/amd64, linux/arm64`},
		{"missing index", "", indexes{}, 0, `hook.yaml:1:34: volumes[0] "v": image index docker.io/library/a:latest: no index`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg := parse(t, "volumes: [{name: v, format: oci, image: a, "+test.keys+"}]")
			parts, err := Layout(t.Context(), cfg, test.source, Options{})
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for name, n := range flatten(t, parts[0].Layers) {
				file := filepath.Join(dir, filepath.FromSlash(name))
				if n.hdr.Typeflag == tar.TypeDir {
					try(t, os.MkdirAll(file, 0o755))
					continue
				}
				try(t, os.MkdirAll(filepath.Dir(file), 0o755))
				try(t, os.WriteFile(file, []byte(n.data), 0o644))
			}
			read := must(ocilayout.ImageIndexFromPath(dir))
			if err := validate.Index(read); err != nil {
				t.Error(err)
			}
			if blobs := must(filepath.Glob(dir + "/blobs/sha256/*")); len(blobs) != test.blobs {
				t.Errorf("%d blobs, want %d", len(blobs), test.blobs)
			}
		})
	}
}
