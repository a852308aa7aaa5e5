package debian

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Layer is an image layer that is made of something else while it is read,
// and that can be named without being read.
type Layer struct {
	v1.Layer
	// Package is the package that the layer is the content of, nil for a
	// layer of generated files.
	Package *Package

	id string
}

// Identity names the layer's content without reading it: layers of equal
// identity are equal byte for byte. It is a key for caches of unpacked layers.
func (l *Layer) Identity() string { return l.id }

// NewLayer returns the content of a package as a layer. open returns its .deb;
// the layer calls it for each reading and closes what it gets. The .deb is
// verified again while it is read. Paths that match keep stay although they
// are among those usually trimmed (documentation, manuals, locales, ...).
func NewLayer(p *Package, open func() (io.ReadCloser, error), keep ...string) *Layer {
	read := func() (io.ReadCloser, error) {
		f, err := open()
		if err != nil {
			return nil, err
		}
		s, err := readPackage(f, p, keep, defaultLimits)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("unpacking %s: %w", p, err)
		}
		return s, nil
	}
	return newLayer(p, packageIdentity(p, keep), read)
}

func packageIdentity(p *Package, keep []string) string {
	id := "debian-package-" + transformVersion + "-" + p.SHA256
	if len(keep) > 0 {
		sum := sha256.Sum256([]byte(strings.Join(slices.Sorted(slices.Values(keep)), "\n")))
		id += "-" + hex.EncodeToString(sum[:8])
	}
	return id
}

func newLayer(p *Package, id string, read func() (io.ReadCloser, error)) *Layer {
	u := &uncompressed{read: read}
	u.diffID = sync.OnceValues(u.hash)
	layer, _ := partial.UncompressedToLayer(u) // its error is always nil
	return &Layer{Layer: layer, Package: p, id: id}
}

// readPackage returns a package's layer as a tar. Errors of the archive come
// out of Read, and io.EOF only when all of the .deb was read and its hash is
// right. The stream closes f.
func readPackage(f io.ReadCloser, p *Package, keep globs, lim limits) (*tarStream, error) {
	checked := newCheckedReader(f, p.SHA256, p.Size)
	control, data, err := openDeb(checked)
	if err != nil {
		return nil, err
	}
	if err := p.checkControl(control); err != nil {
		return nil, err
	}
	bounded := &boundedReader{r: data, left: lim.unpacked, what: "unpacked package"}
	t := &transform{in: tar.NewReader(bounded), keep: keep, limits: lim, seen: map[string]byte{}}
	next := func() (*tar.Header, io.Reader, error) {
		h, body, err := t.next()
		if err == io.EOF {
			if _, err = io.Copy(io.Discard, bounded); err == nil {
				err = checked.drain()
			}
			if err == nil {
				return nil, nil, io.EOF
			}
		}
		return h, body, err
	}
	return &tarStream{next: next, close: f.Close, what: "unpacking " + p.String()}, nil
}

// uncompressed is the core of a layer that exists uncompressed.
type uncompressed struct {
	read   func() (io.ReadCloser, error)
	diffID func() (v1.Hash, error)
}

func (u *uncompressed) Uncompressed() (io.ReadCloser, error) { return u.read() }

func (u *uncompressed) DiffID() (v1.Hash, error) { return u.diffID() }

func (u *uncompressed) MediaType() (types.MediaType, error) { return types.DockerLayer, nil }

func (u *uncompressed) hash() (v1.Hash, error) {
	r, err := u.read()
	if err != nil {
		return v1.Hash{}, err
	}
	defer r.Close()
	sum := sha256.New()
	if _, err := io.CopyBuffer(sum, r, make([]byte, 256<<10)); err != nil {
		return v1.Hash{}, err
	}
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}, nil
}
