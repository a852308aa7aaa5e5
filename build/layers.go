package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hooksmith/build/fetch"
	"hooksmith/build/rootfs"
	"hooksmith/embed"
)

// identified is a layer that can be named without being unpacked, such as a
// Debian package by the hash of its .deb. Equal identities are equal bytes.
type identified interface{ Identity() string }

// smallLayer is up to which size a layer stays in memory instead of in the cache.
const smallLayer = 1 << 20

// layers indexes each layer once. The bytes stay where they are: in the
// cache, as an uncompressed tar, read at an offset when they are written.
type layers struct {
	cache  *fetch.Cache
	remake func(key string, size int64, l v1.Layer, cause error) (*os.File, blockSums, error) // a damaged tar

	mu    sync.Mutex
	known map[string]indexed
	files []*os.File // closed at the end
}

// indexed is a layer and its tar.
type indexed struct {
	*rootfs.Layer
	tar  io.ReaderAt
	size int64
}

// adopt closes a file together with the layers.
func (s *layers) adopt(f *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = append(s.files, f)
}

// newLayers returns layers that are of use until ctx is done.
func newLayers(ctx context.Context, c *fetch.Cache) *layers {
	s := &layers{cache: c, known: map[string]indexed{}}
	s.remake = func(key string, size int64, l v1.Layer, cause error) (*os.File, blockSums, error) {
		return s.unpackAgain(ctx, key, size, l, cause)
	}
	return s
}

// Close closes the cached tars. Trees made of these layers are dead after it.
func (s *layers) Close() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// tree flattens layers, lowest first.
func (s *layers) tree(ctx context.Context, ls []v1.Layer) (*rootfs.Tree, error) {
	indexed := make([]*rootfs.Layer, len(ls))
	for i, l := range ls {
		var err error
		if indexed[i], err = s.index(ctx, l); err != nil {
			return nil, err
		}
	}
	return rootfs.Flatten(indexed...)
}

func (s *layers) index(ctx context.Context, l v1.Layer) (*rootfs.Layer, error) {
	ix, err := s.indexed(ctx, l)
	return ix.Layer, err
}

func (s *layers) indexed(ctx context.Context, l v1.Layer) (indexed, error) {
	key, err := layerKey(l)
	if err != nil {
		return indexed{}, err
	}
	s.mu.Lock()
	known, ok := s.known[key]
	s.mu.Unlock()
	if ok {
		return known, nil
	}
	ix, err := s.open(ctx, key, l)
	if err != nil {
		return indexed{}, fmt.Errorf("reading layer %s: %w", strings.ReplaceAll(key, "\n", " "), err)
	}
	s.mu.Lock()
	s.known[key] = ix
	s.mu.Unlock()
	return ix, nil
}

func layerKey(l v1.Layer) (string, error) {
	if i, ok := l.(identified); ok {
		return i.Identity(), nil
	}
	d, err := l.DiffID()
	if err != nil {
		return "", fmt.Errorf("reading a layer's diff ID: %w", err)
	}
	return d.String(), nil
}

func (s *layers) open(ctx context.Context, key string, l v1.Layer) (indexed, error) {
	if isGenerated(l) {
		return indexSmall(l)
	}
	f, fresh, err := s.unpacked(ctx, key, l)
	if err != nil {
		return indexed{}, err
	}
	s.adopt(f)
	st, err := f.Stat()
	if err != nil {
		return indexed{}, err
	}
	_, stored := l.(*embed.Layer) // of docker's store, in which nothing is looked for that is there twice
	found := indexed{size: st.Size()}
	remake := func(cause error) (*os.File, blockSums, error) { return s.remake(key, found.size, l, cause) }
	found.Layer, err = s.loadIndex(ctx, key, f, fresh, !stored, func(sums blockSums) io.ReaderAt {
		found.tar = newLayerTar(f, sums, remake)
		return found.tar
	})
	return found, err
}

// isGenerated reports whether a layer was made here and is small: it is not
// worth a file in the cache.
func isGenerated(l v1.Layer) bool {
	if _, ok := l.(identified); ok && !isHead(l) {
		return false
	}
	mediaType, err := l.MediaType()
	if err != nil || mediaType != types.OCIUncompressedLayer {
		return false
	}
	size, err := l.Size()
	return err == nil && size <= smallLayer
}

// isHead reports whether a layer is the one of docker's store that no image has.
func isHead(l v1.Layer) bool {
	stored, ok := l.(*embed.Layer)
	return ok && stored.ImageLayer() == nil
}

// unpacked is the layer's tar in the cache, and its checksums if it was not
// there before.
func (s *layers) unpacked(ctx context.Context, key string, l v1.Layer) (f *os.File, fresh blockSums, err error) {
	f, err = s.cache.Derive(ctx, tarKey(key), func(ctx context.Context, file io.Writer) error {
		w := &sumWriter{w: file}
		defer func() { fresh = w.sums }()
		if direct, ok := l.(io.WriterTo); ok { // spares a pipe
			_, err := direct.WriteTo(contextWriter{ctx, w})
			return err
		}
		rc, err := l.Uncompressed()
		if err != nil {
			return err
		}
		_, err = copyContext(ctx, w, rc)
		return errors.Join(err, rc.Close())
	})
	return f, fresh, err
}

// unpackAgain makes a damaged tar of size bytes again. Whatever comes of it, the
// damaged one is gone, and the next build makes its index again.
func (s *layers) unpackAgain(ctx context.Context, key string, size int64, l v1.Layer, cause error) (*os.File, blockSums, error) {
	s.cache.Log.Warn("an unpacked layer in the cache is damaged, and is made again", "layer", strings.ReplaceAll(key, "\n", " "), "reason", cause)
	if err := errors.Join(s.cache.Forget(tarKey(key)), s.cache.Forget(indexKey(key, size))); err != nil {
		return nil, nil, err
	}
	f, sums, err := s.unpacked(ctx, key, l)
	if err == nil {
		s.adopt(f)
	}
	return f, sums, err
}

// storedTar is the tar of a layer of docker's store, for one who reads it
// although it went into its segment.
func (s *layers) storedTar(ctx context.Context, l *embed.Layer) (io.ReaderAt, error) {
	ix, err := s.indexed(ctx, l)
	return ix.tar, err
}

// tar opens the uncompressed layer for reading. The caller closes it.
func (s *layers) tar(ctx context.Context, l v1.Layer) (io.ReadCloser, error) {
	ix, err := s.indexed(ctx, l)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.NewSectionReader(ix.tar, 0, ix.size)), nil
}

func tarKey(key string) string { return "layer tar\n" + key }

func indexKey(key string, size int64) string { return fmt.Sprintf("layer index 4\n%s\n%d", key, size) }

// cached reports whether a layer is in the cache, unpacked, or needs no cache.
func (s *layers) cached(l v1.Layer) bool {
	if isGenerated(l) {
		return true
	}
	key, err := layerKey(l)
	return err == nil && s.cache.Has(tarKey(key))
}

// smallFile is up to which size files are hashed when their layer is indexed.
// There are many of each small size, so that looking for equal files would
// read them again in every build; large ones are seldom of one size.
const smallFile = 64 << 10

// loadIndex reads the cached index of a layer's tar, or makes it, with the hashes
// of small files or without. fresh are the checksums of a tar that was just made;
// open gives the tar to read from, by its checksums.
func (s *layers) loadIndex(ctx context.Context, key string, tar *os.File, fresh blockSums, hash bool, open func(blockSums) io.ReaderAt) (*rootfs.Layer, error) {
	st, err := tar.Stat()
	if err != nil {
		return nil, err
	}
	size := st.Size()
	derive := func() (*os.File, error) {
		return s.cache.Derive(ctx, indexKey(key, size), func(ctx context.Context, w io.Writer) error {
			sums := fresh
			if sums == nil {
				all := &sumWriter{w: io.Discard}
				if _, err := copyContext(ctx, all, io.NewSectionReader(tar, 0, size)); err != nil {
					return err
				}
				sums = all.sums
			}
			index, err := makeIndex(ctx, tar, size, hash)
			if err == nil {
				_, err = w.Write(sums.appendTo(index))
			}
			return err
		})
	}
	ix, err := s.readIndex(indexKey(key, size), derive, func(b []byte) (*rootfs.Layer, error) {
		index, sums, err := cutSums(b, size)
		if err != nil {
			return nil, err
		}
		if fresh != nil && !slices.Equal(fresh, sums) {
			return nil, errors.New("it is of another tar")
		}
		return rootfs.Load(open(sums), index)
	})
	if err != nil {
		return nil, err
	}
	ix.Name(key)
	return ix, nil
}

// makeIndex indexes a tar.
func makeIndex(ctx context.Context, tar io.ReaderAt, size int64, hash bool) ([]byte, error) {
	ix, err := rootfs.Index(tar, size)
	if err == nil && hash {
		err = ix.Hash(ctx, smallFile)
	}
	if err != nil {
		return nil, err
	}
	return ix.MarshalBinary()
}

// readIndex loads the index that derive takes from the cache, where it is by key.
// A damaged one is removed, and made again.
func (s *layers) readIndex(key string, derive func() (*os.File, error), load func(index []byte) (*rootfs.Layer, error)) (*rootfs.Layer, error) {
	for again := false; ; again = true {
		f, err := derive()
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		ix, err := load(b)
		if err == nil {
			return ix, nil
		}
		if removeErr := s.cache.Forget(key); again || removeErr != nil {
			return nil, errors.Join(fmt.Errorf("the cached index %s does not fit: %w", f.Name(), err), removeErr)
		}
		s.cache.Log.Warn("a cached index is damaged, and is made again", "file", f.Name(), "reason", err)
	}
}

func indexSmall(l v1.Layer) (indexed, error) {
	rc, err := l.Uncompressed()
	if err != nil {
		return indexed{}, err
	}
	defer rc.Close()
	b, err := io.ReadAll(io.LimitReader(rc, 64*smallLayer+1))
	if err != nil {
		return indexed{}, err
	}
	if len(b) > 64*smallLayer {
		return indexed{}, errors.New("the layer unpacks to more than 64 times its size")
	}
	tar := bytes.NewReader(b)
	ix, err := rootfs.Index(tar, tar.Size())
	return indexed{ix, tar, tar.Size()}, err
}

// writeSize is how much is written to a file at once: for more, Linux looks
// for large pieces of free memory, which takes longer than the rest of writing
// (package initramfs has the same).
const writeSize = 64 << 10

// contextWriter writes to a file in pieces, until ctx is done.
type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c contextWriter) Write(p []byte) (n int, err error) {
	for err == nil && n < len(p) {
		if err := c.ctx.Err(); err != nil {
			return n, err
		}
		var k int
		k, err = c.w.Write(p[n:min(n+writeSize, len(p))])
		n += k
	}
	return n, err
}

// copyContext copies until the end, or until ctx is done.
func copyContext(ctx context.Context, w io.Writer, r io.Reader) (n int64, err error) {
	buf, out := make([]byte, 256<<10), contextWriter{ctx, w}
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		k, err := r.Read(buf)
		if _, werr := out.Write(buf[:k]); werr != nil {
			return n, werr
		}
		n += int64(k)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
