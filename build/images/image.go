package images

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Bounds of what is read into memory, and of layers.
const (
	maxManifest = 8 << 20
	maxConfig   = 16 << 20
	maxLayers   = 5000
	maxBlob     = 64 << 30
)

// content is where the parts of an image come from.
type content interface {
	// open returns the bytes that d names. The caller verifies and closes.
	open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
}

// errSchema1 is what Docker of before 2016 pushed.
var errSchema1 = errors.New("its manifest has schema version 1, which Docker stopped to use in 2016: pull and push it again with a current Docker, or use another tag")

// manifest is a manifest of either kind; one of image and index is set.
type manifest struct {
	desc  v1.Descriptor
	raw   []byte
	image *v1.Manifest
	index *v1.IndexManifest
}

// parseManifest tells image and index apart by what is in raw, because media
// types are often missing, or those of a proxy.
func parseManifest(raw []byte, hint types.MediaType) (*manifest, error) {
	var probe struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Config        json.RawMessage `json:"config"`
		Layers        json.RawMessage `json:"layers"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	if err := json.Unmarshal(raw, &probe); err != nil {
		return nil, fmt.Errorf("its manifest is not JSON: %w", err)
	}
	isIndex := len(probe.Manifests) > 0
	isImage := len(probe.Config) > 0 || len(probe.Layers) > 0
	m := &manifest{raw: raw}
	var err error
	switch {
	case probe.SchemaVersion == 1 || len(probe.FSLayers) > 0:
		return nil, errSchema1
	case isIndex && isImage: // CVE-2021-41190: two readers, two images
		return nil, errors.New("its manifest is an image and an index at once")
	case isIndex:
		m.index, err = v1.ParseIndexManifest(bytes.NewReader(raw))
		m.desc.MediaType = pickType(types.MediaType.IsIndex, types.OCIImageIndex, probe.MediaType, hint)
	case isImage:
		m.image, err = v1.ParseManifest(bytes.NewReader(raw))
		m.desc.MediaType = pickType(types.MediaType.IsImage, types.OCIManifestSchema1, probe.MediaType, hint)
	default:
		return nil, errors.New("its manifest has neither layers nor other manifests: this is no container image")
	}
	if err != nil {
		return nil, fmt.Errorf("reading its manifest: %w", err)
	}
	m.desc.Digest, m.desc.Size, err = v1.SHA256(bytes.NewReader(raw))
	return m, err
}

func pickType(ok func(types.MediaType) bool, fallback types.MediaType, candidates ...types.MediaType) types.MediaType {
	for _, t := range candidates {
		if ok(t) {
			return t
		}
	}
	return fallback
}

// readManifest reads the manifest that d names.
func readManifest(ctx context.Context, c content, d v1.Descriptor) (*manifest, error) {
	ask := d
	if !ask.MediaType.IsIndex() && !ask.MediaType.IsImage() {
		ask.MediaType = types.OCIManifestSchema1 // registries keep manifests apart from blobs
	}
	raw, err := readBlob(ctx, c, ask, maxManifest)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	m, err := parseManifest(raw, d.MediaType)
	if err != nil {
		return nil, err
	}
	m.desc.Platform, m.desc.Annotations = d.Platform, d.Annotations
	return m, nil
}

// readConfig reads an image's configuration.
func readConfig(ctx context.Context, c content, m *v1.Manifest) (*v1.ConfigFile, []byte, error) {
	raw, err := readBlob(ctx, c, m.Config, maxConfig)
	if err != nil {
		return nil, nil, fmt.Errorf("configuration %s: %w", m.Config.Digest, err)
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(raw))
	if err != nil {
		return nil, nil, fmt.Errorf("configuration %s (%s) is none of a container image: %w", m.Config.Digest, m.Config.MediaType, err)
	}
	return config, raw, nil
}

// readBlob reads a small blob and verifies it. A size of 0 is taken as not known.
func readBlob(ctx context.Context, c content, d v1.Descriptor, limit int64) ([]byte, error) {
	if d.Size > limit {
		return nil, fmt.Errorf("has %d bytes, more than the %d that are sane", d.Size, limit)
	}
	rc, err := c.open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	size := d.Size
	if size <= 0 {
		size = -1
	}
	v := newVerified(rc, rc.Close, d.Digest, size)
	v.limit = limit
	return io.ReadAll(v)
}

// image is an image whose manifest and configuration are in memory and whose
// layers are opened when they are read.
type image struct {
	*manifest
	config []byte
	layers []v1.Layer

	// Where it was found, and what its index attests of it.
	content  content
	attested []v1.Descriptor
}

var _ v1.Image = (*image)(nil)

// newImage reads manifest and configuration. Layers are opened with ctx.
func newImage(ctx context.Context, c content, d v1.Descriptor) (*image, error) {
	m, err := readManifest(ctx, c, d)
	if err != nil {
		return nil, err
	}
	if m.image == nil {
		return nil, fmt.Errorf("%s is an index of images, want an image", d.Digest)
	}
	config, raw, err := readConfig(ctx, c, m.image)
	if err != nil {
		return nil, err
	}
	layers, diffIDs := m.image.Layers, config.RootFS.DiffIDs
	if len(layers) != len(diffIDs) || len(layers) > maxLayers {
		return nil, fmt.Errorf("its manifest has %d layers and its configuration (%s) %d: this is no container image, or a damaged one", len(layers), m.image.Config.MediaType, len(diffIDs))
	}
	img := &image{manifest: m, config: raw}
	open := func(d v1.Descriptor) (io.ReadCloser, error) { return c.open(ctx, d) }
	for i, ld := range layers {
		if ld.Size < 0 || ld.Size > maxBlob {
			return nil, fmt.Errorf("its layer %s has %d bytes, more than the %d that are sane", ld.Digest, ld.Size, int64(maxBlob))
		}
		img.layers = append(img.layers, &layer{desc: ld, diffID: diffIDs[i], open: open})
	}
	return img, nil
}

func (i *image) Layers() ([]v1.Layer, error)         { return slices.Clone(i.layers), nil }
func (i *image) MediaType() (types.MediaType, error) { return i.desc.MediaType, nil }
func (i *image) Size() (int64, error)                { return i.desc.Size, nil }
func (i *image) ConfigName() (v1.Hash, error)        { return i.image.Config.Digest, nil }
func (i *image) ConfigFile() (*v1.ConfigFile, error) { return partial.ConfigFile(i) }
func (i *image) RawConfigFile() ([]byte, error)      { return i.config, nil }
func (i *image) Digest() (v1.Hash, error)            { return i.desc.Digest, nil }
func (i *image) Manifest() (*v1.Manifest, error)     { return i.image.DeepCopy(), nil }
func (i *image) RawManifest() ([]byte, error)        { return i.raw, nil }
func (i *image) LayerByDiffID(h v1.Hash) (v1.Layer, error) {
	return i.find(h, func(l *layer) v1.Hash { return l.diffID })
}

// LayerByDigest also knows the configuration, as ggcr's images do.
func (i *image) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	if h == i.image.Config.Digest {
		return partial.ConfigLayer(i)
	}
	return i.find(h, func(l *layer) v1.Hash { return l.desc.Digest })
}

func (i *image) find(h v1.Hash, of func(*layer) v1.Hash) (v1.Layer, error) {
	for _, l := range i.layers {
		if of(l.(*layer)) == h {
			return l, nil
		}
	}
	return nil, fmt.Errorf("image %s has no layer %s", i.desc.Digest, h)
}

// index is an index whose images are read when they are asked for.
type index struct {
	*manifest
	childImage func(v1.Descriptor) (v1.Image, error)
	childIndex func(v1.Descriptor) (v1.ImageIndex, error)
}

var _ v1.ImageIndex = (*index)(nil)

// newIndex makes an index of a manifest that is one.
func newIndex(ctx context.Context, c content, m *manifest) *index {
	return &index{
		manifest:   m,
		childImage: func(d v1.Descriptor) (v1.Image, error) { return newImage(ctx, c, d) },
		childIndex: func(d v1.Descriptor) (v1.ImageIndex, error) {
			child, err := readManifest(ctx, c, d)
			if err == nil && child.index == nil {
				err = fmt.Errorf("%s is an image, want an index", d.Digest)
			}
			if err != nil {
				return nil, err
			}
			return newIndex(ctx, c, child), nil
		},
	}
}

// indexOf makes an index of image manifests that belong together but have
// none, such as those of one name in a layout, or a single image.
func indexOf(ctx context.Context, c content, ds []v1.Descriptor) (*index, error) {
	im := &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	for _, d := range ds {
		m, err := readManifest(ctx, c, d)
		if err != nil {
			return nil, err
		}
		if m.desc.Platform == nil && m.image != nil {
			config, _, err := readConfig(ctx, c, m.image)
			if err != nil {
				return nil, err
			}
			m.desc.Platform = config.Platform()
		}
		m.desc.Annotations = nil // names that hold in the layout only
		im.Manifests = append(im.Manifests, m.desc)
	}
	raw, err := json.Marshal(im)
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(raw, im.MediaType)
	if err != nil {
		return nil, err
	}
	return newIndex(ctx, c, m), nil
}

func (x *index) MediaType() (types.MediaType, error)       { return x.desc.MediaType, nil }
func (x *index) Digest() (v1.Hash, error)                  { return x.desc.Digest, nil }
func (x *index) Size() (int64, error)                      { return x.desc.Size, nil }
func (x *index) IndexManifest() (*v1.IndexManifest, error) { return x.index.DeepCopy(), nil }
func (x *index) RawManifest() ([]byte, error)              { return x.raw, nil }
func (x *index) Image(h v1.Hash) (v1.Image, error) {
	d, err := x.child(h)
	if err != nil {
		return nil, err
	}
	return x.childImage(d)
}

// ImageIndex returns an index inside this one.
func (x *index) ImageIndex(h v1.Hash) (v1.ImageIndex, error) {
	d, err := x.child(h)
	if err != nil {
		return nil, err
	}
	return x.childIndex(d)
}

func (x *index) child(h v1.Hash) (v1.Descriptor, error) {
	for _, d := range x.index.Manifests {
		if d.Digest == h {
			return d, nil
		}
	}
	return v1.Descriptor{}, fmt.Errorf("index %s has no manifest %s", x.desc.Digest, h)
}
