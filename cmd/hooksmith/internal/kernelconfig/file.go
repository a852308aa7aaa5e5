package kernelconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

const maxSize = 16 << 20

// File is a kernel configuration, and the place where a changed one goes.
type File struct {
	Path string // where it is, or will be
	Data []byte // as it was read
	New  bool   // nothing is at Path: Data is hooksmith's own
}

func readLimited(f *os.File, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err == nil && len(data) > maxSize {
		err = fmt.Errorf("%s: larger than %d bytes", f.Name(), maxSize)
	}
	return data, err
}

// ChangedError is a file that somebody else changed meanwhile.
type ChangedError struct{ Path, Saved string }

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s was changed meanwhile: it is left as it is, and your configuration is in %s", e.Path, e.Saved)
}

// Hint is the next step.
func (e *ChangedError) Hint() string {
	return fmt.Sprintf("compare them with diff %s %s, then move the right one to %s", e.Path, e.Saved, e.Path)
}

// Writable tells whether the file can be written, as far as that is known
// before somebody works on it. Nothing is made.
func (f *File) Writable() error {
	dir := filepath.Dir(f.target())
	for {
		err := unix.Access(dir, unix.W_OK|unix.X_OK)
		if parent := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && parent != dir {
			dir = parent // what is missing will be made there
			continue
		}
		if err != nil {
			return fmt.Errorf("%s cannot be written: folder %s: %w", f.Path, dir, err)
		}
		return nil
	}
}

// target is the file behind a link, which stays one.
func (f *File) target() string {
	if real, err := filepath.EvalSymlinks(f.Path); err == nil {
		return real
	}
	return f.Path
}

// Replace writes data to the file's path: beside it, then renamed. If the file
// is not any more what was read, it stays, data goes to another file beside
// it, and the error is a *ChangedError. What cannot be written there goes to a
// temporary file, which the error names: somebody has worked on it.
func (f *File) Replace(data []byte) error {
	err := f.replace(data)
	var changed *ChangedError
	if err == nil || errors.As(err, &changed) {
		return err
	}
	saved, saveErr := saveBeside(filepath.Join(os.TempDir(), filepath.Base(f.Path)), data)
	if saveErr != nil {
		return errors.Join(err, fmt.Errorf("saving your configuration elsewhere: %w", saveErr))
	}
	return fmt.Errorf("%w; your configuration is in %s", err, saved)
}

func (f *File) replace(data []byte) error {
	now, err := readLimited(os.Open(f.Path))
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return err
	}
	if missing != f.New || !missing && !bytes.Equal(now, f.Data) {
		saved, err := saveBeside(f.Path, data)
		if err != nil {
			return fmt.Errorf("%s was changed meanwhile, and saving beside it: %w", f.Path, err)
		}
		return &ChangedError{f.Path, saved}
	}
	path := f.target()
	mode := fs.FileMode(0o644)
	if st, err := os.Stat(path); err == nil {
		mode = st.Mode().Perm()
	}
	return renameio.WriteFile(path, data, mode, renameio.IgnoreUmask())
}

// saveBeside writes to a name that is free.
func saveBeside(path string, data []byte) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".yours-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	return f.Name(), errors.Join(err, f.Chmod(0o644), f.Close())
}

// OpenOutput is the file of --output, whatever it holds.
func OpenOutput(path string) (*File, error) {
	data, err := readLimited(os.Open(path))
	if errors.Is(err, fs.ErrNotExist) {
		return &File{Path: path, New: true}, nil
	}
	return &File{Path: path, Data: data}, err
}
