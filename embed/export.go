package embed

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/distribution/reference"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Annotations of an exported image in index.json: its name, as other tools
// know it, and what else Want says.
const (
	refAnnotation  = "org.opencontainers.image.ref.name"
	wantAnnotation = "dev.hooksmith.embed"
)

// exported is the value of wantAnnotation.
type exported struct {
	Source  string   `json:"source"`
	Names   []string `json:"names,omitempty"`
	Digests []string `json:"digests,omitempty"`
}

// exportAnnotation of the whole index.json marks what Export wrote, which a
// later Export may write over; its value tells a set that is whole from one
// that is not yet.
const (
	exportAnnotation = "dev.hooksmith.embed.export"
	exportWhole      = "whole"
	exportBegun      = "begun"
)

// Export writes images as an OCI layout. Equal images give equal bytes.
// Progress, if not nil, is told the bytes written.
//
// A folder then holds these images and no others. What is right in it already
// is left; its index.json changes when all that it names is there, and blobs
// that are no longer needed are removed after that.
func Export(ctx context.Context, dest Dest, images []Image, progress func(int64)) error {
	index, blobs, err := layoutOf(images)
	if err != nil {
		return err
	}
	files := append([]blob{textBlob("oci-layout", layoutVersion), textBlob("index.json", string(index))}, blobs...)
	switch {
	case dest.Stream != nil:
		return exportStream(ctx, dest.Stream, files, progress)
	case dest.Tar:
		return exportTar(ctx, dest.Path, files, progress)
	}
	if err := dest.Check(); err != nil {
		return err
	}
	return exportDir(ctx, dest.Path, index, blobs, progress)
}

const layoutVersion = `{"imageLayoutVersion":"1.0.0"}`

// blob is a file of a layout.
type blob struct {
	name string
	size int64
	open func() (io.ReadCloser, error) // fails at its end if the content is wrong
}

func textBlob(name, text string) blob { return blob{name, int64(len(text)), opened([]byte(text))} }

func opened(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

func blobName(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// layoutOf lists all blobs, each once, sorted.
func layoutOf(images []Image) (index []byte, blobs []blob, err error) {
	known := map[string]blob{}
	manifest := indexManifest(exportWhole)
	for _, img := range images {
		d, err := describeImage(img, known)
		if err != nil {
			return nil, nil, fmt.Errorf("exporting %s (%s): %w", img.Source, img.Origin, err)
		}
		manifest.Manifests = append(manifest.Manifests, *d)
	}
	for _, b := range known {
		blobs = append(blobs, b)
	}
	slices.SortFunc(blobs, func(x, y blob) int { return cmp.Compare(x.name, y.name) })
	index, err = json.MarshalIndent(manifest, "", "  ")
	return index, blobs, err
}

func indexManifest(state string) v1.IndexManifest {
	return v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}, Annotations: map[string]string{exportAnnotation: state}}
}

// describeImage adds the blobs of an image and returns its entry of the index.
func describeImage(img Image, blobs map[string]blob) (*v1.Descriptor, error) {
	m, err := img.Image.Manifest()
	if err != nil {
		return nil, err
	}
	raw, err := img.Image.RawManifest()
	if err != nil {
		return nil, err
	}
	digest, err := img.Image.Digest()
	if err != nil {
		return nil, err
	}
	config, layers, err := readImage(img.Image)
	if err != nil {
		return nil, err
	}
	for i, l := range layers {
		d := m.Layers[i]
		blobs[blobName(d.Digest)] = blob{blobName(d.Digest), d.Size, l.Compressed}
	}
	blobs[blobName(config.id)] = blob{blobName(config.id), int64(len(config.raw)), opened(config.raw)}
	blobs[blobName(digest)] = blob{blobName(digest), int64(len(raw)), opened(raw)}
	annotations, err := annotate(img)
	if err != nil {
		return nil, err
	}
	cf, err := img.Image.ConfigFile()
	if err != nil {
		return nil, err
	}
	return &v1.Descriptor{
		MediaType: cmp.Or(m.MediaType, types.OCIManifestSchema1), Digest: digest, Size: int64(len(raw)), Annotations: annotations,
		Platform: &v1.Platform{OS: cf.OS, Architecture: cf.Architecture, Variant: cf.Variant},
	}, nil
}

// annotate says in index.json what the image is wanted as, and its name as
// other tools know it.
func annotate(img Image) (map[string]string, error) {
	note, err := json.Marshal(exported{img.Source, img.Names, img.Digests})
	if err != nil {
		return nil, err
	}
	annotations := map[string]string{wantAnnotation: string(note)}
	named, err := reference.ParseNormalizedNamed(img.Source)
	if err != nil {
		return nil, err
	}
	if t, ok := reference.TagNameOnly(named).(reference.NamedTagged); ok {
		annotations[refAnnotation] = t.Name() + ":" + t.Tag()
	}
	return annotations, nil
}
