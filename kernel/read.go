package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// readLimited reads all of r, which must not hold more than limit bytes.
func readLimited(r io.Reader, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("reading %s: more than %d bytes", name, limit)
	}
	return b, nil
}

// Section is a file with random access. The caller closes it.
type Section struct {
	*io.SectionReader
	io.Closer
}

// openSection opens a file for random access: in place if the file system can
// do so, else by reading it, as long as it has at most limit bytes.
func openSection(fsys fs.FS, name string, limit int64) (*Section, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	s, err := section(f, name, limit)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

func section(f fs.File, name string, limit int64) (*Section, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file (%v)", name, info.Mode().Type())
	}
	if r, ok := f.(io.ReaderAt); ok {
		return &Section{io.NewSectionReader(r, 0, info.Size()), f}, nil
	}
	b, err := readLimited(f, name, limit)
	if err != nil {
		return nil, err
	}
	return &Section{io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))), f}, nil
}
