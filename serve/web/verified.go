package web

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path"
	"strings"
	"syscall"
)

// Verify reads the files of one folder and names those that may be served; an
// error is what is wrong with them. They are held open: what it reads is what
// will be sent.
type Verify func(files fs.FS) (names []string, err error)

// refusedError says that a folder has files, but none that may be served.
type refusedError struct {
	folder string
	why    error // nil: not known yet
}

func (e *refusedError) Error() string {
	if e.why == nil {
		return e.folder + ": its files are being verified"
	}
	return fmt.Sprintf("%s: nothing in it may be served: %v", e.folder, e.why)
}

// checked is a snapshot while it is verified. Its done is closed afterwards.
type checked struct {
	snap *snapshot
	done chan struct{}
}

// examine has a snapshot verified, while what is current stays so. It takes
// the caller's hold on s.
func (a *artifacts) examine(f *folder, s *snapshot, dirID identity) {
	c := &checked{snap: s, done: make(chan struct{})}
	f.checking = c
	a.checks.add(1)
	go func() {
		defer a.checks.add(-1)
		names, err := a.check(heldFiles(s.files))
		a.mu.Lock()
		defer a.mu.Unlock()
		defer close(c.done)
		if f.checking != c {
			return // the folder was given up, its files with it
		}
		f.checking = nil
		if err == nil {
			f.refused, f.refusal = nil, nil
			s.keep(names)
			a.take(f, s)
			f.dirID = dirID
			return
		}
		f.refused, f.refusal = s.all, err
		s.release()
		a.log.Error(pick(f.current == nil, "artifacts are refused: nothing is served from this folder", "new artifacts are refused: the files of before stay in use"),
			"folder", path.Join(a.path, f.dir), "error", err)
	}()
}

// await lets others go on until a check has ended. The caller holds a.mu.
func (a *artifacts) await(c *checked) {
	a.mu.Unlock()
	defer a.mu.Lock()
	<-c.done
}

// keep closes all files but those that are named.
func (s *snapshot) keep(names []string) {
	all := maps.Clone(s.files)
	clear(s.files)
	for _, name := range names {
		if h := all[name]; h != nil {
			s.files[name] = h
			delete(all, name)
		}
	}
	for _, h := range all {
		_ = h.file.Close()
	}
}

// listed tells which files of a folder may be shown.
func (a *artifacts) listed(dir string) (func(name string) bool, error) {
	if a.check == nil {
		return func(string) bool { return true }, nil
	}
	f, err := a.uptodate(path.Clean(dir), "")
	if err != nil {
		return nil, err
	}
	return func(name string) bool { return f.current.files[name] != nil }, nil
}

// heldFiles are the files of a snapshot, as they were when it was made.
type heldFiles map[string]*held

// Open implements fs.FS.
func (h heldFiles) Open(name string) (fs.File, error) {
	one := h[name]
	if one == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &heldFile{io.NewSectionReader(one.file, 0, one.id.size), one.file}, nil
}

// heldFile reads without moving the descriptor's own position.
type heldFile struct {
	*io.SectionReader
	file *os.File
}

func (h *heldFile) Stat() (fs.FileInfo, error) { return h.file.Stat() }
func (h *heldFile) Close() error               { return nil }

// File is an artifact that a client may have.
type File struct {
	io.ReaderAt
	size  int64
	close func()
}

// Size is the file's, in bytes.
func (f *File) Size() int64 { return f.size }

// Close lets go of the file.
func (f *File) Close() error {
	f.close()
	return nil
}

// Open opens an artifact for a client of another protocol, as /hook/NAME gives
// it. The caller closes it. Names of no file are fs.ErrNotExist, a folder is
// fs.ErrPermission.
func (s *Server) Open(client netip.Addr, name string) (*File, error) {
	o, err := s.init().artifacts.open(name, asker{ip: client})
	switch {
	case errors.Is(err, errIsFolder):
		return nil, fmt.Errorf("%w: %w", err, fs.ErrPermission)
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ELOOP), leaves(err):
		return nil, fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	case err != nil:
		return nil, err
	}
	at, ok := o.content.(io.ReaderAt)
	if !ok {
		o.close()
		return nil, fmt.Errorf("%s cannot be read at any place", name)
	}
	return &File{ReaderAt: at, size: o.id.size, close: o.close}, nil
}

// leaves reports whether a link leads out of the folder: an error of package os
// that has no name.
func leaves(err error) bool {
	var p *fs.PathError
	return errors.As(err, &p) && strings.Contains(p.Err.Error(), "escapes")
}
