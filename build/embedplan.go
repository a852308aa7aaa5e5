package build

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"hooksmith/embed"
)

// EmbedPlan says what embedding images costs.
type EmbedPlan struct {
	Platform string         `json:"platform"`
	Images   []PlannedImage `json:"images"`
	Layers   int            `json:"layers"` // distinct ones

	CompressedBytes int64 `json:"compressed_bytes"` // of all layers, as registries have them
	MemoryBytes     int64 `json:"memory_bytes"`     // of RAM that the store takes once it is unpacked
	RAMMiB          int64 `json:"ram_mib"`          // more that the smallest machine needs, which has both in memory while it boots
}

// PlannedImage is an image to embed. A layer that several images have counts
// for each, and is in memory once.
type PlannedImage struct {
	EmbeddedImage
	Digest          string `json:"digest"` // of its manifest
	Platform        string `json:"platform"`
	CompressedBytes int64  `json:"compressed_bytes"`
	UnpackedBytes   int64  `json:"unpacked_bytes"`
	Layers          int    `json:"layers"`
	SharedLayers    int    `json:"shared_layers"` // that other images of the set have too
	SharedBytes     int64  `json:"shared_bytes"`  // of those, unpacked
}

// NewEmbedPlan finds the images of Options.Embed, downloads what is not in the
// cache, where a later build finds it, and measures them. Of the options those
// about a template do not matter.
func NewEmbedPlan(ctx context.Context, opt Options) (plan *EmbedPlan, err error) {
	b, err := planOnlyEmbed(ctx, opt)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.layers.Close()) }()
	if err := b.prefetchImages(ctx); err != nil {
		return nil, err
	}
	trees, err := b.embedTrees(ctx, nil)
	if err != nil {
		return nil, err
	}
	sizes := map[*embed.Layer]int64{}
	plan = &EmbedPlan{Platform: "linux/" + opt.Flavor.DebianArch(), Layers: len(b.store.Layers), MemoryBytes: trees[0].tree.Size()}
	users := map[*embed.Layer]int{}
	for i, l := range b.store.Layers {
		sizes[l] = trees[i+1].tree.Size()
		size, err := l.ImageLayer().Size()
		if err != nil {
			return nil, err
		}
		plan.CompressedBytes += size
		plan.MemoryBytes += sizes[l]
	}
	for _, img := range b.store.Images {
		for _, l := range img.Layers {
			users[l]++
		}
	}
	plan.RAMMiB = (plan.MemoryBytes*5/2 + 1<<20 - 1) >> 20 // as ramNeeded
	for i, stored := range b.store.Images {
		p, err := planned(stored, b.embedded[i], sizes, users)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", stored.Source, err)
		}
		plan.Images = append(plan.Images, *p)
	}
	return plan, nil
}

func planned(stored embed.Stored, img embed.Image, sizes map[*embed.Layer]int64, users map[*embed.Layer]int) (*PlannedImage, error) {
	digest, err := img.Image.Digest()
	if err != nil {
		return nil, err
	}
	config, err := img.Image.ConfigFile()
	if err != nil {
		return nil, err
	}
	p := &PlannedImage{
		EmbeddedImage: EmbeddedImage{ID: stored.ID.String(), Names: stored.Names, Digests: stored.Digests, Source: stored.Source},
		Digest:        digest.String(), Platform: config.Platform().String(), Layers: len(stored.Layers),
	}
	for _, l := range stored.Layers {
		size, err := l.ImageLayer().Size()
		if err != nil {
			return nil, err
		}
		p.CompressedBytes += size
		p.UnpackedBytes += sizes[l]
		if users[l] > 1 {
			p.SharedLayers++
			p.SharedBytes += sizes[l]
		}
	}
	return p, nil
}

// ExportEmbed writes the images of Options.Embed as an OCI layout, a folder or
// a .tar, from which another hooksmith builds without a network.
func ExportEmbed(ctx context.Context, opt Options, dest string) (err error) {
	b, err := planOnlyEmbed(ctx, opt)
	if err != nil {
		return err
	}
	if source, ok := opt.Images.(prefetcher); ok {
		for _, img := range b.embedded {
			if err := source.Prefetch(ctx, img.Image); err != nil {
				return fmt.Errorf("%s: %w", img.Source, err)
			}
		}
	}
	task := b.observer().Begin("writing "+dest, 0)
	err = embed.Export(ctx, dest, b.embedded, task.Add)
	task.Done(err)
	return err
}

// planOnlyEmbed is a build that has nothing but images to embed, for an init
// of ours.
func planOnlyEmbed(ctx context.Context, opt Options) (*builder, error) {
	if len(opt.Embed) == 0 {
		return nil, errors.New("there are no images to embed: name them with --bundle, --agent, --embed, --images-file or --from")
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	p := &Plan{opt: opt, foreign: &foreign{source: opt.Images, noSBOM: true, found: map[string]*foreignImage{}}}
	if err := p.planEmbed(ctx); err != nil {
		return nil, err
	}
	return &builder{Plan: p, layers: newLayers(opt.Cache)}, nil
}
