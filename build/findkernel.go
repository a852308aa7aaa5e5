package build

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hooksmith/build/linuxkit"
	"hooksmith/kernel"
)

// FindKernel returns the kernel image that a build of the flavor would take
// now, and its name, without settling anything else of the build. Of the
// options Flavor, Vars, Kernel, Lock, Images and Log count. It is an error for
// flavors whose kernel is no image.
func FindKernel(ctx context.Context, opt Options) (ref string, img v1.Image, err error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	p := &Plan{opt: opt, vars: map[string]string{}}
	maps.Copy(p.vars, opt.Flavor.Variables)
	maps.Copy(p.vars, opt.Vars)
	if p.arch, err = kernel.ParseArch(opt.Flavor.Arch); err != nil {
		return "", nil, err
	}
	if err := p.nameKernel(ctx); err != nil {
		return "", nil, err
	}
	ref = p.vars["HOOK_KERNEL_IMAGE"]
	switch {
	case ref == "":
		return "", nil, fmt.Errorf("the kernel of flavor %s is no image", opt.Flavor.ID)
	case opt.Kernel != nil:
		return ref, opt.Kernel.Image, nil
	case opt.Images == nil:
		return "", nil, errors.New("there is no place to look for images")
	}
	if img, err = opt.Images.Image(ctx, linuxkit.ReferenceExpand(ref)); err != nil {
		return "", nil, fmt.Errorf("kernel image %s: %w", ref, err)
	}
	return ref, img, nil
}
