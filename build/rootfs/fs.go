package rootfs

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"
)

// FS returns the tree for reading. It is an fs.ReadDirFS, fs.StatFS and
// fs.ReadLinkFS; symbolic links are followed inside the tree, absolute ones
// from its root. Regular files are also io.ReaderAt and io.Seeker, and Sys()
// of a FileInfo is the *Inode. Devices, fifos and sockets open as empty files.
func (t *Tree) FS() fs.FS { return treeFS{t} }

type treeFS struct{ t *Tree }

var (
	_ fs.ReadDirFS  = treeFS{}
	_ fs.StatFS     = treeFS{}
	_ fs.ReadLinkFS = treeFS{}
)

// errLoop is errno ELOOP, the same on every build host.
var errLoop = errors.New("too many levels of symbolic links")

// resolve returns the path in the tree to which name leads, and its inode.
func (t *Tree) resolve(name string, followLast bool) (string, *Inode, error) {
	at, rest, links := ".", name, 0
	n := t.root
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		switch {
		case !n.IsDir():
			return "", nil, syscall.ENOTDIR
		case part == "" || part == ".":
			continue
		case part == "..":
			at, _ = splitPath(at)
			n = t.Lookup(at)
			continue
		}
		next := joinPath(at, part)
		kid := t.Lookup(next)
		switch {
		case kid == nil:
			return "", nil, fs.ErrNotExist
		case kid.Type() != ModeLink || rest == "" && !followLast:
			at, n = next, kid
			continue
		}
		if links++; links > maxLinks {
			return "", nil, errLoop
		}
		if strings.HasPrefix(kid.Target, "/") {
			at, n = ".", t.root
		}
		rest = joinLink(kid.Target, rest)
	}
	return at, n, nil
}

// joinPath returns the path of a name in a directory of the tree.
func joinPath(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

// list returns the entries of the directory at a path of the tree, sorted.
func (t *Tree) list(dir string) []fs.DirEntry {
	prefix := ""
	if dir != "." {
		prefix = dir + "/"
	}
	var entries []fs.DirEntry
	i, _ := slices.BinarySearch(t.paths, prefix)
	for i < len(t.paths) && strings.HasPrefix(t.paths[i], prefix) {
		name, _, below := strings.Cut(t.paths[i][len(prefix):], "/")
		if below { // jump over all that is below name: '0' follows '/'
			i, _ = slices.BinarySearch(t.paths, prefix+name+"0")
			continue
		}
		entries = append(entries, fs.FileInfoToDirEntry(fileInfo{name, t.inodes[i]}))
		i++
	}
	slices.SortFunc(entries, func(x, y fs.DirEntry) int { return strings.Compare(x.Name(), y.Name()) })
	return entries
}

// at checks name as package fs asks for and resolves it.
func (f treeFS) at(op, name string, followLast bool) (string, *Inode, error) {
	if !fs.ValidPath(name) {
		return "", nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	p, n, err := f.t.resolve(name, followLast)
	if err != nil {
		return "", nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return p, n, nil
}

func (f treeFS) Open(name string) (fs.File, error) {
	p, n, err := f.at("open", name, true)
	if err != nil {
		return nil, err
	}
	info := fileInfo{baseName(name), n}
	if n.IsDir() {
		return &openDir{info: info, path: name, entries: f.t.list(p)}, nil
	}
	return &openFile{SectionReader: n.Open(), info: info}, nil
}

func (f treeFS) ReadDir(name string) ([]fs.DirEntry, error) {
	p, n, err := f.at("readdir", name, true)
	if err != nil {
		return nil, err
	}
	if !n.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: syscall.ENOTDIR}
	}
	return f.t.list(p), nil
}

func (f treeFS) Stat(name string) (fs.FileInfo, error) {
	_, n, err := f.at("stat", name, true)
	if err != nil {
		return nil, err
	}
	return fileInfo{baseName(name), n}, nil
}

func (f treeFS) Lstat(name string) (fs.FileInfo, error) {
	_, n, err := f.at("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return fileInfo{baseName(name), n}, nil
}

func (f treeFS) ReadLink(name string) (string, error) {
	_, n, err := f.at("readlink", name, false)
	if err != nil {
		return "", err
	}
	if n.Type() != ModeLink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return n.Target, nil
}

func baseName(p string) string {
	_, name := splitPath(p)
	return name
}

// openFile is an open file that is not a directory.
type openFile struct {
	*io.SectionReader
	info fileInfo
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

// openDir is an open directory.
type openDir struct {
	info    fileInfo
	path    string
	entries []fs.DirEntry // not yet returned
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error               { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.path, Err: syscall.EISDIR}
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		n = len(d.entries)
	} else if len(d.entries) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.entries))
	head := d.entries[:n:n]
	d.entries = d.entries[n:]
	return head, nil
}

// fileInfo describes an inode under one of its names.
type fileInfo struct {
	name  string
	inode *Inode
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.inode.Size }
func (i fileInfo) Mode() fs.FileMode  { return i.inode.fileMode() }
func (i fileInfo) ModTime() time.Time { return i.inode.ModTime }
func (i fileInfo) IsDir() bool        { return i.inode.IsDir() }
func (i fileInfo) Sys() any           { return i.inode }

// fileMode translates the mode to Go's bits.
func (n *Inode) fileMode() fs.FileMode {
	mode := fs.FileMode(n.Mode & 0o777)
	switch n.Type() {
	case ModeDir:
		mode |= fs.ModeDir
	case ModeLink:
		mode |= fs.ModeSymlink
	case ModeBlock:
		mode |= fs.ModeDevice
	case ModeChar:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case ModeFifo:
		mode |= fs.ModeNamedPipe
	case ModeSocket:
		mode |= fs.ModeSocket
	}
	if n.Mode&0o4000 != 0 {
		mode |= fs.ModeSetuid
	}
	if n.Mode&0o2000 != 0 {
		mode |= fs.ModeSetgid
	}
	if n.Mode&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}
