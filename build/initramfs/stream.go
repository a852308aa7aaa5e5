package initramfs

import (
	"context"
	"errors"
	"fmt"
	"path"

	"hooksmith/build/rootfs"
)

// ErrOrder is the error of an Archive whose records cannot be written in the
// order in which they come, without those that follow.
var ErrOrder = errors.New("the records need another order")

// Archive is a segment that is written record by record, while its files are
// read: none is kept. The kernel wants a directory before what is in it, each
// path once, and to know of a file's other names when it reads the first; what
// does not come like that is an ErrOrder, unless the archive knows its tree.
type Archive struct {
	a     *archiver
	below []plan
	tree  *knownTree // nil: not known
	seen  map[string]*rootfs.Inode
	lent  map[string]bool // directories of earlier segments that have files here
	held  string          // a directory without a record so far: another entry may describe it
	ino   int64
	left  int64 // bytes to come of the last file
	drop  bool  // they are there already
	count int
}

// Add adds a file. If it is a regular one, as many bytes as it has follow by Write.
func (s *Archive) Add(name string, n *rootfs.Inode) error {
	if s.left > 0 {
		return fmt.Errorf("%q: %d bytes of the file before are missing", name, s.left)
	}
	if err := checkRecord(name, n); err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	if s.tree != nil {
		return s.addKnown(name, n)
	}
	old, twice := s.seen[name]
	switch {
	case twice && !(old.IsDir() && n.IsDir()):
		return ErrOrder
	case twice && s.held != name:
		if old.Mode != n.Mode || old.UID != n.UID || old.GID != n.GID || !old.ModTime.Equal(n.ModTime) {
			return ErrOrder
		}
		return nil
	case !twice && (!s.isDir(path.Dir(name)) || s.lent[name]):
		return ErrOrder
	}
	if s.held != name {
		if err := s.release(); err != nil {
			return err
		}
	}
	s.seen[name] = n
	if n.IsDir() {
		s.held = name
		return nil
	}
	return s.record(name, n)
}

// AddLink adds another name of a file that was added.
func (s *Archive) AddLink(name string) error {
	switch {
	case s.left > 0:
		return fmt.Errorf("%q: %d bytes of the file before are missing", name, s.left)
	case s.tree == nil:
		return ErrOrder
	}
	return s.addKnown(name, nil)
}

// Knows reports whether the archive knows its tree.
func (s *Archive) Knows() bool { return s.tree != nil }

// isDir reports whether a path is a directory of the archive, or of an earlier one.
func (s *Archive) isDir(name string) bool {
	if n := s.seen[name]; n != nil {
		return n.IsDir()
	}
	for i := range s.below {
		if n := s.below[i].seg.Tree.Lookup(name); n != nil && n.IsDir() {
			s.lent[name] = true
			return true
		}
	}
	return false
}

// release writes the record of the directory that was held back.
func (s *Archive) release() error {
	name := s.held
	if name == "" {
		return nil
	}
	s.held = ""
	return s.record(name, s.seen[name])
}

func (s *Archive) record(name string, n *rootfs.Inode) error {
	s.count++
	link := s.link(n)
	size := n.Size
	switch {
	case n.Type() == rootfs.ModeLink:
		size = int64(len(n.Target))
	case !link.first:
		size = 0
	}
	if err := s.a.header(name, n, link, s.a.modTime(n).Unix(), size); err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	s.left = size
	if n.Type() == rootfs.ModeLink {
		_, err := s.Write([]byte(n.Target))
		return err
	}
	return nil
}

// link numbers an inode. The other names of a file that is known have its number.
func (s *Archive) link(n *rootfs.Inode) linkOf {
	link := linkOf{names: 1, first: true}
	if n.IsDir() {
		link.names = 2
	}
	several := s.tree != nil && s.tree.names[n] > 1
	if several {
		link.names, link.ino = s.tree.names[n], s.tree.numbers[n]
		link.first = link.ino == 0
	}
	if link.ino == 0 {
		s.ino++
		link.ino = s.ino
	}
	if several {
		s.tree.numbers[n] = link.ino
	}
	return link
}

// Write takes the content of the last file.
func (s *Archive) Write(p []byte) (int, error) {
	if int64(len(p)) > s.left {
		return 0, fmt.Errorf("%d bytes more than the file has", int64(len(p))-s.left)
	}
	if s.drop {
		s.left -= int64(len(p))
		return len(p), nil
	}
	n, err := s.a.w.Write(p)
	if s.left -= int64(n); err == nil && s.left == 0 {
		err = s.a.pad()
	}
	return n, err
}

func (s *Archive) end() error {
	if s.left > 0 {
		return fmt.Errorf("%d bytes of the last file are missing", s.left)
	}
	if err := s.release(); err != nil {
		return err
	}
	if s.tree != nil && !s.isWhole() {
		return ErrOrder
	}
	return s.a.end()
}

// Streamed is a segment whose records were written as its files were read.
type Streamed struct {
	part part
	made *Info // what was written; nil: it was in the cache
}

// Close drops a segment that Adopt did not get. A nil Streamed has nothing.
func (s *Streamed) Close() error {
	if s == nil {
		return nil
	}
	return s.part.remove()
}

// StreamKey is the key under which the cache has what Stream makes.
func (a *Ahead) StreamKey(seg Segment, id string) string {
	return fmt.Sprintf("initramfs stream %s\n%s\n%s level %d epoch %d\n%s", cacheVersion, a.opt.Program, seg.Compression, seg.Level, seg.Epoch.Unix(), id)
}

// Streams reports whether segments of this compression and level can be
// streamed: some encoders have to know the size before. Over what cannot be
// written, none are.
func (a *Ahead) Streams(seg Segment) bool {
	_, ok := seg.Compression.streamEncoder(seg.Level, 0)
	return ok && a.err == nil && seg.Compression.CheckLevel(seg.Level) == nil
}

// Stream makes a segment over those that have what Over said, or takes it from
// the cache. It is for segments that Streams says yes to. write adds its
// records, the same whenever id is: about so many bytes, for which memory is
// reserved; what is far more takes up to 80 MB beyond. If seg has its tree, they
// may come in any order, but for a file's content, which must come under a name
// that it has in the end, before its other names; else in the kernel's. The
// error is ErrOrder if they do not. Without an error, the caller gives the
// Streamed to Adopt or closes it.
func (a *Ahead) Stream(ctx context.Context, seg Segment, id string, about int64, write func(ctx context.Context, s *Archive) error) (*Streamed, error) {
	enc, ok := seg.Compression.streamEncoder(seg.Level, about)
	if !ok || a.err != nil {
		return nil, fmt.Errorf("segment %q cannot be streamed", seg.Name)
	}
	out := &Streamed{}
	var err error
	out.part, err = fromCache(ctx, plan{seg: seg}, a.StreamKey(seg, id), a.opt, func(ctx context.Context, f rereadable) (Info, error) {
		s := &Archive{below: a.below, tree: know(seg.Tree), seen: map[string]*rootfs.Inode{}, lent: map[string]bool{}}
		info, err := compressTo(ctx, f, enc, a.memory, func(w *counter) error {
			s.a = &archiver{w: w, epoch: seg.Epoch}
			if err := write(ctx, s); err != nil {
				return err
			}
			return s.end()
		})
		info.Entries = s.count
		out.made = &info
		return info, err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Adopt takes a streamed segment for Write, as Compress would make it of the
// tree but for the order of its records. If it is not what the tree needs, the
// error is ErrOrder.
func (a *Ahead) Adopt(seg Segment, streamed *Streamed) error {
	p, err := newPlan(seg, false, a.below)
	if err != nil { // Write says it
		return streamed.Close()
	}
	key, err := p.key(a.opt.Program)
	switch m := streamed.made; {
	case err != nil:
	case p.root || seg.Last != nil || p.describesImplied():
		err = ErrOrder
	case m != nil && (m.Unpacked != p.size || m.Entries != p.entries):
		err = fmt.Errorf("%d records of %d bytes were written, but its tree has %d of %d; this is a fault of hooksmith: please report it", m.Entries, m.Unpacked, p.entries, p.size)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("segment %q: %w", seg.Name, err), streamed.Close())
	}
	streamed.part.info.Unpacked, streamed.part.info.Entries = p.size, p.entries
	return a.put(key, streamed.part)
}

// describesImplied reports whether the segment has directories of its own that
// no entry describes.
func (p *plan) describesImplied() bool {
	found := p.seg.Tree.Walk(func(name string, n *rootfs.Inode) error {
		if n.Implied() && !p.skip[name] {
			return ErrOrder
		}
		return nil
	})
	return found != nil
}
