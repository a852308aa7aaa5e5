package initramfs

import (
	"path"

	"hooksmith/build/rootfs"
)

// knownTree is what an Archive has in the end.
type knownTree struct {
	*rootfs.Tree
	names   map[*rootfs.Inode]int   // of each regular file
	numbers map[*rootfs.Inode]int64 // of what has a record
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

// addKnown writes the record that the tree has for a path when it first comes,
// after those of its directories. n is what comes, nil for another name of a
// file.
func (s *Archive) addKnown(name string, n *rootfs.Inode) error {
	final := s.tree.Lookup(name)
	if final == nil || n != nil && (n.Type() != final.Type() || n.Size != final.Size) {
		return ErrOrder
	}
	if s.seen[name] != nil { // the same once more
		if s.drop = true; n != nil {
			s.left = n.Size
		}
		return nil
	}
	if err := s.addParents(path.Dir(name)); err != nil {
		return err
	}
	first := s.tree.numbers[final] == 0
	if n == nil && first && final.Type() == rootfs.ModeFile {
		return ErrOrder // its content has not come, or under a name that is another file now
	}
	s.seen[name], s.drop = final, false
	err := s.record(name, final)
	if n != nil && !first {
		s.left, s.drop = n.Size, true
	}
	return err
}

// addParents writes the directories that a path is in.
func (s *Archive) addParents(dir string) error {
	if dir == "." || s.isDir(dir) {
		return nil
	}
	if err := s.addParents(path.Dir(dir)); err != nil {
		return err
	}
	n := s.tree.Lookup(dir)
	if n == nil || !n.IsDir() {
		return ErrOrder
	}
	s.seen[dir] = n
	return s.record(dir, n)
}
