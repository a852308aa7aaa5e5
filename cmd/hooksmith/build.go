package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"hooksmith/build"
	"hooksmith/build/images"
	"hooksmith/build/initramfs"
)

// buildFlags are what only `hooksmith build` takes.
type buildFlags struct {
	out, lock, compress, format, segments string
	level                                 int
	locked, dryRun, noSBOM, check, asJSON bool
	dev                                   bool
	kernel                                string
}

func (o *buildFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.out, "out", "o", filepath.Join("out", "hook"), "`FOLDER` for the results")
	o.format, o.segments = string(build.KernelInitrd), "on"
	addChoice(cmd, &o.format, "format", "what to write: kernel and initramfs, or everything as one tar", string(build.KernelInitrd), string(build.Tar))
	f.StringVar(&o.compress, "compress", "zstd", "compression of the initramfs: zstd, gzip or none")
	f.IntVar(&o.level, "level", 0, "compression `LEVEL`: zstd 1-2 (faster, a third larger), 3-19 (all the same, the default), 20-22 (smaller, ten times slower), gzip 1-9")
	f.BoolVar(&o.dev, "dev", false, "compress a little faster; the initramfs is about a third larger")
	cmd.MarkFlagsMutuallyExclusive("dev", "level")
	addChoice(cmd, &o.segments, "segments", "divide the initramfs, so that a rebuild compresses only what changed", "on", "off")
	f.StringVar(&o.kernel, "kernel", "", "the kernel: latest (the newest that was published), an image `REF|FILE.tar|FOLDER` (default that of hooksmith kernel in Docker, else the newest published)")
	f.BoolVar(&o.locked, "locked", false, "build from the lock file; fail if anything differs from it")
	f.StringVar(&o.lock, "lock", "", "lock `FILE` (default hooksmith.lock, else the one in --out)")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the plan and build nothing")
	f.BoolVar(&o.check, "check", false, "look for missing libraries in the images of others too")
	f.BoolVar(&o.noSBOM, "no-sbom", false, "write no sbom.spdx.json")
	f.BoolVar(&o.asJSON, "json", false, "print the result as JSON")
}

// apply puts the flags into the options.
func (o *buildFlags) apply(ctx context.Context, opt *build.Options) error {
	opt.Out, opt.NoSBOM, opt.Level, opt.CheckAll = o.out, o.noSBOM, o.level, o.check
	opt.Format, opt.OneSegment = build.Format(o.format), o.segments == "off"
	var err error
	if opt.Compression, err = initramfs.ParseCompression(o.compress); err != nil {
		return &usageError{fmt.Errorf("--compress: %w", err)}
	}
	if err := opt.Compression.CheckLevel(o.level); err != nil {
		return &usageError{fmt.Errorf("--level: %w", err)}
	}
	if o.dev && opt.Compression != initramfs.None {
		const zstd, gzip = 1, 1
		if opt.Level = zstd; opt.Compression == initramfs.Gzip {
			opt.Level = gzip
		}
	}
	if o.locked {
		if opt.Lock, err = readLock(o.lock, o.out); err != nil {
			return err
		}
		if sources, ok := opt.Images.(*images.Sources); ok {
			sources.Pins = opt.Lock.Pins(opt.Flavor.ID)
		}
	}
	return applyKernel(ctx, o.kernel, opt)
}

// checkFormat refuses what is said of an initramfs where none is written.
func (o *buildFlags) checkFormat(cmd *cobra.Command) error {
	if o.format != string(build.Tar) {
		return nil
	}
	for _, name := range []string{"compress", "level", "dev", "segments"} {
		f := cmd.Flags().Lookup(name)
		if plain := name == "compress" && o.compress == string(initramfs.None); f.Changed && !plain {
			return usagef("--%s %s is for an initramfs, and --format tar writes a plain tar: leave one of them out", name, f.Value)
		}
	}
	return nil
}

func newBuild(a *app) *cobra.Command {
	var in inputFlags
	var o buildFlags
	cmd := &cobra.Command{
		Use:     "build [FLAVOR] [NAME=VALUE...]",
		Aliases: []string{"linuxkit"},
		Short:   "Build a kernel and an initramfs",
		Long: `Build the kernel and the initramfs of a flavor. The packages come from a Debian
mirror, each verified by Debian's signatures; they are kept in a cache. Nothing
needs root, Docker or a registry, and the same inputs give the same bytes.

--out then holds vmlinuz-* and initramfs-* under the flavor's output id and under
the names that Tinkerbell and EKS Anywhere ask for, hook.json (what is in them),
checksum.txt, sbom.spdx.json and hooksmith.lock (the exact inputs).

--file builds LinuxKit files instead, with images of any origin, and writes
NAME-kernel, NAME-initrd.img and NAME-cmdline. ${HOOK_CONTAINER_..._IMAGE} in them
stands for hooksmith's own images, which come from Debian packages.

A flavor with a kernel of its own configuration takes the image that hooksmith
kernel made, from Docker, then the newest of HOOK_KERNEL_OCI_BASE in its
registry. --kernel names another one, for any flavor.

NAME=VALUE sets a variable of the template, as --set does.`,
		Example: `  # the default flavor of this machine's architecture
  hooksmith build

  # another flavor, with firmware for Broadcom and Intel E800 cards and an SSH server
  hooksmith build hook-debian-amd64 --firmware bnx2,ice --ssh-key ~/.ssh/id_ed25519.pub

  # with a kernel that was exported (hooksmith kernel --export kernel.tar)
  hooksmith build hook-generic-amd64 --kernel kernel.tar

  # a LinuxKit file
  hooksmith build --file linuxkit.yml --out out/linuxkit --arch amd64

  # exactly what was built before, from the inputs in its lock file
  hooksmith build --locked

  # what would be built, and what would be downloaded for it
  hooksmith build hook-debian-arm64 --dry-run`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeFlavors,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.checkFormat(cmd); err != nil {
				return err
			}
			opt, err := in.options(cmd.Context(), a, args)
			if err != nil {
				return err
			}
			if err := o.apply(cmd.Context(), &opt); err != nil {
				return err
			}
			if o.dryRun {
				return a.printPlan(cmd, opt, o.asJSON)
			}
			result, err := build.Build(cmd.Context(), opt)
			if err != nil {
				return err
			}
			return a.printArtifacts(o.out, result, o.asJSON)
		},
	}
	in.add(cmd)
	o.add(cmd)
	return cmd
}

// lockPath is where the lock file is: the one given, else the one of the
// current folder (checked in beside hooksmith.yaml), else the last build's.
func lockPath(given, out string) string {
	if given != "" {
		return given
	}
	if _, err := os.Stat(build.LockName); err == nil {
		return build.LockName
	}
	return filepath.Join(out, build.LockName)
}

func readLock(given, out string) (*build.Lock, error) {
	path := lockPath(given, out)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, withHint(fmt.Errorf("--locked: %w", err), "make it with: hooksmith update")
	}
	return build.ParseLock(path, b)
}

func (a *app) printPlan(cmd *cobra.Command, opt build.Options, asJSON bool) error {
	plan, err := build.NewPlan(cmd.Context(), opt)
	if err != nil {
		return err
	}
	s := plan.Summary()
	if asJSON {
		return a.printJSON(s)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "flavor\t%s\n", s.Flavor)
	fmt.Fprintf(w, "kernel\t%s\n", cmp.Or(s.Kernel, "none"))
	for _, img := range s.Images {
		fmt.Fprintf(w, "image\t%s\n", img)
	}
	for _, p := range s.Packages {
		fmt.Fprintf(w, "package\t%s %s\t%s\n", p.Name, p.Version, byteCount(p.Size))
	}
	for _, img := range s.Embedded {
		fmt.Fprintf(w, "embed\t%s\t%s\n", strings.Join(img.Names, " "), img.Source)
	}
	fmt.Fprintf(w, "total\t%d packages\t%s\n", len(s.Packages), byteCount(s.DownloadBytes))
	if s.ImageBytes > 0 {
		fmt.Fprintf(w, "total\timages of others\t%s\n", byteCount(s.ImageBytes))
	}
	for _, name := range s.Outputs {
		fmt.Fprintf(w, "output\t%s\n", filepath.Join(opt.Out, name))
	}
	return w.Flush()
}

func (a *app) printArtifacts(out string, r *build.Artifacts, asJSON bool) error {
	if asJSON {
		return a.printJSON(r)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	for _, f := range r.Files {
		fmt.Fprintf(w, "%s\t%s\tsha256:%s\n", filepath.Join(out, f.Name), byteCount(f.Size), f.SHA256)
		for _, alias := range f.Aliases {
			fmt.Fprintf(w, "%s\t\t= %s\n", filepath.Join(out, alias), f.Name)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if r.RAMNeededMiB > 0 {
		fmt.Fprintf(a.stderr, "%s: kernel %s, needs %d MiB of RAM\n", r.Flavor, cmp.Or(r.Kernel.Version, r.Kernel.Source, "none"), r.RAMNeededMiB)
	}
	if n := len(r.FirmwareMissing); n > 0 {
		fmt.Fprintf(a.stderr, "%d modules want firmware that is not in (hook.json lists it; --firmware adds it)\n", n)
	}
	return nil
}

// ourVersion is this hooksmith's version, for hook.json and os-release.
func ourVersion() string {
	info, _ := debug.ReadBuildInfo()
	return readBuildInfo(info).Version
}
