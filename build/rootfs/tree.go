package rootfs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// File types of Inode.Mode, as in <sys/stat.h> (S_IFMT). They are spelled out
// because a Tree is the same on every build host.
const (
	ModeType   uint32 = 0o170000
	ModeSocket uint32 = 0o140000
	ModeLink   uint32 = 0o120000
	ModeFile   uint32 = 0o100000
	ModeBlock  uint32 = 0o060000
	ModeDir    uint32 = 0o040000
	ModeChar   uint32 = 0o020000
	ModeFifo   uint32 = 0o010000
)

// modePerm is what of a mode is not the type: permissions, setuid, setgid and
// sticky.
const modePerm uint32 = 0o7777

// Inode is one file. Two paths of a Tree that are hard links of each other
// hold the same *Inode. An Inode is immutable once it is in a Tree: an
// operation that changes one puts a changed copy in its place.
type Inode struct {
	Mode    uint32 // S_IFMT bits and permission bits (07777)
	UID     int
	GID     int
	ModTime time.Time
	Size    int64 // bytes of a regular file, else 0
	Major   uint32
	Minor   uint32
	Target  string            // of a symbolic link, verbatim
	Xattrs  map[string]string // "security.capability" -> raw value; nil if none

	data    *source // Size bytes from offset off; nil unless a non-empty regular file
	off     int64
	sum     *[32]byte // SHA-256 of the content, if it is known
	implied bool
}

// source is where contents are. Its address is the identity of a tar, so two
// inodes with equal source, offset and size are known to be equal unread.
type source struct {
	r    io.ReaderAt
	name string // of all its bytes, see Layer.Name; "" if they have none
}

// NewFile returns a regular file of root with these contents, which it keeps.
// The modification time is the caller's to set before the inode is in a Tree.
func NewFile(perm uint32, content []byte) *Inode {
	n := &Inode{Mode: ModeFile | perm&modePerm, Size: int64(len(content))}
	if len(content) > 0 {
		n.data = &source{r: bytes.NewReader(content)}
	}
	return n
}

// Open returns a reader over the content of a regular file. It is a section
// of the layer's tar: cheap, safe for concurrent use, nothing to close.
func (n *Inode) Open() *io.SectionReader {
	if n.data == nil {
		return io.NewSectionReader(emptyReader{}, 0, 0)
	}
	return io.NewSectionReader(n.data.r, n.off, n.Size)
}

type emptyReader struct{}

func (emptyReader) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

// SamePlace reports whether two regular files of one layer have their content
// in the same place of its tar: whether they come from the same entry.
func (n *Inode) SamePlace(o *Inode) bool { return n.Size == o.Size && n.off == o.off }

// Type returns the S_IFMT bits of the mode.
func (n *Inode) Type() uint32 { return n.Mode & ModeType }

// IsDir reports whether the inode is a directory.
func (n *Inode) IsDir() bool { return n.Type() == ModeDir }

// Implied reports whether the inode is a directory that no layer describes:
// it is there because something below it is (0755, root). Where trees come
// together, an implied directory yields to one that is described.
func (n *Inode) Implied() bool { return n.implied }

// SHA256 returns the hash of a regular file's content if it is known, that is
// after Layer.Hash.
func (n *Inode) SHA256() (sum [32]byte, ok bool) {
	if n.sum == nil {
		return sum, false
	}
	return *n.sum, true
}

// AppendContentID appends what names a regular file's content to a key: its
// hash if it is known, else its place in a layer that has a name, else its
// hash, for which it is read. Equal names are equal contents; equal contents
// may have several names.
func (n *Inode) AppendContentID(b []byte) ([]byte, error) {
	if n.sum != nil {
		return append(b, n.sum[:]...), nil
	}
	if n.data != nil && n.data.name != "" {
		return fmt.Appendf(b, "%q at %d", n.data.name, n.off), nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, n.Open()); err != nil {
		return b, err
	}
	return h.Sum(b), nil
}

func impliedDir() *Inode { return &Inode{Mode: ModeDir | 0o755, implied: true} }

// Tree is a file system: paths without leading or trailing slash, each with
// its inode, and the root apart. Every path's parents are in the Tree and are
// directories. A Tree does not change; all methods are safe for concurrent
// use, and those that alter return another Tree.
type Tree struct {
	root   *Inode
	paths  []string // byte order, so a parent stands before its children
	inodes []*Inode // inodes[i] is at paths[i]
}

// New returns a Tree of these paths; "." is the root directory, and missing
// parents are implied. The same *Inode at two paths makes a hard link. Paths
// are checked as those of a tar are, and parents that are symbolic links are
// followed as in Flatten.
func New(files map[string]*Inode) (*Tree, error) {
	b := newBuilder()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		p, err := cleanPath(name)
		if err == nil {
			err = files[name].usable()
		}
		if err == nil {
			err = b.put(p, files[name])
		}
		if err != nil {
			return nil, fmt.Errorf("file %q: %w", name, err)
		}
	}
	return b.tree(), nil
}

// usable refuses an inode that a caller has made and the package cannot use.
func (n *Inode) usable() error {
	switch {
	case n == nil:
		return errors.New("it has no inode")
	case n.Type() == ModeLink && n.Target == "":
		return errors.New("the symbolic link has no target")
	case n.Size != 0 && n.data == nil:
		return fmt.Errorf("it has no content for its %d bytes; make it with NewFile", n.Size)
	}
	return nil
}

// Root returns the inode of the root directory, never nil.
func (t *Tree) Root() *Inode { return t.root }

// Len returns the number of paths, the root not counted.
func (t *Tree) Len() int { return len(t.paths) }

// Paths returns all paths in byte order: parents come before their children.
// The caller may keep and change the slice.
func (t *Tree) Paths() []string { return slices.Clone(t.paths) }

// Lookup returns the inode at exactly this path, "." being the root, or nil.
// Symbolic links are not followed.
func (t *Tree) Lookup(path string) *Inode {
	if path == "." {
		return t.root
	}
	if i, ok := slices.BinarySearch(t.paths, path); ok {
		return t.inodes[i]
	}
	return nil
}

// HasChildren reports whether anything is below the directory at path.
func (t *Tree) HasChildren(path string) bool {
	if path == "." {
		return len(t.paths) > 0
	}
	i, _ := slices.BinarySearch(t.paths, path+"/")
	return i < len(t.paths) && strings.HasPrefix(t.paths[i], path+"/")
}

// Walk calls fn for every path in the order of Paths, the root left out, and
// stops at the first error, which it returns.
func (t *Tree) Walk(fn func(path string, n *Inode) error) error {
	for i, p := range t.paths {
		if err := fn(p, t.inodes[i]); err != nil {
			return err
		}
	}
	return nil
}

// pageSize is the unit in which tmpfs holds contents, on every architecture
// that HookOS runs on.
const pageSize = 4096

// Size returns the bytes that the contents take in a tmpfs: every regular
// file's size rounded up to whole pages, hard links counted once.
func (t *Tree) Size() int64 {
	var sum int64
	seen := make(map[*Inode]bool)
	for _, n := range t.inodes {
		if n.Size == 0 || seen[n] {
			continue
		}
		seen[n] = true
		sum += (n.Size + pageSize - 1) / pageSize * pageSize
	}
	return sum
}

// Place returns the tree moved below prefix: its root becomes the directory
// prefix, whose parents are implied. "" and "." leave the tree as it is.
func (t *Tree) Place(prefix string) *Tree {
	prefix = path.Clean("/" + prefix)[1:]
	if prefix == "" {
		return t
	}
	moved := &Tree{root: impliedDir()}
	for i := range prefix {
		if prefix[i] == '/' {
			moved.add(prefix[:i], impliedDir())
		}
	}
	moved.add(prefix, t.root)
	moved.paths = slices.Grow(moved.paths, len(t.paths))
	moved.inodes = append(moved.inodes, t.inodes...)
	for _, p := range t.paths {
		moved.paths = append(moved.paths, prefix+"/"+p)
	}
	return moved
}

// Keep returns the tree of those paths for which keep says yes. A directory
// also stays if anything below it does, with its owner and mode.
func (t *Tree) Keep(keep func(path string, n *Inode) bool) *Tree {
	stays := make([]bool, len(t.paths))
	for i, p := range t.paths {
		if !keep(p, t.inodes[i]) {
			continue
		}
		stays[i] = true
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			j, _ := slices.BinarySearch(t.paths, dir)
			if stays[j] {
				break
			}
			stays[j] = true
		}
	}
	kept := &Tree{root: t.root}
	for i, p := range t.paths {
		if stays[i] {
			kept.add(p, t.inodes[i])
		}
	}
	return kept
}

// add appends a path that stands after all others.
func (t *Tree) add(path string, n *Inode) {
	t.paths = append(t.paths, path)
	t.inodes = append(t.inodes, n)
}
