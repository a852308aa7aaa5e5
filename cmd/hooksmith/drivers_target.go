package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"hooksmith/build"
	"hooksmith/cmd/hooksmith/internal/rootof"
	"hooksmith/kernel"
	"hooksmith/kernel/drivers"
)

// targetFlags say what the argument of the drivers commands means.
type targetFlags struct {
	inputFlags
	id, release string
}

func (o *targetFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.config, "config", "", "`FILE` with flavors of your own (default hooksmith.yaml, if it is there)")
	f.StringVar(&o.mirror, "debian-mirror", "", "with a flavor: `URL` of a Debian mirror (default those of this host's APT sources, then ftp.debian.org)")
	f.StringVar(&o.snapshot, "debian-snapshot", "", "with a flavor: the packages of this `TIME`, as in 20260912T083000Z, from snapshot.debian.org")
	f.StringSliceVar(&o.firmware, "firmware", nil, "with a flavor: add firmware for these drivers or packages, as in bnx2,ice")
	f.StringVar(&o.id, "id", "", "with a folder: output `ID` of the build, what follows initramfs-")
	f.StringVar(&o.release, "release", "", "the kernel's `RELEASE`, if modules of several kernels are there")
	f.StringVar(&o.arch, "arch", "", "with an image: the `ARCHITECTURE`, amd64 or arm64 (default this machine's)")
	f.BoolVar(&o.offline, "offline", false, "use the cache only; fail if something is not in it")
	o.addCacheDir(cmd)
	o.images.add(cmd)
	_ = f.MarkHidden("images") // is about images that a build makes
}

// openDrivers finds out what the argument means, in the order of the text in
// driversTargets, and looks into it.
func (a *app) openDrivers(ctx context.Context, o *targetFlags, args []string) (*drivers.Artifact, error) {
	flavors, err := loadFlavors(o.config)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		flavor, err := flavors.Default(runtime.GOARCH)
		if err != nil {
			return nil, err
		}
		return a.flavorDrivers(ctx, o, flavor)
	}
	ref := args[0]
	if _, err := flavors.Find(ref); err == nil {
		flavor, err := flavors.Buildable(ref)
		if err != nil {
			return nil, err
		}
		return a.flavorDrivers(ctx, o, flavor)
	}
	if len(o.firmware) > 0 || o.snapshot != "" {
		return nil, usagef("--firmware and --debian-snapshot are for flavors, and %s is none", ref)
	}
	return a.rootDrivers(ctx, o, ref)
}

// rootDrivers opens a file, folder, URL or image.
func (a *app) rootDrivers(ctx context.Context, o *targetFlags, ref string) (artifact *drivers.Artifact, err error) {
	root, err := a.openRoot(ctx, o, ref)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	opt := drivers.Options{Source: ref, Release: cmp.Or(o.release, root.Release)}
	if root.Kernel {
		opt.FirmwareUnknown = "it is not part of a kernel; what was built with it, or the flavor, tells"
	}
	return drivers.Open(ctx, root.FS, opt)
}

func (a *app) openRoot(ctx context.Context, o *targetFlags, ref string) (*rootof.Root, error) {
	remote := strings.HasPrefix(ref, "http://") || strings.HasPrefix(ref, "https://")
	_, err := os.Stat(strings.TrimPrefix(ref, "file://"))
	if remote || err == nil {
		return rootof.Open(ctx, ref, a.chosen(o.id))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	isPath := strings.HasPrefix(ref, "/") || strings.HasPrefix(ref, ".") || strings.HasPrefix(ref, "file:")
	if isPath || !strings.ContainsAny(ref, "/:") {
		return nil, withHint(fmt.Errorf("there is no file, folder or flavor %q", ref), "hooksmith list prints all flavors")
	}
	arch, err := kernel.ParseArch(cmp.Or(o.arch, runtime.GOARCH))
	if err != nil {
		return nil, &usageError{fmt.Errorf("--arch: %w", err)}
	}
	opt := build.Options{Flavor: build.Flavor{Arch: string(arch)}, Vars: map[string]string{}}
	sources, err := o.images.sources(ctx, a, &opt, o.cache(), o.offline)
	if err != nil {
		return nil, err
	}
	defer sources.Close()
	img, err := sources.Image(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("image %s (there is no file of this name): %w", ref, err)
	}
	root, err := rootof.OpenImage(ctx, img)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	return root, nil
}
