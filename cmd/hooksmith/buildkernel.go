package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"hooksmith/build"
	"hooksmith/build/images"
	"hooksmith/kernel"
)

// applyKernel puts --kernel into the options: latest, a file with an image, a
// folder, or a reference.
func applyKernel(ctx context.Context, value string, opt *build.Options) error {
	if value == "" {
		return nil
	}
	if len(opt.Files) > 0 {
		return usagef("--kernel is for flavors: a LinuxKit file names its kernel itself (kernel.image)")
	}
	if value == "latest" {
		if opt.Flavor.Kernel.Version == "" {
			return usagef("--kernel latest: flavor %s takes %s, of which the newest is taken anyway; name an image, a file or a folder", opt.Flavor.ID, opt.Flavor.Kernel)
		}
		opt.Vars[build.LatestKernel] = value
		return nil
	}
	if opt.Flavor.Kernel.Debian != "" { // its modules are not chosen any more, all are taken
		opt.Flavor.Kernel = build.KernelSpec{}
	}
	st, err := os.Stat(value)
	switch {
	case err == nil && st.IsDir() && !isLayout(value):
		return kernelFolder(ctx, value, opt)
	case err == nil:
		return kernelArchive(ctx, value, opt)
	case looksLikePath(value):
		return fmt.Errorf("--kernel: %w", err)
	}
	opt.Vars["HOOK_KERNEL_IMAGE"] = value
	if sources, ok := opt.Images.(*images.Sources); ok {
		repository, _, _ := strings.Cut(value, "@")
		if i := strings.LastIndexByte(repository, ':'); i > strings.LastIndexByte(repository, '/') {
			repository = repository[:i]
		}
		sources.DockerFirst = append(sources.DockerFirst, repository)
	}
	return nil
}

// looksLikePath tells a file that is not there from an image.
func looksLikePath(s string) bool {
	return strings.HasPrefix(s, "/") || strings.HasPrefix(s, ".") || strings.HasSuffix(s, ".tar") || strings.HasSuffix(s, "/")
}

func isLayout(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "oci-layout"))
	return err == nil
}

func kernelFolder(ctx context.Context, dir string, opt *build.Options) error {
	arch, err := kernel.ParseArch(opt.Flavor.Arch)
	if err != nil {
		return err
	}
	opt.Kernel, err = build.KernelFolder(ctx, opt.Cache, dir, arch)
	if err != nil {
		return fmt.Errorf("--kernel: %w", err)
	}
	return nil
}

// kernelArchive takes the only image of an archive.
func kernelArchive(ctx context.Context, path string, opt *build.Options) error {
	sources, ok := opt.Images.(*images.Sources)
	if !ok {
		return fmt.Errorf("--kernel %s: there is nothing to read images with", path)
	}
	sources.Layouts = append([]string{path}, sources.Layouts...)
	ref, err := sources.InArchive(ctx, path)
	if err != nil {
		return withHint(fmt.Errorf("--kernel %s: %w", path, err), "hooksmith kernel --export FILE.tar makes one; of several images, name one with --layout FILE.tar --kernel REF")
	}
	opt.Vars["HOOK_KERNEL_IMAGE"] = ref
	return nil
}
