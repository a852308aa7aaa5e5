package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"

	"hooksmith/build"
	"hooksmith/build/linuxkit"
	"hooksmith/cmd/hooksmith/internal/rootof"
	"hooksmith/configs"
	"hooksmith/kernel"
)

// flavorFirmware is what a build puts beside a kernel image and may hold
// firmware. Close it.
type flavorFirmware struct {
	trees   []fs.FS
	unknown string // why not all of it could be looked at; "" if it was

	roots []*rootof.Root
}

// Close removes what was unpacked.
func (f *flavorFirmware) Close() error {
	var err error
	for _, r := range f.roots {
		err = errors.Join(err, r.Close())
	}
	return err
}

// findFirmware looks where a build of a flavor with a kernel image takes
// firmware from, besides that image: Debian's packages, by the flavor or by
// --firmware, and images of others that its template unpacks, as upstream's
// does with linuxkit/firmware.
func (a *app) findFirmware(ctx context.Context, o *targetFlags, opt build.Options) (*flavorFirmware, error) {
	arch, err := kernel.ParseArch(opt.Flavor.Arch)
	if err != nil {
		return nil, err
	}
	policy, err := modulePolicy()
	if err != nil {
		return nil, err
	}
	p, err := a.openPackages(ctx, o, policy, opt.Flavor, arch)
	if err != nil {
		return nil, err
	}
	tree, err := p.firmwareTree(ctx, policy)
	if err != nil {
		return nil, err
	}
	refs, err := initImages(opt)
	if err != nil {
		return nil, fmt.Errorf("flavor %s: %w", opt.Flavor.ID, err)
	}
	f := &flavorFirmware{trees: []fs.FS{tree}}
	for _, ref := range refs {
		if err := f.addImage(ctx, opt.Images, ref); err != nil {
			if ctx.Err() != nil {
				return nil, errors.Join(err, f.Close())
			}
			f.unknown = fmt.Sprintf("the flavor has image %s in its initramfs, which cannot be looked into: %v", ref, err)
			return f, nil
		}
	}
	return f, nil
}

// addImage opens an image that may have lib/firmware.
func (f *flavorFirmware) addImage(ctx context.Context, images linuxkit.Resolver, ref string) error {
	img, err := images.Image(ctx, ref)
	if err != nil {
		return err
	}
	root, err := rootof.OpenImage(ctx, img)
	if err != nil {
		return err
	}
	f.roots = append(f.roots, root)
	f.trees = append(f.trees, root.FS)
	return nil
}

// initImages are the images of others that the flavor's template makes the
// initramfs of. Those whose variable has no value are hooksmith's own, into
// which it puts no firmware, and upstream's runc and containerd.
func initImages(opt build.Options) ([]string, error) {
	vars := map[string]string{}
	maps.Copy(vars, opt.Flavor.Variables)
	maps.Copy(vars, opt.Vars)
	name := opt.Flavor.Template + ".yaml"
	b, err := fs.ReadFile(configs.FS, name)
	if err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	cfg, err := linuxkit.Parse(linuxkit.Source{Name: name, Data: linuxkit.Expand(b, vars)})
	if err != nil {
		return nil, err
	}
	var refs []string
	for _, image := range cfg.Init {
		if !strings.Contains(image.Ref, "$") {
			refs = append(refs, linuxkit.ReferenceExpand(image.Ref))
		}
	}
	return refs, nil
}
