package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"hooksmith/build"
	"hooksmith/build/debian"
	"hooksmith/build/fetch"
	"hooksmith/build/rootfs"
	"hooksmith/cmd/hooksmith/internal/rootof"
	"hooksmith/configs"
	"hooksmith/kernel"
	"hooksmith/kernel/drivers"
)

// flavorDrivers is what a flavor would carry: of Debian's kernel the modules
// that the policy selects, and the firmware packages.
func (a *app) flavorDrivers(ctx context.Context, o *targetFlags, flavor build.Flavor) (*drivers.Artifact, error) {
	if flavor.Unavailable != "" {
		return nil, fmt.Errorf("flavor %s cannot be built: %s", flavor.ID, strings.TrimSpace(flavor.Unavailable))
	}
	if flavor.Kernel.Debian == "" {
		return a.kernelImageDrivers(ctx, o, flavor)
	}
	arch, err := kernel.ParseArch(flavor.Arch)
	if err != nil {
		return nil, err
	}
	policy, err := modulePolicy()
	if err != nil {
		return nil, err
	}
	p, err := a.openPackages(ctx, o, policy, flavor, arch)
	if err != nil {
		return nil, err
	}
	index, err := p.moduleIndex(ctx)
	if err != nil {
		return nil, fmt.Errorf("kernel of flavor %s: %w", flavor.ID, err)
	}
	selection, err := policy.Select(index, kernel.Request{Groups: flavor.Modules})
	if err != nil {
		return nil, fmt.Errorf("choosing modules for %s: %w", flavor.ID, err)
	}
	firmware, err := p.firmwareTree(ctx, policy)
	if err != nil {
		return nil, err
	}
	return drivers.FromSelection("flavor "+flavor.ID, selection, firmware)
}

// kernelImageDrivers looks into the kernel image that a build of the flavor
// would take, all of whose modules are in its initramfs, and for firmware
// wherever the build has it from.
func (a *app) kernelImageDrivers(ctx context.Context, o *targetFlags, flavor build.Flavor) (artifact *drivers.Artifact, err error) {
	opt := build.Options{Flavor: flavor, Vars: map[string]string{}, Log: a.log}
	if err := o.setVariables(a, opt.Vars); err != nil {
		return nil, err
	}
	sources, err := o.images.sources(ctx, a, &opt, o.cache(), o.offline)
	if err != nil {
		return nil, err
	}
	defer sources.Close()
	opt.Images = sources
	ref, img, err := build.FindKernel(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("flavor %s: %w", flavor.ID, err)
	}
	root, err := rootof.OpenImage(ctx, img)
	if err != nil {
		return nil, fmt.Errorf("flavor %s: kernel image %s: %w", flavor.ID, ref, err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	firmware, err := a.findFirmware(ctx, o, opt)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, firmware.Close()) }()
	return drivers.Open(ctx, root.FS, drivers.Options{
		Source: "flavor " + flavor.ID + " (" + ref + ")", Release: cmp.Or(o.release, root.Release),
		Firmware: firmware.trees, FirmwareUnknown: firmware.unknown,
	})
}

// packages are those of a flavor that hold drivers and firmware. Without a
// Debian kernel only the latter are set.
type packages struct {
	cache    *fetch.Cache
	mirrors  debian.Mirrors
	arch     kernel.Arch
	kernel   *debian.Package
	firmware map[string]*debian.Package // by the name that was asked for
}

func (a *app) openPackages(ctx context.Context, o *targetFlags, policy *kernel.Policy, flavor build.Flavor, arch kernel.Arch) (*packages, error) {
	mirrors, err := o.mirrors()
	if err != nil {
		return nil, err
	}
	keys, err := debian.ShippedKeys(configs.FS)
	if err != nil {
		return nil, err
	}
	wanted, err := firmwareNames(policy, arch, slices.Concat(flavor.Firmware, o.firmware))
	if err != nil {
		return nil, err
	}
	if flavor.Kernel.Debian == "" && len(wanted) == 0 {
		return &packages{arch: arch}, nil // nothing is from Debian
	}
	components := []string{"main"}
	if len(wanted) > 0 {
		components = append(components, "non-free-firmware")
	}
	p := &packages{
		cache: &fetch.Cache{Dir: o.cache(), Offline: o.offline, Observer: a.progress, Log: a.log},
		arch:  arch, firmware: map[string]*debian.Package{},
	}
	repo, err := debian.Open(ctx, p.cache, debian.Options{Components: components, Mirrors: mirrors, Snapshot: o.snapshot, Keys: keys})
	if err != nil {
		return nil, err
	}
	p.mirrors = repo.Mirrors()
	names := slices.Collect(maps.Values(wanted))
	if flavor.Kernel.Debian != "" {
		names = append(names, flavor.Kernel.Debian, "linux-image-*")
	}
	index, err := repo.Index(ctx, arch.Debian(), names...)
	if err != nil {
		return nil, err
	}
	if flavor.Kernel.Debian != "" {
		if p.kernel, err = index.ResolveMeta(flavor.Kernel.Debian); err != nil {
			return nil, fmt.Errorf("kernel of flavor %s: %w", flavor.ID, err)
		}
	}
	for name, pkg := range wanted {
		if p.firmware[name], err = index.Package(pkg); err != nil {
			return nil, fmt.Errorf("firmware %s: %w", name, err)
		}
	}
	return p, nil
}

// firmwareNames maps what was asked for to packages, as a build does.
func firmwareNames(policy *kernel.Policy, arch kernel.Arch, names []string) (map[string]string, error) {
	m := map[string]string{}
	for _, name := range names {
		set, ok := policy.FirmwareSet(name)
		switch {
		case ok && !set.ForArch(arch):
			return nil, fmt.Errorf("firmware %s: there is none for %s", name, arch)
		case ok:
			m[name] = set.Package
		case strings.HasPrefix(name, "firmware-") || strings.HasSuffix(name, "-microcode"):
			m[name] = name
		default:
			return nil, fmt.Errorf("firmware %s: not a name of configs/modules.yaml, nor a package such as firmware-bnx2", name)
		}
	}
	return m, nil
}

func (p *packages) layer(ctx context.Context, pkg *debian.Package) *debian.Layer {
	return debian.NewLayer(pkg, func() (io.ReadCloser, error) { return pkg.Open(ctx, p.cache, p.mirrors) })
}

// moduleIndex reads what the kernel's modules say of themselves, or takes it
// from the cache, where a build has put it under the same key.
func (p *packages) moduleIndex(ctx context.Context) (*kernel.Index, error) {
	layer := p.layer(ctx, p.kernel)
	f, err := p.cache.Derive(ctx, "module index 1\n"+layer.Identity(), func(ctx context.Context, w io.Writer) error {
		return unpackedPackage(layer, func(tree *rootfs.Tree) error {
			k, err := kernel.OpenDebian(tree.FS(), p.arch)
			if err != nil {
				return err
			}
			dir, err := k.Modules()
			if err != nil {
				return err
			}
			x, err := kernel.ReadIndex(ctx, dir, k.Release, k.Arch)
			if err != nil {
				return err
			}
			return x.Encode(w)
		})
	})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return kernel.DecodeIndex(f)
}

// firmwareTree has empty files where the packages have firmware.
func (p *packages) firmwareTree(ctx context.Context, policy *kernel.Policy) (fs.FS, error) {
	const dir = "usr/lib/firmware/"
	files := map[string]*rootfs.Inode{}
	for name, pkg := range p.firmware {
		set, named := policy.FirmwareSet(name)
		paths, err := p.paths(ctx, pkg)
		if err != nil {
			return nil, err
		}
		for _, file := range paths {
			if rel, ok := strings.CutPrefix(file, dir); ok && (!named || set.Has(rel)) {
				files[file] = rootfs.NewFile(0o644, nil)
			}
		}
	}
	tree, err := rootfs.New(files)
	if err != nil {
		return nil, err
	}
	return tree.FS(), nil
}

// paths lists the files and links of a package.
func (p *packages) paths(ctx context.Context, pkg *debian.Package) ([]string, error) {
	layer := p.layer(ctx, pkg)
	f, err := p.cache.Derive(ctx, "package paths 1\n"+layer.Identity(), func(_ context.Context, w io.Writer) error {
		return unpackedPackage(layer, func(tree *rootfs.Tree) error {
			return tree.Walk(func(path string, n *rootfs.Inode) error {
				if n.IsDir() {
					return nil
				}
				_, err := fmt.Fprintln(w, path)
				return err
			})
		})
	})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []string
	scan := bufio.NewScanner(f)
	for scan.Scan() {
		list = append(list, scan.Text())
	}
	return list, scan.Err()
}

// unpackedPackage gives fn the tree of a package.
func unpackedPackage(layer *debian.Layer, fn func(*rootfs.Tree) error) error {
	if err := rootfs.Unpacked(layer.Uncompressed, fn); err != nil {
		return fmt.Errorf("package %s: %w", layer.Package, err)
	}
	return nil
}
