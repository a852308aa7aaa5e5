package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"hooksmith/build/debian"
	"hooksmith/build/linuxkit"
)

// foreign are the images of others, each found once, several at a time.
type foreign struct {
	source linuxkit.Resolver
	noSBOM bool

	mu    sync.Mutex
	found map[string]*foreignImage
}

// foreignImage is what asking for a reference came to.
type foreignImage struct {
	img      v1.Image
	digest   string
	packages []Input // what its SBOM says
	err      error
}

func (f *foreign) get(ref string) *foreignImage {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.found[ref]
}

// size is that of all layers, each counted once.
func (f *foreign) size() (sum int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := map[v1.Hash]bool{}
	for _, found := range f.found {
		if found.err != nil {
			continue
		}
		m, err := found.img.Manifest()
		if err != nil {
			continue
		}
		for _, l := range m.Layers {
			if !seen[l.Digest] {
				seen[l.Digest] = true
				sum += l.Size
			}
		}
	}
	return sum
}

// find asks the source for all of refs. What went wrong is told by image,
// where the template's line is known.
func (f *foreign) find(ctx context.Context, refs []string) error {
	const parallel = 8
	var g errgroup.Group // its own context would end before the images are read
	g.SetLimit(parallel)
	for _, ref := range refs {
		if f.get(ref) != nil {
			continue
		}
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			found := f.ask(ctx, ref)
			f.mu.Lock()
			defer f.mu.Unlock()
			f.found[ref] = found
			return ctx.Err()
		})
	}
	return g.Wait()
}

func (f *foreign) ask(ctx context.Context, ref string) *foreignImage {
	if strings.Contains(ref, "$") {
		return &foreignImage{err: errors.New("the reference has a variable without a value")}
	}
	if f.source == nil {
		return &foreignImage{err: errors.New("it is none of hooksmith's own images (configs/images), and there is nowhere else to look")}
	}
	img, err := f.source.Image(ctx, ref)
	if err != nil {
		return &foreignImage{err: err}
	}
	if img == nil {
		return &foreignImage{err: errors.New("not found")}
	}
	digest, err := img.Digest()
	if err == nil {
		_, err = img.ConfigFile() // read here, where several are read at once
	}
	found := &foreignImage{img: img, digest: digest.String(), err: err}
	if err == nil && !f.noSBOM {
		found.packages, found.err = attestedPackages(ctx, ref, img)
	}
	return found
}

// resolve parses the expanded template, finds all images, and merges their
// labels into the template.
func (p *Plan) resolve(ctx context.Context) error {
	var err error
	if p.cfg, err = p.expanded(); err != nil {
		return err
	}
	if err := p.checkKernelImage(); err != nil {
		return err
	}
	p.foreign = &foreign{source: p.opt.Images, noSBOM: p.opt.NoSBOM, found: map[string]*foreignImage{}}
	if err := p.useGivenKernel(); err != nil {
		return err
	}
	var refs []string
	for _, image := range p.cfg.Images() {
		ref := linuxkit.ReferenceExpand(image.Ref)
		if p.images[ref] == nil && (p.kernel == nil || ref != p.kernelExpanded()) {
			refs = append(refs, ref)
		}
	}
	if err := p.foreign.find(ctx, refs); err != nil {
		return err
	}
	if p.resolved, err = linuxkit.Resolve(ctx, p.cfg, p.resolver(), p.linuxkitOptions()); err != nil {
		return err
	}
	if err := p.findKernelImage(ctx); err != nil {
		return err
	}
	for _, ref := range refs {
		if f := p.foreign.get(ref); f.err == nil {
			p.inputs = append(p.inputs, Input{Kind: "image", Name: ref, Version: f.digest})
			p.inputs = append(p.inputs, f.packages...)
		}
	}
	for _, v := range p.resolved.Volumes {
		if v.Index != nil {
			digest, err := v.Index.Digest()
			if err != nil {
				return fmt.Errorf("%s: %w", v.Volume, err)
			}
			p.inputs = append(p.inputs, Input{Kind: "image index", Name: v.Ref, Version: digest.String()})
		}
	}
	return p.hashSources(ctx)
}

func (p *Plan) linuxkitOptions() linuxkit.Options {
	return linuxkit.Options{ModTime: p.epoch(), Open: p.opt.Open, Compat: p.opt.Compat}
}

// hashSources makes the files that the template takes from this machine inputs.
func (p *Plan) hashSources(ctx context.Context) error {
	for _, f := range p.cfg.Files {
		if !f.Source.Set || p.opt.Open == nil {
			continue
		}
		r, err := p.opt.Open(f.Source.Value)
		if err != nil {
			if f.Skips(err) {
				continue
			}
			return &linuxkit.Error{Pos: f.Source.Pos, Where: f.String(), Message: err.Error(), Err: err}
		}
		h := sha256.New()
		_, err = copyContext(ctx, h, r)
		if err := errors.Join(err, r.Close()); err != nil {
			return &linuxkit.Error{Pos: f.Source.Pos, Where: f.String(), Message: err.Error(), Err: err}
		}
		p.inputs = append(p.inputs, Input{Kind: "file", Name: f.Source.Value, SHA256: hex.EncodeToString(h.Sum(nil))})
	}
	return nil
}

// expanded is the template with the values of its variables.
func (p *Plan) expanded() (*linuxkit.Config, error) {
	var files []linuxkit.Source
	for _, t := range p.template {
		files = append(files, linuxkit.Source{Name: t.Name, Data: linuxkit.Expand(t.Data, p.vars)})
	}
	return linuxkit.Parse(files...)
}

// resolver finds images for LinuxKit: our own, then those of others.
func (p *Plan) resolver() linuxkit.Resolver {
	own := linuxkit.ResolverFunc(p.image)
	if source, ok := p.opt.Images.(linuxkit.IndexResolver); ok {
		return indexResolver{own, source}
	}
	return own
}

type indexResolver struct {
	linuxkit.Resolver
	source linuxkit.IndexResolver
}

func (r indexResolver) Index(ctx context.Context, ref string) (v1.ImageIndex, error) {
	return r.source.Index(ctx, ref)
}

// image finds an image of the template by its expanded reference.
func (p *Plan) image(ctx context.Context, ref string) (v1.Image, error) {
	if ours := p.images[ref]; ours != nil {
		img, err := ours.Image(func(pkg *debian.Package) (io.ReadCloser, error) {
			return pkg.Open(ctx, p.opt.Cache, p.opt.Mirrors)
		})
		if err != nil {
			return nil, err
		}
		return img.Unhashed(), nil // its configuration costs no unpacking
	}
	if f := p.foreign.get(ref); f != nil {
		return f.img, f.err
	}
	return nil, fmt.Errorf("image %s was not looked for", ref)
}
