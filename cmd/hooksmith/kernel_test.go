package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hooksmith/build/docker"
	"hooksmith/build/docker/dockertest"
	"hooksmith/configs"
)

func TestProgressCount(t *testing.T) {
	clock := time.Unix(0, 0)
	var out buffer
	p := newProgress(&out, false, func() time.Time { return clock })
	a := p.BeginCount("compiling", 100)
	b := p.BeginCount("installing", 0)
	for range 65 {
		clock = clock.Add(time.Second)
		a.Add(2) // more than the estimate at the end
	}
	b.Done(nil)
	b.Done(errors.New("ignored"))
	a.Done(nil)
	p.BeginCount("broken", 0).Done(errors.New("x"))
	p.Close()
	want := `compiling: started (about 100 objects)
installing: started
compiling: 60 of about 100 objects
compiling: 120 objects
installing: done in 1m5s
compiling: done, 130 objects in 1m5s
broken: started
broken: stopped after 0s
`
	if got := out.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// TestProgressCountBars: bars neither end early nor stay, whatever the estimate.
func TestProgressCountBars(t *testing.T) {
	var out buffer
	p := newProgress(&out, true, time.Now)
	a := p.BeginCount("compiling", 3)
	for range 10 {
		a.Add(1)
	}
	a.Done(nil)
	p.BeginCount("installing", 0).Done(nil)
	p.Close()
	for _, want := range []string{"compiling: done, 10 objects", "installing: done"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q lacks %q", out.String(), want)
		}
	}
}

// kernelTree is a folder that passes for a kernel's source until it is compiled.
func kernelTree(t *testing.T) string {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "linux")
	for name, text := range map[string]string{
		"Makefile": "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 9\nEXTRAVERSION =\n", "Kconfig": "", "Kbuild": "", "init/main.c": "", "arch/x86/Kconfig": "", "arch/arm64/Kconfig": "",
	} {
		path := filepath.Join(tree, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

// TestKernelIsNewest: a kernel that is there already is the daemon's last from
// then on, which build goes by.
func TestKernelIsNewest(t *testing.T) {
	daemon := dockertest.New(t)
	t.Setenv("DOCKER_HOST", "unix://"+daemon.Socket)
	args := []string{"kernel", "hook-vm-amd64", "HOOK_KERNEL_OCI_BASE=hooktest/kernel", "--source", kernelTree(t), "--cache-dir", t.TempDir()}
	code, ref, stderr := runHere(t.Context(), append(args, "--print-tag")...)
	if code != exitOK {
		t.Fatal(stderr)
	}
	ref = strings.TrimSpace(ref)
	archive, err := os.Open(saveImage(t, ref, "amd64"))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	d, err := docker.Config{Host: "unix://" + daemon.Socket}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	loaded, err := d.ImageLoad(t.Context(), archive)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, loaded.Body); err != nil {
		t.Fatal(err)
	}
	loaded.Body.Close()
	before, err := d.ImageInspect(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	code, _, stderr = runHere(t.Context(), args...)
	if code != exitOK || !strings.Contains(stderr, "is in the Docker daemon already") {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	after, err := d.ImageInspect(t.Context(), ref)
	if err != nil || !after.Metadata.LastTagTime.After(before.Metadata.LastTagTime) {
		t.Errorf("tagged at %v, then at %v, %v", before.Metadata.LastTagTime, after.Metadata.LastTagTime, err)
	}
}

// TestKernelTag: what --print-tag prints changes with the configuration, which
// is the file of the working folder before the one that hooksmith carries.
func TestKernelTag(t *testing.T) {
	t.Chdir(t.TempDir())
	tree := kernelTree(t)
	tag := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := runHere(t.Context(), append([]string{"kernel", "--print-tag", "--source", tree}, args...)...)
		if code != exitOK {
			t.Fatalf("%q: exit code %d: %s", args, code, stderr)
		}
		return strings.TrimSpace(stdout)
	}
	built := tag("hook-vm-amd64")
	if !strings.HasPrefix(built, "ghcr.io/tinkerbell/hook/kernel/hook-kernel:6.12.9-") {
		t.Errorf("tag %s", built)
	}
	if got := tag("hook-vm-amd64", "HOOK_KERNEL_OCI_BASE=registry.test/k"); got != "registry.test/k"+built[strings.LastIndex(built, ":"):] {
		t.Errorf("tag %s", got)
	}
	if got := tag("hook-vm-amd64", "--json"); got != "{\n  \"Ref\": \""+built+"\"\n}" {
		t.Errorf("as JSON %s", got)
	}
	if got := tag("hook-generic-arm64"); got == built {
		t.Error("two flavors have one tag")
	}
	if err := errors.Join(os.MkdirAll("configs/kernel", 0o755), os.WriteFile("configs/kernel/vm-6.12.y-x86_64", []byte("CONFIG_X=y\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	local := tag("hook-vm-amd64")
	if local == built {
		t.Error("the configuration of the working folder is not used")
	}
	if got := tag("hook-vm-amd64", "--kconfig", "configs/kernel/vm-6.12.y-x86_64"); got != local {
		t.Errorf("%s with the same configuration as %s", got, local)
	}
	for want, args := range map[string][]string{
		"is not compiled: it is linux-image-amd64": {"hook-debian-amd64"},
		"--jobs -1":            {"hook-vm-amd64", "--jobs", "-1"},
		"none.config":          {"hook-vm-amd64", "--kconfig", "none.config"},
		"is Linux 6.12.9, and": {"hook-default-amd64"},
		"unexpected argument":  {"hook-vm-amd64", "hook-generic-amd64"},
		"--kconfig is empty":   {"hook-vm-amd64", "--kconfig", ""},
		"--patch is empty":     {"hook-vm-amd64", "--patch", ""},
		"it sets no symbol":    {"hook-vm-amd64", "--kconfig", os.DevNull},
		"line 1: \"VERSION":    {"hook-vm-amd64", "--kconfig", filepath.Join(tree, "Makefile")},
		"larger than 16 MB":    {"hook-vm-amd64", "--kconfig", "/dev/zero"},
		"the kernel's name":    {"hook-vm-amd64", "HOOK_KERNEL_OCI_BASE=My Kernels"},
		"HOOK_KERNEL_OCI_BSE=": {"hook-vm-amd64", "HOOK_KERNEL_OCI_BSE=registry.test/k"},
		"--export FILE.tar":    {"hook-vm-amd64", "EXPORT_KERNEL_IMAGE=yes"},
	} {
		code, _, stderr := runHere(t.Context(), append([]string{"kernel", "--print-tag", "--source", tree}, args...)...)
		if code == exitOK || !strings.Contains(stderr, want) {
			t.Errorf("%q: exit code %d: %s, want %q", args, code, stderr, want)
		}
	}
}

// TestKernelConfigName: build finds a kernel by the name of the flavor's
// configuration, however the file is called, and tells by the hash of it
// whether the kernel is an old one.
func TestKernelConfigName(t *testing.T) {
	t.Chdir(t.TempDir())
	sha := func(data []byte) string { sum := sha256.Sum256(data); return hex.EncodeToString(sum[:]) }
	const name = "vm-6.12.y-x86_64"
	builtIn, err := configs.FS.ReadFile("kernel/" + name)
	if err != nil {
		t.Fatal(err)
	}
	flavor, err := findFlavor("", []string{"hook-vm-amd64"})
	if err != nil || flavor.Kernel.ConfigSHA256 != sha(builtIn) {
		t.Errorf("the built-in configuration: %+v, %v", flavor.Kernel, err)
	}
	mine := []byte("CONFIG_X=y\n")
	if err := errors.Join(os.MkdirAll("configs/kernel", 0o755), os.WriteFile("configs/kernel/"+name, mine, 0o644), os.WriteFile("my.config", mine, 0o644)); err != nil {
		t.Fatal(err)
	}
	if flavor, err = findFlavor("", []string{"hook-vm-amd64"}); err != nil || flavor.Kernel.ConfigSHA256 != sha(mine) {
		t.Errorf("the configuration of the working folder: %+v, %v", flavor.Kernel, err)
	}
	for _, file := range []string{"", "my.config"} {
		o, k := kernelFlags{kconfig: file}, kernelTarget{Flavor: flavor}
		if err := o.readConfig(&k); err != nil || k.Spec.ConfigName != name || k.Name != name || string(k.Spec.Config) != string(mine) {
			t.Errorf("--kconfig %q: %s, %v", file, k.Spec.ConfigName, err)
		}
	}
	if debian, err := findFlavor("", []string{"hook-debian-amd64"}); err != nil || debian.Kernel.ConfigSHA256 != "" {
		t.Errorf("Debian's kernel: %+v, %v", debian.Kernel, err)
	}
	config := "flavors:\n- {id: mine, arch: x86_64, kernel: {version: '6.12', config: none}, template: hook, output_id: mine}\n- {id: of-mine, arch: x86_64, kernel: {flavor: hook-vm-amd64}, template: hook, output_id: of-mine}\n"
	if err := os.WriteFile("hooksmith.yaml", []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	if f, err := findFlavor("", []string{"mine"}); err != nil || f.Kernel.ConfigSHA256 != "" {
		t.Errorf("no configuration: %+v, %v", f.Kernel, err)
	}
	if f, err := findFlavor("", []string{"of-mine"}); err != nil || f.Kernel.ConfigSHA256 != sha(mine) {
		t.Errorf("another flavor's kernel: %+v, %v", f.Kernel, err)
	}
}

// TestKernelVariables: those of Hook's build.sh mean the flags.
func TestKernelVariables(t *testing.T) {
	for _, tt := range []struct {
		vars        map[string]string
		push, force bool
	}{
		{map[string]string{"DO_PUSH": "yes"}, true, false},
		{map[string]string{"FORCE_BUILD_KERNEL": "yes", "HOOK_KERNEL_OCI_BASE": "registry.test/k"}, false, true},
		{map[string]string{"DO_PUSH": "no", "FORCE_BUILD_KERNEL": "", "EXPORT_KERNEL_IMAGE": "no"}, false, false},
	} {
		var o kernelCommand
		if err := o.takeVariables(tt.vars); err != nil || o.push != tt.push || o.force != tt.force {
			t.Errorf("%v: push %v, force %v, %v", tt.vars, o.push, o.force, err)
		}
	}
}
