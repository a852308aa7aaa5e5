package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"hooksmith/build"
	"hooksmith/build/docker"
	"hooksmith/build/images"
)

// sourceFlags say where images come from that are not made of Debian packages.
type sourceFlags struct {
	layouts, mirrors, insecure, cas []string
	folders, dockerContext          string
	docker, pull                    bool
}

func (o *sourceFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&o.layouts, "layout", nil, "look for images in this OCI layout `DIR` (or archive) first (repeatable)")
	f.BoolVar(&o.docker, "docker", false, "look for images in the Docker daemon before registries")
	f.StringVar(&o.dockerContext, "docker-context", "", "`NAME` of the Docker context (default DOCKER_HOST, else the current context)")
	f.StringVar(&o.folders, "images", "", "`DIR` with a folder for each image, built with Docker if nobody has it: DIR/NAME/Dockerfile")
	f.StringArrayVar(&o.mirrors, "mirror", nil, "ask this registry before another one, `HOST=URL` (repeatable)")
	f.StringArrayVar(&o.insecure, "insecure-registry", nil, "registry `HOST` whose certificate is not checked, or that has none (repeatable)")
	f.StringArrayVar(&o.cas, "ca", nil, "trust registries by the CA certificates of this PEM `FILE` (repeatable)")
	f.BoolVar(&o.pull, "pull", false, "ask again what tags of images stand for")
}

// sources makes the flags a source of images for a flavor. Folders of --images
// become variables of its template: hook-docker is HOOK_CONTAINER_DOCKER_IMAGE.
func (o *sourceFlags) sources(ctx context.Context, a *app, opt *build.Options, cacheDir string, offline bool) (*images.Sources, error) {
	s := &images.Sources{
		Dir: filepath.Join(cacheDir, "images"), Layouts: o.layouts, UseDocker: o.docker, Insecure: o.insecure,
		Pull: o.pull, Offline: offline, Log: a.log,
		DockerFirst: []string{cmp.Or(opt.Vars["HOOK_KERNEL_OCI_BASE"], build.DefaultKernelBase)}, // hooksmith kernel loads it there
		Docker:      docker.Config{Context: o.dockerContext, Getenv: func(name string) string { v, _ := a.lookupEnv(name); return v }},
		Progress: func(name string, total int64) (func(int64), func(error)) {
			task := a.progress.Begin(name, total)
			return task.Add, task.Done
		},
	}
	var err error
	if s.Platform, err = images.ParsePlatform(opt.Flavor.DebianArch()); err != nil {
		return nil, err
	}
	if s.CA, err = readFiles("--ca", o.cas); err != nil {
		return nil, err
	}
	for _, text := range o.mirrors {
		m, err := images.ParseMirror(text)
		if err != nil {
			return nil, &usageError{fmt.Errorf("--mirror: %w", err)}
		}
		s.Mirrors = append(s.Mirrors, m)
	}
	if o.folders == "" {
		return s, nil
	}
	base := cmp.Or(opt.Vars["HOOK_LK_CONTAINERS_OCI_BASE"], build.DefaultContainerBase)
	if s.Folders, err = images.ReadFolders(ctx, o.folders, base, s.Platform); err != nil {
		return nil, fmt.Errorf("--images: %w", err)
	}
	for _, f := range s.Folders {
		name := strings.ToUpper(strings.ReplaceAll(strings.TrimPrefix(f.Name, "hook-"), "-", "_"))
		if variable := "HOOK_CONTAINER_" + name + "_IMAGE"; opt.Vars[variable] == "" {
			opt.Vars[variable] = f.Ref
		}
	}
	return s, nil
}
