package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
)

// Layer is the index of one uncompressed layer tar: what its entries say and
// where their contents are. It keeps the tar open through the io.ReaderAt it
// was made from, for as long as the Layer or a Tree made of it is read.
type Layer struct {
	src     *source
	size    int64
	entries []entry // in the order of the tar
}

// entry is one member of the tar, its name already checked and understood.
type entry struct {
	kind  entryKind
	path  string // of kindWhiteout: what it hides; of kindOpaque: the directory
	link  string // of kindLink: the path whose inode this is another name of
	inode Inode  // of kindNode
}

type entryKind uint8

const (
	kindNode entryKind = iota
	kindLink
	kindWhiteout
	kindOpaque
	kindSkip // AUFS's own files: never kept
)

// maxEntries bounds the entries of a layer and the paths of a Tree. A large
// image has three hundred thousand; two million take half a gigabyte.
const maxEntries = 2 << 20

// Index reads the headers of an uncompressed tar of size bytes, once, and
// skips the contents. Entries that Linux could not create, that leave the
// root or that are not what a layer may hold are errors that name the entry.
// A tar may end without the two zero blocks that should end it, as container
// runtimes accept it; one that ends within an entry is an error.
func Index(r io.ReaderAt, size int64) (*Layer, error) {
	l := &Layer{src: &source{r: r}, size: size}
	c := &cursor{r: r, size: size}
	tr := tar.NewReader(c)
	last := ""
	for {
		hdr, err := tr.Next()
		if err == io.EOF {
			return l, nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // ours to judge
			return nil, fmt.Errorf("tar is damaged at byte %d, after entry %q: %w", c.pos, last, err)
		}
		last = hdr.Name
		if err := l.index(hdr, c.pos); err != nil {
			return nil, fmt.Errorf("tar entry %q: %w", hdr.Name, err)
		}
	}
}

// Indexer makes the index of a tar while it is written.
type Indexer struct{ l *Layer }

// NewIndexer returns an Indexer of an empty tar.
func NewIndexer() *Indexer {
	return &Indexer{&Layer{src: &source{r: emptyReader{}}, size: math.MaxInt64}}
}

// Add indexes the entry of a header whose content begins at off. It returns
// its path, and its inode if it is neither another name of a file nor a
// whiteout. Errors are those of Index.
func (x *Indexer) Add(hdr *tar.Header, off int64) (path string, n *Inode, err error) {
	before := len(x.l.entries)
	if err := x.l.index(hdr, off); err != nil || len(x.l.entries) == before {
		return "", nil, err
	}
	e := &x.l.entries[before]
	if e.kind != kindNode {
		return e.path, nil, nil
	}
	inode := e.inode
	return e.path, &inode, nil
}

// Layer returns the index of the tar, which has size bytes. Contents cannot be
// read from it: what MarshalBinary makes of it is for Load.
func (x *Indexer) Layer(size int64) *Layer {
	x.l.size = size
	return x.l
}

// later is a tar that is made when the first content is read from it.
type later struct {
	open func() (io.ReaderAt, error)

	once sync.Once
	r    io.ReaderAt
	err  error
}

func (l *later) ReadAt(p []byte, off int64) (int, error) {
	l.once.Do(func() { l.r, l.err = l.open() })
	if l.err != nil {
		return 0, l.err
	}
	return l.r.ReadAt(p, off)
}

// Name says by what name the caller knows all bytes of the tar, such as their
// digest: no other tar has it. It must not be called once the Layer is used.
func (l *Layer) Name(name string) { l.src.name = name }

// Len returns the number of entries of the layer, whiteouts included.
func (l *Layer) Len() int { return len(l.entries) }

// index appends the entry of one header whose content begins at off.
func (l *Layer) index(hdr *tar.Header, off int64) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader { // of git archive: a comment
		return nil
	}
	if len(l.entries) == maxEntries {
		return fmt.Errorf("the layer has more than %d entries", maxEntries)
	}
	p, err := cleanPath(hdr.Name)
	if err != nil {
		return err
	}
	kind, p, err := classify(p)
	switch {
	case err != nil || kind == kindSkip:
		return err
	case kind == kindNode && hdr.Typeflag == tar.TypeLink:
		return l.indexLink(hdr, p)
	case kind == kindNode:
		return l.indexNode(hdr, p, off)
	}
	l.entries = append(l.entries, entry{kind: kind, path: p})
	return nil
}

// Names that the OCI image specification (layer.md, "Whiteouts") reserves.
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	whiteoutMeta   = ".wh..wh." // AUFS's own files, .wh..wh.plnk and the like
)

// classify tells a whiteout by its name. AUFS's own files, which mean nothing
// outside AUFS, are kindSkip.
func classify(p string) (entryKind, string, error) {
	if !strings.Contains(p, whiteoutPrefix) {
		return kindNode, p, nil
	}
	dir, name := splitPath(p)
	for part := range strings.SplitSeq(dir, "/") {
		if strings.HasPrefix(part, whiteoutMeta) {
			return kindSkip, "", nil
		}
		if strings.HasPrefix(part, whiteoutPrefix) {
			return 0, "", fmt.Errorf("it is below %q, but names with %s are whiteouts and have nothing below them", part, whiteoutPrefix)
		}
	}
	hidden, isWhiteout := strings.CutPrefix(name, whiteoutPrefix)
	switch {
	case !isWhiteout:
		return kindNode, p, nil
	case name == whiteoutOpaque:
		return kindOpaque, dir, nil
	case strings.HasPrefix(name, whiteoutMeta):
		return kindSkip, "", nil
	case hidden == "" || hidden == "." || hidden == "..":
		return 0, "", errors.New("the whiteout hides no name")
	case dir == ".":
		return kindWhiteout, hidden, nil
	}
	return kindWhiteout, dir + "/" + hidden, nil
}

// indexLink appends a hard link. Its target is a path of the layer's view of
// the tree; a leading slash, which some builders write, means the same root.
func (l *Layer) indexLink(hdr *tar.Header, p string) error {
	target, err := cleanPath(strings.TrimLeft(hdr.Linkname, "/"))
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", hdr.Linkname, err)
	}
	l.entries = append(l.entries, entry{kind: kindLink, path: p, link: target})
	return nil
}

func (l *Layer) indexNode(hdr *tar.Header, p string, off int64) error {
	n, err := l.inode(hdr, off)
	if err == nil {
		err = n.check(l.size)
	}
	if err == nil && p == "." && !n.IsDir() {
		err = errors.New("the root is not a directory")
	}
	if err != nil {
		return err
	}
	l.entries = append(l.entries, entry{path: p, inode: n})
	return nil
}

// inode translates the header of anything but a hard link. The numbers are
// checked by Inode.check.
func (l *Layer) inode(hdr *tar.Header, off int64) (Inode, error) {
	n := Inode{
		Mode:    uint32(hdr.Mode) & modePerm,
		UID:     hdr.Uid,
		GID:     hdr.Gid,
		ModTime: hdr.ModTime.UTC(),
	}
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeCont:
		n.Mode |= ModeFile
		n.Size = hdr.Size
		if n.Size > 0 {
			n.data, n.off = l.src, off
		}
	case tar.TypeDir:
		n.Mode |= ModeDir
	case tar.TypeSymlink:
		n.Mode |= ModeLink
		n.Target = hdr.Linkname
	case tar.TypeFifo:
		n.Mode |= ModeFifo
	case tar.TypeChar, tar.TypeBlock:
		n.Mode |= ModeChar
		if hdr.Typeflag == tar.TypeBlock {
			n.Mode = n.Mode&modePerm | ModeBlock
		}
		if min(hdr.Devmajor, hdr.Devminor) < 0 || max(hdr.Devmajor, hdr.Devminor) > math.MaxUint32 {
			return n, fmt.Errorf("device number %d:%d is out of range", hdr.Devmajor, hdr.Devminor)
		}
		n.Major, n.Minor = uint32(hdr.Devmajor), uint32(hdr.Devminor)
	case tar.TypeGNUSparse:
		return n, errSparse
	default:
		return n, fmt.Errorf("tar entry type %q is not one that a layer may hold", hdr.Typeflag)
	}
	return n, n.setXattrs(hdr.PAXRecords)
}

var errSparse = errors.New("it is a sparse file of GNU tar, whose content is not one piece; write the layer without --sparse")

// setXattrs takes the extended attributes from a header's PAX records.
func (n *Inode) setXattrs(records map[string]string) error {
	for key, value := range records {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return errSparse
		}
		name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok {
			continue
		}
		if n.Xattrs == nil {
			n.Xattrs = make(map[string]string)
		}
		n.Xattrs[name] = value
	}
	return nil
}

// Limits of Linux (XATTR_NAME_MAX, XATTR_SIZE_MAX).
const (
	maxXattrName  = 255
	maxXattrValue = 64 << 10
)

// check refuses an inode that no Linux file system could hold or whose content
// is not within a tar of size bytes. It guards a Tree against a hostile tar
// and against a damaged index alike.
func (n *Inode) check(size int64) error {
	const maxID = math.MaxUint32 - 1 // the last one means "unchanged" to chown
	switch {
	case min(n.UID, n.GID) < 0 || max(n.UID, n.GID) > maxID:
		return fmt.Errorf("owner %d:%d is out of range", n.UID, n.GID)
	case n.Size < 0 || n.off < 0 || n.Size > size-n.off:
		return fmt.Errorf("its content of %d bytes at byte %d is not within the tar of %d bytes: the tar is truncated or not a tar", n.Size, n.off, size)
	case n.Type() == ModeLink && n.Target == "":
		return errors.New("the symbolic link has no target")
	case len(n.Target) > maxPath || strings.IndexByte(n.Target, 0) >= 0:
		return fmt.Errorf("the target of the symbolic link has a NUL byte or more than %d bytes", maxPath)
	}
	return n.checkXattrs()
}

func (n *Inode) checkXattrs() error {
	for name, value := range n.Xattrs {
		if name == "" || len(name) > maxXattrName || len(value) > maxXattrValue || strings.IndexByte(name, 0) >= 0 {
			return fmt.Errorf("extended attribute %.64q (%d bytes) is larger than Linux allows", name, len(value))
		}
	}
	return nil
}
