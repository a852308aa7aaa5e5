package build

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"hooksmith/build/debian"
	"hooksmith/build/fetch"
	"hooksmith/build/initramfs"
	"hooksmith/build/linuxkit"
	"hooksmith/embed"
)

// Build makes the kernel and the initramfs of a flavor in Options.Out. Nothing
// in that folder changes unless all of it succeeds; equal inputs give equal
// bytes.
func Build(ctx context.Context, opt Options) (*Artifacts, error) {
	// 1. Settle every input by version and hash.
	p, err := NewPlan(ctx, opt)
	if err != nil {
		return nil, err
	}
	out, err := openOutput(opt.Out, p.opt.Log)
	if err != nil {
		return nil, err
	}
	if a := p.upToDate(); a != nil {
		return a, out.close()
	}
	b := &builder{Plan: p, out: out, layers: newLayers(ctx, opt.Cache)}
	if !opt.OneSegment && opt.Format != Tar {
		b.ahead = initramfs.NewAhead(b.segmentOptions())
	}
	a, err := b.build(ctx)
	return a, errors.Join(err, b.ahead.Close(), b.layers.Close(), out.close())
}

// builder is a Plan at work.
type builder struct {
	*Plan
	out    *output
	layers *layers
	store  *embed.Store     // docker's, with the embedded images; nil until it is made
	ahead  *initramfs.Ahead // of the initramfs; nil: it is not made of segments
}

func (b *builder) build(ctx context.Context) (*Artifacts, error) {
	// 2. Unpack and index every layer, several at a time.
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	// 3. Open the kernel and choose its modules.
	k, err := b.openKernel(ctx)
	if err != nil {
		return nil, err
	}
	// 4. Lay the parts over one another, and check that nothing is missing.
	parts, err := b.parts(ctx, k)
	if err != nil {
		return nil, err
	}
	b.report(b.lint(parts))
	tree, err := merge(parts)
	if err != nil {
		return nil, err
	}
	if err := b.check(ctx, parts, tree); err != nil {
		return nil, err
	}
	// 5. Write kernel and initramfs, or everything as one tar.
	a := b.describe(k, tree)
	embedded, err := b.embedTrees(ctx, tree)
	if err != nil {
		return nil, err
	}
	b.describeEmbedded(a)
	if err := b.write(ctx, k, tree, parts, embedded, a); err != nil {
		return nil, err
	}
	if n := b.ahead.Left(); n > 0 {
		b.opt.Log.Debug("segments were compressed for nothing", "count", n)
	}
	// 6. Say what it is made of, and put everything in place at once.
	if err := b.addInputs(ctx, a); err != nil {
		return nil, err
	}
	if err := b.out.commit(ctx, *a, b.Locked(), !b.opt.NoSBOM); err != nil {
		return nil, err
	}
	b.noteDown(a)
	return a, nil
}

// prepare fetches, unpacks and indexes all layers in parallel, the largest
// first, so that the kernel's package does not come last.
func (b *builder) prepare(ctx context.Context) error {
	var todo []v1.Layer
	if b.kernel != nil {
		todo = append(todo, b.packageLayer(ctx, b.kernel))
	}
	for _, pkg := range b.firmware {
		todo = append(todo, b.packageLayer(ctx, pkg))
	}
	for _, img := range b.allImages() {
		ls, err := img.Layers()
		if err != nil {
			return err
		}
		todo = append(todo, ls...)
	}
	slices.SortStableFunc(todo, func(x, y v1.Layer) int { return int(weight(y) - weight(x)) })
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	downloads, ctx := errgroup.WithContext(ctx)
	downloads.Go(func() error { return b.prefetchImages(ctx) })
	for _, l := range todo {
		downloads.Go(func() error { return b.prefetch(ctx, l) })
	}
	err := b.unpack(ctx, todo)
	if err != nil {
		cancel() // what is still being downloaded is of no use
	}
	failed := downloads.Wait()
	if err == nil || errors.Is(err, context.Canceled) && failed != nil {
		return failed // the download is the cause, not its consequence
	}
	return err
}

// unpack indexes layers and shows it where a package has to be unpacked.
func (b *builder) unpack(ctx context.Context, todo []v1.Layer) error {
	var packages int64
	for _, l := range todo {
		if d, ok := l.(*debian.Layer); ok && !b.layers.cached(d) {
			packages += weight(l)
		}
	}
	task := fetch.Task(fetch.Silent{})
	if packages > 0 {
		task = b.observer().Begin("unpacking packages", packages)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(unpackParallel)
	for _, l := range todo {
		g.Go(func() error {
			_, err := b.layers.index(ctx, l)
			task.Add(weight(l))
			if err != nil {
				return b.nameImage(l, err)
			}
			return nil
		})
	}
	err := g.Wait()
	task.Done(err)
	return err
}

// allImages are the images whose trees land in the initramfs, and the kernel's.
func (b *builder) allImages() []v1.Image {
	if b.resolved == nil { // only images to embed
		return nil
	}
	images := slices.Clone(b.resolved.Init)
	for _, c := range b.resolved.Containers {
		images = append(images, c.Image)
	}
	for _, v := range b.resolved.Volumes {
		images = append(images, v.Image)
	}
	images = append(images, b.boot)
	return slices.DeleteFunc(images, func(img v1.Image) bool { return img == nil })
}

// nameImage says in the error of a layer which image of others has it.
func (b *builder) nameImage(l v1.Layer, err error) error {
	key, keyErr := layerKey(l)
	if keyErr != nil || b.resolved == nil {
		return err
	}
	for _, image := range b.cfg.Images() {
		found := b.foreign.get(image.Ref)
		if found == nil || found.img == nil {
			continue
		}
		ls, _ := found.img.Layers()
		if slices.ContainsFunc(ls, func(l v1.Layer) bool { k, err := layerKey(l); return err == nil && k == key }) {
			return &linuxkit.Error{Pos: image.Pos, Where: "image " + image.Ref, Message: err.Error(), Err: err}
		}
	}
	return err
}

// unpackParallel bounds the decoders, which take up to 70 MB each. Downloads
// go on beside them; fetch limits those on its own.
var unpackParallel = min(runtime.GOMAXPROCS(0)+1, 4)

// prefetch brings a package's .deb into the cache, if its layer is not there.
func (b *builder) prefetch(ctx context.Context, l v1.Layer) error {
	d, ok := l.(*debian.Layer)
	if !ok || d.Package == nil || b.layers.cached(d) {
		return nil
	}
	f, err := d.Package.Open(ctx, b.opt.Cache, b.opt.Mirrors)
	if err != nil {
		return err
	}
	return f.Close()
}

// prefetcher is a source of images that downloads layers, several at a time.
type prefetcher interface {
	Prefetch(ctx context.Context, images ...v1.Image) error
}

// prefetchImages downloads the layers of images that are not all in the cache
// unpacked.
func (b *builder) prefetchImages(ctx context.Context) error {
	source, ok := b.opt.Images.(prefetcher)
	if !ok {
		return nil
	}
	var missing []v1.Image
	for _, img := range b.allImages() {
		ls, err := img.Layers()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(ls, func(l v1.Layer) bool { return !b.layers.cached(l) }) {
			missing = append(missing, img)
		}
	}
	embedded, err := b.embedMissing(ctx)
	if err != nil {
		return err
	}
	return source.Prefetch(ctx, append(missing, embedded...)...)
}

func weight(l v1.Layer) int64 {
	if d, ok := l.(*debian.Layer); ok {
		if d.Package != nil {
			return d.Package.Size
		}
		return 0
	}
	size, _ := l.Size()
	return size
}

func (b *builder) packageLayer(ctx context.Context, p *debian.Package) *debian.Layer {
	return debian.NewLayer(p, func() (io.ReadCloser, error) { return p.Open(ctx, b.opt.Cache, b.opt.Mirrors) })
}

func (b *builder) observer() fetch.Observer {
	if b.opt.Observer == nil {
		return fetch.Silent{}
	}
	return b.opt.Observer
}
