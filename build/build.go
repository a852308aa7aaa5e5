package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"hooksmith/build/debian"
	"hooksmith/build/fetch"
	"hooksmith/build/linuxkit"
	"hooksmith/build/rootfs"
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
	out, err := openOutput(opt.Out)
	if err != nil {
		return nil, err
	}
	b := &builder{Plan: p, out: out, layers: newLayers(opt.Cache)}
	a, err := b.build(ctx)
	return a, errors.Join(err, b.layers.Close(), out.close())
}

// builder is a Plan at work.
type builder struct {
	*Plan
	out    *output
	layers *layers
}

func (b *builder) build(ctx context.Context) (*Artifacts, error) {
	// 2. Read the template and find its images.
	cfg, resolved, err := b.resolve(ctx)
	if err != nil {
		return nil, err
	}
	// 3. Unpack and index every layer, several at a time.
	if err := b.prepare(ctx, resolved); err != nil {
		return nil, err
	}
	// 4. Choose the kernel's modules.
	k, err := b.openKernel(ctx)
	if err != nil {
		return nil, err
	}
	// 5. Lay the parts over one another, and check that nothing is missing.
	tree, err := b.assemble(ctx, resolved, k)
	if err != nil {
		return nil, err
	}
	// 6. Write kernel and initramfs.
	a := b.describe(cfg, k, tree)
	if err := b.writeKernel(k, a); err != nil {
		return nil, err
	}
	if err := b.writeInitramfs(ctx, tree, a); err != nil {
		return nil, err
	}
	// 7. Say what it is made of, and put everything in place at once.
	if err := b.addInputs(ctx, a); err != nil {
		return nil, err
	}
	lock := &Lock{}
	lock.Put(b.Locked())
	text, err := lock.Marshal()
	if err != nil {
		return nil, err
	}
	return a, b.out.commit(ctx, *a, text, !b.opt.NoSBOM)
}

// resolve parses the expanded template and merges the images' labels into it.
func (b *builder) resolve(ctx context.Context) (*linuxkit.Config, *linuxkit.Resolved, error) {
	var files []linuxkit.Source
	for _, t := range b.template {
		files = append(files, linuxkit.Source{Name: t.name, Data: linuxkit.Expand(t.data, b.vars)})
	}
	cfg, err := linuxkit.Parse(files...)
	if err != nil {
		return nil, nil, err
	}
	if ref := cfg.Kernel.Image.Value; ref != b.kernelRef() {
		return nil, nil, fmt.Errorf("template %s: kernel image %s: this flavor's kernel is the Debian package %s (write ${HOOK_KERNEL_IMAGE})", b.template[0].name, ref, b.kernel.Name)
	}
	resolved, err := linuxkit.Resolve(ctx, cfg, linuxkit.ResolverFunc(b.image), linuxkit.Options{ModTime: b.epoch()})
	return cfg, resolved, err
}

// image finds an image of the template.
func (b *builder) image(ctx context.Context, ref string) (v1.Image, error) {
	for planned, p := range b.images {
		if linuxkit.ReferenceExpand(planned) != ref {
			continue
		}
		img, err := p.Image(func(pkg *debian.Package) (io.ReadCloser, error) {
			return pkg.Open(ctx, b.opt.Cache, b.opt.Mirrors)
		})
		if err != nil {
			return nil, err
		}
		return img.Unhashed(), nil // its configuration costs no unpacking
	}
	return nil, errors.New("not one of hooksmith's own images (configs/images)")
}

// prepare fetches, unpacks and indexes all layers in parallel, the largest
// first, so that the kernel's package does not come last.
func (b *builder) prepare(ctx context.Context, r *linuxkit.Resolved) error {
	todo := []v1.Layer{b.packageLayer(ctx, b.kernel)}
	for _, pkg := range b.firmware {
		todo = append(todo, b.packageLayer(ctx, pkg))
	}
	images := slices.Clone(r.Init)
	for _, c := range r.Containers {
		images = append(images, c.Image)
	}
	for _, img := range images {
		ls, err := img.Layers()
		if err != nil {
			return err
		}
		todo = append(todo, ls...)
	}
	slices.SortStableFunc(todo, func(x, y v1.Layer) int { return int(weight(y) - weight(x)) })
	downloads, ctx := errgroup.WithContext(ctx)
	for _, l := range todo {
		downloads.Go(func() error { return b.prefetch(ctx, l) })
	}
	unpack, ctx := errgroup.WithContext(ctx)
	unpack.SetLimit(unpackParallel)
	for _, l := range todo {
		unpack.Go(func() error {
			_, err := b.layers.index(ctx, l)
			return err
		})
	}
	return errors.Join(unpack.Wait(), downloads.Wait())
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

func weight(l v1.Layer) int64 {
	if d, ok := l.(*debian.Layer); ok && d.Package != nil {
		return d.Package.Size
	}
	return 0
}

func (b *builder) packageLayer(ctx context.Context, p *debian.Package) *debian.Layer {
	return debian.NewLayer(p, func() (io.ReadCloser, error) { return p.Open(ctx, b.opt.Cache, b.opt.Mirrors) })
}

// part is a tree with the name of what it comes from.
type part struct {
	name string
	tree *rootfs.Tree
}

// assemble makes the whole root file system.
func (b *builder) assemble(ctx context.Context, r *linuxkit.Resolved, k *openedKernel) (*rootfs.Tree, error) {
	parts, err := r.Layout(ctx)
	if err != nil {
		return nil, err
	}
	trees := []part{{"kernel modules", k.modules}}
	firmware, err := b.firmwareTree(ctx)
	if err != nil {
		return nil, err
	}
	trees = append(trees, part{"firmware", firmware})
	var roots []part
	for _, lp := range parts {
		t, err := b.layers.tree(ctx, lp.Layers)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", lp.Location, lp.Name, err)
		}
		name := strings.TrimSpace(lp.Location + " " + lp.Name)
		if isRoot(lp) {
			roots = append(roots, part{name, t})
		}
		trees = append(trees, part{name, t.Place(lp.Prefix)})
	}
	extra, err := b.extraFiles()
	if err != nil {
		return nil, err
	}
	trees = append(trees, part{"hooksmith's own files", extra})
	whole, err := merge(trees)
	if err != nil {
		return nil, err
	}
	base := whole.Keep(func(p string, _ *rootfs.Inode) bool { return !strings.HasPrefix(p, "containers/") })
	if err := b.check(ctx, append(roots, part{"init", base})); err != nil {
		return nil, err
	}
	return whole.Dedup(ctx, editedAtRunTime)
}

func merge(parts []part) (*rootfs.Tree, error) {
	trees := make([]*rootfs.Tree, len(parts))
	for i, p := range parts {
		trees[i] = p.tree
	}
	t, err := rootfs.Merge(trees...)
	if err != nil {
		names := make([]string, len(parts))
		for i, p := range parts {
			names[i] = fmt.Sprintf("%d %s", i+1, p.name)
		}
		return nil, fmt.Errorf("laying the parts over one another: %w (trees: %s)", err, strings.Join(names, ", "))
	}
	return t, nil
}

// editedAtRunTime keeps files apart that programs write in place: a hard link
// of theirs in a container's lower layer would change with them.
func editedAtRunTime(p string) bool {
	return strings.HasPrefix(p, "etc/") || strings.HasPrefix(p, "var/")
}

// extraFiles are what Options add to the template.
func (b *builder) extraFiles() (*rootfs.Tree, error) {
	files := map[string]*rootfs.Inode{}
	if len(b.opt.CACertificates) > 0 {
		for _, root := range []string{"", "containers/services/hook-docker/lower/"} {
			files[root+"etc/hooksmith/ca/site.crt"] = b.file(0o644, b.opt.CACertificates)
		}
	}
	return rootfs.New(files)
}

// file is a generated file of the initramfs.
func (b *builder) file(perm uint32, content []byte) *rootfs.Inode {
	n := rootfs.NewFile(perm, content)
	n.ModTime = b.epoch()
	return n
}

// isRoot reports whether a part is a container's root file system.
func isRoot(p linuxkit.Part) bool {
	return strings.HasPrefix(p.Prefix, "containers/") && (strings.HasSuffix(p.Prefix, "/lower") || strings.HasSuffix(p.Prefix, "/rootfs"))
}

// check looks for missing libraries and link targets in every root file
// system. What was found good once, made of the same inputs, is not read again.
func (b *builder) check(ctx context.Context, roots []part) error {
	key, err := buildID("tree check 1", b.vars, b.inputs, b.packages)
	if err != nil {
		return err
	}
	done, err := b.opt.Cache.Derive(ctx, key, func(ctx context.Context, _ io.Writer) error {
		g, _ := errgroup.WithContext(ctx)
		g.SetLimit(unpackParallel)
		found := make([]error, len(roots))
		for i, root := range roots {
			g.Go(func() error {
				problems, err := debian.CheckTree(root.tree.FS(), debian.CheckOptions{Arch: b.arch.Debian(), Owner: b.owner})
				for _, problem := range problems {
					found[i] = errors.Join(found[i], fmt.Errorf("%s: %w", root.name, problem))
				}
				return err
			})
		}
		return errors.Join(append(found, g.Wait())...)
	})
	if err != nil {
		return err
	}
	return done.Close()
}

func (b *builder) observer() fetch.Observer {
	if b.opt.Observer == nil {
		return silentObserver{}
	}
	return b.opt.Observer
}

type silentObserver struct{}

func (silentObserver) Begin(string, int64) fetch.Task { return silentObserver{} }
func (silentObserver) Add(int64)                      {}
func (silentObserver) Done(error)                     {}
