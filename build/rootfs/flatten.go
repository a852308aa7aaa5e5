package rootfs

import (
	"fmt"
)

// Flatten lays layers over each other, the lowest first, and returns what a
// container runtime would show.
//
//   - Whiteouts and opaque directories hide what lower layers have, never
//     what their own layer has, in whatever order the tar lists them.
//   - The entries of a layer apply in the order of the tar; the last of a
//     name wins. A directory over a directory changes owner and mode and
//     keeps what is in it. In every other case what was there goes, with all
//     below it.
//   - A hard link is another name of the inode that its target is at that
//     moment, in the same layer or below. An upper layer that replaces one
//     name leaves the others with the lower content. The owner and mode that
//     a tar repeats at the link are those of the inode and not looked at.
//   - A parent that no entry names is the one of the lower layers, or else
//     implied: 0755, root. A parent that is a symbolic link is followed
//     inside the tree.
//
// An error names the layer, counted from 1 at the bottom, and the entry.
func Flatten(layers ...*Layer) (*Tree, error) {
	b := newBuilder()
	for i, l := range layers {
		if err := b.applyLayer(l); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	return b.tree(), nil
}

// applyLayer removes what the layer hides, then adds what it has.
func (b *builder) applyLayer(l *Layer) error {
	if err := b.applyWhiteouts(l); err != nil {
		return err
	}
	for i := range l.entries {
		e := &l.entries[i]
		var err error
		switch e.kind {
		case kindNode:
			n := e.inode
			err = b.put(e.path, &n)
		case kindLink:
			err = b.putLink(e.path, e.link)
		}
		if err != nil {
			return fmt.Errorf("entry %q: %w", e.path, err)
		}
	}
	return nil
}

// putLink makes p another name of the inode at target.
func (b *builder) putLink(p, target string) error {
	old, err := b.find(target)
	switch {
	case err != nil:
		return fmt.Errorf("hard link to %q: %w", target, err)
	case old == nil:
		return fmt.Errorf("hard link to %q, which is neither in the layer before it nor below", target)
	case old.inode.IsDir():
		return fmt.Errorf("hard link to %q, which is a directory", target)
	}
	return b.put(p, old.inode)
}

// applyWhiteouts removes from the tree what the layer hides.
func (b *builder) applyWhiteouts(l *Layer) error {
	var own map[string]bool // the layer's own directories
	for i := range l.entries {
		e := &l.entries[i]
		if e.kind != kindWhiteout && e.kind != kindOpaque {
			continue
		}
		if own == nil {
			own = ownDirs(l)
		}
		if err := b.hide(e, own); err != nil {
			return fmt.Errorf("whiteout in %q: %w", e.path, err)
		}
	}
	return nil
}

func ownDirs(l *Layer) map[string]bool {
	own := make(map[string]bool)
	for i := range l.entries {
		if e := &l.entries[i]; e.kind == kindNode && e.inode.IsDir() {
			own[e.path] = true
		}
	}
	return own
}

// hide applies one whiteout. A parent that is a symbolic link below is
// followed, unless the layer puts a directory in the link's place: then the
// whiteout is about that new directory, below which there is nothing to hide.
func (b *builder) hide(e *entry, own map[string]bool) error {
	if b.newDirAbove(e, own) {
		return nil
	}
	if e.kind == kindOpaque {
		dir, err := b.walk(e.path, onlyExisting)
		if dir != nil {
			for name := range dir.kids {
				b.unlink(dir, name)
			}
		}
		return err
	}
	dirPath, name := splitPath(e.path)
	dir, err := b.walk(dirPath, onlyExisting)
	if dir != nil {
		b.unlink(dir, name)
	}
	return err
}

// newDirAbove reports whether a component of the whiteout's directory is a
// symbolic link in the tree and a directory in the layer itself.
func (b *builder) newDirAbove(e *entry, own map[string]bool) bool {
	dir := e.path
	if e.kind == kindWhiteout {
		dir, _ = splitPath(dir)
	}
	for ; dir != "."; dir, _ = splitPath(dir) {
		if !own[dir] {
			continue
		}
		if old, err := b.find(dir); err == nil && old != nil && old.inode.Type() == ModeLink {
			return true
		}
	}
	return false
}
