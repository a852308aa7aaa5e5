package build

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// DefaultKernelBase is where upstream publishes its kernel images.
const DefaultKernelBase = "ghcr.io/tinkerbell/hook/kernel/hook-kernel"

// DefaultContainerBase is where upstream publishes the images of its services:
// their names follow.
const DefaultContainerBase = "ghcr.io/tinkerbell/hook/linuxkit/"

// tagLister is a source of images that can list the tags of a repository.
type tagLister interface {
	Tags(ctx context.Context, repository string) ([]string, error)
}

// kindPublished is the input of a reference that was found by its tag.
const kindPublished = "published image"

// maxCandidates is how many tags of a repository are looked into.
const maxCandidates = 50

// published returns the reference that the lock file has for what, or what
// find makes of the repository's tags. howTo says how to do without.
func (p *Plan) published(ctx context.Context, what, repository, howTo string, find func(tags []string) (string, error)) (string, error) {
	ref, err := p.publishedRef(ctx, what, repository, find)
	if err != nil {
		return "", fmt.Errorf("%s: %w (%s)", what, err, howTo)
	}
	return ref, nil
}

func (p *Plan) publishedRef(ctx context.Context, what, repository string, find func(tags []string) (string, error)) (string, error) {
	ref := p.lockedRef(what)
	if ref == "" {
		source, ok := p.opt.Images.(tagLister)
		if !ok {
			return "", errors.New("there is no registry to ask")
		}
		tags, err := source.Tags(ctx, repository)
		if err != nil {
			return "", fmt.Errorf("listing the tags of %s: %w", repository, err)
		}
		tag, err := find(tags)
		if err != nil {
			return "", fmt.Errorf("%s: %w", repository, err)
		}
		ref = repository + ":" + tag
	}
	p.inputs = append(p.inputs, Input{Kind: kindPublished, Name: what, Version: ref})
	return ref, nil
}

// lockedRef is the reference that the lock file has for what, or "".
func (p *Plan) lockedRef(what string) string {
	if p.opt.Lock == nil {
		return ""
	}
	for _, in := range p.opt.Lock.Flavors[p.opt.Flavor.ID].inputs() {
		if in.Kind == kindPublished && in.Name == what {
			return in.Version
		}
	}
	return ""
}

// namePublished sets the variables of upstream's own images. Their tags are
// hashes of their sources and an architecture: the one that was made last is
// taken.
func (p *Plan) namePublished(ctx context.Context) error {
	base := p.vars["HOOK_LK_CONTAINERS_OCI_BASE"]
	if base == "" {
		base = DefaultContainerBase
	}
	slices.Sort(p.wanted)
	for _, variable := range slices.Compact(p.wanted) {
		repository := base + imageName(variable)
		howTo := fmt.Sprintf("name one with %s=IMAGE after the flavor, or build it from its folder with --images DIR", variable)
		ref, err := p.published(ctx, variable, repository, howTo, func(tags []string) (string, error) {
			return p.newestBuild(ctx, repository, tags)
		})
		if err != nil {
			return err
		}
		p.vars[variable] = ref
	}
	return nil
}

// newestBuild returns the tag for the architecture whose image was made last.
func (p *Plan) newestBuild(ctx context.Context, repository string, tags []string) (string, error) {
	suffix := "-" + p.arch.Debian()
	ours := slices.DeleteFunc(slices.Clone(tags), func(tag string) bool { return !strings.HasSuffix(tag, suffix) })
	if len(ours) == 0 {
		return "", fmt.Errorf("none of its %d tags ends in %s", len(tags), suffix)
	}
	if len(ours) > maxCandidates { // nothing in a tag says which are the older ones
		return "", fmt.Errorf("%d of its %d tags end in %s: no more than %d are looked into for the newest", len(ours), len(tags), suffix, maxCandidates)
	}
	slices.Sort(ours)
	made := make([]time.Time, len(ours))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, tag := range ours {
		g.Go(func() error {
			img, err := p.opt.Images.Image(ctx, repository+":"+tag)
			if err != nil {
				return fmt.Errorf("%s: %w", tag, err)
			}
			config, err := img.ConfigFile()
			if err != nil {
				return fmt.Errorf("%s: %w", tag, err)
			}
			made[i] = config.Created.Time
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return "", err
	}
	newest := 0
	for i := range made {
		if made[i].After(made[newest]) {
			newest = i
		}
	}
	return ours[newest], nil
}

// imageName is the image of a variable: HOOK_CONTAINER_DOCKER_IMAGE is
// hook-docker.
func imageName(variable string) string {
	name := strings.TrimSuffix(strings.TrimPrefix(variable, "HOOK_CONTAINER_"), "_IMAGE")
	return "hook-" + strings.ReplaceAll(strings.ToLower(name), "_", "-")
}
