package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Current is the link that all stable names of a folder go through.
const Current = ".hooksmith/current"

// Folder is a store in a local folder. Nothing follows a link out of it that
// was there before.
type Folder struct{ dir string }

// NewFolder makes the folder if it is not there.
func NewFolder(dir string) (*Folder, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(abs, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder: %w", err)
	}
	return &Folder{abs}, nil
}

// Dir is the folder's path.
func (s *Folder) Dir() string { return s.dir }

func (s *Folder) path(name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", fmt.Errorf("%q is no name of an object", name)
	}
	return filepath.Join(s.dir, filepath.FromSlash(name)), nil
}

// Put writes beside and renames. A partial file of the same key is continued.
func (s *Folder) Put(ctx context.Context, name, key string, size int64, content Content) error {
	to, err := s.path(name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	part := beside(to, key)
	err = writePart(ctx, part, key, size, content)
	if err == nil {
		err = errors.Join(os.Rename(part, to), syncDir(filepath.Dir(to)))
	}
	if err != nil && (key == "" || errors.Is(err, unix.ENOSPC)) {
		_ = os.Remove(part) // no use to anybody
	}
	return err
}

// beside is the hidden name of what will be path.
func beside(name, key string) string {
	if key == "" {
		key = nonce()
	}
	dir, base := path.Split(filepath.ToSlash(name))
	return filepath.FromSlash(dir) + "." + base + "." + key[:min(len(key), 16)] + ".part"
}

func nonce() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}

func writePart(ctx context.Context, part, key string, size int64, content Content) (err error) {
	f, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	off, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if key == "" || off > size {
		if err := f.Truncate(0); err != nil {
			return err
		}
		if off, err = f.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	if err := copyInto(ctx, f, content, off, size); err != nil {
		return err
	}
	return f.Sync()
}

// copyInto appends content from off on, in steps that a context can end.
func copyInto(ctx context.Context, w io.Writer, content Content, off, size int64) error {
	const step = 8 << 20
	var from *os.File
	var count func(int64)
	if local, ok := content.(Local); ok {
		if f, c := local.File(); f != nil {
			own, err := os.Open(f.Name()) // a file position of its own
			if err != nil {
				return err
			}
			defer own.Close()
			if _, err := own.Seek(off, io.SeekStart); err != nil {
				return err
			}
			from, count = own, c
		}
	}
	for off < size {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(step, size-off)
		var r io.Reader = io.NewSectionReader(content, off, n)
		if from != nil {
			r = &io.LimitedReader{R: from, N: n} // which os.File copies in the kernel
		}
		got, err := io.Copy(w, r)
		if err != nil {
			return err
		}
		if got != n {
			return fmt.Errorf("%w: the file became shorter while it was read", io.ErrUnexpectedEOF)
		}
		if count != nil {
			count(n)
		}
		off += n
	}
	return nil
}

// Create is a hard link of a whole file, which fails if there is one.
func (s *Folder) Create(ctx context.Context, name string, data []byte) error {
	to, err := s.path(name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	part := beside(to, "")
	defer os.Remove(part)
	if err := writePart(ctx, part, "", int64(len(data)), bytes.NewReader(data)); err != nil {
		return err
	}
	return os.Link(part, to)
}

// Get opens a file.
func (s *Folder) Get(_ context.Context, name string, off, n int64) (io.ReadCloser, error) {
	from, err := s.path(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(from)
	if err != nil {
		return nil, err
	}
	if off > 0 {
		if _, err := f.Seek(off, io.SeekStart); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	if n < 0 {
		return f, nil
	}
	return &multiCloser{io.LimitReader(f, n), f.Close}, nil
}

// Copy makes a hard link, where that is possible.
func (s *Folder) Copy(ctx context.Context, from, to string) error {
	source, err := s.path(from)
	if err != nil {
		return err
	}
	target, err := s.path(to)
	if err != nil {
		return err
	}
	if source, err = filepath.EvalSymlinks(source); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	part := beside(target, "")
	defer os.Remove(part)
	if os.Link(source, part) == nil {
		return os.Rename(part, target)
	}
	f, err := os.Open(source)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return s.Put(ctx, to, "", info.Size(), f)
}

// Delete removes a file and its folder, if that is empty then, or a folder
// (NAME/) with all that is in it.
func (s *Folder) Delete(_ context.Context, name string) error {
	dir, isDir := strings.CutSuffix(name, "/")
	p, err := s.path(dir)
	if err != nil {
		return err
	}
	if isDir {
		return os.RemoveAll(p)
	}
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for dir := filepath.Dir(p); dir != s.dir && inside(dir, s.dir); dir = filepath.Dir(dir) {
		if os.Remove(dir) != nil {
			break
		}
	}
	return nil
}

func inside(dir, parent string) bool {
	return strings.HasPrefix(dir, parent+string(filepath.Separator))
}

// Turn renames one symbolic link that all names go through. Names that are
// not such links yet (the first time, or plain files of before) become ones.
func (s *Folder) Turn(_ context.Context, folder string, names, gone []string) error {
	if err := os.MkdirAll(filepath.Join(s.dir, filepath.Dir(Current)), 0o755); err != nil {
		return err
	}
	for _, name := range names { // before anything is changed
		if info, err := os.Lstat(filepath.Join(s.dir, name)); err == nil && info.IsDir() {
			return inTheWay(filepath.Join(s.dir, name))
		}
	}
	if err := s.link(path.Join("..", folder), Current); err != nil {
		return err
	}
	for _, name := range names {
		want := path.Join(Current, name)
		if at, err := os.Readlink(filepath.Join(s.dir, name)); err == nil && at == want {
			continue
		}
		if err := s.link(want, name); err != nil {
			return err
		}
	}
	for _, name := range gone {
		if err := s.Delete(context.Background(), name); err != nil {
			return err
		}
	}
	return syncDir(s.dir)
}

func inTheWay(path string) error {
	return Permanent(fmt.Errorf("%s is a folder: move it away, or publish elsewhere", path))
}

// link makes name a symbolic link in one step, whatever it was.
func (s *Folder) link(target, name string) error {
	to := filepath.Join(s.dir, filepath.FromSlash(name))
	part := beside(to, "")
	if err := os.Symlink(target, part); err != nil {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) {
			return ErrUnsupported // FAT and its like
		}
		return err
	}
	if err := os.Rename(part, to); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return syncDir(filepath.Dir(to))
}

// Lock is a lock of the kernel's: it ends with the process.
func (s *Folder) Lock(_ context.Context, name string) (func() error, error) {
	p, err := s.path(name)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(p, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fs.ErrExist
		}
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}

// Close does nothing.
func (s *Folder) Close() error { return nil }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}
