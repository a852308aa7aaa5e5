package initramfs

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"hooksmith/build/rootfs"
)

// plan is a segment of which it is known that it can be written.
type plan struct {
	seg     Segment
	root    bool                  // write the root's record
	skip    map[string]bool       // directories that are left to an earlier segment
	names   map[*rootfs.Inode]int // of each regular file
	entries int
	size    int64 // of the archive
}

// planAll checks the segments and counts what they become. One of them writes
// the root's record even if none describes the root: without it "/" would keep
// the mode of a tmpfs, 1777.
func planAll(segments []Segment) ([]plan, error) {
	if len(segments) == 0 {
		return nil, errors.New("an initramfs needs at least one segment")
	}
	plans := make([]plan, len(segments))
	described := slices.ContainsFunc(segments, func(seg Segment) bool {
		return seg.Tree != nil && !seg.Tree.Root().Implied()
	})
	for i, seg := range segments {
		var err error
		if plans[i], err = newPlan(seg, i == 0 && !described, plans[:i]); err != nil {
			return nil, fmt.Errorf("segment %q: %w", seg.Name, err)
		}
	}
	return plans, nil
}

// newPlan checks a segment over earlier ones. root has it write the root's
// record even if it does not describe the root.
func newPlan(seg Segment, root bool, earlier []plan) (plan, error) {
	p := plan{seg: seg, names: make(map[*rootfs.Inode]int), skip: make(map[string]bool)}
	if err := seg.Compression.CheckLevel(seg.Level); err != nil {
		return p, err
	}
	if seg.Tree == nil {
		return p, errors.New("it has no tree")
	}
	p.root = root || !seg.Tree.Root().Implied()
	if err := p.compare(earlier); err != nil {
		return p, err
	}
	return p, p.measure()
}

// each calls fn for every record in order, the root's first, with inode
// numbers from 1. Names of one regular file share a number; a device or a
// symbolic link with several names becomes several, which no program can tell.
func (p *plan) each(fn func(name string, n *rootfs.Inode, link linkOf) error) error {
	var last int64
	numbers := make(map[*rootfs.Inode]int64)
	record := func(name string, n *rootfs.Inode) error {
		if p.skip[name] {
			return nil
		}
		link := linkOf{names: 1, first: true}
		if n.IsDir() {
			link.names = 2
		}
		if names := p.names[n]; names > 1 {
			link.names, link.ino = names, numbers[n]
			link.first = link.ino == 0
		}
		if link.ino == 0 {
			last++
			link.ino = last
		}
		if link.names > 1 && link.first && !n.IsDir() {
			numbers[n] = link.ino
		}
		return fn(name, n, link)
	}
	if p.root {
		if err := record(".", p.seg.Tree.Root()); err != nil {
			return err
		}
	}
	if p.seg.Last == nil {
		return p.seg.Tree.Walk(record)
	}
	for _, last := range []bool{false, true} {
		err := p.seg.Tree.Walk(func(name string, n *rootfs.Inode) error {
			if p.seg.Last(name) != last {
				return nil
			}
			return record(name, n)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// measure checks every record and sums up sizes.
func (p *plan) measure() error {
	err := p.seg.Tree.Walk(func(_ string, n *rootfs.Inode) error {
		if n.Type() == rootfs.ModeFile {
			p.names[n]++
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = p.each(func(name string, n *rootfs.Inode, link linkOf) error {
		if err := checkRecord(name, n); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		content := int64(len(n.Target))
		if n.Type() == rootfs.ModeFile && link.first {
			content = n.Size
		}
		p.size += recordSize(name, content)
		p.entries++
		return nil
	})
	p.size += recordSize(trailer, 0)
	p.size += -p.size & (blockSize - 1)
	return err
}

// checkRecord refuses what newc cannot express or the kernel would skip
// without a word.
func checkRecord(name string, n *rootfs.Inode) error {
	switch {
	case len(name) > maxName:
		return fmt.Errorf("its path has %d bytes; the kernel skips those of more than %d", len(name), maxName)
	case name == trailer:
		return errors.New("this name ends a cpio archive; rename the file")
	case strings.IndexByte(name, 0) >= 0:
		return errors.New("its path contains a NUL byte")
	case min(n.UID, n.GID) < 0 || max(n.UID, n.GID) > maxField:
		return fmt.Errorf("owner %d:%d does not fit into 32 bits", n.UID, n.GID)
	}
	return checkType(n)
}

// checkType refuses what cannot be said of an inode of its type.
func checkType(n *rootfs.Inode) error {
	const maxMajor, maxMinor = 1<<12 - 1, 1<<20 - 1
	switch n.Type() {
	case rootfs.ModeDir, rootfs.ModeFifo:
		return nil
	case rootfs.ModeFile:
		if n.Size > maxField {
			return fmt.Errorf("it has %d bytes; a file in an initramfs is limited to 4 GiB", n.Size)
		}
		return nil
	case rootfs.ModeLink:
		if n.Target == "" || len(n.Target) > maxName {
			return fmt.Errorf("its target has %d bytes; the kernel takes 1 to %d", len(n.Target), maxName)
		}
		return nil
	case rootfs.ModeBlock, rootfs.ModeChar:
		if n.Major > maxMajor || n.Minor > maxMinor {
			return fmt.Errorf("device %d:%d is beyond the kernel's %d:%d", n.Major, n.Minor, maxMajor, maxMinor)
		}
		return nil
	case rootfs.ModeSocket:
		return errors.New("it is a socket, which means nothing without the program that listens; leave it out")
	}
	return fmt.Errorf("it is of no known type: mode %o", n.Mode)
}
