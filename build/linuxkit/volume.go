package linuxkit

import (
	"errors"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
)

// parts lays out a volume: its content in lower, and the directories of the
// mounts that the init makes. The init mounts an overlay where there is a
// tmp; a read-only volume has none, so that it is bound as it is.
func (v *ResolvedVolume) parts(f filter, opts Options) ([]Part, error) {
	location := fmt.Sprintf("volume[%d]", v.Volume.Index)
	source := v.Ref
	if source == "" {
		source = sourceVolumes
	}
	content := Part{Location: location, Name: v.Name.Value, Source: source, Prefix: v.dir() + "/lower"}
	var entries []Entry
	var parts []Part
	switch {
	case v.Ref == "":
		entries = append(entries, Entry{Name: "lower/", Mode: 0o755})
	case v.Format.Value == "oci":
		layer, err := v.ociLayout(opts)
		if err != nil {
			return nil, err
		}
		content.Layers = []v1.Layer{layer}
		parts = append(parts, content)
	default:
		tree, err := imagePart(v.Image, f, content)
		if err != nil {
			return nil, err
		}
		parts = append(parts, tree)
	}
	if !v.Readonly.Value || opts.Compat {
		entries = append(entries, Entry{Name: "tmp/", Mode: 0o755})
	}
	entries = append(entries, Entry{Name: "merged/", Mode: 0o755})
	folders, err := NewLayer(opts.modTime(), entries...)
	if err != nil {
		return nil, err
	}
	return append(parts, Part{
		Location: location, Name: v.Name.Value, Source: sourceVolumes, Prefix: v.dir(), Layers: []v1.Layer{folders},
	}), nil
}

// ociLayout returns a layer that holds the volume's images as an OCI image
// layout. Blobs are streamed from the images.
func (v *ResolvedVolume) ociLayout(opts Options) (v1.Layer, error) {
	index := v.Index
	if index == nil {
		index = mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: v.Image})
	}
	index, err := onlyPlatforms(index, v.Platforms.Value)
	if err != nil {
		return nil, err
	}
	manifest, err := index.RawManifest()
	if err != nil {
		return nil, err
	}
	blobs := blobSet{}
	if err := blobs.addIndex(index, 0); err != nil {
		return nil, err
	}
	entries := []Entry{
		{Name: "./", Mode: 0o755},
		{Name: "oci-layout", Mode: 0o644, Data: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{Name: "index.json", Mode: 0o644, Data: manifest},
		{Name: "blobs/", Mode: 0o755},
		{Name: "blobs/sha256/", Mode: 0o755},
	}
	for _, name := range known(blobs) {
		entries = append(entries, blobs[name])
	}
	return NewLayer(opts.modTime(), entries...)
}

// onlyPlatforms removes images of other platforms; no platforms means all.
func onlyPlatforms(index v1.ImageIndex, platforms []string) (v1.ImageIndex, error) {
	if len(platforms) == 0 {
		return index, nil
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var have, missing []string
	keep := map[v1.Hash]bool{}
	for _, m := range manifest.Manifests {
		if m.Platform != nil {
			have = append(have, m.Platform.String())
		}
	}
	for _, platform := range platforms {
		want, err := v1.ParsePlatform(platform)
		if err != nil {
			return nil, err
		}
		found := false
		for _, m := range manifest.Manifests {
			if m.Platform != nil && m.Platform.Satisfies(*want) {
				keep[m.Digest], found = true, true
			}
		}
		if !found {
			missing = append(missing, platform)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("no image for %s; there are %s", strings.Join(missing, ", "), strings.Join(have, ", "))
	}
	return mutate.RemoveManifests(index, func(m v1.Descriptor) bool { return !keep[m.Digest] }), nil
}

// blobSet is the blobs of a layout by their name.
type blobSet map[string]Entry

const maxIndexDepth = 4

func (b blobSet) addIndex(index v1.ImageIndex, depth int) error {
	if depth > maxIndexDepth {
		return errors.New("image indexes nested too deeply")
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, m := range manifest.Manifests {
		switch {
		case m.MediaType.IsImage():
			img, err := index.Image(m.Digest)
			if err != nil {
				return err
			}
			if err := b.addImage(img); err != nil {
				return err
			}
		case m.MediaType.IsIndex():
			child, err := index.ImageIndex(m.Digest)
			if err != nil {
				return err
			}
			if err := b.addRaw(child); err != nil {
				return err
			}
			if err := b.addIndex(child, depth+1); err != nil {
				return err
			}
		default:
			return fmt.Errorf("manifest %s has type %s, which is no image", m.Digest, m.MediaType)
		}
	}
	return nil
}

func (b blobSet) addImage(img v1.Image) error {
	if err := b.addRaw(img); err != nil {
		return err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	name, err := img.ConfigName()
	if err != nil {
		return err
	}
	b.add(name, Entry{Data: config})
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		digest, err := layer.Digest()
		if err != nil {
			return err
		}
		size, err := layer.Size()
		if err != nil {
			return err
		}
		b.add(digest, Entry{Size: size, Open: func() (io.ReadCloser, error) { return layer.Compressed() }})
	}
	return nil
}

// addRaw adds the manifest of an image or index.
func (b blobSet) addRaw(of partial.WithRawManifest) error {
	data, err := of.RawManifest()
	if err != nil {
		return err
	}
	digest, err := partial.Digest(of)
	if err != nil {
		return err
	}
	b.add(digest, Entry{Data: data})
	return nil
}

func (b blobSet) add(digest v1.Hash, e Entry) {
	e.Name, e.Mode = "blobs/"+digest.Algorithm+"/"+digest.Hex, 0o644
	b[e.Name] = e
}
