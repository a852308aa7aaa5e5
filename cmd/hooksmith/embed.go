package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"hooksmith/build"
	"hooksmith/build/fetch"
	"hooksmith/configs"
	"hooksmith/embed"
)

func newEmbed(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "embed",
		Short: "Container images that HookOS brings along",
		Long: `Images that 'hooksmith build' embeds are there when docker starts: no registry is
asked, nothing is loaded. These commands show what embedding images costs, and write
them for a site without a network. Of the flags of 'hooksmith build' they have those
that name images and say where images come from.`,
		Example: `  # what the actions of a bundle cost
  hooksmith embed plan --bundle bundle.yaml --agent ghcr.io/tinkerbell/tink-agent:v0.20.0`,
	}
	cmd.AddCommand(newEmbedPlan(a), newEmbedExport(a))
	return cmd
}

// embedInputs are the flags of both commands.
type embedInputs struct {
	config, lock string
	locked       bool
	in           inputFlags
}

func (o *embedInputs) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.config, "config", "", "`FILE` with flavors of your own (default hooksmith.yaml, if it is there)")
	f.BoolVar(&o.in.offline, "offline", false, "use the cache only; fail if something is not in it")
	f.BoolVar(&o.locked, "locked", false, "take the images of the lock file")
	f.StringVar(&o.lock, "lock", build.LockName, "lock `FILE`")
	o.in.addCacheDir(cmd)
	o.in.images.add(cmd)
	o.in.embed.add(cmd)
}

func (o *embedInputs) options(ctx context.Context, a *app, args []string) (build.Options, error) {
	flavor, err := findFlavor(o.config, args)
	if err != nil {
		return build.Options{}, err
	}
	opt := build.Options{
		Flavor: flavor, Vars: map[string]string{}, Configs: configs.FS, Log: a.log, Observer: a.progress, Program: program(),
		Cache: &fetch.Cache{Dir: o.in.cache(), Offline: o.in.offline, Observer: a.progress, Log: a.log},
	}
	sources, err := o.in.images.sources(ctx, a, &opt, o.in.cache(), o.in.offline)
	if err != nil {
		return opt, err
	}
	if o.locked {
		lock, err := readLock(o.lock, "")
		if err != nil {
			return opt, err
		}
		sources.Pins = lock.Pins(flavor.ID)
	}
	opt.Images = sources
	return opt, o.in.embed.apply(ctx, a, &opt, sources)
}

func newEmbedPlan(a *app) *cobra.Command {
	var o embedInputs
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "plan [FLAVOR]",
		Short: "Print which images would be embedded, and what they cost",
		Long: `Find the images for the flavor's architecture, and print their names and digests,
their sizes, the layers that they share, and the memory that all of them take in every
machine that boots. Layers that are not in the cache are downloaded; a build uses them.
For flavors with LinuxKit's init a build makes a single layer of each image, and the
plan shows that.`,
		Example: `  # what a list of images costs on arm64
  hooksmith embed plan hook-debian-arm64 --images-file images.txt

  # for scripts
  hooksmith embed plan --bundle bundle.yaml --json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeFlavors,
		RunE: func(cmd *cobra.Command, args []string) error {
			opt, err := o.options(cmd.Context(), a, args)
			if err != nil {
				return err
			}
			plan, err := build.NewEmbedPlan(cmd.Context(), opt)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(plan)
			}
			return a.printEmbedPlan(plan)
		},
	}
	o.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the plan as JSON")
	return cmd
}

func (a *app) printEmbedPlan(plan *build.EmbedPlan) error {
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tPLATFORM\tCOMPRESSED\tUNPACKED\tLAYERS\tSHARED\tDIGEST")
	for _, img := range plan.Images {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d (%s)\t%s\n", cmp.Or(strings.Join(img.Names, " "), img.Source), img.Platform,
			byteCount(img.CompressedBytes), byteCount(img.UnpackedBytes), img.Layers, img.SharedLayers, byteCount(img.SharedBytes), img.Digest)
	}
	fmt.Fprintf(w, "total\t\t%s\t%s\t%d\n", byteCount(plan.CompressedBytes), byteCount(plan.MemoryBytes), plan.Layers)
	if err := w.Flush(); err != nil {
		return err
	}
	if plan.Flattened {
		if _, err := fmt.Fprint(a.stdout, "\nThe flavor's init is not hooksmith's: each image becomes a single layer, with another ID and without its digest.\n"); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(a.stdout, "\nThe images take %s of memory in every machine; the smallest needs %d MiB more RAM to boot.\n", byteCount(plan.MemoryBytes), plan.RAMMiB)
	return err
}

func newEmbedExport(a *app) *cobra.Command {
	var o embedInputs
	cmd := &cobra.Command{
		Use:   "export {DIR | FILE.tar | -} [FLAVOR]",
		Short: "Write the images for a site without a network",
		Long: `Write the images for the flavor's architecture as an OCI layout, into a folder, one
.tar, or as a tar to standard output (-). At the other site 'hooksmith build --from'
embeds them without a network, under the same names, with the same digests.

A folder is new, empty, or one that this command wrote before: that then holds these
images and no others. What it has already is checked and left, damaged files are written
again; interrupted, the same command goes on where it was.`,
		Example: `  # here
  hooksmith embed export images.tar --bundle bundle.yaml --agent ghcr.io/tinkerbell/tink-agent:v0.20.0

  # there
  hooksmith build --from images.tar

  # through a pipe
  hooksmith embed export - --bundle bundle.yaml | ssh site 'cat >images.tar'`,
		Args: cobra.RangeArgs(1, 2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return completeFlavors(cmd, nil, toComplete)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.exportEmbed(cmd.Context(), &o, args[0], args[1:])
		},
	}
	o.add(cmd)
	return cmd
}

func (a *app) exportEmbed(ctx context.Context, o *embedInputs, to string, flavor []string) error {
	dest, err := embed.ParseDest(to, a.stdout)
	if err != nil {
		return &usageError{err}
	}
	if dest.Stream != nil && a.isTerminal(a.stdout) {
		return usagef("a tar is not for a terminal: write it to a pipe or a file, as in hooksmith embed export images.tar")
	}
	if err := dest.Check(); err != nil {
		return err
	}
	opt, err := o.options(ctx, a, flavor)
	if err != nil {
		return err
	}
	err = build.ExportEmbed(ctx, opt, dest)
	if err == nil && dest.Stream == nil {
		_, err = fmt.Fprintln(a.stdout, to)
	}
	return err
}
