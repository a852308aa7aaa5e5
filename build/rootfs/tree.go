package rootfs

import (
	"io"
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

	data io.ReaderAt // Size bytes from offset off; nil unless a non-empty regular file
	off  int64
}

// Open returns a reader over the content of a regular file. It is a section
// of the layer's tar: cheap, safe for concurrent use, nothing to close.
func (n *Inode) Open() *io.SectionReader {
	if n.data == nil {
		return io.NewSectionReader(emptyReader{}, 0, 0)
	}
	return io.NewSectionReader(n.data, n.off, n.Size)
}

type emptyReader struct{}

func (emptyReader) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

// Type returns the S_IFMT bits of the mode.
func (n *Inode) Type() uint32 { return n.Mode & ModeType }

// IsDir reports whether the inode is a directory.
func (n *Inode) IsDir() bool { return n.Type() == ModeDir }
