package embed

import (
	"archive/tar"
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layerVersion is part of the identity of layers: a change of this package
// that gives other bytes for the same image layer needs another one.
const layerVersion = "3"

// Layer is a part of a store: all that dockerd keeps about one image layer. It
// is a v1.Layer whose tar is made from the image layer's while it is read.
type Layer struct {
	name     string
	identity string
	produce  func(*output) error

	chain  v1.Hash
	diffID v1.Hash
	image  v1.Layer // nil for the head of a store
	below  *Layer
	scan   scan // of the image layer's tar, if that is needed

	once sync.Once
	sum  v1.Hash
	size int64
	err  error
}

var _ v1.Layer = (*Layer)(nil)

// newLayer is the store's part for an image layer over those below it.
func newLayer(below *Layer, image v1.Layer, diffID, chain v1.Hash) *Layer {
	l := &Layer{
		name: "layer " + chain.Hex[:12], identity: "docker-store-layer-" + layerVersion + "-" + chain.Hex,
		chain: chain, diffID: diffID, image: image, below: below,
	}
	l.produce = l.write
	return l
}

// Name is for people.
func (l *Layer) Name() string { return l.name }

// Identity names the content without reading anything: layers of equal
// identity are equal byte for byte.
func (l *Layer) Identity() string { return l.identity }

// ImageLayer is the image layer that this is made of; nil for Store.Head.
func (l *Layer) ImageLayer() v1.Layer { return l.image }

// ChainID names the image layer together with those below it.
func (l *Layer) ChainID() v1.Hash { return l.chain }

// Compressed returns the tar: it is not compressed.
func (l *Layer) Compressed() (io.ReadCloser, error) { return l.Uncompressed() }

// MediaType says that nothing is compressed.
func (l *Layer) MediaType() (types.MediaType, error) { return types.OCIUncompressedLayer, nil }

// DiffID reads the layer once to hash it.
func (l *Layer) DiffID() (v1.Hash, error) { l.once.Do(l.measure); return l.sum, l.err }

// Digest is DiffID.
func (l *Layer) Digest() (v1.Hash, error) { return l.DiffID() }

// Size reads the layer once.
func (l *Layer) Size() (int64, error) { l.once.Do(l.measure); return l.size, l.err }

func (l *Layer) measure() {
	rc, err := l.Uncompressed()
	if err != nil {
		l.err = err
		return
	}
	h := sha256.New()
	l.size, l.err = io.CopyBuffer(h, rc, make([]byte, copyBuffer))
	l.err = errors.Join(l.err, rc.Close())
	l.sum = v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

// Uncompressed returns the tar. An error of the image layer comes out of Read,
// and io.EOF only when all of it was read and had its diff ID.
func (l *Layer) Uncompressed() (io.ReadCloser, error) {
	r, w := io.Pipe()
	s := &stream{PipeReader: r, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		_, err := l.WriteTo(w)
		w.CloseWithError(err) // nil: io.EOF
	}()
	return s, nil
}

// stream ends its goroutine when it is closed.
type stream struct {
	*io.PipeReader
	done chan struct{}
}

func (s *stream) Close() error {
	err := s.PipeReader.Close()
	<-s.done
	return err
}

// WriteTo writes what Uncompressed returns, without a pipe in between.
func (l *Layer) WriteTo(w io.Writer) (int64, error) {
	c := &countWriter{w: w}
	buffered := bufio.NewWriterSize(c, copyBuffer)
	t := tar.NewWriter(buffered)
	err := l.WriteEntries(t)
	if err == nil {
		err = t.Close()
	}
	if err == nil {
		err = buffered.Flush()
	}
	return c.n, err
}

// EntryWriter takes the entries of a tar as tar.Writer does: a header, then as
// many bytes as it says.
type EntryWriter interface {
	WriteHeader(hdr *tar.Header) error
	io.Writer
}

// WriteEntries writes the entries of what Uncompressed returns, as they come
// out of the image layer: nothing is kept but their names.
func (l *Layer) WriteEntries(w EntryWriter) error {
	err := l.produce(&output{EntryWriter: w})
	if err != nil && l.image != nil {
		err = fmt.Errorf("layer %s: %w", l.diffID, err)
	}
	return err
}

type countWriter struct {
	w io.Writer
	n int64
}

func (c *countWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// write makes the store's part of an image layer (docker-store layout: see
// moby daemon/graphdriver/overlay2 and layer/filestore.go).
func (l *Layer) write(w *output) error {
	id, link := cacheID(l.chain)
	base, db := overlayDir+"/"+id, layerDir+"/"+l.chain.Hex
	// Docker writes `committed` when a layer gets its first child, which is
	// the first container at the latest: it is only ever mounted for reading.
	files := []file{
		dir(base, 0o710),
		text(base+"/link", 0o644, []byte(link)), text(base+"/committed", 0o600, nil),
		{hdr: tar.Header{Typeflag: tar.TypeSymlink, Name: linkDir + "/" + link, Linkname: "../" + id + "/diff", Mode: 0o777}},
	}
	if l.below != nil {
		files = append(files, text(base+"/lower", 0o644, []byte(lower(l.below))), dir(base+"/work", 0o700))
	}
	files = append(files, dir(base+"/diff", 0o755)) // last, because the layer may describe its root
	if err := w.files(files); err != nil {
		return err
	}
	split, size, err := l.translate(w, base+"/diff")
	if err != nil {
		return err
	}
	files = []file{
		dir(db, 0o700),
		text(db+"/cache-id", 0o644, []byte(id)), text(db+"/diff", 0o644, []byte(l.diffID.String())),
		text(db+"/size", 0o644, []byte(strconv.FormatInt(size, 10))), text(db+"/tar-split.json.gz", 0o644, split),
	}
	if l.below != nil {
		files = append(files, text(db+"/parent", 0o644, []byte(l.below.chain.String())))
	}
	return w.files(files)
}

// verifier is content whose last Read fails unless all of it had this hash
// (build/images): it need not be hashed again.
type verifier interface{ Verifies() v1.Hash }

// translate writes the layer's files, and returns tar-split.json.gz and the
// size that docker shows.
func (l *Layer) translate(w *output, prefix string) (split []byte, size int64, err error) {
	rc, err := l.image.Uncompressed()
	if err != nil {
		return nil, 0, err
	}
	defer rc.Close()
	rec := newRecorder(rc)
	if v, ok := rc.(verifier); ok && v.Verifies() == l.diffID {
		rec.sum = nil
	}
	t := newTranslator(w, prefix, l.below)
	if err := t.run(rec); err != nil {
		if w.err == nil && rec.err == nil {
			err = explain(rc, err)
		}
		return nil, 0, err
	}
	split, sum, err := rec.finish()
	if err != nil {
		return nil, 0, err
	}
	if got := hex.EncodeToString(sum); rec.sum != nil && got != l.diffID.Hex {
		return nil, 0, fmt.Errorf("wrong content: its diff ID is sha256:%s", got)
	}
	return split, t.size(), nil
}

// explain reads the rest of a layer in which something was wrong: if it is
// damaged, the source knows that at its end, and says what to do.
func explain(rest io.Reader, wrong error) error {
	if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{rest}, make([]byte, copyBuffer)); err != nil {
		return err
	}
	return wrong
}

// output writes files of ours and of others.
type output struct {
	EntryWriter
	buf []byte
	err error // that the EntryWriter had
}

func (w *output) WriteHeader(hdr *tar.Header) error {
	err := w.EntryWriter.WriteHeader(hdr)
	w.err = cmp.Or(w.err, err)
	return err
}

func (w *output) Write(p []byte) (int, error) {
	n, err := w.EntryWriter.Write(p)
	w.err = cmp.Or(w.err, err)
	return n, err
}

// file is a file of the store itself.
type file struct {
	hdr  tar.Header
	data []byte
}

func dir(name string, mode int64) file {
	return file{hdr: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode}}
}

func text(name string, mode int64, data []byte) file {
	return file{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))}, data}
}

// storeTime is that of the store's own files.
var storeTime = time.Unix(0, 0)

func (w *output) files(list []file) error {
	for _, f := range list {
		f.hdr.ModTime = storeTime
		if err := w.WriteHeader(&f.hdr); err != nil {
			return fmt.Errorf("%s: %w", f.hdr.Name, err)
		}
		if _, err := w.Write(f.data); err != nil {
			return err
		}
	}
	return nil
}

const copyBuffer = 256 << 10

// copy copies the content of a file.
func (w *output) copy(r io.Reader) error {
	if w.buf == nil {
		w.buf = make([]byte, copyBuffer)
	}
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, w.buf)
	return err
}
