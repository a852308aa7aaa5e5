package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hooksmith/kernel/drivers"
	"hooksmith/publish/hooktest"
)

// driverDir is an output folder whose HookOS drives an E810 and NVMe disks.
func driverDir(t *testing.T) string {
	t.Helper()
	modules := "usr/lib/modules/" + hooktest.Release + "/"
	dir := t.TempDir()
	archive := hooktest.Archive(
		hooktest.Entry{Name: "init", Mode: 0o100755, Data: hooktest.Program(62, "init")},
		hooktest.Entry{Name: modules + "kernel/drivers/net/ethernet/intel/ice/ice.ko", Data: string(hooktest.Driver(62, "ice", hooktest.Release, "alias=pci:v00008086d00001593sv*sd*bc*sc*i*", "firmware=intel/ice/ddp/ice.pkg"))},
		hooktest.Entry{Name: modules + "modules.alias", Data: "alias pci:v00008086d00001593sv*sd*bc*sc*i* ice\n"},
		hooktest.Entry{Name: modules + "modules.dep", Data: "kernel/drivers/net/ethernet/intel/ice/ice.ko:\n"},
		hooktest.Entry{Name: modules + "modules.builtin", Data: "kernel/drivers/nvme/host/nvme.ko\n"},
		hooktest.Entry{Name: "usr/lib/firmware/intel/ice/ddp/ice.pkg", Data: "firmware"},
	)
	for name, b := range map[string][]byte{"vmlinuz-x86_64": hooktest.Kernel(hooktest.Release, ""), "initramfs-x86_64": hooktest.Zstd(archive)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestDriversCheck(t *testing.T) {
	dir := driverDir(t)
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "list.txt")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tt := range []struct {
		name   string
		args   []string
		code   int
		stdout []string
		stderr string
	}{
		{"covered", []string{"--pci", "8086:1593,144d:a80a:144d:a801@010802"}, exitOK, []string{"ice", "nvme", "built in", "2 of 2 network and storage devices covered"}, ""},
		{"not covered", []string{"--pci", "8086:1593,10df:0720"}, exitFailure, []string{"missing", "CONFIG_BE2NET=m (hooksmith kernel-config hook-", "flavor hook-debian-amd64 (module group nic)", "1 of 2"}, "not covered: 1 of 2 network and storage devices"},
		{"not vital", []string{"--pci", "102b:0536@0300"}, exitOK, []string{"mgag200: CONFIG_DRM_MGAG200=m", "0 of 0"}, ""},
		{"lspci", []string{"--lspci", file("3b:00.0 Ethernet controller [0200]: Intel Corporation E810-XXV [8086:1593] (rev 02)\n\tSubsystem: Intel [8086:0002]\n")}, exitOK, []string{"3b:00.0 Intel Corporation E810-XXV", "in ", "ok"}, ""},
		{"modalias", []string{"--modalias", file("/sys/devices/pci0000:00/0000:00:01.0/modalias:pci:v00008086d00001593sv00008086sd00000002bc02sc00i00\n")}, exitOK, []string{"0000:00:01.0", "1 of 1"}, ""},
		{"messages", []string{"--modalias", file("grep: /sys/x: Permission denied\npci:v00008086d00001593sv00008086sd00000002bc02sc00i00\n")}, exitOK, []string{"warning: ", "passed over messages of programs (1)", "1 of 1"}, ""},
		{"both", []string{"--modalias", file("virtio:d00000001v00001AF4\n"), "--pci", "8086:1593"}, exitFailure, []string{"virtio_net: "}, "1 of 2"},
		{"bad line", []string{"--lspci", file("3b:00.0 0200: 8086:1593\nrubbish\n")}, exitFailure, nil, "list.txt:2: \"rubbish\" is no line of lspci"},
		{"bad modalias", []string{"--modalias", file("rubbish\n")}, exitFailure, nil, "list.txt:1: \"rubbish\" is no modalias"},
		{"bad id", []string{"--pci", "8086-1593"}, exitUsage, nil, `--pci: "8086-1593" is no device`},
		{"no devices", nil, exitUsage, nil, "--lspci FILE, --pci"},
		{"no file", []string{"--lspci", dir + "/none"}, exitFailure, nil, "--lspci: open"},
		{"for flavors", []string{"--pci", "8086:1593", "--firmware", "ice"}, exitUsage, nil, "--firmware and --debian-snapshot are for flavors"},
		{"no such build", []string{"--pci", "8086:1593", "--id", "riscv"}, exitFailure, nil, "there are: x86_64"},
		{"no such kernel", []string{"--pci", "8086:1593", "--release", "1.0"}, exitFailure, nil, "no modules of kernel 1.0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, out, stderr := runHere(t.Context(), append([]string{"drivers", "check", dir}, tt.args...)...)
			if code != tt.code || !strings.Contains(stderr, tt.stderr) {
				t.Errorf("exit %d, want %d\n%s%s", code, tt.code, out, stderr)
			}
			for _, want := range tt.stdout {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
		})
	}
}

func TestDriversJSON(t *testing.T) {
	dir := driverDir(t)
	code, out, _ := runHere(t.Context(), "drivers", "check", filepath.Join(dir, "initramfs-x86_64"), "--pci", "8086:1593,10df:0720", "--json")
	var r drivers.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitFailure || r.Schema != 1 || r.Uncovered != 1 || len(r.Devices) != 2 || r.Devices[1].State != drivers.Missing || r.Artifact.Release != hooktest.Release {
		t.Errorf("exit %d, %v\n%s", code, err, out)
	}
	code, out, _ = runHere(t.Context(), "drivers", "list", dir, "--json")
	var inv drivers.Inventory
	if err := json.Unmarshal([]byte(out), &inv); err != nil || code != exitOK || inv.Modules != 1 || len(inv.Drivers) != 2 || inv.Drivers[0].Name != "ice" || !inv.Drivers[1].BuiltIn {
		t.Errorf("exit %d, %v\n%s", code, err, out)
	}
	if code, out, _ := runHere(t.Context(), "drivers", "list", dir); code != exitOK || !strings.Contains(out, "network  ice ") || !strings.Contains(out, "1 modules, 2 drivers") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

// TestDriversTargets: what cannot be looked into says what to give instead.
func TestDriversTargets(t *testing.T) {
	dir := driverDir(t)
	for _, tt := range []struct{ ref, want, hint string }{
		{filepath.Join(dir, "vmlinuz-x86_64"), "is a kernel: its modules are in the initramfs", ""},
		{"hook-no-such", `there is no file, folder or flavor "hook-no-such"`, "hooksmith list"},
		{dir + "/none", "there is no file, folder or flavor", ""},
		{"armbian-meson64-edge", "flavor armbian-meson64-edge cannot be built", ""},
		{"hook-latest-lts-amd64", "kernel 6.6 generic was not found", "make it with: hooksmith kernel hook-latest-lts-amd64"},
		{"example.invalid/kernel:1", "image example.invalid/kernel:1 (there is no file of this name): ", ""},
	} {
		code, _, stderr := runHere(t.Context(), "drivers", "check", tt.ref, "--pci", "8086:1593", "--offline", "--cache-dir", t.TempDir())
		if code != exitFailure || !strings.Contains(stderr, tt.want) || !strings.Contains(stderr, tt.hint) {
			t.Errorf("%s: exit %d, %s", tt.ref, code, stderr)
		}
	}
	if code, _, stderr := runHere(t.Context(), "drivers", "list", dir, "too", "many"); code != exitUsage {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

// bnx2xDir is a kernel image as folder, whose adapter does nothing without its
// firmware.
func bnx2xDir(t *testing.T) string {
	t.Helper()
	var modules bytes.Buffer
	w := tar.NewWriter(&modules)
	module := hooktest.Driver(62, "bnx2x", hooktest.Release, "alias=pci:v000014E4d0000164Esv*sd*bc*sc*i*", "firmware=bnx2x/bnx2x-e2-7.13.21.0.fw")
	err := w.WriteHeader(&tar.Header{Name: "lib/modules/" + hooktest.Release + "/kernel/bnx2x.ko", Mode: 0o644, Size: int64(len(module))})
	if err == nil {
		_, err = w.Write(module)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return dirOf(t, map[string][]byte{"kernel": hooktest.Kernel(hooktest.Release, ""), "kernel.tar": modules.Bytes()})
}

func dirOf(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// archiveOf is an archive of images, each with a folder's files.
func archiveOf(t *testing.T, folders map[string]string) string {
	t.Helper()
	images := map[name.Tag]v1.Image{}
	for ref, dir := range folders {
		img, err := mutate.AppendLayers(empty.Image, static.NewLayer(tarOf(t, dir), types.DockerUncompressedLayer))
		if err == nil {
			img, err = mutate.ConfigFile(img, &v1.ConfigFile{Architecture: "amd64", OS: "linux", RootFS: v1.RootFS{Type: "layers", DiffIDs: diffIDs(t, img)}})
		}
		if err != nil {
			t.Fatal(err)
		}
		tag, err := name.NewTag(ref)
		if err != nil {
			t.Fatal(err)
		}
		images[tag] = img
	}
	archive := filepath.Join(t.TempDir(), "images.tar")
	if err := tarball.MultiWriteToFile(archive, images); err != nil {
		t.Fatal(err)
	}
	return archive
}

// TestDriversKernelImage: a kernel image says nothing of firmware, a flavor
// with that kernel what its build would hold.
func TestDriversKernelImage(t *testing.T) {
	dir := bnx2xDir(t)
	code, out, stderr := runHere(t.Context(), "drivers", "check", dir, "--pci", "14e4:164e")
	if code != exitOK || !strings.Contains(out, "bnx2x") || !strings.Contains(out, "warning: firmware was not looked for") || !strings.Contains(out, "there is no modules.alias") {
		t.Errorf("exit %d\n%s%s", code, out, stderr)
	}
	const ref, upstreams = "example.org/hook-kernel:6.6.1-test", "hook-latest-lts-amd64"
	t.Setenv("HOOK_KERNEL_IMAGE", ref)
	kernelOnly := map[string]string{ref: dir}
	none := dirOf(t, map[string][]byte{"etc/motd": nil})
	withFirmware := dirOf(t, map[string][]byte{"lib/firmware/bnx2x/bnx2x-e2-7.13.21.0.fw": []byte("firmware")})
	upstream := func(firmware string) map[string]string {
		flavors, err := loadFlavors("")
		if err != nil {
			t.Fatal(err)
		}
		flavor, err := flavors.Find(upstreams)
		if err != nil {
			t.Fatal(err)
		}
		images := map[string]string{ref: dir, flavor.Variables["HOOK_CONTAINER_LINUXKIT_FIRMWARE_IMAGE"]: firmware}
		for _, image := range []string{"INIT", "CA_CERTIFICATES"} {
			images[flavor.Variables["HOOK_CONTAINER_LINUXKIT_"+image+"_IMAGE"]] = none
		}
		return images
	}
	for _, tt := range []struct {
		name, ref string
		images    map[string]string
		code      int
		want      string
		warning   bool
	}{
		{"image", ref, kernelOnly, exitOK, "it is not part of a kernel; what was built with it, or the flavor, tells", true},
		{"flavor", "hook-generic-amd64", kernelOnly, exitFailure, "no firmware  bnx2x: firmware by --firmware bnx2x", false},
		{"flavor with firmware in an image", upstreams, upstream(withFirmware), exitOK, "1 of 1 network", false},
		{"flavor with an image without it", upstreams, upstream(none), exitFailure, "no firmware", false},
		{"flavor with an image that is not there", upstreams, kernelOnly, exitOK, "the flavor has image docker.io/linuxkit/init:", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, out, stderr := runHere(t.Context(), "drivers", "check", tt.ref, "--pci", "14e4:164e", "--arch", "amd64", "--layout", archiveOf(t, tt.images), "--offline", "--cache-dir", t.TempDir())
			if code != tt.code || !strings.Contains(out, tt.want) || strings.Contains(out, "warning: firmware was not looked for: ") != tt.warning {
				t.Errorf("exit %d, want %d and %q\n%s%s", code, tt.code, tt.want, out, stderr)
			}
		})
	}
}

// TestDriversKernelFirmware adds Debian's firmware to a kernel that is none of
// Debian's, as a build does.
func TestDriversKernelFirmware(t *testing.T) {
	if os.Getenv("HOOKSMITH_TEST_MIRROR") == "" {
		t.Skip("HOOKSMITH_TEST_MIRROR is not set: this test downloads a package with firmware")
	}
	const ref = "example.org/hook-kernel:6.12.1-test"
	t.Setenv("HOOK_KERNEL_IMAGE", ref)
	archive := archiveOf(t, map[string]string{ref: bnx2xDir(t)})
	for _, tt := range []struct {
		firmware, want string
		code           int
	}{{"bnx2x", "1 of 1 network", exitOK}, {"bnx2", "no firmware", exitFailure}, {"no-such", "firmware no-such: not a name of configs/modules.yaml", exitFailure}} {
		code, out, stderr := runHere(t.Context(), "drivers", "check", "hook-generic-amd64", "--pci", "14e4:164e", "--firmware", tt.firmware, "--layout", archive)
		if code != tt.code || !strings.Contains(out+stderr, tt.want) {
			t.Errorf("%s: exit %d\n%s%s", tt.firmware, code, out, stderr)
		}
	}
}

func diffIDs(t *testing.T, img v1.Image) []v1.Hash {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return config.RootFS.DiffIDs
}

// tarOf is a tar of the files in a folder.
func tarOf(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestDriversFlavor looks at flavors that are not built.
func TestDriversFlavor(t *testing.T) {
	if os.Getenv("HOOKSMITH_TEST_MIRROR") == "" {
		t.Skip("HOOKSMITH_TEST_MIRROR is not set: this test downloads Debian's kernels")
	}
	for _, tt := range []struct {
		args   []string
		code   int
		stdout string
	}{
		{[]string{"hook-debian-amd64", "--pci", "8086:15f3,1000:0014,15b3:1017,1af4:1041"}, exitOK, "x86_64: 4 of 4"},
		{[]string{"hook-debian-amd64", "--pci", "14e4:164e"}, exitFailure, "no firmware"},
		{[]string{"hook-debian-amd64", "--pci", "14e4:164e", "--firmware", "bnx2x"}, exitOK, "1 of 1 network"},
		{[]string{"hook-debian-arm64", "--pci", "15b3:1017,1af4:1041,19e5:a222"}, exitOK, "aarch64: 3 of 3"},
		{[]string{"hook-debian-cloud-amd64", "--pci", "1d0f:ec20,15ad:07b0,15ad:07c0"}, exitOK, "x86_64: 3 of 3"},
		{[]string{"hook-debian-cloud-amd64", "--pci", "10df:0720"}, exitFailure, "be2net: flavor hook-debian-amd64 (module group nic)"},
	} {
		code, out, stderr := runHere(t.Context(), append([]string{"drivers", "check"}, tt.args...)...)
		if code != tt.code || !strings.Contains(out, tt.stdout) {
			t.Errorf("%v: exit %d\n%s%s", tt.args, code, out, stderr)
		}
	}
}
