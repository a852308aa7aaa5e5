package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"hooksmith/build"
	"hooksmith/build/images"
	"hooksmith/embed"
)

// embedFlags say which images docker has when HookOS starts.
type embedFlags struct {
	bundle, kubernetes, agent, file, from string
	images                                []string
}

func (o *embedFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.bundle, "bundle", "", "embed the actions of this EKS Anywhere bundle, `FILE` or URL")
	f.StringVar(&o.kubernetes, "kube-version", "", "of the bundle, only the images for this Kubernetes `VERSION` (default: those for all)")
	f.StringVar(&o.agent, "agent", "", "embed this `IMAGE` as the worker, 127.0.0.1/embedded/tink-worker")
	f.StringArrayVar(&o.images, "embed", nil, "embed this `IMAGE`; =NAME[:TAG] after it makes it 127.0.0.1/embedded/NAME (repeatable)")
	f.StringVar(&o.file, "images-file", "", "embed the images of this `FILE`: on each line SOURCE [NAME [true]], true to remove the name SOURCE")
	f.StringVar(&o.from, "from", "", "embed what 'hooksmith embed export' wrote to this `DIR` or .tar, without a network")
}

// apply reads what the flags name and puts the set into the options.
func (o *embedFlags) apply(ctx context.Context, a *app, opt *build.Options, sources *images.Sources) error {
	var lists [][]embed.Want
	for _, read := range []func(context.Context, *app, *build.Options) ([]embed.Want, error){o.fromBundle, o.fromFile, o.fromFlags} {
		list, err := read(ctx, a, opt)
		if err != nil {
			return err
		}
		lists = append(lists, list)
	}
	if o.from != "" {
		list, err := embed.ReadExport(o.from)
		if err != nil {
			return fmt.Errorf("--from: %w", err)
		}
		lists = append(lists, list)
		sources.Layouts = append([]string{o.from}, sources.Layouts...)
	}
	set, dropped, err := embed.Merge(lists...)
	if err != nil {
		return err
	}
	for _, w := range dropped {
		a.log.Info("left out, because another image was given its name", "image", w.Source, "name", strings.Join(w.Names, " "), "of", w.Origin)
	}
	opt.Embed = set
	return nil
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
		return nil, fmt.Errorf("--bundle: %w", err)
	}
	b, err := embed.ParseBundle(o.bundle, data)
	if err != nil {
		return nil, fmt.Errorf("--bundle: %w", err)
	}
	list, err := b.Wants(o.kubernetes)
	if err != nil {
		return nil, fmt.Errorf("--kube-version: %w", err)
	}
	return list, nil
}

func (o *embedFlags) readBundle(ctx context.Context, a *app, opt *build.Options) ([]byte, error) {
	if strings.HasPrefix(o.bundle, "http://") || strings.HasPrefix(o.bundle, "https://") {
		const limit = 4 << 20
		return opt.Cache.Latest(ctx, []string{o.bundle}, limit)
	}
	return readFile(a, o.bundle)
}

func (o *embedFlags) fromFile(_ context.Context, a *app, _ *build.Options) ([]embed.Want, error) {
	if o.file == "" {
		return nil, nil
	}
	data, err := readFile(a, o.file)
	if err != nil {
		return nil, fmt.Errorf("--images-file: %w", err)
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
