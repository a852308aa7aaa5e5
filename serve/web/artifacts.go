package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"
)

// artifacts is the folder at /hook/. Its methods are safe for concurrent use.
type artifacts struct {
	path    string
	log     *slog.Logger
	digests *digests
	now     func() time.Time
	check   Verify  // nil: none
	checks  counter // that run

	mu      sync.Mutex
	root    *os.Root
	rootID  identity
	folders map[string]*folder // by path below root
	pins    map[netip.Addr]*pin
}

func newArtifacts(path string, log *slog.Logger) *artifacts {
	return &artifacts{path: path, log: log, digests: newDigests(), now: time.Now,
		folders: map[string]*folder{}, pins: map[netip.Addr]*pin{}}
}

// asker is who wants a file, and how.
type asker struct {
	ip    netip.Addr
	head  bool
	rest  bool // a part of the file: goes on with what was begun
	fresh bool // Cache-Control: no-cache: the present file, whatever was begun
}

// opened is a file to be sent.
type opened struct {
	content io.ReadSeeker
	id      identity
	modTime time.Time
	digest  *digest
	former  bool // of a build that is no longer the folder's
	close   func()
}

// tag is the file's ETag; with wait, its hash may take a while.
func (o *opened) tag(ctx context.Context, wait bool) string {
	if wait {
		o.digest.wait(ctx, 10*time.Second)
	}
	return o.digest.tag()
}

var errIsFolder = errors.New("is a folder")

// hidden reports names that are nobody's business: a build writes into a
// hidden folder before it renames.
func hidden(name string) bool {
	return name != "." && strings.HasPrefix(name, ".") || strings.Contains(name, "/.")
}

// open opens a file for a client. Errors are fs.ErrNotExist, errIsFolder or
// what the system says. The caller calls opened.close.
func (a *artifacts) open(name string, who asker) (*opened, error) {
	if hidden(name) {
		return nil, fs.ErrNotExist
	}
	o, root, err := a.find(name, who)
	if err == nil && o.digest == nil {
		o.digest = a.digests.of(job{id: o.id, open: opener(root, name)}, now)
	}
	return o, err
}

// find is open without the hash, and the folder that it found the file in.
func (a *artifacts) find(name string, who asker) (*opened, *os.Root, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	dir, base := path.Split(name)
	f, err := a.uptodate(path.Clean(dir), base)
	if err != nil {
		return nil, nil, err
	}
	snap, former := a.choose(f, base, who)
	if h := snap.files[base]; h != nil {
		o, err := a.openHeld(name, snap, h)
		if err == nil {
			o.former = former && !f.current.has(h)
			return o, a.root, nil
		}
		if a.check != nil {
			return nil, nil, err
		}
	}
	if a.check != nil { // only what was verified
		if info, err := a.root.Stat(name); err == nil && info.IsDir() {
			return nil, nil, errIsFolder
		}
		return nil, nil, fs.ErrNotExist
	}
	o, err := openLive(a.root, name)
	return o, a.root, err
}

// uptodate is the folder as it is now. Where a build has just been put in place,
// the moment is waited for that it can be told from half of one.
func (a *artifacts) uptodate(dir, base string) (*folder, error) {
	for try := 0; ; try++ {
		if err := a.lookup(); err != nil {
			return nil, err
		}
		f, err := a.folder(dir, base)
		if err == nil && f.current == nil {
			if f.checking == nil || try == 3 {
				return nil, &refusedError{path.Join(a.path, dir), f.refusal}
			}
			a.await(f.checking)
			continue
		}
		if err != nil || !f.soon || try == 3 {
			return f, err
		}
		a.mu.Unlock()
		time.Sleep(tick)
		a.mu.Lock()
	}
}

// lookup opens the folder, again when another has its name. While the name is
// missing, what was open stays open.
func (a *artifacts) lookup() error {
	info, err := os.Stat(a.path)
	if err != nil {
		if a.root != nil {
			return nil
		}
		return fmt.Errorf("artifacts folder: %w", err)
	}
	if id := identityOf(info); a.root != nil && id.dev == a.rootID.dev && id.ino == a.rootID.ino {
		return nil
	}
	root, err := os.OpenRoot(a.path)
	if err != nil {
		return fmt.Errorf("artifacts folder: %w", err)
	}
	if a.root != nil {
		_ = a.root.Close()
	}
	a.root, a.rootID = root, identityOf(info)
	return nil
}

// openHeld opens a file of a snapshot: by name, so that it has a descriptor of
// its own and sendfile can be used; if its name is another file's by now,
// through the descriptor that the snapshot holds.
func (a *artifacts) openHeld(name string, snap *snapshot, h *held) (*opened, error) {
	if f, info, err := openRegular(a.root, name); err == nil {
		if identityOf(info).same(h.id) {
			return made(f, f, info), nil
		}
		_ = f.Close()
	}
	info, err := h.file.Stat()
	if err != nil {
		return nil, err
	}
	if !identityOf(info).same(h.id) {
		return nil, errChanged // written to in place: nothing is left of what it was
	}
	snap.refs++
	release := closer(func() error {
		a.mu.Lock()
		defer a.mu.Unlock()
		snap.release()
		return nil
	})
	o := made(io.NewSectionReader(h.file, 0, h.id.size), release, info)
	o.digest = h.digest
	return o, nil
}

type closer func() error

func (c closer) Close() error { return c() }

// openLive opens what stands there now.
func openLive(root *os.Root, name string) (*opened, error) {
	f, info, err := openRegular(root, name)
	if err != nil {
		return nil, err
	}
	return made(f, f, info), nil
}

func made(content io.ReadSeeker, c io.Closer, info fs.FileInfo) *opened {
	return &opened{content: content, id: identityOf(info), modTime: info.ModTime(), close: func() { _ = c.Close() }}
}

// opener opens a file by name, to be hashed.
func opener(root *os.Root, name string) func() (*os.File, func(), error) {
	return func() (*os.File, func(), error) {
		f, _, err := openRegular(root, name)
		return f, func() { _ = f.Close() }, err
	}
}

// opener gives a held file, to be hashed, as long as somebody wants it.
func (a *artifacts) opener(s *snapshot, h *held) func() (*os.File, func(), error) {
	return func() (*os.File, func(), error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if s.refs == 0 {
			return nil, nil, fs.ErrClosed
		}
		s.refs++
		return h.file, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			s.release()
		}, nil
	}
}

// openRegular opens a regular file, and nothing else: opening a FIFO would
// wait for its writer.
func openRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	info, err := root.Stat(name)
	if err != nil {
		return nil, nil, err
	}
	if info.IsDir() {
		return nil, nil, errIsFolder
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fs.ErrNotExist
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err = f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// tidy looks at every folder in use and lets go of what nobody goes on with.
func (a *artifacts) tidy() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire()
	if a.path == "" || a.lookup() != nil {
		return
	}
	if _, err := a.folder(".", ""); err != nil {
		a.log.Debug("artifacts", "error", err)
	}
	for dir := range a.folders {
		_, _ = a.folder(dir, "")
	}
}

// close lets go of everything; a later open begins anew.
func (a *artifacts) close() {
	a.digests.stop()
	defer a.checks.wait() // they end, as their files are closed
	a.mu.Lock()
	defer a.mu.Unlock()
	for ip := range a.pins {
		a.unpin(ip)
	}
	for dir, f := range a.folders {
		f.drop()
		delete(a.folders, dir)
	}
	if a.root != nil {
		_ = a.root.Close()
		a.root = nil
	}
}
