package rootfs

import "fmt"

// Merge lays trees over each other; later trees win path by path, as when the
// kernel unpacks one archive after the other. A directory replaced by a file
// drops its children. An implied directory never replaces a directory that is
// described, and where it stands for a symbolic link of an earlier tree, what
// is below it goes where the link leads. Hard links stay within their tree:
// one tree placed at two prefixes gives two sets of files.
//
// An error names the tree, counted from 1, and the path.
func Merge(trees ...*Tree) (*Tree, error) {
	b := newBuilder()
	for i, t := range trees {
		if err := b.applyTree(t); err != nil {
			return nil, fmt.Errorf("tree %d: %w", i+1, err)
		}
	}
	return b.tree(), nil
}

func (b *builder) applyTree(t *Tree) error {
	if !t.root.implied {
		b.root.inode = t.root
	}
	copies := make(map[*Inode]*Inode, len(t.inodes))
	for i, p := range t.paths {
		n := t.inodes[i]
		var err error
		if n.implied {
			_, err = b.walk(p, makeParents)
		} else {
			err = b.put(p, copyOnce(copies, n))
		}
		if err != nil {
			return fmt.Errorf("%q: %w", p, err)
		}
	}
	return nil
}

// copyOnce returns the copy of an inode in one application of a tree.
func copyOnce(copies map[*Inode]*Inode, n *Inode) *Inode {
	if c := copies[n]; c != nil {
		return c
	}
	c := *n
	copies[n] = &c
	return &c
}
