package build

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hooksmith/build/linuxkit"
	"hooksmith/build/rootfs"
	"hooksmith/kernel"
)

var notTag = regexp.MustCompile(`[^A-Za-z0-9_.-]`)

// kernelRef names the kernel's package like an image, for the template.
func (p *Plan) kernelRef() string {
	return "hooksmith/" + notTag.ReplaceAllString(p.kernel.Name, "_") + ":" + notTag.ReplaceAllString(p.kernel.Version, "_")
}

// kernelExpanded is the template's kernel image, "" if it has none.
func (p *Plan) kernelExpanded() string { return linuxkit.ReferenceExpand(p.cfg.Kernel.Image.Value) }

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// checkKernelImage refuses a template whose kernel is not the flavor's.
func (p *Plan) checkKernelImage() error {
	if p.kernel == nil {
		return nil
	}
	if image := p.cfg.Kernel.Image; image.Value != p.kernelRef() {
		return &linuxkit.Error{Pos: image.Pos, Where: "kernel.image", Message: fmt.Sprintf(
			"%s: this flavor's kernel is the Debian package %s (write ${HOOK_KERNEL_IMAGE})", image.Value, p.kernel.Name)}
	}
	return nil
}

// findKernelImage takes the template's kernel image from those that were found.
func (p *Plan) findKernelImage(ctx context.Context) error {
	setting := p.cfg.Kernel.Image
	if p.kernel != nil || setting.Value == "" {
		return nil
	}
	var err error
	p.boot, err = p.image(ctx, p.kernelExpanded())
	if err != nil {
		return &linuxkit.Error{Pos: setting.Pos, Where: "kernel.image", Message: fmt.Sprintf("image %.200s: %v", p.kernelExpanded(), err), Err: err}
	}
	return nil
}

// openKernelImage opens a LinuxKit kernel image. What it holds is taken out
// once and kept in the cache.
func (b *builder) openKernelImage(ctx context.Context) (*openedKernel, error) {
	img, err := b.unpackedImage(ctx, b.boot)
	if err != nil {
		return nil, fmt.Errorf("kernel image %s: %w", b.kernelExpanded(), err)
	}
	files, err := linuxkit.KernelParts(ctx, img, b.cfg.Kernel, linuxkit.KernelOptions{Decompress: b.opt.DecompressKernel})
	if err != nil {
		return nil, err
	}
	digest, err := b.boot.Digest()
	if err != nil {
		return nil, err
	}
	id := digest.String()
	binary, err := b.extract(ctx, fmt.Sprintf("%s\n%s decompress=%t", id, files.Binary.Name, b.opt.DecompressKernel), files.Binary.Open)
	if err != nil {
		return nil, fmt.Errorf("kernel image %s: %w", b.kernelExpanded(), err)
	}
	k := &openedKernel{info: KernelInfo{Source: b.kernelExpanded() + "@" + id}, image: openAgain(binary)}
	if err := b.inspectKernel(k, binary); err != nil {
		return nil, err
	}
	if files.UCode != nil {
		ucode, err := b.extract(ctx, id+"\n"+files.UCode.Name, files.UCode.Open)
		if err != nil {
			return nil, fmt.Errorf("kernel image %s: %w", b.kernelExpanded(), err)
		}
		k.ucode = openAgain(ucode)
	}
	if files.Tar != nil {
		files.Tar = namedLayer{files.Tar, "kernel tar 1\n" + id + "\n" + b.cfg.Kernel.TarName()}
	}
	if err := b.addKernelParts(ctx, k, files); err != nil {
		return nil, err
	}
	return k, b.readImageModules(ctx, k, files.Tar)
}

// addKernelParts makes trees of what the kernel image has for the root file
// system.
func (b *builder) addKernelParts(ctx context.Context, k *openedKernel, files *linuxkit.KernelFiles) error {
	parts, err := files.Parts(b.linuxkitOptions())
	if err != nil {
		return err
	}
	if b.opt.Format == Tar {
		if parts[0], err = files.BootPart(b.linuxkitOptions()); err != nil {
			return err
		}
	}
	for _, lp := range parts {
		t, err := b.layers.tree(ctx, lp.Layers)
		if err != nil {
			setting := b.cfg.Kernel.Image
			if b.cfg.Kernel.Tar.Set {
				setting = b.cfg.Kernel.Tar
			}
			return &linuxkit.Error{Pos: setting.Pos, Where: fmt.Sprintf("kernel %q", b.kernelExpanded()), Message: lp.Name + ": " + err.Error(), Err: err}
		}
		_ = t.Walk(func(p string, n *rootfs.Inode) error {
			if isModule(p) && !n.IsDir() {
				k.info.Modules++
			}
			return nil
		})
		group := groupModules
		if lp.Name == "boot" {
			group = groupBase
		}
		k.parts = append(k.parts, part{name: "kernel " + lp.Name, location: lp.Location, source: b.kernelExpanded(), group: group, tree: t.Place(lp.Prefix)})
	}
	return nil
}

// readImageModules finds out which firmware the modules ask for, those of the
// kernel's release. LinuxKit takes any tar for modules; so do we, and then do
// not know.
func (b *builder) readImageModules(ctx context.Context, k *openedKernel, tar v1.Layer) error {
	if tar == nil || k.info.Version == "" {
		return nil
	}
	t, err := b.layers.tree(ctx, []v1.Layer{tar})
	if err != nil {
		return err
	}
	dir, ok := modulesDir(t.FS(), k.info.Version)
	if !ok {
		return nil // a kernel without modules
	}
	key, err := layerKey(tar)
	if err != nil {
		return err
	}
	index, err := b.moduleIndex(ctx, dir, k.info.Version, key+"\n"+k.info.Version)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b.opt.Log.Warn("the kernel's modules cannot be read: which firmware they lack is not known", "image", b.kernelExpanded(), "error", err)
		return nil
	}
	k.missing = index.All().FirmwareMissing
	return nil
}

// modulesDir is the folder of a kernel's modules, wherever lib is.
func modulesDir(root fs.FS, release string) (fs.FS, bool) {
	for _, parent := range []string{"usr/lib/modules", "lib/modules"} {
		dir := path.Join(parent, release)
		if st, err := fs.Stat(root, dir); err == nil && st.IsDir() {
			sub, err := fs.Sub(root, dir)
			return sub, err == nil
		}
	}
	return nil, false
}

var moduleName = regexp.MustCompile(`\.ko(\.(xz|gz|zst))?$`)

func isModule(p string) bool { return moduleName.MatchString(p) }

// inspectKernel reads what the image says of itself. LinuxKit takes any file
// for a kernel; so do we, but not one for another machine.
func (b *builder) inspectKernel(k *openedKernel, f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	found, err := kernel.Inspect(f, st.Size())
	if err != nil {
		b.opt.Log.Warn("the kernel's version cannot be read", "image", b.kernelExpanded(), "error", err)
		return nil
	}
	if found.Arch != b.arch {
		return fmt.Errorf("kernel image %s: it is a kernel for %s, need one for %s", b.kernelExpanded(), found.Arch, b.arch)
	}
	k.info.Version, k.info.Signed = found.Release, found.Signed
	return nil
}

// openAgain reads a file from its beginning, any number of times at once.
func openAgain(f *os.File) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		st, err := f.Stat()
		if err != nil {
			return nil, err
		}
		return io.NopCloser(io.NewSectionReader(f, 0, st.Size())), nil
	}
}

// namedLayer is a layer that has a name for the cache.
type namedLayer struct {
	v1.Layer
	id string
}

func (l namedLayer) Identity() string { return l.id }

// unpackedImage is the image with its layers read from the cache, where they
// are uncompressed: whoever looks for files in them reads them more than once.
func (b *builder) unpackedImage(ctx context.Context, img v1.Image) (v1.Image, error) {
	ls, err := img.Layers()
	if err != nil {
		return nil, err
	}
	u := &unpackedImage{Image: img}
	for _, l := range ls {
		if mediaType, err := l.MediaType(); err == nil && !mediaType.IsLayer() {
			continue
		}
		if _, err := b.layers.index(ctx, l); err != nil {
			return nil, err
		}
		u.layers = append(u.layers, unpackedLayer{l, func() (io.ReadCloser, error) { return b.layers.tar(ctx, l) }})
	}
	return u, nil
}

type unpackedImage struct {
	v1.Image
	layers []v1.Layer
}

func (u *unpackedImage) Layers() ([]v1.Layer, error) { return u.layers, nil }

type unpackedLayer struct {
	v1.Layer
	open func() (io.ReadCloser, error)
}

func (l unpackedLayer) Uncompressed() (io.ReadCloser, error) { return l.open() }
func (l unpackedLayer) Compressed() (io.ReadCloser, error)   { return l.open() }
func (l unpackedLayer) MediaType() (types.MediaType, error) {
	return types.OCIUncompressedLayer, nil
}

// usrMerged moves lib/ of a kernel's tree below usr/, where the init images
// have made lib a link to usr/lib: a folder cannot stand in the link's place,
// and its modules would be lost.
func usrMerged(t, init *rootfs.Tree) (*rootfs.Tree, error) {
	link := init.Lookup("lib")
	if link == nil || link.Type() != rootfs.ModeLink || path.Clean("/"+link.Target) != "/usr/lib" {
		return t, nil
	}
	if lib := t.Lookup("lib"); lib == nil || !lib.IsDir() {
		return t, nil
	}
	moved := map[string]*rootfs.Inode{}
	err := t.Walk(func(p string, n *rootfs.Inode) error {
		switch {
		case n.Implied():
		case strings.HasPrefix(p, "lib/"):
			moved["usr/"+p] = n
		case p != "lib":
			moved[p] = n
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !t.Root().Implied() {
		moved["."] = t.Root()
	}
	return rootfs.New(moved)
}
