package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"hooksmith/build/images"
	"hooksmith/build/linuxkit"
	"hooksmith/kernel"
)

// KernelImage is a kernel image that was made from files of this machine.
type KernelImage struct {
	Ref   string // what the template calls it
	Image v1.Image
}

// LatestKernel is the variable that, if not empty, takes the newest kernel
// that was published, whatever the Docker daemon has: upstream's name.
const LatestKernel = "USE_LATEST_BUILT_KERNEL"

// nameKernel sets the template's variables for the flavor's kernel: a Debian
// package under a name like that of an image; the image that was given; or one
// of a kernel.org kernel (kernel.version) that `hooksmith kernel` has made or
// somebody has published.
func (p *Plan) nameKernel(ctx context.Context) error {
	spec := p.opt.Flavor.Kernel
	switch {
	case p.kernel != nil:
		p.setDefault("HOOK_KERNEL_IMAGE", p.kernelRef())
		p.setDefault("HOOK_KERNEL_VERSION", p.kernel.Version)
		return nil
	case p.opt.Kernel != nil:
		p.vars["HOOK_KERNEL_IMAGE"] = p.opt.Kernel.Ref
	case p.vars["HOOK_KERNEL_IMAGE"] != "":
	case spec.Version == "":
		return nil
	default:
		ref, err := p.chooseKernel(ctx)
		if err != nil {
			return err
		}
		p.vars["HOOK_KERNEL_IMAGE"] = ref
	}
	p.setDefault("HOOK_KERNEL_VERSION", cmp.Or(refVersion(p.vars["HOOK_KERNEL_IMAGE"]), spec.Version, "unknown"))
	return nil
}

// refVersion is the version that the tag of a kernel image begins with, or "".
func refVersion(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	_, tag, _ := cutLast(ref[strings.LastIndexByte(ref, '/')+1:], ":")
	version, _, _ := strings.Cut(tag, "-")
	if version == "" || strings.Trim(version, "0123456789.") != "" {
		return ""
	}
	return version
}

// useGivenKernel makes the image of a folder one of those that were found.
func (p *Plan) useGivenKernel() error {
	if p.opt.Kernel == nil {
		return nil
	}
	digest, err := p.opt.Kernel.Image.Digest()
	if err != nil {
		return fmt.Errorf("kernel %s: %w", p.opt.Kernel.Ref, err)
	}
	p.foreign.found[linuxkit.ReferenceExpand(p.opt.Kernel.Ref)] = &foreignImage{img: p.opt.Kernel.Image, digest: digest.String()}
	return nil
}

// kernelBase is the repository of kernels: hooksmith names its own as those
// that Hook publishes.
func (p *Plan) kernelBase() string { return cmp.Or(p.vars["HOOK_KERNEL_OCI_BASE"], DefaultKernelBase) }

// kernelVersion is what the tag must start with: a series (6.12), or the
// release that KERNEL_POINT_RELEASE pins, which is all of it or its last number.
func (p *Plan) kernelVersion() string {
	series, point := p.opt.Flavor.Kernel.Version, p.vars["KERNEL_POINT_RELEASE"]
	switch {
	case point == "":
		return series
	case !strings.Contains(point, "."):
		return series + "." + point
	}
	return point
}

// localLister is a source of images that knows what the Docker daemon has.
type localLister interface {
	Local(ctx context.Context, repository string) ([]images.Local, error)
}

// chooseKernel finds the flavor's kernel: in the lock file, in the Docker
// daemon, in the registry. Tags are M.m.p-HASH, the hash being that of all that
// the kernel was made of, so those of other configurations and architectures
// stand among them.
func (p *Plan) chooseKernel(ctx context.Context) (string, error) {
	base, version := p.kernelBase(), p.kernelVersion()
	what := strings.TrimSpace("kernel " + version + " " + p.opt.Flavor.Kernel.Config)
	var local error
	if p.lockedRef(what) == "" && p.vars[LatestKernel] == "" {
		var tag string
		if tag, local = p.daemonKernel(ctx, base, version); local == nil {
			ref := base + ":" + tag
			p.inputs = append(p.inputs, Input{Kind: kindPublished, Name: what, Version: ref})
			return ref, nil
		}
	}
	ref, err := p.publishedRef(ctx, what, base, func(tags []string) (string, error) {
		return p.publishedKernel(ctx, base, version, tags)
	})
	if err == nil || ctx.Err() != nil {
		return ref, err
	}
	howTo := fmt.Sprintf("make it with: hooksmith kernel %s; or name one with --kernel IMAGE|FILE.tar|FOLDER (HOOK_KERNEL_IMAGE=IMAGE), or the repository with HOOK_KERNEL_OCI_BASE=REPOSITORY", p.opt.Flavor.ID)
	if local == nil {
		return "", fmt.Errorf("%s was not found: %s\n  published: %w", what, howTo, err)
	}
	return "", fmt.Errorf("%s was not found: %s\n  in Docker: %w\n  published: %w", what, howTo, local, err)
}

// daemonKernel returns the tag of the newest kernel in the Docker daemon; of
// several builds of one release, of the one that `hooksmith kernel` was asked
// for last, or that was pulled or tagged later.
func (p *Plan) daemonKernel(ctx context.Context, base, version string) (string, error) {
	source, ok := p.opt.Images.(localLister)
	if !ok {
		return "", errors.New("there is none to ask")
	}
	all, err := source.Local(ctx, base)
	if err != nil {
		if ctx.Err() == nil {
			p.opt.Log.Debug("no kernel from the Docker daemon", "error", err)
		}
		return "", err
	}
	fit := map[string]kernelCandidate{}
	var tags []string
	for _, img := range all {
		if p.fitsConfig(img.Labels) {
			fit[img.Tag] = kernelCandidate{img.Tag, img.Labels[kernel.LabelConfigSHA256], img.Tagged}
			tags = append(tags, img.Tag)
		}
	}
	tags = newestFirst(tags, version)
	if len(tags) == 0 {
		return "", fmt.Errorf("no %s of configuration %s for %s among its %d images of %s", version, cmp.Or(p.opt.Flavor.Kernel.Config, "any"), p.arch, len(all), base)
	}
	var newest []kernelCandidate
	for _, tag := range tags[:sameRelease(tags)] {
		newest = append(newest, fit[tag])
	}
	return p.pick(base, newest, p.lastMade, p.currentConfig), nil
}

// publishedKernel returns the tag of the newest release whose image fits the
// flavor. Which of several builds of one release was pushed last, a registry
// does not tell, nor do the images, which are the same whenever they are made:
// that of the configuration as it is now is taken.
func (p *Plan) publishedKernel(ctx context.Context, base, version string, tags []string) (string, error) {
	all := newestFirst(tags, version)
	looked := all[:min(len(all), maxCandidates)]
	var failed []error
	for rest := looked; len(rest) > 0; {
		n := sameRelease(rest)
		fit, errs, err := p.fitting(ctx, base, rest[:n])
		if err != nil {
			return "", err
		}
		if len(fit) > 0 {
			if n == len(rest) && sameRelease(all[len(looked)-n:]) > n {
				p.opt.Log.Warn("not all kernels of this release were looked into, so a newer one may have been missed",
					"repository", base, "release", release(rest[0]), "tags", sameRelease(all[len(looked)-n:]), "looked_into", n, "next", "--kernel IMAGE names one")
			}
			return p.pick(base, fit, p.currentConfig, p.lastMade), nil
		}
		failed, rest = append(failed, errs...), rest[n:]
	}
	if len(looked) < len(all) {
		failed = append(failed, fmt.Errorf("the %d tags of %s after these were not looked into", len(all)-len(looked), version))
	}
	if len(failed) > 0 {
		return "", fmt.Errorf("no kernel can be used: %w", errors.Join(failed...))
	}
	return "", fmt.Errorf("no kernel %s among its %d tags", version, len(tags))
}

// fitting looks into the images of some tags. errs say why the others do not
// fit.
func (p *Plan) fitting(ctx context.Context, base string, tags []string) (fit []kernelCandidate, errs []error, err error) {
	found, failed := make([]kernelCandidate, len(tags)), make([]error, len(tags))
	var g errgroup.Group
	g.SetLimit(8)
	for i, tag := range tags {
		g.Go(func() error {
			found[i], failed[i] = p.candidate(ctx, base, tag)
			return nil
		})
	}
	_ = g.Wait()
	for i, tag := range tags {
		if failed[i] == nil {
			fit = append(fit, found[i])
			continue
		}
		p.opt.Log.Debug("a kernel does not fit", "image", base+":"+tag, "error", failed[i])
		errs = append(errs, fmt.Errorf("%s: %w", tag, failed[i]))
	}
	return fit, errs, ctx.Err()
}

// candidate is the image of a tag, if it fits the flavor.
func (p *Plan) candidate(ctx context.Context, base, tag string) (kernelCandidate, error) {
	c := kernelCandidate{tag: tag}
	img, err := p.opt.Images.Image(ctx, base+":"+tag)
	if err != nil {
		return c, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return c, err
	}
	labels := config.Config.Labels
	if !p.fitsConfig(labels) {
		return c, fmt.Errorf("its configuration is %s, need %s", kernel.ConfigOf(labels), p.opt.Flavor.Kernel.Config)
	}
	c.config, c.made = labels[kernel.LabelConfigSHA256], config.Created.Time
	return c, nil
}

// kernelCandidate is a kernel image that fits the flavor.
type kernelCandidate struct {
	tag    string
	config string    // SHA-256 of its configuration; "": it does not say
	made   time.Time // as the image or the daemon says
}

// lastMade orders the kernel that was made last first.
func (p *Plan) lastMade(a, b kernelCandidate) int { return b.made.Compare(a.made) }

// currentConfig orders kernels of the flavor's configuration as it is now first.
func (p *Plan) currentConfig(a, b kernelCandidate) int {
	rank := func(c kernelCandidate) int {
		if want := p.opt.Flavor.Kernel.ConfigSHA256; want != "" && c.config == want {
			return 0
		}
		return 1
	}
	return rank(a) - rank(b)
}

// pick returns the tag of the first in the order of the rules, which settle
// between builds of one release. It warns if they do not settle it, and if the
// kernel was made before its configuration was changed.
func (p *Plan) pick(base string, fit []kernelCandidate, rules ...func(a, b kernelCandidate) int) string {
	order := func(a, b kernelCandidate) int {
		for _, rule := range rules {
			if d := rule(a, b); d != 0 {
				return d
			}
		}
		return 0
	}
	best := slices.MinFunc(fit, func(a, b kernelCandidate) int { return cmp.Or(order(a, b), strings.Compare(a.tag, b.tag)) })
	ref := base + ":" + best.tag
	var others []string
	for _, c := range fit {
		if c.tag != best.tag && order(best, c) == 0 {
			others = append(others, c.tag)
		}
	}
	if len(others) > 0 {
		p.opt.Log.Warn("several kernels of one release fit, and nothing tells which is the newest", "taken", ref, "others", others,
			"next", "--kernel IMAGE names one")
	}
	if want := p.opt.Flavor.Kernel.ConfigSHA256; want != "" && best.config != "" && best.config != want {
		p.opt.Log.Warn("the kernel was compiled from another configuration than "+p.opt.Flavor.KernelConfigName()+" is now", "taken", ref,
			"next", "hooksmith kernel "+p.opt.Flavor.ID+" compiles it; build --kernel latest looks for it in the registry, and --kernel IMAGE takes any without a warning")
	}
	return best.tag
}

// fitsConfig reports whether an image was built with the flavor's configuration:
// that of its name, or the very same under another name, for the tag of an image
// does not depend on names.
func (p *Plan) fitsConfig(labels map[string]string) bool {
	want := p.opt.Flavor.Kernel
	return want.Config == "" || kernel.ConfigOf(labels) == want.Config || want.ConfigSHA256 != "" && labels[kernel.LabelConfigSHA256] == want.ConfigSHA256
}

// release is the version in a kernel's tag.
func release(tag string) string {
	r, _, _ := strings.Cut(tag, "-")
	return r
}

// sameRelease is how many tags at the beginning are of the first one's release.
func sameRelease(tags []string) int {
	n := slices.IndexFunc(tags, func(tag string) bool { return release(tag) != release(tags[0]) })
	if n < 0 {
		return len(tags)
	}
	return n
}

// newestFirst returns the tags of a kernel version (major.minor, or with the
// point release), the highest point release first.
func newestFirst(tags []string, version string) []string {
	point := func(tag string) int {
		if release(tag) == version {
			return 0
		}
		number, ok := strings.CutPrefix(release(tag), version+".")
		n, err := strconv.ParseUint(number, 10, 16)
		if !ok || err != nil {
			return -1
		}
		return int(n)
	}
	tags = slices.DeleteFunc(slices.Clone(tags), func(tag string) bool { return point(tag) < 0 })
	slices.SortFunc(tags, func(a, b string) int {
		if d := point(b) - point(a); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return tags
}
