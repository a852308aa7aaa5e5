package build

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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
// file that has passed, a file before its directory), the layer is read twice:
// then its tree is known before the first record is written. Where that does
// not help either, or all is to be one segment, its tar is made in the cache,
// as for the layers of a file system.

// embedding makes the trees of a store's layers and, with ahead, their segments.
type embedding struct {
	*builder
	work *pool
	task fetch.Task
}

// job makes the tree of a layer, and what else it calls for. The contents of the
// tree can be read while whole is not done.
func (e embedding) job(whole context.Context, l *embed.Layer, out *embeddedTree) job {
	contents := func() (io.ReaderAt, error) { return e.layers.storedTar(whole, l) }
	return job{inflated(l), func(ctx context.Context) (err error) {
		*out, err = e.streamed(ctx, l, contents)
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
	if err == nil {
		e.task.Add(t.Size())
	}
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
// that is made ahead. contents are for who reads the tree's files after all.
// The error is initramfs.ErrOrder if that cannot be.
func (e embedding) streamed(ctx context.Context, l *embed.Layer, contents func() (io.ReaderAt, error)) (embeddedTree, error) {
	if !e.isStreamed(l) {
		return embeddedTree{}, initramfs.ErrOrder
	}
	var shown int64 // bytes of contents
	made, err := e.streamOnce(ctx, l, &shown)
	var tree *rootfs.Tree
	if err == nil {
		tree, err = e.storedTree(ctx, l, contents, &shown)
	}
	t, err := e.placed(l, tree, err)
	if err != nil {
		e.task.Add(-shown)
		return t, errors.Join(err, made.Close())
	}
	if err := e.adopted(ctx, l, t, made, &shown); err != nil {
		e.task.Add(-shown)
		return t, fmt.Errorf("%s: %w", strings.Join(t.holds, ", "), err)
	}
	e.task.Add(t.tree.Size() - shown)
	return t, nil
}

// adopted has the segment of a layer in place, after a second reading if the
// first did not make it: that is shown from the beginning.
func (e embedding) adopted(ctx context.Context, l *embed.Layer, t embeddedTree, made *initramfs.Streamed, shown *int64) (err error) {
	if e.ahead == nil {
		return nil
	}
	if made == nil {
		e.task.Add(-*shown)
		*shown = 0
		made, err = e.stream(ctx, l, t, shown)
	}
	if err == nil {
		err = e.ahead.Adopt(e.embedSegment(t), made)
	}
	return e.noteOrder(ctx, l, twice, err)
}

// streamOnce makes a layer's segment, if that is to be ahead, and puts the
// index into the cache that comes of it. It is nil if the layer has to be read
// twice.
func (e embedding) streamOnce(ctx context.Context, l *embed.Layer, shown *int64) (*initramfs.Streamed, error) {
	if e.ahead == nil || e.opt.Cache.Has(e.orderKey(l, once)) {
		return nil, nil
	}
	made, err := e.stream(ctx, l, embeddedTree{name: segmentOf(l)}, shown)
	if err = e.noteOrder(ctx, l, once, err); errors.Is(err, initramfs.ErrOrder) {
		return nil, nil
	}
	return made, err
}

// stream makes the segment of a layer, of which t has the tree if it is known.
func (e embedding) stream(ctx context.Context, l *embed.Layer, t embeddedTree, shown *int64) (*initramfs.Streamed, error) {
	return e.ahead.Stream(ctx, e.embedSegment(t), streamID(l), inflated(l), func(ctx context.Context, s *initramfs.Archive) error {
		read, err := e.read(ctx, l, s, shown)
		if read == nil {
			return err
		}
		f, noted := e.storedIndex(ctx, l, func(context.Context) (*rootfs.Layer, error) { return read, nil })
		if noted != nil {
			return noted
		}
		return errors.Join(f.Close(), err)
	})
}

// read reads a layer, and shows that to the user.
func (e embedding) read(ctx context.Context, l *embed.Layer, s *initramfs.Archive, shown *int64) (*rootfs.Layer, error) {
	return readEntries(ctx, l, s, func(n int64) {
		*shown += n
		e.task.Add(n)
	})
}

// storedTree is the tree of a layer of the store, of its cached or a new index.
func (e embedding) storedTree(ctx context.Context, l *embed.Layer, contents func() (io.ReaderAt, error), shown *int64) (*rootfs.Tree, error) {
	ix, err := e.layers.readIndex(e.storedIndexKey(l), func() (*os.File, error) {
		return e.storedIndex(ctx, l, func(ctx context.Context) (*rootfs.Layer, error) { return e.read(ctx, l, nil, shown) })
	}, func(index []byte) (*rootfs.Layer, error) { return rootfs.LoadLater(contents, index) })
	if err != nil {
		return nil, err
	}
	ix.Name(l.Identity())
	return rootfs.Flatten(ix)
}

// isStreamed reports whether a layer of the store goes into a segment of its
// own as it is read, or is only measured.
func (b *builder) isStreamed(l *embed.Layer) bool {
	if b.ahead == nil {
		return !b.opt.OneSegment && b.opt.Format != Tar
	}
	return b.ahead.Streams(b.embedSegment(embeddedTree{})) && !b.opt.Cache.Has(b.orderKey(l, twice))
}

// inflated is about how large a layer of the store is.
func inflated(l *embed.Layer) int64 { return inflation * weight(l.ImageLayer()) }

// inflation is about how many times larger than compressed layers are.
const inflation = 4

// streamID names what the records of a layer's segment depend on.
func streamID(l *embed.Layer) string { return l.Identity() + "\n" + embedDir }

// How often a layer was read when its files did not come in order.
const (
	once  = "once"
	twice = "twice"
)

func (b *builder) orderKey(l *embed.Layer, read string) string {
	return "layer not in order, read " + read + "\n" + b.opt.Program + "\n" + l.Identity()
}

// noteOrder remembers an ErrOrder for the next build, and returns the error.
func (b *builder) noteOrder(ctx context.Context, l *embed.Layer, read string, err error) error {
	if !errors.Is(err, initramfs.ErrOrder) {
		return err
	}
	why := err.Error() + "\n"
	f, noted := b.opt.Cache.Derive(ctx, b.orderKey(l, read), func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, why)
		return err
	})
	if noted != nil {
		return noted
	}
	return errors.Join(f.Close(), err)
}

func (b *builder) storedIndexKey(l *embed.Layer) string {
	return "store layer index\n" + b.opt.Program + "\n" + l.Identity()
}

// storedIndex is the cached index of a layer of the store, or the one that read
// returns. The caller closes it.
func (b *builder) storedIndex(ctx context.Context, l *embed.Layer, read func(context.Context) (*rootfs.Layer, error)) (*os.File, error) {
	return b.opt.Cache.Derive(ctx, b.storedIndexKey(l), func(ctx context.Context, w io.Writer) error {
		ix, err := read(ctx)
		if err != nil {
			return err
		}
		index, err := ix.MarshalBinary()
		if err == nil {
			_, err = w.Write(index)
		}
		return err
	})
}

// storedCached reports whether nothing of a layer of the store need be read.
func (b *builder) storedCached(l *embed.Layer) bool {
	if !b.isStreamed(l) {
		return b.layers.cached(l)
	}
	return b.opt.Cache.Has(b.storedIndexKey(l)) &&
		(b.ahead == nil || b.opt.Cache.Has(b.ahead.StreamKey(b.embedSegment(embeddedTree{}), streamID(l))))
}

// readEntries reads a layer of the store once: it returns the index that its
// tar would have, and adds its files to an archive, if that is not nil.
// If they do not come in an order that the archive takes, it returns the index
// and an initramfs.ErrOrder. progress is called with the bytes of contents.
func readEntries(ctx context.Context, l *embed.Layer, archive *initramfs.Archive, progress func(n int64)) (*rootfs.Layer, error) {
	size := &counted{Writer: io.Discard}
	r := &entryReader{ctx: ctx, tar: tar.NewWriter(size), size: size, index: rootfs.NewIndexer(), archive: archive, progress: progress}
	if err := l.WriteEntries(r); err != nil {
		return nil, err
	}
	if err := r.tar.Close(); err != nil {
		return nil, err
	}
	return r.index.Layer(size.n), r.order
}

// entryReader is an embed.EntryWriter: it needs the tar only for where in it
// the files are.
type entryReader struct {
	ctx      context.Context // an io.Writer gets none
	tar      *tar.Writer
	size     *counted
	index    *rootfs.Indexer
	archive  *initramfs.Archive // nil: only the index is made, from now on
	order    error              // why
	progress func(n int64)
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
	if n == nil {
		err = r.archive.AddLink(embedDir + "/" + name)
	} else {
		err = r.archive.Add(embedDir+"/"+name, n)
	}
	if errors.Is(err, initramfs.ErrOrder) && !r.archive.Knows() {
		r.archive, r.order, err = nil, fmt.Errorf("%q: %w", name, err), nil
	}
	return err
}

func (r *entryReader) Write(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	r.progress(int64(len(p)))
	if n, err := r.tar.Write(p); err != nil || r.archive == nil {
		return n, err
	}
	return r.archive.Write(p)
}
