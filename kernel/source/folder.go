package source

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
)

// folder is source in a folder. Its hash is that of the tar that it gives.
type folder struct {
	path, version, sum string
}

// openFolder hashes the folder now and checks it against that again whenever
// it is read.
func openFolder(ctx context.Context, path string) (Source, error) {
	f := &folder{path: path}
	if err := f.open(ctx); err != nil {
		return nil, fmt.Errorf("kernel source %s: %w", path, err)
	}
	return f, nil
}

func (f *folder) open(ctx context.Context) error {
	root, err := os.OpenRoot(f.path)
	if err != nil {
		return err
	}
	defer root.Close()
	makefile, err := readLimited(root, "Makefile", maxMakefile)
	if errors.Is(err, fs.ErrNotExist) {
		return errNoKernel
	}
	if err != nil {
		return err
	}
	if f.version, err = makefileVersion(makefile); err != nil {
		return err
	}
	if err := checkClean(root); err != nil {
		return err
	}
	sum := sha256.New()
	if err := copyFolder(ctx, root, sum, Top); err != nil {
		return err
	}
	f.sum = hex.EncodeToString(sum.Sum(nil))
	return nil
}

// checkClean refuses a tree in which a kernel was configured or built, as the
// kernel's Makefile does itself (outputmakefile): its files would be mixed up
// with ours.
func checkClean(root *os.Root) error {
	for _, name := range []string{".config", "include/config", "include/generated", "arch/x86/include/generated", "arch/arm64/include/generated"} {
		if _, err := root.Lstat(name); err == nil {
			return fmt.Errorf("a kernel was configured in it (there is %s): run make mrproper in it, or give a copy", name)
		}
	}
	return nil
}

func (f *folder) Version() string { return f.version }
func (f *folder) Hash() string    { return f.sum }
func (f *folder) String() string  { return f.path }

func (f *folder) Tar(ctx context.Context) (io.ReadCloser, error) {
	root, err := os.OpenRoot(f.path)
	if err != nil {
		return nil, fmt.Errorf("kernel source: %w", err)
	}
	return newStream(ctx, func(ctx context.Context, w io.Writer) error {
		defer root.Close()
		sum := sha256.New()
		if err := copyFolder(ctx, root, io.MultiWriter(w, sum), Top); err != nil {
			return fmt.Errorf("kernel source %s: %w", f.path, err)
		}
		if hex.EncodeToString(sum.Sum(nil)) != f.sum {
			return fmt.Errorf("kernel source %s: it was changed meanwhile", f.path)
		}
		return nil
	}), nil
}

// copyFolder writes a folder as a tar below top, sorted. What git keeps for
// itself is left out.
func copyFolder(ctx context.Context, root *os.Root, w io.Writer, top string) error {
	rw, err := newRewriter(w, top)
	if err != nil {
		return err
	}
	var size int64
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || name == "." {
			return err
		}
		if d.Name() == ".git" { // a folder, or a file in a worktree
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if size += info.Size(); size > maxUnpacked {
			return fmt.Errorf("it has more than %d GiB", int64(maxUnpacked)>>30)
		}
		return addFile(ctx, rw, root, name, info)
	})
	return errors.Join(err, rw.closeAfter(err))
}

// addFile adds one file of a folder to the tar.
func addFile(ctx context.Context, rw *rewriter, root *os.Root, name string, info fs.FileInfo) error {
	h := &tar.Header{Mode: int64(info.Mode().Perm())}
	switch info.Mode().Type() {
	case fs.ModeDir:
		h.Typeflag = tar.TypeDir
	case fs.ModeSymlink:
		h.Typeflag = tar.TypeSymlink
		var err error
		if h.Linkname, err = root.Readlink(name); err != nil {
			return err
		}
	case 0:
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		h.Typeflag, h.Size = tar.TypeReg, info.Size()
		return rw.add(name, h, io.LimitReader(contextReader{ctx, f}, h.Size))
	default:
		return fmt.Errorf("%s: neither file, folder nor link", name)
	}
	return rw.add(name, h, nil)
}

func readLimited(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is no file", name))
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return b, err
}
