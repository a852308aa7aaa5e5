package rootof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxJSON bounds one manifest.
const maxJSON = 8 << 20

// fromArchive opens the only image in what docker save writes, or in an OCI
// layout.
func (r *Root) fromArchive(ctx context.Context, tree fs.FS) error {
	paths, err := archiveLayers(tree)
	if err != nil {
		return err
	}
	var open []func() (io.ReadCloser, error)
	for _, p := range paths {
		open = append(open, func() (io.ReadCloser, error) { return tree.Open(p) })
	}
	return r.fromLayers(ctx, open)
}

// archiveLayers lists the files of the layers, lowest first.
func archiveLayers(tree fs.FS) ([]string, error) {
	var saved []struct{ Layers []string }
	err := readJSON(tree, "manifest.json", &saved)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return layoutLayers(tree)
	case err != nil:
		return nil, err
	case len(saved) != 1:
		return nil, fmt.Errorf("there are %d images in it: save the one that is meant alone", len(saved))
	}
	var paths []string
	for _, l := range saved[0].Layers {
		paths = append(paths, cleanName(l))
	}
	return paths, nil
}

func layoutLayers(tree fs.FS) ([]string, error) {
	var index v1.IndexManifest
	if err := readJSON(tree, "index.json", &index); err != nil {
		return nil, err
	}
	for depth := 0; len(index.Manifests) == 1 && index.Manifests[0].MediaType.IsIndex(); depth++ {
		if depth == 4 {
			return nil, errors.New("indexes of indexes of indexes: not an image")
		}
		p := blob(index.Manifests[0].Digest)
		index = v1.IndexManifest{}
		if err := readJSON(tree, p, &index); err != nil {
			return nil, err
		}
	}
	var images []v1.Descriptor
	for _, d := range index.Manifests {
		if d.MediaType.IsImage() && (d.Platform == nil || d.Platform.OS != "unknown") { // attestations are of unknown/unknown
			images = append(images, d)
		}
	}
	if len(images) != 1 {
		return nil, fmt.Errorf("there are %d images in it: give the name of the one that is meant, with --layout", len(images))
	}
	var m v1.Manifest
	if err := readJSON(tree, blob(images[0].Digest), &m); err != nil {
		return nil, err
	}
	var paths []string
	for _, l := range m.Layers {
		if l.MediaType.IsLayer() {
			paths = append(paths, blob(l.Digest))
		}
	}
	return paths, nil
}

// blob is where an OCI layout has a content.
func blob(h v1.Hash) string {
	return cleanName(path.Join("blobs", strings.ReplaceAll(h.Algorithm, "/", ""), strings.ReplaceAll(h.Hex, "/", "")))
}

func readJSON(tree fs.FS, name string, v any) error {
	f, err := tree.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxJSON))
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
