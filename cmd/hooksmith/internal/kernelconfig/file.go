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

// Replace writes data to the file's path: beside it, then renamed. If the file
// is not any more what was read, it stays, data goes to another file beside
// it, and the error is a *ChangedError.
func (f *File) Replace(data []byte) error {
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
	path := f.Path
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // a link stays one
	}
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
