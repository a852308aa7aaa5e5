package rootfs

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Dedup returns the tree with files of equal content, mode, owner and
// extended attributes made hard links of the one that comes first in the
// order of Paths, whose modification time stays. Empty files are left alone:
// they take no space, and programs lock and truncate them.
//
// A path for which keepApart says yes stays a file of its own, with the other
// names that it already has: one whose content is changed at run time must
// not change another. A nil keepApart keeps nothing apart.
//
// Only files whose size another file of another place shares are read, in
// parallel, and each place once. Cancelling ctx stops the reading.
func (t *Tree) Dedup(ctx context.Context, keepApart func(path string) bool) (*Tree, error) {
	twins := t.candidates(keepApart)
	if err := hashAll(ctx, twins); err != nil {
		return nil, err
	}
	first := make(map[contentKey]*Inode)
	same := make(map[*Inode]*Inode)
	for _, f := range twins {
		key := contentKey{f.key, f.sum}
		if first[key] == nil {
			first[key] = f.inode
		}
		same[f.inode] = first[key]
	}
	linked := &Tree{root: t.root, paths: t.paths, inodes: slices.Clone(t.inodes)}
	for i, n := range linked.inodes {
		if twin := same[n]; twin != nil {
			linked.inodes[i] = twin
		}
	}
	return linked, nil
}

// twinKey is what two files must share before their contents are compared.
type twinKey struct {
	size     int64
	mode     uint32
	uid, gid int
	xattrs   string
}

type contentKey struct {
	twinKey
	sum [32]byte
}

// twin is a file that shares its key with another.
type twin struct {
	inode *Inode
	path  string // its first
	key   twinKey
	sum   [32]byte
}

// candidates returns the files that may have a twin, in the order of paths.
func (t *Tree) candidates(keepApart func(path string) bool) []*twin {
	apart := make(map[*Inode]bool)
	if keepApart != nil {
		for i, p := range t.paths {
			if t.inodes[i].Size > 0 && keepApart(p) {
				apart[t.inodes[i]] = true
			}
		}
	}
	count := make(map[twinKey]int)
	seen := make(map[*Inode]bool)
	var files []*twin
	for i, n := range t.inodes {
		if n.Size == 0 || n.Type() != ModeFile || apart[n] || seen[n] {
			continue
		}
		seen[n] = true
		f := &twin{inode: n, path: t.paths[i], key: n.twinKey()}
		count[f.key]++
		files = append(files, f)
	}
	return slices.DeleteFunc(files, func(f *twin) bool { return count[f.key] < 2 })
}

func (n *Inode) twinKey() twinKey {
	key := twinKey{size: n.Size, mode: n.Mode, uid: n.UID, gid: n.GID}
	if len(n.Xattrs) > 0 {
		var b strings.Builder
		for _, name := range slices.Sorted(maps.Keys(n.Xattrs)) {
			fmt.Fprintf(&b, "%q=%q ", name, n.Xattrs[name])
		}
		key.xattrs = b.String()
	}
	return key
}

// section is a place in a tar and how it is used; equal sections are equal
// contents.
type section struct {
	src *source
	off int64
	twinKey
}

// hashAll sets the sum of every twin. Each section is read once, and not at
// all where no other has its key: then its place tells it from all others.
func hashAll(ctx context.Context, twins []*twin) error {
	sections := make(map[section][]*twin)
	of := make(map[twinKey]int)
	var order []section // of the tree, which is nearly that of the tar
	for _, f := range twins {
		at := section{f.inode.data, f.inode.off, f.key}
		if sections[at] == nil {
			order = append(order, at)
			of[f.key]++
		}
		sections[at] = append(sections[at], f)
	}
	order = slices.DeleteFunc(order, func(at section) bool { return of[at.twinKey] < 2 })
	return eachParallel(ctx, order, func(at section, buf []byte) error {
		files := sections[at]
		sum, err := files[0].inode.hash(ctx, buf)
		if err != nil {
			return fmt.Errorf("reading %q: %w", files[0].path, err)
		}
		for _, f := range files {
			f.sum = sum
		}
		return nil
	})
}

// eachParallel calls fn for every item on all processors, each worker with a
// buffer of its own. It stops at the first error.
func eachParallel[T any](ctx context.Context, items []T, fn func(item T, buf []byte) error) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range min(runtime.GOMAXPROCS(0), len(items)) {
		g.Go(func() error {
			buf := make([]byte, 128<<10)
			for {
				i := next.Add(1) - 1
				if i >= int64(len(items)) {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := fn(items[i], buf); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// hash returns the SHA-256 of the content, which it need not read if known.
func (n *Inode) hash(ctx context.Context, buf []byte) (sum [32]byte, err error) {
	if n.sum != nil {
		return *n.sum, nil
	}
	h := sha256.New()
	for done := int64(0); done < n.Size; {
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		part := buf[:min(int64(len(buf)), n.Size-done)]
		if k, err := n.data.r.ReadAt(part, n.off+done); k < len(part) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return sum, err
		}
		h.Write(part)
		done += int64(len(part))
	}
	h.Sum(sum[:0])
	return sum, nil
}

// Hash reads the contents of all files of up to most bytes, in parallel, and
// keeps their SHA-256, for Dedup and for MarshalBinary. It must not run while
// the Layer is used elsewhere.
func (l *Layer) Hash(ctx context.Context, most int64) error {
	var files []*entry
	for i := range l.entries {
		e := &l.entries[i]
		if e.kind == kindNode && e.inode.Type() == ModeFile && e.inode.sum == nil && e.inode.Size <= most {
			files = append(files, e)
		}
	}
	return eachParallel(ctx, files, func(e *entry, buf []byte) error {
		sum, err := e.inode.hash(ctx, buf)
		if err != nil {
			return fmt.Errorf("reading tar entry %q: %w", e.path, err)
		}
		e.inode.sum = &sum
		return nil
	})
}
