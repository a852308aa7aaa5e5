package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"hooksmith/build"
	"hooksmith/build/fetch"
	"hooksmith/build/images"
	"hooksmith/embed"
)

// embedFlags say which images docker has when HookOS starts.
type embedFlags struct {
	bundle, kubernetes, agent, file, from string
	images                                []string
}

func (o *embedFlags) add(cmd *cobra.Command) {
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return refuseEmpty(cmd) }
	f := cmd.Flags()
	f.StringVar(&o.bundle, "bundle", "", "embed the actions of this EKS Anywhere bundle, `FILE` or URL; - is stdin")
	f.StringVar(&o.kubernetes, "kube-version", "", "of the bundle, only the images for this Kubernetes `VERSION` (default: those for all)")
	f.StringVar(&o.agent, "agent", "", "embed this `IMAGE` as the worker, 127.0.0.1/embedded/tink-worker")
	f.StringArrayVar(&o.images, "embed", nil, "embed this `IMAGE`; =NAME[:TAG] after it makes it 127.0.0.1/embedded/NAME (repeatable)")
	f.StringVar(&o.file, "images-file", "", "embed the images of this `FILE`: on each line SOURCE [NAME [true]], true to remove the name SOURCE; - is stdin")
	f.StringVar(&o.from, "from", "", "embed what 'hooksmith embed export' wrote to this `DIR` or .tar; its images come from nowhere else")
}

// apply reads what the flags name and puts the set into the options.
func (o *embedFlags) apply(ctx context.Context, a *app, opt *build.Options, sources *images.Sources) error {
	if err := o.checkStdin(opt); err != nil {
		return err
	}
	lists := make([][]embed.Want, 0, 4)
	list, err := o.fromExport(a)
	if err != nil {
		return err
	}
	lists = append(lists, list)
	for _, read := range []func(context.Context, *app, *build.Options) ([]embed.Want, error){o.fromBundle, o.fromFile, o.fromFlags} {
		list, err := read(ctx, a, opt)
		if err != nil {
			return err
		}
		lists = append(lists, list)
	}
	set, dropped, err := embed.Merge(lists...)
	if err != nil {
		return err
	}
	for _, w := range dropped {
		a.log.Info("left out, because another image was given its name", "image", w.Source, "name", strings.Join(w.Names, " "), "of", w.Origin)
	}
	sources.OnlyIn = map[string]string{}
	for _, w := range set {
		if w.Export != "" {
			sources.OnlyIn[w.Ref()] = w.Export
		}
	}
	opt.Embed = set
	return nil
}

// checkStdin refuses that two flags read it.
func (o *embedFlags) checkStdin(opt *build.Options) error {
	var readers []string
	for _, f := range opt.Files {
		if f.Name == "-" {
			readers = append(readers, "--file -")
		}
	}
	if o.bundle == "-" {
		readers = append(readers, "--bundle -")
	}
	if o.file == "-" {
		readers = append(readers, "--images-file -")
	}
	if len(readers) > 1 {
		return usagef("%s: only one of them can read standard input: give a file to the others", strings.Join(readers, " and "))
	}
	return nil
}

// fromExport reads --from.
func (o *embedFlags) fromExport(a *app) ([]embed.Want, error) {
	if o.from == "" {
		return nil, nil
	}
	if err := notURL("--from", o.from); err != nil {
		return nil, err
	}
	list, unnamed, err := embed.ReadExport(o.from)
	if err != nil {
		err = fmt.Errorf("--from: %w", err)
		if _, there := os.Stat(o.from); there == nil { // what is wrong with it is said
			return nil, err
		}
		return nil, hintMissing(err, "write it with: hooksmith embed export %s --embed IMAGE (and --bundle, --agent), where the images are reached", o.from)
	}
	for _, image := range unnamed {
		a.log.Warn("an image of --from is left out: its layout has no complete name for it", "image", image,
			"fix", "name it with --layout "+o.from+" --embed REPOSITORY@DIGEST=NAME")
	}
	return list, nil
}

// notURL refuses a URL, with the way out, where a flag takes a file.
func notURL(flag, value string) error {
	scheme, path, isURL := strings.Cut(value, "://")
	switch {
	case !isURL:
		return nil
	case strings.EqualFold(scheme, "file"):
		return usagef("%s %s: give the path alone, %s", flag, value, path)
	}
	return usagef("%s %s: no such URL can be read here: download it first, and give the file", flag, value)
}

func (o *embedFlags) fromBundle(ctx context.Context, a *app, opt *build.Options) ([]embed.Want, error) {
	if o.bundle == "" {
		if o.kubernetes != "" {
			return nil, usagef("--kube-version chooses from a bundle: give that with --bundle")
		}
		return nil, nil
	}
	data, err := o.readBundle(ctx, a, opt)
	if err != nil {
		return nil, err
	}
	b, err := embed.ParseBundle(o.bundle, data)
	if err != nil {
		return nil, fmt.Errorf("--bundle: %w", err)
	}
	list, err := b.Wants(o.kubernetes)
	if err != nil {
		return nil, &usageError{fmt.Errorf("--kube-version: %w", err)}
	}
	return list, nil
}

// bundleURLs says where bundles are.
const bundleURLs = "https://anywhere-assets.eks.amazonaws.com/releases/eks-a/manifest.yaml lists the bundle of each release as bundleManifestUrl"

func (o *embedFlags) readBundle(ctx context.Context, a *app, opt *build.Options) ([]byte, error) {
	scheme, rest, _ := strings.Cut(o.bundle, "://")
	switch scheme = strings.ToLower(scheme); {
	case rest == "":
	case scheme == "http", scheme == "https":
		const limit = 4 << 20
		data, err := opt.Cache.Latest(ctx, []string{scheme + "://" + rest}, limit)
		switch {
		case err == nil:
			return data, nil
		case errors.Is(err, fetch.ErrOffline):
			return nil, withHint(fmt.Errorf("--bundle: %w", err), "without --offline it is downloaded, and kept")
		}
		return nil, withHint(fmt.Errorf("--bundle: %w", err), "does the URL open elsewhere? "+bundleURLs+"; a bundle that was downloaded is given as a file")
	default:
		return nil, notURL("--bundle", o.bundle)
	}
	data, err := readFile(a, o.bundle)
	if err != nil {
		return nil, hintMissing(fmt.Errorf("--bundle: %w", err), "give the path from this folder, or a URL: "+bundleURLs)
	}
	return data, nil
}

func (o *embedFlags) fromFile(_ context.Context, a *app, _ *build.Options) ([]embed.Want, error) {
	if o.file == "" {
		return nil, nil
	}
	if err := notURL("--images-file", o.file); err != nil {
		return nil, err
	}
	data, err := readFile(a, o.file)
	if err != nil {
		return nil, hintMissing(fmt.Errorf("--images-file: %w", err), "give the path from this folder; of one or two images, --embed IMAGE=NAME does the same")
	}
	list, err := embed.ParseImagesFile(o.file, data)
	if err != nil {
		return nil, fmt.Errorf("--images-file: %w", err)
	}
	return list, nil
}

func (o *embedFlags) fromFlags(context.Context, *app, *build.Options) ([]embed.Want, error) {
	var list []embed.Want
	for _, text := range o.images {
		w, err := embed.Parse(text)
		if err != nil {
			return nil, &usageError{fmt.Errorf("--embed: %w", err)}
		}
		list = append(list, w)
	}
	if o.agent != "" {
		w, err := embed.Agent(o.agent)
		if err != nil {
			return nil, &usageError{fmt.Errorf("--agent: %w", err)}
		}
		list = append(list, w)
	}
	return list, nil
}
