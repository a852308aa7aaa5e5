package initramfs

import (
	"errors"
	"fmt"

	"hooksmith/build/rootfs"
)

// compare decides what of the segment is written, given the ones that the
// kernel has unpacked before, and refuses what it would get wrong.
func (p *plan) compare(earlier []plan) error {
	if len(earlier) == 0 {
		return nil
	}
	return p.seg.Tree.Walk(func(name string, n *rootfs.Inode) error {
		for i := len(earlier) - 1; i >= 0; i-- {
			below := &earlier[i]
			old := below.seg.Tree.Lookup(name)
			if old == nil || below.skip[name] {
				continue
			}
			if err := p.over(name, n, old, below, earlier); err != nil {
				return fmt.Errorf("%q over the one of segment %q: %w", name, below.seg.Name, err)
			}
			return nil
		}
		return nil
	})
}

// over judges one record over a file that an earlier segment made, by what
// init/initramfs.c does (clean_path, maybe_link).
func (p *plan) over(name string, n, old *rootfs.Inode, below *plan, earlier []plan) error {
	switch {
	case n.IsDir() && n.Implied():
		return p.overByImplied(name, old)
	case n.IsDir():
		return nil
	case old.IsDir():
		if hasChildren(earlier, name) {
			return errors.New("the kernel does not remove a directory that is not empty, and drops the file; merge the trees")
		}
		return nil
	case n.Type() != old.Type():
		return nil
	case below.names[old] > 1:
		return fmt.Errorf("the kernel writes through hard links, which changes the %d names of that file; keep it apart in rootfs.Tree.Dedup, or merge the trees", below.names[old])
	case n.Major != old.Major || n.Minor != old.Minor:
		return errors.New("the kernel keeps the old device number; merge the trees")
	}
	return nil
}

// overByImplied leaves a directory to the earlier segment: the record of an
// implied one would undo its owner and mode.
func (p *plan) overByImplied(name string, old *rootfs.Inode) error {
	switch old.Type() {
	case rootfs.ModeDir:
		p.skip[name] = true
	case rootfs.ModeLink:
		return errors.New("a directory that is only implied would replace a symbolic link; merge the trees, or describe the directory")
	}
	return nil
}

// hasChildren reports whether any earlier segment has files in a directory.
func hasChildren(earlier []plan, dir string) bool {
	for i := range earlier {
		if earlier[i].seg.Tree.HasChildren(dir) {
			return true
		}
	}
	return false
}
