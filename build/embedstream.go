package build

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hooksmith/build/fetch"
	"hooksmith/build/initramfs"
	"hooksmith/build/rootfs"
	"hooksmith/embed"
)

// A layer of the store goes from its image into its segment while it is read:
// nothing is unpacked, and nothing is kept but the segment and an index. Where
// its files come in an order that an archive cannot have (another name of a
// file that has passed, a path twice), the layer's tar is made in the cache
// instead, as for the layers of a file system, and the segment of that.

// embedding makes the trees of a store's layers and, with ahead, their segments.
type embedding struct {
	*builder
	ctx  context.Context // of all jobs
	work *pool
	task fetch.Task
}

// job makes the tree of a layer, and what else it calls for.
func (e embedding) job(l *embed.Layer, out *embeddedTree) job {
	later := &rootfs.Later{Make: func() (io.ReaderAt, error) { return e.layers.storedTar(e.ctx, l) }}
	return job{inflated(l), func(ctx context.Context) (err error) {
		*out, err = e.streamed(ctx, l, later)
		if !errors.Is(err, initramfs.ErrOrder) {
			return err
		}
		if *out, err = e.unpacked(ctx, l); err == nil && e.ahead != nil {
			seg := e.embedSegment(*out)
			e.work.add(job{seg.Tree.Size(), func(ctx context.Context) error { return e.ahead.Compress(ctx, seg) }})
		}
		return err
	}}
}

// unpacked is a layer of the store from its tar in the cache.
func (e embedding) unpacked(ctx context.Context, l *embed.Layer) (embeddedTree, error) {
	t, err := e.layers.tree(ctx, []v1.Layer{l})
	return e.placed(l, t, err)
}

// placed is a layer's tree where the init finds it, or the error that there is none.
func (e embedding) placed(l *embed.Layer, t *rootfs.Tree, err error) (embeddedTree, error) {
	users := usersOf(e.store, l)
	if err != nil {
		return embeddedTree{}, fmt.Errorf("%s: %w", strings.Join(users, ", "), err)
	}
	return embeddedTree{name: segmentOf(l), tree: t.Place(embedDir), holds: users}, nil
}

func segmentOf(l *embed.Layer) string { return groupEmbed + " " + l.Name() }

// streamed reads a layer of the store: for its tree, and for its segment if
// that is made ahead. later has its contents, should they be read after all.
// The error is initramfs.ErrOrder if that cannot be.
func (e embedding) streamed(ctx context.Context, l *embed.Layer, later io.ReaderAt) (embeddedTree, error) {
	seg := e.embedSegment(embeddedTree{name: segmentOf(l)})
	if !e.isStreamed(seg) || e.opt.Cache.Has(unorderedKey(l)) {
		return embeddedTree{}, initramfs.ErrOrder
	}
	read, made, err := e.stream(ctx, seg, l)
	if err == nil {
		read, err = e.storedIndex(ctx, l, read, later)
	}
	var tree *rootfs.Tree
	if err == nil {
		tree, err = rootfs.Flatten(read)
	}
	t, err := e.placed(l, tree, err)
	if err == nil && made != nil {
		err, made = e.ahead.Adopt(e.embedSegment(t), made), nil
	}
	if errors.Is(err, initramfs.ErrOrder) {
		err = e.noteOrder(ctx, l, err)
	}
	return t, errors.Join(err, made.Close())
}

// stream makes a layer's segment, if that is to be ahead. The index is nil if
// the cache has the segment.
func (e embedding) stream(ctx context.Context, seg initramfs.Segment, l *embed.Layer) (read *rootfs.Layer, made *initramfs.Streamed, err error) {
	if e.ahead == nil {
		return nil, nil, nil
	}
	made, err = e.ahead.Stream(ctx, seg, streamID(l), inflated(l), func(ctx context.Context, s *initramfs.Archive) (err error) {
		read, err = readEntries(ctx, l, s)
		return err
	})
	return read, made, err
}

// isStreamed reports whether the layers of the store go into segments of their
// own as they are read, or are only measured.
func (b *builder) isStreamed(seg initramfs.Segment) bool {
	if b.ahead == nil {
		return !b.opt.OneSegment && b.opt.Format != Tar
	}
	return b.ahead.Streams(seg)
}

// inflated is about how large a layer of the store is.
func inflated(l *embed.Layer) int64 { return inflation * weight(l.ImageLayer()) }

// inflation is about how many times larger than compressed layers are.
const inflation = 4

// streamID names what the records of a layer's segment depend on.
func streamID(l *embed.Layer) string { return l.Identity() + "\n" + embedDir }

func unorderedKey(l *embed.Layer) string { return "layer without order 1\n" + l.Identity() }

// noteOrder remembers for the next build that a layer cannot be streamed, and
// returns why.
func (b *builder) noteOrder(ctx context.Context, l *embed.Layer, why error) error {
	f, err := b.opt.Cache.Derive(ctx, unorderedKey(l), func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, "its tar is made first\n")
		return err
	})
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), why)
}

func storedIndexKey(l *embed.Layer) string { return "store layer index 1\n" + l.Identity() }

// storedIndex is the index of a layer of the store: the one that was made while
// it was read, else the cache's, else a new one.
func (b *builder) storedIndex(ctx context.Context, l *embed.Layer, read *rootfs.Layer, later io.ReaderAt) (*rootfs.Layer, error) {
	f, err := b.opt.Cache.Derive(ctx, storedIndexKey(l), func(ctx context.Context, w io.Writer) (err error) {
		if read == nil {
			if read, err = readEntries(ctx, l, nil); err != nil {
				return err
			}
		}
		index, err := read.MarshalBinary()
		if err == nil {
			_, err = w.Write(index)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	index, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	ix, err := rootfs.Load(later, index)
	if err == nil {
		ix.Name(l.Identity())
	}
	return ix, err
}

// storedCached reports whether nothing of a layer of the store need be read.
func (b *builder) storedCached(l *embed.Layer) bool {
	if b.layers.cached(l) {
		return true
	}
	seg := b.embedSegment(embeddedTree{})
	return b.isStreamed(seg) && b.opt.Cache.Has(storedIndexKey(l)) &&
		(b.ahead == nil || b.opt.Cache.Has(b.ahead.StreamKey(seg, streamID(l))))
}

// readEntries reads a layer of the store once: it returns the index that its
// tar would have, and adds its files to an archive, if that is not nil.
func readEntries(ctx context.Context, l *embed.Layer, archive *initramfs.Archive) (*rootfs.Layer, error) {
	size := &byteCount{}
	r := &entryReader{ctx: ctx, tar: tar.NewWriter(size), size: size, index: rootfs.NewIndexer(), archive: archive}
	if err := l.WriteEntries(r); err != nil {
		return nil, err
	}
	if err := r.tar.Close(); err != nil {
		return nil, err
	}
	return r.index.Layer(nil, size.n), nil
}

// entryReader is an embed.EntryWriter: it needs the tar only for where in it
// the files are.
type entryReader struct {
	ctx     context.Context
	tar     *tar.Writer
	size    *byteCount
	index   *rootfs.Indexer
	archive *initramfs.Archive // nil: only the index is made
}

func (r *entryReader) WriteHeader(hdr *tar.Header) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if err := r.tar.WriteHeader(hdr); err != nil {
		return err
	}
	name, n, err := r.index.Add(hdr, r.size.n)
	if err != nil || r.archive == nil {
		return err
	}
	if n == nil { // another name, whose file has passed
		return fmt.Errorf("%q: %w", name, initramfs.ErrOrder)
	}
	return r.archive.Add(embedDir+"/"+name, n)
}

func (r *entryReader) Write(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if n, err := r.tar.Write(p); err != nil || r.archive == nil {
		return n, err
	}
	return r.archive.Write(p)
}

// byteCount counts what is written to it.
type byteCount struct{ n int64 }

func (c *byteCount) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}
