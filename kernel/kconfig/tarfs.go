package kconfig

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// ReadTar reads the Kconfig files and Makefiles out of a tar of a kernel's
// source, which may be all of it. Names are as ParseTree wants them: from the
// top of the source, so a tar with a folder around it needs strip 1.
func ReadTar(r io.Reader, strip int) (fs.FS, error) {
	files := memory{".": &file{name: ".", dir: true}}
	total := 0
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the kernel's source: %w", err)
		}
		name, ok := stripped(h.Name, strip)
		if !ok || h.Typeflag != tar.TypeReg || !wanted(path.Base(name)) {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(tr, maxFile+1))
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", h.Name, err)
		}
		if total += len(text); len(text) > maxFile || total > maxTotal || len(files) > 4*maxSources {
			return nil, fmt.Errorf("%s: more of Kconfig files and Makefiles than a kernel has", h.Name)
		}
		files.add(name, text)
	}
}

func wanted(base string) bool {
	return strings.Contains(base, "Kconfig") || base == "Makefile" || base == "Kbuild"
}

// stripped takes the first folders off a name.
func stripped(name string, strip int) (string, bool) {
	name = path.Clean(strings.TrimPrefix(name, "./"))
	for range strip {
		_, below, ok := strings.Cut(name, "/")
		if !ok {
			return "", false
		}
		name = below
	}
	return name, fs.ValidPath(name) && strings.Count(name, "/") < maxDepth
}

// memory is a file system of small files.
type memory map[string]*file

func (m memory) add(name string, text []byte) {
	if old := m[name]; old != nil { // a later member replaces an earlier one
		if !old.dir {
			old.text = text
		}
		return
	}
	f := &file{name: path.Base(name), text: text}
	m[name] = f
	for name != "." {
		name = path.Dir(name)
		parent, known := m[name]
		if !known {
			parent = &file{name: path.Base(name), dir: true}
			m[name] = parent
		}
		parent.entries = append(parent.entries, f)
		if known {
			return
		}
		f = parent
	}
}

// Open implements fs.FS.
func (m memory) Open(name string) (fs.File, error) {
	f := m[name]
	if f == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &reader{file: f, Reader: bytes.NewReader(f.text)}, nil
}

// ReadDir implements fs.ReadDirFS.
func (m memory) ReadDir(name string) ([]fs.DirEntry, error) {
	f := m[name]
	if f == nil || !f.dir {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	var entries []fs.DirEntry
	for _, e := range f.entries {
		entries = append(entries, fs.FileInfoToDirEntry(e))
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// file is a file or folder, and its own fs.FileInfo.
type file struct {
	name    string
	text    []byte
	dir     bool
	entries []*file
}

func (f *file) Name() string       { return f.name }
func (f *file) Size() int64        { return int64(len(f.text)) }
func (f *file) ModTime() time.Time { return time.Time{} }
func (f *file) IsDir() bool        { return f.dir }
func (f *file) Sys() any           { return nil }

func (f *file) Mode() fs.FileMode {
	if f.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

// reader is an open file.
type reader struct {
	file *file
	*bytes.Reader
}

func (r *reader) Stat() (fs.FileInfo, error) { return r.file, nil }
func (r *reader) Close() error               { return nil }
