package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"hooksmith/build"
	"hooksmith/build/fetch"
	"hooksmith/build/images"
	"hooksmith/build/linuxkit"
)

// saveImage writes what docker save writes.
func saveImage(t *testing.T, ref, arch string) string {
	t.Helper()
	config, err := empty.Image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	var img v1.Image
	if img, err = mutate.ConfigFile(empty.Image, config); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kernel.tar")
	if err := tarball.WriteToFile(path, tag, img); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestApplyKernel(t *testing.T) {
	flavors, err := loadFlavors("")
	if err != nil {
		t.Fatal(err)
	}
	exported, arm := saveImage(t, "localhost:5000/hook-kernel:6.12.48-0123abcd", "amd64"), saveImage(t, "k/arm:1", "arm64")
	for _, tt := range []struct {
		name, flavor, value string
		files               bool
		image, latest       string // variables
		first               string // repository that Docker is asked for
		layout              bool
		usage               bool
		want                string // of the error
	}{
		{name: "none", flavor: "hook-vm-amd64"},
		{name: "latest", flavor: "hook-vm-amd64", value: "latest", latest: "latest"},
		{name: "latest of Debian", flavor: "hook-debian-amd64", value: "latest", usage: true, want: "linux-image-amd64"},
		{name: "with a LinuxKit file", flavor: "hook-vm-amd64", files: true, value: "x:1", usage: true, want: "kernel.image"},
		{name: "reference", flavor: "hook-vm-amd64", value: "localhost:5000/k:6.12.1-a", image: "localhost:5000/k:6.12.1-a", first: "localhost:5000/k"},
		{name: "reference without tag", flavor: "hook-vm-amd64", value: "localhost:5000/k", image: "localhost:5000/k", first: "localhost:5000/k"},
		{name: "for a flavor of Debian", flavor: "hook-debian-amd64", value: "k/k:1", image: "k/k:1", first: "k/k"},
		{name: "archive", flavor: "hook-generic-amd64", value: exported, image: "localhost:5000/hook-kernel:6.12.48-0123abcd", layout: true},
		{name: "archive for another machine", flavor: "hook-generic-amd64", value: arm, want: "no image for linux/amd64"},
		{name: "archive that is not there", flavor: "hook-generic-amd64", value: "none.tar", want: "none.tar"},
		{name: "folder that is not there", flavor: "hook-generic-amd64", value: "./none", want: "./none"},
		{name: "folder without a kernel", flavor: "hook-generic-amd64", value: t.TempDir(), want: "no kernel"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			flavor, err := flavors.Buildable(tt.flavor)
			if err != nil {
				t.Fatal(err)
			}
			sources := &images.Sources{Dir: t.TempDir(), Offline: true, Platform: v1.Platform{OS: "linux", Architecture: "amd64"}}
			opt := build.Options{Flavor: flavor, Vars: map[string]string{}, Images: sources, Cache: &fetch.Cache{Dir: t.TempDir()}}
			if tt.files {
				opt.Files = []linuxkit.Source{{Name: "x"}}
			}
			err = applyKernel(t.Context(), tt.value, &opt)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want one with %q", err, tt.want)
				}
				if usage := (*usageError)(nil); errors.As(err, &usage) != tt.usage {
					t.Errorf("usage error: %v", err)
				}
				return
			}
			if err != nil || opt.Vars["HOOK_KERNEL_IMAGE"] != tt.image || opt.Vars[build.LatestKernel] != tt.latest {
				t.Errorf("%v, %v", opt.Vars, err)
			}
			if (tt.first != "") != slices.Contains(sources.DockerFirst, tt.first) || tt.layout != slices.Contains(sources.Layouts, tt.value) {
				t.Errorf("Docker first for %q, layouts %q", sources.DockerFirst, sources.Layouts)
			}
			if tt.image != "" && opt.Flavor.Kernel.Debian != "" {
				t.Error("the flavor keeps Debian's kernel")
			}
		})
	}
	if _, err := os.Stat(exported); err != nil {
		t.Error(err)
	}
}
