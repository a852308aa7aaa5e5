package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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
	cache *fetch.Cache

	mu    sync.Mutex
	known map[string]*rootfs.Layer
	files []*os.File // closed at the end
}

// adopt closes a file together with the layers.
func (s *layers) adopt(f *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = append(s.files, f)
}

func newLayers(c *fetch.Cache) *layers {
	return &layers{cache: c, known: map[string]*rootfs.Layer{}}
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
	key, err := layerKey(l)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	known := s.known[key]
	s.mu.Unlock()
	if known != nil {
		return known, nil
	}
	ix, err := s.open(ctx, key, l)
	if err != nil {
		return nil, fmt.Errorf("reading layer %s: %w", strings.ReplaceAll(key, "\n", " "), err)
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

func (s *layers) open(ctx context.Context, key string, l v1.Layer) (*rootfs.Layer, error) {
	if isGenerated(l) {
		return indexSmall(l)
	}
	tar, err := s.unpacked(ctx, key, l)
	if err != nil {
		return nil, err
	}
	s.adopt(tar)
	st, err := tar.Stat()
	if err != nil {
		return nil, err
	}
	_, stored := l.(*embed.Layer) // of docker's store, in which nothing is looked for that is there twice
	return s.loadIndex(ctx, key, tar, st.Size(), !stored)
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

// unpacked is the layer's tar in the cache.
func (s *layers) unpacked(ctx context.Context, key string, l v1.Layer) (*os.File, error) {
	return s.cache.Derive(ctx, tarKey(key), func(ctx context.Context, w io.Writer) error {
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
}

// storedTar is the tar of a layer of docker's store, for one who reads it
// although it went into its segment.
func (s *layers) storedTar(ctx context.Context, l *embed.Layer) (io.ReaderAt, error) {
	f, err := s.unpacked(ctx, l.Identity(), l)
	if err != nil {
		return nil, err
	}
	s.adopt(f)
	return f, nil
}

// tar opens the uncompressed layer for reading. The caller closes it.
func (s *layers) tar(ctx context.Context, l v1.Layer) (io.ReadCloser, error) {
	if isGenerated(l) {
		return l.Uncompressed()
	}
	key, err := layerKey(l)
	if err != nil {
		return nil, err
	}
	return s.unpacked(ctx, key, l)
}

func tarKey(key string) string { return "layer tar\n" + key }

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

// loadIndex reads the cached index of a layer tar, or makes it, with the hashes
// of small files or without.
func (s *layers) loadIndex(ctx context.Context, key string, tar *os.File, size int64, hash bool) (*rootfs.Layer, error) {
	var made *rootfs.Layer
	derive := func() (*os.File, error) {
		return s.cache.Derive(ctx, fmt.Sprintf("layer index 3\n%s\n%d", key, size), func(ctx context.Context, w io.Writer) error {
			var err error
			if made, err = rootfs.Index(tar, size); err != nil {
				return err
			}
			if hash {
				if err := made.Hash(ctx, smallFile); err != nil {
					return err
				}
			}
			b, err := made.MarshalBinary()
			if err == nil {
				_, err = w.Write(b)
			}
			return err
		})
	}
	ix, err := s.readIndex(derive, func(index []byte) (*rootfs.Layer, error) {
		if made != nil {
			return made, nil
		}
		return rootfs.Load(tar, index)
	})
	if err != nil {
		return nil, err
	}
	ix.Name(key)
	return ix, nil
}

// readIndex loads the index that derive takes from the cache. A damaged one is
// removed, and made again.
func (s *layers) readIndex(derive func() (*os.File, error), load func(index []byte) (*rootfs.Layer, error)) (*rootfs.Layer, error) {
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
		if removeErr := os.Remove(f.Name()); again || removeErr != nil {
			return nil, errors.Join(fmt.Errorf("the cached index %s does not fit: %w", f.Name(), err), removeErr)
		}
		s.cache.Log.Warn("a cached index is damaged, and is made again", "file", f.Name(), "reason", err)
	}
}

func indexSmall(l v1.Layer) (*rootfs.Layer, error) {
	rc, err := l.Uncompressed()
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	b, err := io.ReadAll(io.LimitReader(rc, 64*smallLayer+1))
	if err != nil {
		return nil, err
	}
	if len(b) > 64*smallLayer {
		return nil, errors.New("the layer unpacks to more than 64 times its size")
	}
	return rootfs.Index(bytes.NewReader(b), int64(len(b)))
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
