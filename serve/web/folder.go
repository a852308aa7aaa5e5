package web

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

const (
	settle     = 2 * time.Second       // without a change, before new files are taken up
	tick       = 20 * time.Millisecond // what file systems' times are exact to, with some to spare
	maxFolders = 16
	maxHeld    = 128 // files of a folder; one with more is served as it stands
)

// snapshot is the files of a folder at one moment, held open: whatever
// happens to their names, they can be had as long as somebody refers to it.
type snapshot struct {
	all    map[string]identity // also what could not be opened
	files  map[string]*held
	since  time.Time
	claims claims
	refs   int // of the folder, of pins, of running downloads; guarded by artifacts.mu
}

// held is one file of a snapshot.
type held struct {
	file   *os.File
	id     identity
	digest *digest
}

func (s *snapshot) has(h *held) bool {
	for _, mine := range s.files {
		if mine.id.same(h.id) {
			return true
		}
	}
	return false
}

func (s *snapshot) release() {
	if s.refs--; s.refs > 0 {
		return
	}
	for _, h := range s.files {
		_ = h.file.Close()
	}
}

// folder is one folder of artifacts.
type folder struct {
	dir     string
	current *snapshot
	dirID   identity // when it was last found equal to current
	used    time.Time

	// next is what the folder has now, seen first at nextSince, while it is not
	// clear whether that is all of it.
	next      map[string]identity
	nextSince time.Time
	soon      bool // it is all of it, if nothing happened in the last tick

	checking *checked            // new files that are being verified
	refused  map[string]identity // files that were not as they have to be, and why
	refusal  error
}

func (f *folder) drop() {
	if f.current != nil {
		f.current.release()
		f.current = nil
	}
	if f.checking != nil {
		f.checking.snap.release()
		f.checking = nil
	}
}

// folder brings what is known of a folder up to date. Base is the file that
// is asked for, "" for none.
func (a *artifacts) folder(dir, base string) (*folder, error) {
	info, err := a.root.Stat(dir)
	if err == nil && !info.IsDir() {
		err = fs.ErrNotExist
	}
	f := a.folders[dir]
	if err != nil {
		if f != nil && errors.Is(err, fs.ErrNotExist) {
			f.drop()
			delete(a.folders, dir)
		}
		return nil, err
	}
	if f == nil {
		f = &folder{dir: dir}
		a.makeRoom()
		a.folders[dir] = f
	}
	f.used = a.now()
	id := identityOf(info)
	if f.current != nil && f.next == nil && !f.soon && f.dirID == id && base != "" && f.stillHas(a.root, base) {
		return f, nil
	}
	return f, a.update(f, id)
}

// makeRoom forgets the folder that was not asked for longest.
func (a *artifacts) makeRoom() {
	if len(a.folders) < maxFolders {
		return
	}
	oldest := slices.MinFunc(slices.Collect(maps.Values(a.folders)), func(x, y *folder) int { return x.used.Compare(y.used) })
	oldest.drop()
	delete(a.folders, oldest.dir)
}

// stillHas looks at one file: a link in the folder may lead somewhere else
// without any change in the folder.
func (f *folder) stillHas(root *os.Root, base string) bool {
	h := f.current.files[base]
	if h == nil {
		return true
	}
	info, err := root.Stat(path.Join(f.dir, base))
	return err == nil && identityOf(info).same(h.id)
}

// update reads the folder and takes up what is new in it, if it is settled.
func (a *artifacts) update(f *folder, dirID identity) error {
	files, newest, err := a.scan(f.dir)
	if err != nil {
		return err
	}
	f.soon = false
	if f.checking != nil || f.refused != nil && maps.EqualFunc(f.refused, files, identity.same) {
		return nil
	}
	if f.current != nil {
		if maps.EqualFunc(f.current.all, files, identity.same) {
			f.next, f.dirID = nil, dirID
			f.refused, f.refusal = nil, nil
			return nil
		}
		if !a.settled(f, files, time.Unix(0, max(newest, dirID.mtime, dirID.ctime))) {
			return nil
		}
	}
	s := a.hold(f.dir, files)
	// Had a build been put in place while we read, the folder would tell.
	info, err := a.root.Stat(f.dir)
	if f.current != nil && (err != nil || identityOf(info) != dirID) {
		s.release()
		f.soon = err == nil
		return nil
	}
	f.next = nil
	if a.check != nil {
		a.examine(f, s, dirID)
		return nil
	}
	a.take(f, s)
	f.dirID = dirID
	return nil
}

// scan lists the regular files of a folder and when the last was touched.
func (a *artifacts) scan(dir string) (files map[string]identity, newest int64, err error) {
	d, err := a.root.Open(dir)
	if err != nil {
		return nil, 0, err
	}
	defer d.Close()
	names, err := d.Readdirnames(4 * maxHeld)
	if err != nil && err != io.EOF {
		return nil, 0, err
	}
	files = map[string]identity{}
	for _, name := range names {
		info, err := a.root.Stat(path.Join(dir, name))
		if strings.HasPrefix(name, ".") || err != nil || !info.Mode().IsRegular() {
			continue
		}
		id := identityOf(info)
		files[name] = id
		newest = max(newest, id.mtime, id.ctime)
	}
	if len(files) > maxHeld || len(names) == 4*maxHeld {
		return map[string]identity{}, newest, nil
	}
	return files, newest, nil
}

// settled reports whether new files are all there: a build writes hook.json
// last, so a new one that fits its files says so. Else nothing may have
// changed for a while, by the files' times or by what was seen.
func (a *artifacts) settled(f *folder, files map[string]identity, newest time.Time) bool {
	now := a.now()
	age := now.Sub(newest)
	if age >= settle {
		return true
	}
	if f.current.lacks(manifestName, files) && readClaims(a.root, f.dir).fit(files) {
		f.soon = age < tick
		return !f.soon
	}
	if f.next == nil || !maps.EqualFunc(f.next, files, identity.same) {
		f.next, f.nextSince = files, now
		return false
	}
	return now.Sub(f.nextSince) >= settle
}

// lacks reports whether files have another file under a name.
func (s *snapshot) lacks(name string, files map[string]identity) bool {
	id, ok := files[name]
	mine, had := s.all[name]
	return ok && (!had || !mine.same(id))
}

// hold opens the files of a folder.
func (a *artifacts) hold(dir string, files map[string]identity) *snapshot {
	s := &snapshot{all: files, files: map[string]*held{}, since: a.now(), refs: 1, claims: readClaims(a.root, dir)}
	for name := range files {
		file, info, err := openRegular(a.root, path.Join(dir, name))
		if err != nil {
			a.log.Error("an artifact cannot be read: its readers get an error", "file", path.Join(dir, name), "error", err)
			continue
		}
		s.files[name] = &held{file: file, id: identityOf(info)}
		s.all[name] = s.files[name].id
	}
	return s
}

// take makes a snapshot the folder's current one.
func (a *artifacts) take(f *folder, s *snapshot) {
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		h, full, want := s.files[name], path.Join(f.dir, name), s.claims.of(name)
		report := func(d *digest) { a.verify(full, want, d) }
		h.digest = a.digests.of(job{id: h.id, want: want, open: a.opener(s, h), report: report}, later)
	}
	first := f.current == nil
	f.drop()
	f.current = s
	if len(s.files) > 0 {
		a.log.Info(pick(first, "artifacts", "artifacts changed: machines that boot from now on get the new files"),
			"folder", path.Join(a.path, f.dir), "files", len(s.files), "build", short(s.claims.build))
	}
}

func pick(first bool, yes, no string) string {
	if first {
		return yes
	}
	return no
}

func short(id string) string { return id[:min(len(id), 12)] }

// verify compares a file with what is claimed of it. It is served
// nevertheless: somebody may have put in a file of his own.
func (a *artifacts) verify(name, want string, d *digest) {
	if p := problem(name, want, d); p != "" {
		a.log.Error("artifact: "+p, "folder", a.path)
	}
}
