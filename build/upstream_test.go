package build

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"hooksmith/build/images"
	"hooksmith/configs"
)

func TestPublishedKernel(t *testing.T) {
	known := fileImages(t)
	base := "registry.test/hook-kernel"
	for _, tag := range []string{"5.10.9-aaaa", "5.10.226-bbbb", "6.6.1-cccc", "latest", "5.10"} {
		known[base+":"+tag] = kernelImage(t)
	}
	for _, tt := range []struct {
		name, image, version, err string
		vars                      map[string]string
		none                      bool
	}{
		{name: "newest", vars: map[string]string{"HOOK_KERNEL_OCI_BASE": base}, image: base + ":5.10.226-bbbb", version: "5.10.226"},
		{name: "point release", vars: map[string]string{"HOOK_KERNEL_OCI_BASE": base, "KERNEL_POINT_RELEASE": "5.10.9"}, image: base + ":5.10.9-aaaa", version: "5.10.9"},
		{name: "named", vars: map[string]string{"HOOK_KERNEL_IMAGE": "x/y:5.4.3-z"}, image: "x/y:5.4.3-z", version: "5.4.3"},
		{name: "empty repository", vars: map[string]string{"HOOK_KERNEL_OCI_BASE": "registry.test/other"}, err: "HOOK_KERNEL_IMAGE=IMAGE"},
		{name: "no registry", vars: map[string]string{}, none: true, err: "no registry"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &Plan{vars: tt.vars}
			if !tt.none {
				p.opt.Images = known
			}
			p.opt.Flavor.Kernel = KernelSpec{Version: "5.10", Config: "generic"}
			err := p.nameKernel(t.Context())
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil || p.vars["HOOK_KERNEL_IMAGE"] != tt.image || p.vars["HOOK_KERNEL_VERSION"] != tt.version {
				t.Errorf("%v, %v", p.vars, err)
			}
		})
	}
}

// Upstream's flavors build from a registry that has images of the same names
// and layout.
func TestUpstreamFlavors(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	push := func(ref string, img v1.Image) {
		t.Helper()
		tag := must(name.NewTag(host + "/" + ref))
		config := must(img.ConfigFile()).DeepCopy()
		config.OS, config.Architecture = "linux", "amd64"
		if err := remote.Write(tag, must(mutate.ConfigFile(img, config))); err != nil {
			t.Fatal(err)
		}
	}
	all := must(LoadFlavors(configs.FS))
	flavor := must(all.Buildable("hook-default-amd64"))
	command := v1.Config{Entrypoint: []string{"/bin/service"}}
	for variable, ref := range flavor.Variables {
		push(ref, testImage(t, command, gzipped(t, text("from/"+imageName(variable), ref))))
	}
	push("tinkerbell/hook/kernel/hook-kernel:5.10.230-0123abcd", kernelImage(t))
	push("tinkerbell/hook/kernel/hook-kernel:6.6.70-0123abcd", kernelImage(t))
	for i, own := range []string{"hook-runc", "hook-containerd", "hook-udev", "hook-acpid"} {
		old := must(mutate.CreatedAt(testImage(t, command, gzipped(t, text("from/"+own, "old"))), v1.Time{Time: time.Unix(1e9, 0)}))
		young := must(mutate.CreatedAt(testImage(t, command, gzipped(t, text("from/"+own, "new"))), v1.Time{Time: time.Unix(2e9, 0)}))
		push("tinkerbell/hook/linuxkit/"+own+":"+[]string{"aaaaaaaa", "ffffffff"}[i%2]+"-amd64", young)
		push("tinkerbell/hook/linuxkit/"+own+":bbbbbbbb-amd64", old)
		push("tinkerbell/hook/linuxkit/"+own+":eeeeeeee-arm64", old)
	}
	ours := testImage(t, command, gzipped(t, text("ours", "1")))
	for _, n := range []string{"network", "docker", "bootkit"} {
		push("mine/"+n+":1", ours)
	}
	for _, id := range []string{"hook-default-amd64", "hook-latest-lts-amd64", "peg-default-amd64"} {
		t.Run(id, func(t *testing.T) {
			opt := fileOptions(t)
			opt.Flavor = must(all.Buildable(id))
			opt.Vars = map[string]string{
				"HOOK_CONTAINER_NETWORK_IMAGE": host + "/mine/network:1",
				"HOOK_CONTAINER_DOCKER_IMAGE":  host + "/mine/docker:1",
				"HOOK_CONTAINER_BOOTKIT_IMAGE": host + "/mine/bootkit:1",
				"HOOK_CONTAINER_ACPID_IMAGE":   host + "/tinkerbell/hook/linuxkit/hook-acpid:bbbbbbbb-amd64",
				"HOOK_VERSION":                 "a=b",
			}
			source := func(lock *Lock) *images.Sources {
				return &images.Sources{
					Dir: t.TempDir(), Platform: must(images.ParsePlatform("amd64")), Retries: 1, Pins: lock.Pins(id),
					Mirrors: []images.Mirror{{Host: "docker.io", URL: server.URL}, {Host: "ghcr.io", URL: server.URL}},
				}
			}
			opt.Images, opt.Cache.Offline = source(nil), false
			a, err := Build(t.Context(), opt)
			if err != nil {
				t.Fatal(err)
			}
			checkUpstream(t, opt, a)

			opt.Lock = must(ParseLock(LockName, must(os.ReadFile(filepath.Join(opt.Out, LockName)))))
			opt.Out, opt.Images = t.TempDir(), source(opt.Lock)
			locked, err := Build(t.Context(), opt)
			if err != nil {
				t.Fatal(err)
			}
			compareHashes(t, hashes(locked), hashes(a))
		})
	}
	t.Run("nowhere", func(t *testing.T) {
		opt := fileOptions(t)
		opt.Flavor = flavor
		for _, n := range []string{"NETWORK", "DOCKER", "BOOTKIT"} {
			opt.Vars["HOOK_CONTAINER_"+n+"_IMAGE"] = "mine/" + n + ":1"
		}
		opt.Images = &images.Sources{Dir: t.TempDir(), Offline: true}
		if _, err := Build(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "after the flavor") {
			t.Errorf("error %v does not say what to do", err)
		}
	})
}

func checkUpstream(t *testing.T, opt Options, a *Artifacts) {
	t.Helper()
	got := entries(t, filepath.Join(opt.Out, "initramfs-"+opt.Flavor.OutputID))
	for p, want := range map[string]string{
		"lib/modules/6.6.1/a.ko":    "100644 module",
		"from/hook-linuxkit-init":   "100644 linuxkit/init:b5506",
		"from/hook-runc":            "100644 new",
		"from/hook-containerd":      "100644 new",
		"containers/services/getty": "040755 ",
		"containers/onboot":         "040755 ",
	} {
		if len(got[p]) < len(want) || got[p][:len(want)] != want {
			t.Errorf("%s: %q, want %q", p, got[p], want)
		}
	}
	if opt.Flavor.Template == "hook-linuxkit" && got["containers/services/hook-acpid/lower/from/hook-acpid"] != "100644 old" {
		t.Error("the image that was named was not taken")
	}
	if !strings.Contains(a.Kernel.Source, "hook-kernel:"+opt.Flavor.Kernel.Version+".") {
		t.Errorf("kernel %s", a.Kernel.Source)
	}
	if _, err := os.Stat(filepath.Join(opt.Out, "vmlinuz-x86_64")); err != nil {
		t.Error(err)
	}
	if !slices.ContainsFunc(a.Inputs, func(in Input) bool {
		return in.Kind == "image" && strings.HasPrefix(in.Name, "docker.io/linuxkit/init:")
	}) {
		t.Error("LinuxKit's init is not among the inputs")
	}
}
