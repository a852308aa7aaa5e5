package inspect

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// pageSize is the unit in which tmpfs holds contents.
const pageSize = 4096

// File types in a mode.
const (
	modeType = 0o170000
	modeSock = 0o140000
	modeLink = 0o120000
	modeFile = 0o100000
	modeBlk  = 0o060000
	modeDir  = 0o040000
	modeChar = 0o020000
	modePipe = 0o010000
)

// node is a name in the root file system after boot.
type node struct {
	*record
	segment int
	inode   *inode // of a regular file
}

// inode is what the names of a hard link share.
type inode struct {
	first  string // the name that counts in sums
	data   *record
	memory int64
}

// tree is the root file system after boot.
type tree struct {
	nodes    map[string]*node
	paths    []string // sorted
	entries  int
	dropped  int // folders that became something else
	warnings []string
}

// unpack applies all records in the order of the file, as the kernel does: a
// later one wins, and what was below a folder that became something else is gone.
func unpack(all []*scanned) *tree {
	t := &tree{nodes: map[string]*node{}}
	segment := -1
	for _, s := range all {
		offset := int64(-1)
		links := map[uint32]*inode{}
		for i := range s.records {
			rec := &s.records[i]
			if rec.Offset != offset {
				offset, links = rec.Offset, map[uint32]*inode{}
				segment++
			}
			t.add(rec, segment, links)
		}
		t.warnings = append(t.warnings, s.warnings...)
	}
	t.finish()
	return t
}

func (t *tree) add(rec *record, segment int, links map[uint32]*inode) {
	t.entries++
	n := &node{record: rec, segment: segment}
	if rec.Mode&modeType == modeFile {
		n.inode = linked(rec, links)
	}
	old := t.nodes[rec.path]
	if old != nil && old.Mode&modeType == modeDir && rec.Mode&modeType != modeDir {
		t.dropBelow(rec.path)
	}
	t.nodes[rec.path] = n
}

// linked finds the inode of a record: its own, or that of an earlier name. The
// content stands at whichever name has one.
func linked(rec *record, links map[uint32]*inode) *inode {
	if rec.Links < 2 {
		return &inode{data: rec}
	}
	shared := links[rec.Ino]
	if shared == nil {
		shared = &inode{data: rec}
		links[rec.Ino] = shared
	} else if rec.Size > 0 {
		shared.data = rec
	}
	return shared
}

// maxDropped bounds how often dropBelow looks through everything.
const maxDropped = 64

// dropBelow is rare, so it may be slow; the kernel would refuse and keep both.
func (t *tree) dropBelow(dir string) {
	if t.dropped++; t.dropped > maxDropped {
		return
	}
	for p := range t.nodes {
		if strings.HasPrefix(p, dir+"/") {
			delete(t.nodes, p)
		}
	}
	t.warnings = append(t.warnings, fmt.Sprintf("%s: a folder is replaced by something else; the kernel only does so if the folder is empty", dir))
}

// finish sorts the paths, sets which name of a file counts, and looks for
// what the kernel drops.
func (t *tree) finish() {
	t.paths = make([]string, 0, len(t.nodes))
	for p := range t.nodes {
		t.paths = append(t.paths, p)
	}
	slices.Sort(t.paths)
	orphans := 0
	for _, p := range t.paths {
		n := t.nodes[p]
		if n.inode != nil && n.inode.first == "" {
			n.inode.first = p
			n.inode.memory = (n.inode.data.Size + pageSize - 1) / pageSize * pageSize
		}
		if dir := path.Dir(p); dir != "." && t.nodes[dir] == nil && t.lookup(dir) == nil {
			if orphans++; orphans == 1 {
				t.warnings = append(t.warnings, fmt.Sprintf("%s: there is no record for its folder; the kernel drops the file", p))
			}
		}
	}
	if orphans > 1 {
		t.warnings = append(t.warnings, fmt.Sprintf("%d more files have no record for their folder", orphans-1))
	}
}

// memory is what a name adds to the root file system.
func (n *node) memory() int64 {
	if n.inode == nil || n.inode.first != n.path {
		return 0
	}
	return n.inode.memory
}

// content is what was kept of the file at p; nil if there is none.
func (t *tree) content(p string) []byte {
	if n := t.nodes[p]; n != nil && n.inode != nil {
		return n.inode.data.content
	}
	return nil
}

// lookup finds a path through the symbolic links on the way, as an open would.
func (t *tree) lookup(p string) *node {
	for range 16 {
		n := t.nodes[p]
		if n != nil && n.Mode&modeType != modeLink {
			return n
		}
		next, ok := t.step(p)
		if !ok {
			return nil
		}
		p = next
	}
	return nil
}

// step replaces the first symbolic link on the way to p.
func (t *tree) step(p string) (string, bool) {
	for i := 0; i <= len(p); i++ {
		if i < len(p) && p[i] != '/' {
			continue
		}
		n := t.nodes[p[:i]]
		if n == nil || n.Mode&modeType != modeLink {
			continue
		}
		target := n.Target
		if !path.IsAbs(target) {
			target = path.Join("/", path.Dir(p[:i]), target)
		}
		return strings.TrimPrefix(path.Join(target, p[i:]), "/"), true
	}
	return p, false
}

// files is the tree as the report has it.
func (t *tree) files() []File {
	out := make([]File, 0, len(t.paths))
	for _, p := range t.paths {
		n := t.nodes[p]
		f := File{Path: p, Mode: modeString(n.Mode), Target: n.Target, Segment: n.segment}
		if n.UID != 0 || n.GID != 0 {
			f.Owner = fmt.Sprintf("%d:%d", n.UID, n.GID)
		}
		switch n.Mode & modeType {
		case modeFile:
			f.Size, f.Memory = n.inode.data.Size, n.memory()
			f.digest, f.hasBytes = n.inode.data.digest, n.inode.data.Size > 0
			if n.inode.first != p {
				f.LinkOf = n.inode.first
			}
		case modeChar, modeBlk:
			f.Target = fmt.Sprintf("%d:%d", n.Major, n.Minor)
		}
		out = append(out, f)
	}
	return out
}

// modeString is a mode as ls prints it.
func modeString(mode uint32) string {
	kinds := map[uint32]byte{modeSock: 's', modeLink: 'l', modeFile: '-', modeBlk: 'b', modeDir: 'd', modeChar: 'c', modePipe: 'p'}
	b := []byte("?rwxrwxrwx")
	if k, ok := kinds[mode&modeType]; ok {
		b[0] = k
	}
	for i := range 9 {
		if mode>>(8-i)&1 == 0 {
			b[i+1] = '-'
		}
	}
	for i, special := range "sst" {
		if mode>>(11-i)&1 == 0 {
			continue
		}
		at := 3 * (i + 1)
		if b[at] == '-' {
			special -= 'a' - 'A'
		}
		b[at] = byte(special)
	}
	return string(b)
}
