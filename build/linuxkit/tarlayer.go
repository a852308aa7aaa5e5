package linuxkit

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Entry is one file of a generated layer. Zero values are filled in: Type
// from Link and the slash at the end of the name, ModTime from the layer.
type Entry struct {
	Name     string // relative; a directory's ends in a slash
	Type     byte   // of archive/tar
	Mode     int64
	UID, GID int
	Link     string // target of a symbolic link
	ModTime  time.Time
	Data     []byte

	// Open returns Size bytes of content instead of Data. The layer calls it
	// each time it is read, and closes what it returns.
	Open func() (io.ReadCloser, error)
	Size int64
}

// NewLayer returns an uncompressed layer of the entries in the given order,
// with modTime for those that have no time of their own. Equal entries make
// equal bytes. Contents behind Open are streamed and never held.
func NewLayer(modTime time.Time, entries ...Entry) (v1.Layer, error) {
	l := &tarLayer{}
	var head bytes.Buffer
	for _, e := range entries {
		head.Reset()
		size, err := writeHeader(&head, e, modTime)
		if err != nil {
			return nil, fmt.Errorf("entry %.80q: %w", e.Name, err)
		}
		l.add(chunk{data: bytes.Clone(head.Bytes()), size: int64(head.Len())})
		if size == 0 {
			continue
		}
		l.add(chunk{name: e.Name, data: e.Data, open: e.Open, size: size})
		l.add(zeros(-size & (tarBlock - 1)))
	}
	l.add(zeros(2 * tarBlock))
	return l, nil
}

const tarBlock = 512

// writeHeader writes the tar header of the entry and returns the size of the
// content that follows.
func writeHeader(w io.Writer, e Entry, modTime time.Time) (int64, error) {
	hdr := &tar.Header{
		Name: e.Name, Typeflag: e.Type, Mode: e.Mode, Uid: e.UID, Gid: e.GID,
		Linkname: e.Link, ModTime: e.ModTime, Size: int64(len(e.Data)),
	}
	if e.Open != nil {
		hdr.Size = e.Size
	}
	if hdr.ModTime.IsZero() {
		hdr.ModTime = modTime
	}
	if hdr.Typeflag == 0 {
		switch {
		case e.Link != "":
			hdr.Typeflag = tar.TypeSymlink
		case len(e.Name) > 0 && e.Name[len(e.Name)-1] == '/':
			hdr.Typeflag = tar.TypeDir
		default:
			hdr.Typeflag = tar.TypeReg
		}
	}
	return hdr.Size, tar.NewWriter(w).WriteHeader(hdr)
}

// chunk is a run of bytes of a layer, in memory or behind a function.
type chunk struct {
	name string
	data []byte
	open func() (io.ReadCloser, error)
	size int64
}

func zeros(n int64) chunk { return chunk{data: make([]byte, n), size: n} }

// tarLayer is a v1.Layer made of chunks.
type tarLayer struct {
	chunks []chunk
	size   int64
	digest layerDigest
}

func (l *tarLayer) add(c chunk) {
	if c.size > 0 {
		l.chunks = append(l.chunks, c)
		l.size += c.size
	}
}

func (l *tarLayer) Digest() (v1.Hash, error) { return l.digest.of(l.Uncompressed) }
func (l *tarLayer) DiffID() (v1.Hash, error) { return l.digest.of(l.Uncompressed) }
func (l *tarLayer) Size() (int64, error)     { return l.size, nil }
func (l *tarLayer) MediaType() (types.MediaType, error) {
	return types.OCIUncompressedLayer, nil
}
func (l *tarLayer) Compressed() (io.ReadCloser, error)   { return l.Uncompressed() }
func (l *tarLayer) Uncompressed() (io.ReadCloser, error) { return &chunkReader{chunks: l.chunks}, nil }

// chunkReader reads chunk after chunk and checks the size of each.
type chunkReader struct {
	chunks []chunk
	r      io.Reader
	closer io.Closer
	left   int64
}

func (c *chunkReader) Read(p []byte) (int, error) {
	for c.r == nil {
		if len(c.chunks) == 0 {
			return 0, io.EOF
		}
		if err := c.start(c.chunks[0]); err != nil {
			return 0, err
		}
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	switch {
	case c.left == 0:
		return n, c.finish()
	case errors.Is(err, io.EOF):
		return n, fmt.Errorf("content of %.80q is %d bytes shorter than it was: %w", c.chunks[0].name, c.left, io.ErrUnexpectedEOF)
	}
	return n, err
}

func (c *chunkReader) start(next chunk) error {
	c.left = next.size
	if next.open == nil {
		c.r = bytes.NewReader(next.data)
		return nil
	}
	rc, err := next.open()
	if err != nil {
		return fmt.Errorf("content of %.80q: %w", next.name, err)
	}
	c.r, c.closer = rc, rc
	return nil
}

// finish closes a chunk that has been read in full. A file that has grown
// since its size was taken is as wrong as one that has shrunk.
func (c *chunkReader) finish() error {
	if c.closer != nil {
		if n, _ := c.r.Read(make([]byte, 1)); n > 0 {
			return fmt.Errorf("content of %.80q is longer than it was", c.chunks[0].name)
		}
	}
	err := c.Close()
	c.r, c.chunks = nil, c.chunks[1:]
	return err
}

func (c *chunkReader) Close() error {
	if c.closer == nil {
		return nil
	}
	err := c.closer.Close()
	c.closer = nil
	return err
}

// layerDigest computes the hash of a layer once, when it is first asked for.
type layerDigest struct {
	once sync.Once
	hash v1.Hash
	err  error
}

func (d *layerDigest) of(open func() (io.ReadCloser, error)) (v1.Hash, error) {
	d.once.Do(func() { d.hash, d.err = hashOf(open) })
	return d.hash, d.err
}

func hashOf(open func() (io.ReadCloser, error)) (v1.Hash, error) {
	r, err := open()
	if err != nil {
		return v1.Hash{}, err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return v1.Hash{}, err
	}
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}, nil
}
