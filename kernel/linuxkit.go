package kernel

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// OpenLinuxKit opens a kernel image in LinuxKit's layout, which Hook's kernels
// have too: /kernel, /kernel.tar with lib/modules/RELEASE, and, where the
// kernel has them, /System.map and /dtbs.tar.gz. A kernel.tar must be there;
// it may be without modules.
func OpenLinuxKit(tree fs.FS, arch Arch) (*Kernel, error) {
	k := &Kernel{tree: tree, tar: "kernel.tar"}
	var err error
	if k.image, err = linuxkitImage(tree); err != nil {
		return nil, err
	}
	if err := k.inspect(arch); err != nil {
		return nil, fmt.Errorf("kernel image: %w", err)
	}
	if err := k.checkTar(); err != nil {
		return nil, fmt.Errorf("kernel image: %w", err)
	}
	if _, err := fs.Stat(tree, "dtbs.tar.gz"); err == nil {
		k.dtbs = "dtbs.tar.gz"
	}
	return k, nil
}

func linuxkitImage(tree fs.FS) (string, error) {
	var found []string
	for _, name := range []string{"kernel", "kernel.binary"} {
		if st, err := fs.Stat(tree, name); err == nil && st.Mode().IsRegular() {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 0:
		return "", errors.New("kernel image: no file /kernel in it: is this a LinuxKit kernel image?")
	case 1:
		return found[0], nil
	}
	return "", errors.New("kernel image: both /kernel and /kernel.binary are there")
}

// checkTar compares the release of the modules in kernel.tar with the image's.
func (k *Kernel) checkTar() error {
	f, err := k.OpenModulesTar()
	if isNotExist(err) {
		return errors.New("no file /kernel.tar in it: is this a LinuxKit kernel image?")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	release, err := tarRelease(f)
	if err != nil {
		return fmt.Errorf("kernel.tar: %w", err)
	}
	if release != "" && release != k.Release {
		return fmt.Errorf("%s is Linux %s, but the modules in kernel.tar are for %s", k.image, k.Release, release)
	}
	return nil
}

// tarRelease finds the first lib/modules/RELEASE in a tar; "" if there is none.
func tarRelease(r io.Reader) (string, error) {
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if err == io.EOF {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if rest, ok := strings.CutPrefix(strings.TrimPrefix(name, "usr/"), "lib/modules/"); ok {
			release, _, _ := strings.Cut(rest, "/")
			return release, nil
		}
	}
}

// OpenModulesTar opens the tar of the modules (LinuxKit's kernel.tar), whose
// members stand at the root of the initramfs. The caller closes it. The error
// is fs.ErrNotExist if the modules are files of the tree.
func (k *Kernel) OpenModulesTar() (*Section, error) { return k.open(k.tar) }

// OpenDeviceTrees opens dtbs.tar.gz. The caller closes it. The error is
// fs.ErrNotExist if the kernel has none.
func (k *Kernel) OpenDeviceTrees() (*Section, error) { return k.open(k.dtbs) }

func (k *Kernel) open(name string) (*Section, error) {
	if name == "" {
		return nil, fs.ErrNotExist
	}
	return openSection(k.tree, name, maxImage)
}
