package build

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
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
	ref := ""
	if p.opt.Lock != nil {
		for _, in := range p.opt.Lock.Flavors[p.opt.Flavor.ID].inputs() {
			if in.Kind == kindPublished && in.Name == what {
				ref = in.Version
			}
		}
	}
	if ref == "" {
		source, ok := p.opt.Images.(tagLister)
		if !ok {
			return "", fmt.Errorf("%s: there is no registry to ask: %s", what, howTo)
		}
		tags, err := source.Tags(ctx, repository)
		if err != nil {
			return "", fmt.Errorf("%s: listing the tags of %s: %w (%s)", what, repository, err, howTo)
		}
		tag, err := find(tags)
		if err != nil {
			return "", fmt.Errorf("%s: %s: %w (%s)", what, repository, err, howTo)
		}
		ref = repository + ":" + tag
	}
	p.inputs = append(p.inputs, Input{Kind: kindPublished, Name: what, Version: ref})
	return ref, nil
}

// publishedKernel finds the newest image of the flavor's kernel version for
// its architecture. Tags are M.m.p-HASH, the hash being that of the
// configuration, so that those of other architectures stand among them.
func (p *Plan) publishedKernel(ctx context.Context) (string, error) {
	version := p.opt.Flavor.Kernel.Version
	if point := p.vars["KERNEL_POINT_RELEASE"]; point != "" {
		version = point
	}
	base := p.vars["HOOK_KERNEL_OCI_BASE"]
	if base == "" {
		base = DefaultKernelBase
	}
	howTo := "name one with HOOK_KERNEL_IMAGE=IMAGE after the flavor, or another repository with HOOK_KERNEL_OCI_BASE=REPOSITORY"
	return p.published(ctx, "kernel "+version, base, howTo, func(tags []string) (string, error) {
		var failed error
		for _, tag := range newestFirst(tags, version) {
			_, err := p.opt.Images.Image(ctx, base+":"+tag)
			if err == nil {
				return tag, nil
			}
			failed = errors.Join(failed, fmt.Errorf("%s: %w", tag, err))
		}
		if failed != nil {
			return "", fmt.Errorf("no kernel can be used: %w", failed)
		}
		return "", fmt.Errorf("no kernel %s among its %d tags", version, len(tags))
	})
}

// newestFirst returns the tags of a kernel version (major.minor, or with the
// point release), the highest point release first, at most ten.
func newestFirst(tags []string, version string) []string {
	point := func(tag string) int {
		release, _, _ := strings.Cut(tag, "-")
		if release == version {
			return 0
		}
		number, ok := strings.CutPrefix(release, version+".")
		n, err := strconv.Atoi(number)
		if !ok || err != nil {
			return -1
		}
		return n
	}
	tags = slices.DeleteFunc(slices.Clone(tags), func(tag string) bool { return point(tag) < 0 })
	slices.SortFunc(tags, func(a, b string) int {
		if d := point(b) - point(a); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return tags[:min(len(tags), 10)]
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
	if len(ours) == 0 || len(ours) > maxCandidates {
		return "", fmt.Errorf("%d of its %d tags end in %s", len(ours), len(tags), suffix)
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
