package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"hooksmith/build"
	"hooksmith/kernel/compile"
)

// kernelCommand has the flags of `hooksmith kernel` alone.
type kernelCommand struct {
	kernelFlags
	push, force, printTag, asJSON bool
	export                        string
}

func newKernel(a *app) *cobra.Command {
	var o kernelCommand
	cmd := &cobra.Command{
		Use:   "kernel FLAVOR [NAME=VALUE...]",
		Short: "Compile a kernel, with Docker",
		Long: `Compile the kernel of a flavor into an image with /kernel, /kernel.tar, /System.map and
/dtbs.tar.gz, as Hook's kernels are and LinuxKit takes them. 'hooksmith build' finds it in
the Docker daemon: of several kernels of one release, the one that this made last. It bears
the name of the flavor's configuration, also with --kconfig.

The image is HOOK_KERNEL_OCI_BASE:VERSION-HASH, where the hash is over all that matters:
configuration, source, patches, external modules, and how it is compiled. One that is in
the daemon or the registry already is not compiled again.

It is compiled in a container that hooksmith makes and removes; the volume
` + compile.CacheVolume + ` keeps ccache's cache, so that the next kernel compiles only what
changed. arm64 is compiled on amd64 and the other way round. The command line is 4096
bytes long. Docker is found as the docker command finds it, BuildKit is not needed.

The source is Debian's linux-source for 6.12, and otherwise the newest release of kernel.org,
with its signature checked; KERNEL_POINT_RELEASE=M.m.p is another release. DO_PUSH=yes and
FORCE_BUILD_KERNEL=yes are --push and --force, as in Hook's build.sh.`,
		Example: `  hooksmith kernel hook-generic-amd64
  hooksmith kernel hook-generic-amd64 --source linux-6.12.48.tar.xz --patch fix.patch
  hooksmith kernel hook-generic-amd64 --external-module ice-2.4.5.tar.gz --export kernel.tar
  hooksmith kernel hook-generic-arm64 --push HOOK_KERNEL_OCI_BASE=registry.example.com/hook-kernel
  docker volume rm ` + compile.CacheVolume + `   # forget what was compiled`,
		Args:              oneFlavor,
		ValidArgsFunction: completeKernelFlavors,
		PreRunE:           func(cmd *cobra.Command, _ []string) error { return refuseEmpty(cmd) },
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), a, args) },
	}
	o.add(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.push, "push", false, "push the image to its registry, with Docker's credentials")
	f.StringVar(&o.export, "export", "", "write the image to this `FILE.tar` too, as docker load takes it")
	f.BoolVar(&o.force, "force", false, "compile although the daemon or the registry has the image")
	f.BoolVar(&o.printTag, "print-tag", false, "print the name of the image, and do nothing")
	f.BoolVar(&o.asJSON, "json", false, "print the result as JSON")
	cmd.MarkFlagsMutuallyExclusive("print-tag", "force")
	cmd.MarkFlagsMutuallyExclusive("print-tag", "push")
	cmd.MarkFlagsMutuallyExclusive("print-tag", "export")
	return cmd
}

// completeKernelFlavors completes flavors whose kernel is compiled.
func completeKernelFlavors(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var ids []string
	if flavors, err := loadFlavors(""); err == nil && len(args) == 0 {
		for _, f := range kernelFlavors(flavors) {
			ids = append(ids, cobra.CompletionWithDesc(f.ID, f.Description))
		}
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// kernelFlavors are the flavors that have a kernel to compile, of their own or
// of the flavor that they name.
func kernelFlavors(all *build.Flavors) []build.Flavor {
	var list []build.Flavor
	for _, f := range all.All {
		if f, err := all.Buildable(f.ID); err == nil && f.Unavailable == "" && f.Kernel.Version != "" {
			list = append(list, f)
		}
	}
	return list
}

func (o *kernelCommand) run(ctx context.Context, a *app, args []string) error {
	t, err := o.target(ctx, a, args)
	if err != nil {
		return err
	}
	if err := o.takeVariables(t.Vars); err != nil {
		return err
	}
	ref, err := t.image()
	if err != nil {
		return err
	}
	switch {
	case o.printTag && o.asJSON:
		return a.printJSON(struct{ Ref string }{ref})
	case o.printTag:
		_, err := fmt.Fprintln(a.stdout, ref)
		return err
	}
	if err := os.MkdirAll(o.cache(), 0o755); err != nil {
		return err
	}
	b := o.builder(a)
	started := time.Now()
	result, err := b.Make(ctx, t.Spec, compile.Want{Repository: t.repository(), Force: o.force, Push: o.push, Export: o.export})
	if err != nil {
		return err
	}
	if err := b.MarkNewest(ctx, result.Ref); err != nil {
		return withHint(err, "the kernel is there, but build may take another one: hooksmith build %s --kernel %s", t.Flavor.ID, result.Ref)
	}
	a.tellKernel(result, o, t.Flavor.ID, time.Since(started))
	if o.asJSON {
		return a.printJSON(result)
	}
	_, err = fmt.Fprintln(a.stdout, result.Ref)
	return err
}

// takeVariables reads the variables of upstream's build.sh that are flags here.
// One that means nothing is refused: somebody waits an hour for what it says.
func (o *kernelCommand) takeVariables(vars map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		yes := vars[name] == "yes"
		switch {
		case name == "DO_PUSH":
			o.push = o.push || yes
		case name == "FORCE_BUILD_KERNEL":
			o.force = o.force || yes
		case name == "EXPORT_KERNEL_IMAGE":
			if yes && o.export == "" {
				return usagef("EXPORT_KERNEL_IMAGE=yes: say where to with --export FILE.tar")
			}
		case !slices.Contains(buildVariables, name):
			return usagef("%s=%s: kernel knows HOOK_KERNEL_OCI_BASE, KERNEL_POINT_RELEASE, DO_PUSH and FORCE_BUILD_KERNEL", name, vars[name])
		}
	}
	return nil
}

func (a *app) tellKernel(r *compile.Result, o *kernelCommand, flavor string, took time.Duration) {
	if r.Compiled {
		fmt.Fprintf(a.stderr, "Linux %s compiled in %s: %d objects; ccache had %d files and had to compile %d\n", r.Release, took.Round(time.Second), r.Objects, r.Hits, r.Misses)
	} else {
		fmt.Fprintf(a.stderr, "%s is in %s already (--force compiles it anyway)\n", r.Ref, r.Where)
		if r.Where == "the registry" { // of which build thinks only where Docker has none
			fmt.Fprintf(a.stderr, "hooksmith build %s --kernel %s takes it, whatever is in Docker\n", flavor, r.Ref)
		}
	}
	if o.push {
		fmt.Fprintf(a.stderr, "in the registry: %s@%s\n", r.Ref, r.Digest)
	}
	if o.export != "" {
		fmt.Fprintf(a.stderr, "%s: docker load -i %s\n", o.export, o.export)
	}
}
