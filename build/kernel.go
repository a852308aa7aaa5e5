package build

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"hooksmith/build/rootfs"
	"hooksmith/kernel"
)

// openedKernel is the kernel of a build with what goes with it, wherever it is
// from.
type openedKernel struct {
	info  KernelInfo
	image func() (io.ReadCloser, error) // nil: a build without a kernel
	ucode func() (io.ReadCloser, error) // uncompressed cpio before the initramfs; nil: none
	parts []part                        // of the root file system, below all others
	// missing lists the modules that want firmware which the tree lacks.
	missing func(tree fs.FS) []kernel.ModuleFirmware
}

// openKernel opens the kernel that the plan has settled on.
func (b *builder) openKernel(ctx context.Context) (*openedKernel, error) {
	k, err := b.openAnyKernel(ctx)
	if err != nil {
		return nil, err
	}
	k.info.Cmdline = strings.TrimSpace(b.cfg.Kernel.Cmdline.Value)
	if len(b.firmware) > 0 {
		firmware, err := b.firmwareTree(ctx)
		if err != nil {
			return nil, err
		}
		k.parts = append(k.parts, part{name: "firmware", group: groupFirmware, tree: firmware})
	}
	return k, nil
}

func (b *builder) openAnyKernel(ctx context.Context) (*openedKernel, error) {
	switch {
	case b.kernel != nil:
		return b.openDebianKernel(ctx)
	case b.boot != nil:
		return b.openKernelImage(ctx)
	}
	return &openedKernel{}, nil
}

// openDebianKernel unpacks the kernel's package and chooses modules by the
// policy.
func (b *builder) openDebianKernel(ctx context.Context) (*openedKernel, error) {
	layer := b.packageLayer(ctx, b.kernel)
	indexed, err := b.layers.index(ctx, layer)
	if err != nil {
		return nil, err
	}
	tree, err := rootfs.Flatten(indexed)
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", b.kernel, err)
	}
	k, err := kernel.OpenDebian(tree.FS(), b.arch)
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", b.kernel, err)
	}
	dir, err := k.Modules()
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", b.kernel, err)
	}
	modules, err := b.moduleIndex(ctx, dir, k.Release, layer.Identity())
	if err != nil {
		return nil, fmt.Errorf("modules of %s: %w", b.kernel, err)
	}
	selection, err := b.policy.Select(modules, kernel.Request{Groups: b.opt.Flavor.Modules})
	if err != nil {
		return nil, fmt.Errorf("choosing modules for %s: %w", b.opt.Flavor.ID, err)
	}
	for _, w := range selection.Warnings {
		b.opt.Log.Debug(w)
	}
	kept, err := b.moduleTree(tree, k, selection)
	return &openedKernel{
		info: KernelInfo{
			Version: k.Release,
			Source:  b.kernel.Name + " " + b.kernel.Version,
			Signed:  k.Image.Signed,
			Modules: len(selection.Modules),
		},
		image:   func() (io.ReadCloser, error) { return k.OpenImage() },
		parts:   []part{{name: "kernel modules", group: groupModules, tree: kept}},
		missing: selection.FirmwareMissing,
	}, err
}

// moduleIndex reads what all modules in lib/modules/RELEASE say of themselves,
// once for each kernel.
func (b *builder) moduleIndex(ctx context.Context, dir fs.FS, release, identity string) (*kernel.Index, error) {
	var made *kernel.Index
	f, err := b.opt.Cache.Derive(ctx, "module index 1\n"+identity, func(ctx context.Context, w io.Writer) (err error) {
		if made, err = kernel.ReadIndex(ctx, dir, release, b.arch); err != nil {
			return err
		}
		return made.Encode(w)
	})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if made != nil {
		return made, nil
	}
	return kernel.DecodeIndex(f)
}

// moduleTree is the kernel package reduced to the selected modules, with the
// files that depmod would have written.
func (b *builder) moduleTree(tree *rootfs.Tree, k *kernel.Kernel, s *kernel.Selection) (*rootfs.Tree, error) {
	keep := map[string]bool{}
	for _, m := range s.Modules {
		keep[path.Join(k.ModulesDir, m.Path)] = true
	}
	files, err := s.Files()
	if err != nil {
		return nil, err
	}
	generated := map[string]*rootfs.Inode{}
	for _, f := range files {
		generated[path.Join(k.ModulesDir, f.Path)] = b.file(0o644, f.Data)
	}
	index, err := rootfs.New(generated)
	if err != nil {
		return nil, err
	}
	return rootfs.Merge(tree.Keep(func(p string, _ *rootfs.Inode) bool { return keep[p] }), index)
}

// firmwareDir is where the kernel looks for firmware.
const firmwareDir = "usr/lib/firmware"

// firmwareTree holds the files of the firmware that was asked for: of a named
// set those that belong to it, of a package all.
func (b *builder) firmwareTree(ctx context.Context) (*rootfs.Tree, error) {
	trees := []*rootfs.Tree{}
	for name, pkg := range b.firmware {
		indexed, err := b.layers.index(ctx, b.packageLayer(ctx, pkg))
		if err != nil {
			return nil, err
		}
		t, err := rootfs.Flatten(indexed)
		if err != nil {
			return nil, fmt.Errorf("package %s: %w", pkg, err)
		}
		set, named := b.policy.FirmwareSet(name)
		trees = append(trees, t.Keep(func(p string, n *rootfs.Inode) bool {
			rel, ok := below(firmwareDir, p)
			return ok && !n.IsDir() && (!named || set.Has(rel))
		}))
	}
	return rootfs.Merge(trees...)
}

func below(dir, p string) (string, bool) {
	if len(p) > len(dir) && p[:len(dir)] == dir && p[len(dir)] == '/' {
		return p[len(dir)+1:], true
	}
	return "", false
}
