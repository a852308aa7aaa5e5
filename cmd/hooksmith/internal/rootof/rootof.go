package rootof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hooksmith/build/rootfs"
	"hooksmith/kernel"
	"hooksmith/publish/inspect"
)

// Root is an opened file system. Close it.
type Root struct {
	FS      fs.FS
	Release string // of the kernel that was meant, "" if any is
	Kernel  bool   // it was a LinuxKit kernel image, of which firmware is no part

	dir     string
	closers []func() error
}

// Close removes what was unpacked.
func (r *Root) Close() error {
	var err error
	for _, c := range r.closers {
		err = errors.Join(err, c())
	}
	if r.dir != "" {
		err = errors.Join(err, os.RemoveAll(r.dir))
	}
	return err
}

// Open opens a file, a folder, or the URL of an initramfs or an output folder.
func Open(ctx context.Context, ref string, choice inspect.Choice) (*Root, error) {
	r := &Root{}
	if err := r.open(ctx, ref, choice); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// OpenImage opens a container image: its root, or what is in its kernel.tar.
func OpenImage(ctx context.Context, img v1.Image) (*Root, error) {
	r := &Root{}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	var open []func() (io.ReadCloser, error)
	for _, l := range layers {
		if mediaType, err := l.MediaType(); err == nil && !mediaType.IsLayer() {
			continue
		}
		open = append(open, l.Uncompressed)
	}
	if err := r.fromLayers(ctx, open); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Root) open(ctx context.Context, ref string, choice inspect.Choice) error {
	file := strings.TrimPrefix(ref, "file://")
	if strings.HasPrefix(ref, "http://") || strings.HasPrefix(ref, "https://") {
		return r.fromSet(ctx, ref, choice)
	}
	st, err := os.Stat(file)
	switch {
	case err != nil:
		return err
	case st.IsDir():
		return r.fromDir(ctx, file, choice)
	case !st.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file (%v)", file, st.Mode().Type())
	}
	return r.fromFile(ctx, file, choice)
}

// fromDir tells folders apart by what is in them.
func (r *Root) fromDir(ctx context.Context, dir string, choice inspect.Choice) error {
	has := func(name string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
	switch {
	case has("lib/modules"), has("usr/lib/modules"):
		r.FS = os.DirFS(dir)
		return nil
	case has("kernel.tar"):
		return r.fromTree(ctx, os.DirFS(dir))
	case has("oci-layout"), has("manifest.json"):
		return r.fromArchive(ctx, os.DirFS(dir))
	case has("modules.order"), has("modules.dep"), has("modules.builtin"):
		return r.fromModulesDir(dir)
	}
	return r.fromSet(ctx, dir, choice)
}

// fromModulesDir opens lib/modules/RELEASE itself, with the root above it.
func (r *Root) fromModulesDir(dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	parent := filepath.Dir(abs)
	if !strings.HasSuffix(parent, "/lib/modules") {
		return fmt.Errorf("%s holds a kernel's modules but is not below lib/modules: give the folder that has lib/modules/%s in it", dir, filepath.Base(abs))
	}
	root := strings.TrimSuffix(strings.TrimSuffix(parent, "/lib/modules"), "/usr")
	r.FS, r.Release = os.DirFS(root+"/"), filepath.Base(abs)
	return nil
}

// fromFile tells files apart by their beginning.
func (r *Root) fromFile(ctx context.Context, file string, choice inspect.Choice) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	isTar, err := beginsAsTar(f)
	if err != nil || !isTar {
		return errors.Join(err, r.fromSet(ctx, file, choice))
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	tree, err := r.unpackTar(ctx, f)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if has(tree, "manifest.json") || has(tree, "oci-layout") {
		err = r.fromArchive(ctx, tree)
	} else {
		err = r.fromTree(ctx, tree)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// beginsAsTar looks at the magic of the first header, behind a compression.
func beginsAsTar(r io.Reader) (bool, error) {
	z, done, err := decompress(r)
	if err != nil {
		return false, nil
	}
	defer done()
	var head [512]byte
	if _, err := io.ReadFull(z, head[:]); err != nil {
		return false, nil // too short, or damaged: the reader of an initramfs says where
	}
	return bytes.HasPrefix(head[257:], []byte("ustar")), nil
}

// fromTree opens the tar of a LinuxKit kernel image if that is what the tree
// is, else the tree itself.
func (r *Root) fromTree(ctx context.Context, tree fs.FS) error {
	if has(tree, "lib/modules") || has(tree, "usr/lib/modules") || !has(tree, "kernel.tar") {
		r.FS = tree
		return nil
	}
	var errs []error
	for _, arch := range []kernel.Arch{kernel.X86_64, kernel.AArch64} {
		k, err := kernel.OpenLinuxKit(tree, arch)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f, err := k.OpenModulesTar()
		if err != nil {
			return err
		}
		defer f.Close()
		modules, err := r.unpackTar(ctx, f)
		if err != nil {
			return fmt.Errorf("kernel.tar: %w", err)
		}
		r.FS, r.Release, r.Kernel = modules, k.Release, true
		return nil
	}
	return errors.Join(errs...)
}

func has(tree fs.FS, name string) bool {
	_, err := fs.Stat(tree, name)
	return err == nil
}

// maxUnpacked bounds a tar; a kernel with debug information has 5 GiB.
const maxUnpacked = 16 << 30

// unpackTar decompresses a tar into the temporary folder and opens it.
func (r *Root) unpackTar(ctx context.Context, in io.Reader) (fs.FS, error) {
	layer, err := r.spool(ctx, in)
	if err != nil {
		return nil, err
	}
	tree, err := rootfs.Flatten(layer)
	if err != nil {
		return nil, err
	}
	return tree.FS(), nil
}

// spool writes a tar, decompressed, to a file and indexes it.
func (r *Root) spool(ctx context.Context, in io.Reader) (*rootfs.Layer, error) {
	z, done, err := decompress(&ctxReader{ctx, in})
	if err != nil {
		return nil, err
	}
	defer done()
	f, err := r.temp()
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(f, io.LimitReader(z, maxUnpacked+1))
	if err != nil {
		return nil, err
	}
	if n > maxUnpacked {
		return nil, fmt.Errorf("it unpacks to more than %d bytes", int64(maxUnpacked))
	}
	return rootfs.Index(f, n)
}

// temp makes a file that Close removes.
func (r *Root) temp() (*os.File, error) {
	if r.dir == "" {
		dir, err := os.MkdirTemp("", "hooksmith-drivers-")
		if err != nil {
			return nil, err
		}
		r.dir = dir
	}
	f, err := os.CreateTemp(r.dir, "")
	if err == nil {
		r.closers = append(r.closers, f.Close)
	}
	return f, err
}

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func (r *Root) fromLayers(ctx context.Context, open []func() (io.ReadCloser, error)) error {
	var layers []*rootfs.Layer
	for i, o := range open {
		rc, err := o()
		if err != nil {
			return err
		}
		l, err := r.spool(ctx, rc)
		if err = errors.Join(err, rc.Close()); err != nil {
			return fmt.Errorf("layer %d of %d: %w", i+1, len(open), err)
		}
		layers = append(layers, l)
	}
	tree, err := rootfs.Flatten(layers...)
	if err != nil {
		return err
	}
	return r.fromTree(ctx, tree.FS())
}

// cleanName is a path of an archive as an fs.FS has it.
func cleanName(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }
