package compile

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"
)

func checkExport(path string) error {
	if st, err := os.Stat(filepath.Dir(path)); err != nil || !st.IsDir() {
		return fmt.Errorf("--export %s: there is no folder %s", path, filepath.Dir(path))
	}
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return fmt.Errorf("--export %s: it is there and no file", path)
	}
	f, err := createUnnamed(path) // the answer of the file system, before there is something to lose
	if err != nil {
		return fmt.Errorf("--export %s: %w", path, err)
	}
	f.discard()
	return nil
}

// export writes what docker load takes, whole or not at all.
func export(ctx context.Context, tag name.Tag, img v1.Image, path string) error {
	f, err := createUnnamed(path)
	if err != nil {
		return err
	}
	defer f.discard()
	if err := tarball.Write(tag, img, contextWriter{ctx, f}); err != nil {
		return err
	}
	return f.commit()
}

// unnamedFile is a file that gets its name when it is whole: until then nothing
// is left of it, however this process ends.
type unnamedFile struct {
	*os.File
	path string // its name in the end
	temp string // another name that it has; "": none
}

// createUnnamed makes a file that commit will call path. Where the file system
// has no files without names, as NFS, it has another name until then.
func createUnnamed(path string) (*unnamedFile, error) {
	dir := filepath.Dir(path)
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR, 0o600)
	if err == nil {
		if _, err = os.Stat(descriptor(f)); err == nil {
			return &unnamedFile{f, path, ""}, nil
		}
		f.Close() // without /proc it could not be named
	}
	f, err = os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, err
	}
	return &unnamedFile{f, path, f.Name()}, nil
}

func descriptor(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// commit gives the file its name, whether there is one already or not.
func (u *unnamedFile) commit() error {
	if err := u.Chmod(0o644); err != nil {
		return err
	}
	if u.temp == "" {
		// A link replaces nothing, so it takes a name on the way.
		temp := filepath.Join(filepath.Dir(u.path), "."+filepath.Base(u.path)+"."+rand.Text())
		if err := unix.Linkat(unix.AT_FDCWD, descriptor(u.File), unix.AT_FDCWD, temp, unix.AT_SYMLINK_FOLLOW); err != nil {
			return &os.LinkError{Op: "link", Old: "the new file", New: temp, Err: err}
		}
		u.temp = temp
	}
	if err := errors.Join(u.Close(), os.Rename(u.temp, u.path)); err != nil {
		return err
	}
	u.temp = ""
	return nil
}

// discard removes what was not committed.
func (u *unnamedFile) discard() {
	_ = u.Close()
	if u.temp != "" {
		_ = os.Remove(u.temp)
	}
}

type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c contextWriter) Write(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(b)
}
