package build

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hooksmith/build/fetch"
	"hooksmith/kernel"
)

// KernelFolder makes a kernel image of a folder. It has the files of such an
// image (kernel, kernel.tar, and if they are there System.map and
// dtbs.tar.gz), or what a kernel is installed as: vmlinuz, and its modules in
// lib/modules. The kernel must be for arch.
func KernelFolder(ctx context.Context, cache *fetch.Cache, dir string, arch kernel.Arch) (*KernelImage, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	defer root.Close()
	k, err := kernelFolder(ctx, cache, root, arch)
	if err != nil {
		return nil, fmt.Errorf("kernel folder %s: %w", dir, err)
	}
	return k, nil
}

func kernelFolder(ctx context.Context, cache *fetch.Cache, root *os.Root, arch kernel.Arch) (*KernelImage, error) {
	// 1. The files, by the names that they have in the image.
	files, modules, err := kernelFiles(root)
	if err != nil {
		return nil, err
	}
	release, err := checkKernelFile(root, files["kernel"], arch)
	if err != nil {
		return nil, err
	}
	// 2. Installed modules become kernel.tar, kept in the cache by content.
	var made func() (*os.File, error)
	if modules != "" {
		if made, err = keepTar(ctx, cache, func(w io.Writer) error { return writeModules(ctx, w, root, modules, release) }); err != nil {
			return nil, err
		}
	}
	// 3. The image: one layer.
	keep, err := keepTar(ctx, cache, func(w io.Writer) error { return writeKernelLayer(ctx, w, root, files, made) })
	if err != nil {
		return nil, err
	}
	l, err := newKernelLayer(keep)
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch.Debian()
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return nil, err
	}
	version, _, _ := strings.Cut(release, "-")
	return &KernelImage{Ref: "hooksmith/kernel-folder:" + notTag.ReplaceAllString(version, "_") + "-" + l.digest.Hex[:8], Image: img}, nil
}

// kernelFiles finds the files of a kernel image; modules is the folder with
// those that are installed, if there is no kernel.tar.
func kernelFiles(root *os.Root) (files map[string]string, modules string, err error) {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, "", err
	}
	files = map[string]string{}
	var kernels []string
	for _, e := range entries {
		switch name := e.Name(); {
		case slices.Contains([]string{"kernel", "kernel.tar", "System.map", "dtbs.tar.gz"}, name):
			files[name] = name
		case name == "vmlinuz", name == "bzImage", name == "Image", name == "Image.gz", strings.HasPrefix(name, "vmlinuz-"):
			kernels = append(kernels, name)
		case strings.HasPrefix(name, "System.map-"):
			files["System.map"] = name
		}
	}
	switch {
	case files["kernel"] != "":
	case len(kernels) == 1:
		files["kernel"] = kernels[0]
	case len(kernels) > 1:
		return nil, "", fmt.Errorf("it has several kernels: %s", strings.Join(kernels, ", "))
	default:
		return nil, "", errors.New("it has no kernel: want kernel and kernel.tar (as in the image of hooksmith kernel), or vmlinuz and lib/modules")
	}
	if files["kernel.tar"] != "" {
		return files, "", nil
	}
	for _, dir := range []string{"lib/modules", "usr/lib/modules"} {
		if st, err := root.Stat(dir); err == nil && st.IsDir() {
			return files, dir, nil
		}
	}
	return nil, "", fmt.Errorf("it has %s, but no modules: want kernel.tar or lib/modules beside it", files["kernel"])
}

// checkKernelFile returns the release of a kernel.
func checkKernelFile(root *os.Root, name string, arch kernel.Arch) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	found, err := kernel.Inspect(f, st.Size())
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	if found.Arch != arch {
		return "", fmt.Errorf("%s: it is a kernel for %s, need one for %s", name, found.Arch, arch)
	}
	return found.Release, nil
}

// keepTar keeps in the cache what write writes, by the hash of that. It is
// written twice if it is new. open opens it; the caller closes.
func keepTar(ctx context.Context, cache *fetch.Cache, write func(io.Writer) error) (open func() (*os.File, error), err error) {
	sum := sha256.New()
	if err := write(sum); err != nil {
		return nil, err
	}
	key := "kernel folder 1\n" + hex.EncodeToString(sum.Sum(nil))
	open = func() (*os.File, error) {
		return cache.Derive(ctx, key, func(_ context.Context, w io.Writer) error {
			again := sha256.New()
			if err := write(io.MultiWriter(w, again)); err != nil {
				return err
			}
			if got := "kernel folder 1\n" + hex.EncodeToString(again.Sum(nil)); got != key {
				return errors.New("it was changed meanwhile")
			}
			return nil
		})
	}
	f, err := open()
	if err != nil {
		return nil, err
	}
	return open, f.Close()
}

// writeModules writes the modules of a release as kernel.tar has them.
func writeModules(ctx context.Context, w io.Writer, root *os.Root, dir, release string) error {
	if st, err := root.Stat(path.Join(dir, release)); err != nil || !st.IsDir() {
		return fmt.Errorf("the kernel is Linux %s, and %s has no modules for it", release, dir)
	}
	if _, err := root.Stat(path.Join(dir, release, "modules.dep")); err != nil {
		return fmt.Errorf("%s has no modules.dep: run depmod -b FOLDER %s", path.Join(dir, release), release)
	}
	tw := tar.NewWriter(w)
	err := fs.WalkDir(root.FS(), path.Join(dir, release), func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := path.Join("lib/modules", strings.TrimPrefix(name, dir+"/"))
		switch d.Type() {
		case fs.ModeDir:
			return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: to + "/", Mode: 0o755, ModTime: time.Unix(0, 0)})
		case 0:
			return addTarFile(ctx, tw, to, func() (fs.File, error) { return root.Open(name) })
		}
		return nil // build and source are links to headers
	})
	return errors.Join(err, tw.Close())
}

// writeKernelLayer writes the files of a kernel image. madeTar, if not nil, is
// its kernel.tar.
func writeKernelLayer(ctx context.Context, w io.Writer, root *os.Root, files map[string]string, madeTar func() (*os.File, error)) error {
	tw := tar.NewWriter(w)
	for _, name := range []string{"kernel", "kernel.tar", "System.map", "dtbs.tar.gz"} {
		open := func() (fs.File, error) { return root.Open(files[name]) }
		switch {
		case files[name] != "":
		case name == "kernel.tar" && madeTar != nil:
			open = func() (fs.File, error) { return madeTar() }
		default:
			continue
		}
		if err := addTarFile(ctx, tw, name, open); err != nil {
			return err
		}
	}
	return tw.Close()
}

func addTarFile(ctx context.Context, tw *tar.Writer, name string, open func() (fs.File, error)) error {
	f, err := open()
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is no file", name)
	}
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: st.Size(), ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err = copyContext(ctx, tw, f)
	return err
}

// kernelLayer is a layer that is an uncompressed tar in the cache.
type kernelLayer struct {
	open   func() (*os.File, error)
	digest v1.Hash
	size   int64
}

func newKernelLayer(open func() (*os.File, error)) (*kernelLayer, error) {
	f, err := open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l := &kernelLayer{open: open}
	l.digest, l.size, err = v1.SHA256(f)
	return l, err
}

func (l *kernelLayer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l *kernelLayer) DiffID() (v1.Hash, error)             { return l.digest, nil }
func (l *kernelLayer) Size() (int64, error)                 { return l.size, nil }
func (l *kernelLayer) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }
func (l *kernelLayer) Uncompressed() (io.ReadCloser, error) { return l.open() }
func (l *kernelLayer) Compressed() (io.ReadCloser, error)   { return l.open() }
