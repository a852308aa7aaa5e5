package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"

	"hooksmith/build"
	"hooksmith/cmd/hooksmith/internal/qemu"
)

// target is what lies in an output folder for a machine to boot.
type target struct {
	arch           qemu.Arch
	kernel, initrd string // paths
	ramNeededMiB   int    // 0: not known
}

// findTarget chooses among the builds in dir. Its hook.json may be missing:
// another builder's files boot as well, under the names of hookImagesURLPath.
func findTarget(dir, arch string, flavor []string) (target, error) {
	manifest, err := build.ReadManifest(dir)
	if errors.Is(err, fs.ErrNotExist) {
		manifest, err = &build.Manifest{}, nil
	}
	if err != nil {
		return target{}, err
	}
	if len(flavor) > 0 && len(manifest.Builds) > 0 {
		return flavorTarget(manifest, dir, arch, flavor[0])
	}
	t := target{}
	if t.arch, err = chooseArch(arch, flavor); err != nil {
		return t, &usageError{err}
	}
	initrd := "initramfs-" + t.arch.Uname()
	t.kernel, t.initrd = filepath.Join(dir, "vmlinuz-"+t.arch.Uname()), filepath.Join(dir, initrd)
	for _, b := range manifest.Builds {
		if slices.ContainsFunc(b.Files, func(f build.File) bool { return f.Name == initrd || slices.Contains(f.Aliases, initrd) }) {
			t.ramNeededMiB = int(b.RAMNeededMiB)
		}
	}
	return t, nil
}

// flavorTarget is the build of one flavor in dir, by the names of its own.
func flavorTarget(manifest *build.Manifest, dir, arch, flavor string) (target, error) {
	i := slices.IndexFunc(manifest.Builds, func(b build.Artifacts) bool { return b.Flavor == flavor })
	if i < 0 {
		var there []string
		for _, b := range manifest.Builds {
			there = append(there, b.Flavor)
		}
		return target{}, withHint(fmt.Errorf("%s has no build of %s, only of %q", dir, flavor, there), "hooksmith build %s --out %s", flavor, qemu.Quote([]string{dir}))
	}
	b := manifest.Builds[i]
	a, err := qemu.ParseArch(b.Arch)
	if err != nil {
		return target{}, fmt.Errorf("%s: %w", filepath.Join(dir, build.ManifestName), err)
	}
	if want, err := qemu.ParseArch(arch); arch != "" && (err != nil || want != a) {
		return target{}, usagef("%s is for %s, not for %s", flavor, a, arch)
	}
	t := target{arch: a, ramNeededMiB: int(b.RAMNeededMiB)}
	for _, f := range b.Files {
		switch f.Role {
		case "kernel":
			t.kernel = filepath.Join(dir, f.Name)
		case "initramfs":
			t.initrd = filepath.Join(dir, f.Name)
		}
	}
	return t, nil
}

// chooseArch is the flag's, else the one at the end of the flavor's id, else
// this host's.
func chooseArch(arch string, flavor []string) (qemu.Arch, error) {
	if arch != "" {
		return qemu.ParseArch(arch)
	}
	if len(flavor) == 0 {
		return qemu.ParseArch(runtime.GOARCH)
	}
	if a, ok := qemu.FlavorArch(flavor[0]); ok {
		return a, nil
	}
	return "", fmt.Errorf("the id %q does not end in an architecture: add --arch", flavor[0])
}
