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
// several builds of one release, of the one that was made, or loaded, last.
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
	made := map[string]time.Time{}
	var tags []string
	for _, img := range all {
		if p.fitsConfig(img.Labels) {
			made[img.Tag] = img.Tagged
			tags = append(tags, img.Tag)
		}
	}
	tags = newestFirst(tags, version)
	if len(tags) == 0 {
		return "", fmt.Errorf("no %s of configuration %s for %s among its %d images of %s", version, cmp.Or(p.opt.Flavor.Kernel.Config, "any"), p.arch, len(all), base)
	}
	best := tags[0]
	for _, tag := range tags {
		if release(tag) == release(best) && made[tag].After(made[best]) {
			best = tag
		}
	}
	return best, nil
}

// publishedKernel returns the newest tag whose image fits the flavor.
func (p *Plan) publishedKernel(ctx context.Context, base, version string, tags []string) (string, error) {
	var failed error
	for _, tag := range newestFirst(tags, version) {
		err := p.fitsFlavor(ctx, base+":"+tag)
		if err == nil {
			return tag, nil
		}
		failed = errors.Join(failed, fmt.Errorf("%s: %w", tag, err))
	}
	if failed != nil {
		return "", fmt.Errorf("no kernel can be used: %w", failed)
	}
	return "", fmt.Errorf("no kernel %s among its %d tags", version, len(tags))
}

func (p *Plan) fitsFlavor(ctx context.Context, ref string) error {
	img, err := p.opt.Images.Image(ctx, ref)
	if err != nil {
		return err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	if !p.fitsConfig(config.Config.Labels) {
		return fmt.Errorf("its configuration is %s, need %s", kernel.ConfigOf(config.Config.Labels), p.opt.Flavor.Kernel.Config)
	}
	return nil
}

// fitsConfig reports whether an image was built with the flavor's configuration.
func (p *Plan) fitsConfig(labels map[string]string) bool {
	want := p.opt.Flavor.Kernel.Config
	return want == "" || kernel.ConfigOf(labels) == want
}

// release is the version in a kernel's tag.
func release(tag string) string {
	r, _, _ := strings.Cut(tag, "-")
	return r
}

// newestFirst returns the tags of a kernel version (major.minor, or with the
// point release), the highest point release first, at most maxCandidates.
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
	return tags[:min(len(tags), maxCandidates)]
}
