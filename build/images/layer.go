package images

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"hooksmith/build/gunzip"
)

// Bounds on what a layer may unpack to. No gzip stream grows more than 1032
// times; zstd can, so that a small layer gets a generous floor.
const (
	maxExpansion = 1100
	freeUnpacked = 4 << 30
	zstdWindow   = 128 << 20 // zstd --long=27, the most that decoders take unasked
)

// layer is a layer as a manifest and a configuration describe it.
type layer struct {
	desc   v1.Descriptor
	diffID v1.Hash
	open   func(v1.Descriptor) (io.ReadCloser, error)
}

var _ v1.Layer = (*layer)(nil)

// Digest is the hash of what Compressed returns.
func (l *layer) Digest() (v1.Hash, error) { return l.desc.Digest, nil }

// DiffID is the hash of what Uncompressed returns. It costs nothing.
func (l *layer) DiffID() (v1.Hash, error) { return l.diffID, nil }

// Size is the length of what Compressed returns.
func (l *layer) Size() (int64, error) { return l.desc.Size, nil }

// MediaType is what the manifest says. What Compressed returns may be
// compressed otherwise.
func (l *layer) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }

// Descriptor is the layer's entry in the manifest.
func (l *layer) Descriptor() (*v1.Descriptor, error) { return l.desc.DeepCopy(), nil }

// Compressed returns the layer as it is stored. The last Read fails unless
// all had the digest and the size.
func (l *layer) Compressed() (io.ReadCloser, error) {
	rc, err := l.open(l.desc)
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", l.desc.Digest, err)
	}
	return newVerified(rc, rc.Close, l.desc.Digest, l.desc.Size), nil
}

// Uncompressed returns the layer's tar. The last Read fails unless it had its
// hash, the diff ID that the configuration names.
func (l *layer) Uncompressed() (io.ReadCloser, error) {
	if l.desc.Digest == l.diffID { // not compressed
		return l.Compressed()
	}
	rc, explain, err := l.packed()
	if err != nil {
		return nil, err
	}
	r, release, err := decompress(rc)
	if err != nil {
		rc.Close()
		return nil, fmt.Errorf("layer %s: %w", l.desc.Digest, explain(err))
	}
	v := newVerified(r, func() error { release(); return rc.Close() }, l.diffID, -1)
	v.limit = max(freeUnpacked, l.desc.Size*maxExpansion)
	v.explain = explain
	return v, nil
}

// packed opens the layer for unpacking. A file that is here is not hashed:
// whatever unpacks to the diff ID is the layer. If it turns out not to,
// explain finds out whether the file was damaged or never was the layer.
func (l *layer) packed() (rc io.ReadCloser, explain func(error) error, err error) {
	if rc, err = l.open(l.desc); err != nil {
		return nil, nil, fmt.Errorf("layer %s: %w", l.desc.Digest, err)
	}
	switch rc.(type) {
	case *os.File, *storedFile:
		return rc, l.explain, nil
	}
	return newVerified(rc, rc.Close, l.desc.Digest, l.desc.Size), func(err error) error { return err }, nil
}

// explain returns the error of reading the compressed bytes, or err if they
// are what was promised.
func (l *layer) explain(err error) error {
	rc, openErr := l.Compressed()
	if openErr != nil {
		return err
	}
	defer rc.Close()
	if _, damage := io.Copy(io.Discard, rc); damage != nil {
		return damage
	}
	return fmt.Errorf("blob %s: %w", l.desc.Digest, err)
}

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// isZstd knows frames and skippable frames, with which some tools begin.
func isZstd(b []byte) bool {
	return bytes.HasPrefix(b, zstdMagic) || len(b) >= 4 && b[0]&0xf0 == 0x50 && b[1] == 0x2a && b[2] == 0x4d && b[3] == 0x18
}

// decompress goes by the content, as docker and containerd do: media types are
// often wrong. An estargz layer is a gzip file of many members.
func decompress(r io.Reader) (io.Reader, func(), error) {
	br := bufio.NewReaderSize(r, 64<<10)
	magic, err := br.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(magic, gzipMagic):
		z, err := gunzip.NewReader(br)
		if err != nil {
			return nil, nil, err
		}
		return z, func() {}, nil
	case isZstd(magic):
		z, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return br, func() {}, nil
}

// verified passes bytes on, and fails where they turn out to be others than
// promised: past size at once, else at the end.
type verified struct {
	r     io.Reader
	close func() error
	h     hash.Hash
	want  v1.Hash
	size  int64 // -1: not known
	limit int64 // 0: none
	n     int64
	bad   func() // called once when the bytes are wrong
	file  string // of a layout, which a user can repair; "": none

	explain func(error) error // nil: none; knows why the bytes are wrong
}

func newVerified(r io.Reader, closer func() error, want v1.Hash, size int64) *verified {
	v := &verified{r: r, close: closer, h: sha256.New(), want: want, size: size}
	switch f := r.(type) {
	case *storedFile:
		v.bad = f.discard
	case *os.File:
		v.file = f.Name()
	}
	return v
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.h.Write(p[:n])
	v.n += int64(n)
	switch {
	case v.size >= 0 && v.n > v.size:
		return 0, v.wrong(fmt.Errorf("%s: longer than the %d bytes that were promised", v.want, v.size))
	case v.limit > 0 && v.n > v.limit:
		return 0, fmt.Errorf("%s unpacks to more than %d bytes", v.want, v.limit)
	case err == io.EOF && v.size >= 0 && v.n < v.size:
		return 0, v.wrong(fmt.Errorf("%s: only %d of %d bytes: %w", v.want, v.n, v.size, io.ErrUnexpectedEOF))
	case err == io.EOF:
		if got := hex.EncodeToString(v.h.Sum(nil)); got != v.want.Hex {
			return 0, v.wrong(fmt.Errorf("wrong content: its digest is sha256:%s, want %s", got, v.want))
		}
	case err != nil && v.explain != nil:
		err = v.explain(err)
	}
	return n, err
}

func (v *verified) wrong(err error) error {
	if v.bad != nil {
		v.bad()
		v.bad = nil
		return fmt.Errorf("%w (the cached copy was damaged and is gone now: run the command again)", err)
	}
	if v.file != "" {
		return fmt.Errorf("%w (%s is damaged: copy it again, or run again what wrote its folder, which hooksmith embed export repairs)", err, v.file)
	}
	if v.explain != nil {
		return v.explain(err)
	}
	return err
}

// Verifies is the hash that all that is read has, or the last Read fails.
func (v *verified) Verifies() v1.Hash { return v.want }

func (v *verified) Close() error { return v.close() }
