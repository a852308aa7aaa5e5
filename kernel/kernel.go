package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Kernel is an opened kernel. It holds the file system that it was opened
// from and reads nothing until it is asked to.
type Kernel struct {
	Release string // "6.12.117+deb13-amd64"
	Arch    Arch
	Image   Image
	Config  Config // nil if none comes with the kernel

	// ModulesDir is the folder of the modules in the tree,
	// "usr/lib/modules/RELEASE"; "" if they are in a tar (OpenModulesTar) or
	// the kernel has none.
	ModulesDir string

	tree  fs.FS
	image string // paths in the tree; "" if there is no such file
	tar   string
	dtbs  string
}

// OpenDebian opens the kernel in the unpacked tree of a Debian linux-image
// package: boot/vmlinuz-RELEASE, boot/config-RELEASE and
// usr/lib/modules/RELEASE (or lib/modules/RELEASE, before usr-merge). The
// image must be for arch and of the same release as the modules.
func OpenDebian(tree fs.FS, arch Arch) (*Kernel, error) {
	image, err := one(tree, "boot/vmlinuz-*", "boot/vmlinux-*")
	if err != nil {
		return nil, fmt.Errorf("kernel package: %w", err)
	}
	k := &Kernel{tree: tree, image: image}
	if err := k.inspect(arch); err != nil {
		return nil, fmt.Errorf("kernel package: %w", err)
	}
	if k.ModulesDir, err = one(tree, "usr/lib/modules/*", "lib/modules/*"); err != nil {
		return nil, fmt.Errorf("kernel package: %w", err)
	}
	if release := path.Base(k.ModulesDir); release != k.Release {
		return nil, fmt.Errorf("kernel package: %s is Linux %s, but the modules are for %s (%s): the package is damaged or mixed from two",
			image, k.Release, release, k.ModulesDir)
	}
	k.Config, err = readConfig(tree, "boot/config-"+k.Release)
	return k, err
}

// one returns the path that matches the first pattern that anything matches.
func one(tree fs.FS, patterns ...string) (string, error) {
	for _, pattern := range patterns {
		paths, err := fs.Glob(tree, pattern)
		switch {
		case err != nil:
			return "", err
		case len(paths) > 1:
			return "", fmt.Errorf("more than one %s: %s", pattern, strings.Join(paths, ", "))
		case len(paths) == 1:
			return paths[0], nil
		}
	}
	return "", fmt.Errorf("no %s", strings.Join(patterns, ", no "))
}

// inspect fills in what the image tells.
func (k *Kernel) inspect(arch Arch) error {
	f, err := k.OpenImage()
	if err != nil {
		return err
	}
	defer f.Close()
	image, err := Inspect(f, f.Size())
	if err != nil {
		return fmt.Errorf("%s: %w", k.image, err)
	}
	if image.Arch != arch {
		return fmt.Errorf("%s is a kernel for %s, need one for %s", k.image, image.Arch, arch)
	}
	k.Image, k.Release, k.Arch = *image, image.Release, image.Arch
	return nil
}

func readConfig(tree fs.FS, name string) (Config, error) {
	f, err := tree.Open(name)
	if isNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c, err := ParseConfig(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// OpenImage opens the kernel image, the bytes as they are in the package. The
// caller closes it.
func (k *Kernel) OpenImage() (*Section, error) {
	return openSection(k.tree, k.image, maxImage)
}

// ErrNoModulesDir is returned by Modules for a kernel whose modules are not
// files of its tree.
var ErrNoModulesDir = errors.New("the kernel's modules are not unpacked")

// Modules is the folder of the modules, which ReadIndex wants.
func (k *Kernel) Modules() (fs.FS, error) {
	if k.ModulesDir == "" {
		return nil, ErrNoModulesDir
	}
	return fs.Sub(k.tree, k.ModulesDir)
}
