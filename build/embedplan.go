package build

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hooksmith/build/debian"
	"hooksmith/build/linuxkit"
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

	// Flattened says that the flavor's init is not hooksmith's, for which a
	// build makes a single layer of each image: they share none, and have other
	// IDs and no digests.
	Flattened bool `json:"flattened,omitempty"`
}

// PlannedImage is an image to embed, as a build lays it out. A layer that
// several images have counts for each, and is in memory once.
type PlannedImage struct {
	EmbeddedImage
	Digest          string `json:"digest"`           // of the manifest that was found
	Platform        string `json:"platform"`         // "unknown" if its configuration does not say
	CompressedBytes int64  `json:"compressed_bytes"` // as a registry has it
	UnpackedBytes   int64  `json:"unpacked_bytes"`
	Layers          int    `json:"layers"`
	SharedLayers    int    `json:"shared_layers"` // that other images of the set have too
	SharedBytes     int64  `json:"shared_bytes"`  // of those, unpacked
}

// NewEmbedPlan finds the images of Options.Embed, downloads what is not in the
// cache, where a later build finds it, and measures them. Of the flavor's
// template only the init counts.
func NewEmbedPlan(ctx context.Context, opt Options) (plan *EmbedPlan, err error) {
	b, err := planOnlyEmbed(ctx, opt)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.layers.Close()) }()
	if err := b.readInit(); err != nil {
		return nil, err
	}
	if err := b.prefetchImages(ctx); err != nil {
		return nil, err
	}
	trees, err := b.embedTrees(ctx, nil)
	if err != nil {
		return nil, err
	}
	plan = &EmbedPlan{
		Platform: "linux/" + opt.Flavor.DebianArch(), Layers: len(b.store.Layers), MemoryBytes: trees[0].tree.Size(), Flattened: !b.ownTemplateInit(),
	}
	m := measure{sizes: map[*embed.Layer]int64{}, users: map[*embed.Layer]int{}, compressed: map[v1.Hash]int64{}}
	for i, l := range b.store.Layers {
		m.sizes[l] = trees[i+1].tree.Size()
		plan.MemoryBytes += m.sizes[l]
	}
	for _, img := range b.store.Images {
		for _, l := range img.Layers {
			m.users[l]++
		}
	}
	plan.RAMMiB = (plan.MemoryBytes*5/2 + 1<<20 - 1) >> 20 // as ramNeeded
	for i, stored := range b.store.Images {
		p, err := m.planned(stored, b.embedded[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", stored.Source, err)
		}
		plan.Images = append(plan.Images, *p)
	}
	for _, size := range m.compressed {
		plan.CompressedBytes += size
	}
	return plan, nil
}

// readInit finds out whose init the template has, without asking anybody for
// packages and images: those that a build makes get a name for now.
func (p *Plan) readInit() error {
	if p.opt.Flavor.Template == "" && len(p.opt.Files) == 0 { // as for hooksmith's
		return nil
	}
	if err := p.readConfigs(); err != nil {
		return err
	}
	defs, err := p.definitions()
	if err != nil {
		return err
	}
	for variable, d := range defs {
		p.vars[variable] = "hooksmith/" + d.Name
		p.images[linuxkit.ReferenceExpand(p.vars[variable])] = &debian.Plan{Definition: d}
	}
	p.cfg, err = p.expanded()
	return err
}

// measure is what the layers of all images to embed are like.
type measure struct {
	sizes      map[*embed.Layer]int64 // unpacked
	users      map[*embed.Layer]int   // how many images have it
	compressed map[v1.Hash]int64      // of the images' own layers, by digest
}

// planned says what an image comes to.
func (m measure) planned(stored embed.Stored, img embed.Image) (*PlannedImage, error) {
	manifest, err := img.Image.Manifest()
	if err != nil {
		return nil, err
	}
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
		Digest:        digest.String(), Platform: "unknown", Layers: len(stored.Layers),
	}
	if platform := config.Platform(); platform != nil {
		p.Platform = platform.String()
	}
	for _, l := range manifest.Layers {
		p.CompressedBytes += l.Size
		m.compressed[l.Digest] = l.Size
	}
	for _, l := range stored.Layers {
		p.UnpackedBytes += m.sizes[l]
		if m.users[l] > 1 {
			p.SharedLayers++
			p.SharedBytes += m.sizes[l]
		}
	}
	return p, nil
}

// ExportEmbed writes the images of Options.Embed as an OCI layout, from which
// another hooksmith builds without a network.
func ExportEmbed(ctx context.Context, opt Options, dest embed.Dest) (err error) {
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
	task := b.observer().Begin("writing "+dest.Path, 0)
	err = embed.Export(ctx, dest, b.embedded, task.Add)
	task.Done(err)
	return err
}

// planOnlyEmbed is a build that has nothing but images to embed; until readInit
// for an init of ours.
func planOnlyEmbed(ctx context.Context, opt Options) (*builder, error) {
	if len(opt.Embed) == 0 {
		return nil, errors.New("there are no images to embed: name them with --bundle, --agent, --embed, --images-file or --from")
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	p := &Plan{opt: opt, images: map[string]*debian.Plan{}, foreign: &foreign{source: opt.Images, noSBOM: true, found: map[string]*foreignImage{}}}
	if err := p.planEmbed(ctx); err != nil {
		return nil, err
	}
	return &builder{Plan: p, layers: newLayers(ctx, opt.Cache)}, nil
}
