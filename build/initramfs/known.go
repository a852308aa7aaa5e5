package initramfs

import (
	"path"

	"hooksmith/build/rootfs"
)

// knownTree is what an Archive has in the end.
type knownTree struct {
	*rootfs.Tree
	names   map[*rootfs.Inode]int   // of each regular file
	numbers map[*rootfs.Inode]int64 // of those with several, once they have a record
}

// know prepares a tree for an Archive; nil: there is none.
func know(t *rootfs.Tree) *knownTree {
	if t == nil {
		return nil
	}
	k := &knownTree{t, map[*rootfs.Inode]int{}, map[*rootfs.Inode]int64{}}
	_ = t.Walk(func(_ string, n *rootfs.Inode) error { // which has no error of its own
		if n.Type() == rootfs.ModeFile {
			k.names[n]++
		}
		return nil
	})
	return k
}

// addKnown writes the record that the tree has for a path when what is there in
// the end comes, after those of its directories. n is what comes, nil for
// another name of a file.
func (s *Archive) addKnown(name string, n *rootfs.Inode) error {
	final := s.tree.Lookup(name)
	if final == nil || n != nil && n.Type() != final.Type() {
		return ErrOrder
	}
	isFile := final.Type() == rootfs.ModeFile
	if s.seen[name] != nil || isFile && n != nil && !n.SamePlace(final) {
		if s.drop = true; n != nil { // another comes or has come in its place
			s.left = n.Size
		}
		return nil
	}
	if err := s.addParents(path.Dir(name)); err != nil {
		return err
	}
	if n == nil && isFile && s.tree.numbers[final] == 0 {
		return ErrOrder // its content has not come, or under a name that is another file now
	}
	s.seen[name], s.drop = final, false
	return s.record(name, final)
}

// addParents writes the directories that a path is in, but for those that an
// earlier segment has and this one does not describe.
func (s *Archive) addParents(dir string) error {
	if dir == "." || s.seen[dir] != nil {
		return nil
	}
	n := s.tree.Lookup(dir)
	if n == nil || !n.IsDir() {
		return ErrOrder
	}
	if n.Implied() && s.isDir(dir) {
		return nil
	}
	if err := s.addParents(path.Dir(dir)); err != nil {
		return err
	}
	s.seen[dir] = n
	return s.record(dir, n)
}

// isWhole reports whether all that the tree describes has a record.
func (s *Archive) isWhole() bool {
	missing := s.tree.Walk(func(name string, n *rootfs.Inode) error {
		if s.seen[name] == nil && !n.Implied() {
			return ErrOrder
		}
		return nil
	})
	return missing == nil
}
