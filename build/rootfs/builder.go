package rootfs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// builder is a tree that changes while layers or trees are laid over it.
type builder struct {
	root  *node
	nodes int     // in the tree, the root not counted
	bytes int     // sum of the lengths of their paths
	above []*node // scratch of walk: the directories above where it stands
}

type node struct {
	inode  *Inode
	kids   map[string]*node // of a directory; nil while it is empty
	length int              // of the path
}

// maxBytes bounds the sum of the lengths of a Tree's paths. A large image has
// thirty million; without a bound a tar of a megabyte that nests directories
// two thousand deep takes gigabytes.
const maxBytes = 512 << 20

func newBuilder() *builder { return &builder{root: &node{inode: impliedDir()}} }

// put lays one inode at a clean path. Missing parents are implied. As when an
// archive is unpacked, a directory over a directory only changes its owner
// and mode; in every other case what was there goes, with all below it.
func (b *builder) put(p string, n *Inode) error {
	if p == "." {
		if !n.IsDir() {
			return errors.New("the root is not a directory")
		}
		b.root.inode = n
		return nil
	}
	dirPath, name := splitPath(p)
	dir, err := b.walk(dirPath, makeParents)
	if err != nil {
		return err
	}
	if old := dir.kids[name]; old != nil && old.inode.IsDir() && n.IsDir() {
		old.inode = n
		return nil
	}
	return b.link(dir, name, n)
}

// link makes name in dir a node of this inode, whatever was there.
func (b *builder) link(dir *node, name string, n *Inode) error {
	b.unlink(dir, name)
	kid := &node{inode: n, length: len(name)}
	if dir != b.root {
		kid.length += dir.length + 1
	}
	b.nodes++
	b.bytes += kid.length
	switch {
	case kid.length > maxPath:
		return fmt.Errorf("symbolic links make its path %d bytes long, more than the %d that Linux allows", kid.length, maxPath)
	case b.nodes > maxEntries || b.bytes > maxBytes:
		return fmt.Errorf("the tree has more than %d files or %d bytes of names", maxEntries, maxBytes)
	case dir.kids == nil:
		dir.kids = make(map[string]*node)
	}
	dir.kids[name] = kid
	return nil
}

// unlink removes name from dir, with all below it.
func (b *builder) unlink(dir *node, name string) {
	if kid := dir.kids[name]; kid != nil {
		b.forget(kid)
		delete(dir.kids, name)
	}
}

func (b *builder) forget(n *node) {
	b.nodes--
	b.bytes -= n.length
	for _, kid := range n.kids {
		b.forget(kid)
	}
}

// find returns the node at a clean path or nil. Symbolic links on the way are
// followed, one at the end is not.
func (b *builder) find(p string) (*node, error) {
	if p == "." {
		return b.root, nil
	}
	dirPath, name := splitPath(p)
	dir, err := b.walk(dirPath, onlyExisting)
	if dir == nil || err != nil {
		return nil, err
	}
	return dir.kids[name], nil
}

// maxLinks is how many symbolic links one path may lead through, as in Linux.
const maxLinks = 40

// walkMode says what walk does where there is no directory.
type walkMode uint8

const (
	onlyExisting walkMode = iota // returns nil
	makeParents                  // makes an implied one
)

// walk returns the directory at a clean path. A component that is a symbolic
// link is followed inside the tree, where ".." at the root stays at the root,
// as a container runtime does when it unpacks a layer: `lib/x` in a layer
// over one with `lib -> usr/lib` is usr/lib/x.
//
// With makeParents, a missing directory is made. A file that is in the way is
// replaced, as overlayfs shows the upper directory over the lower file; only
// a file that a symbolic link leads to is an error, for the path as it is
// written does not name that file.
func (b *builder) walk(p string, mode walkMode) (*node, error) {
	b.above = b.above[:0]
	at, rest, links := b.root, p, 0
	own := len(rest) // how much of rest is of p itself
	for rest != "" && rest != "." {
		byLink := len(rest) > own
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		own = min(own, len(rest))
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			if k := len(b.above); k > 0 {
				at, b.above = b.above[k-1], b.above[:k-1]
			}
			continue
		}
		next := at.kids[name]
		if next != nil && next.inode.Type() == ModeLink {
			if links++; links > maxLinks {
				return nil, fmt.Errorf("its path leads through more than %d symbolic links", maxLinks)
			}
			if next.inode.Target[0] == '/' {
				at, b.above = b.root, b.above[:0]
			}
			rest = joinLink(next.inode.Target, rest)
			continue
		}
		next, err := b.enter(at, name, mode, byLink)
		if next == nil {
			return nil, err
		}
		b.above = append(b.above, at)
		at = next
	}
	return at, nil
}

// enter returns the directory of a name that is no symbolic link.
func (b *builder) enter(at *node, name string, mode walkMode, byLink bool) (*node, error) {
	next := at.kids[name]
	switch {
	case next != nil && next.inode.IsDir():
		return next, nil
	case mode == onlyExisting:
		return nil, nil
	case next != nil && byLink:
		return nil, fmt.Errorf("its path leads through a symbolic link to %q, which is not a directory", name)
	}
	if err := b.link(at, name, impliedDir()); err != nil {
		return nil, err
	}
	return at.kids[name], nil
}

// joinLink puts a link's target before what is left of a path.
func joinLink(target, rest string) string {
	if rest == "" {
		return target
	}
	return target + "/" + rest
}

// tree returns what was built as a Tree. The builder must not be used again.
func (b *builder) tree() *Tree {
	type file struct {
		path  string
		inode *Inode
	}
	files := make([]file, 0, b.nodes)
	var add func(dir *node, prefix string)
	add = func(dir *node, prefix string) {
		for name, kid := range dir.kids {
			p := prefix + name
			files = append(files, file{p, kid.inode})
			if len(kid.kids) > 0 {
				add(kid, p+"/")
			}
		}
	}
	add(b.root, "")
	slices.SortFunc(files, func(x, y file) int { return strings.Compare(x.path, y.path) })
	t := &Tree{
		root:   b.root.inode,
		paths:  make([]string, len(files)),
		inodes: make([]*Inode, len(files)),
	}
	for i, f := range files {
		t.paths[i], t.inodes[i] = f.path, f.inode
	}
	return t
}
