package linuxkit

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ImageFile is a regular file inside an image, found without unpacking it.
type ImageFile struct {
	Name string // path in the image, without a leading slash
	Mode int64  // permission bits
	Size int64

	layer v1.Layer
	entry int // number of the entry in the layer's tar
}

// Open returns the content. It reads the layer up to the file; the caller
// closes it.
func (f *ImageFile) Open() (io.ReadCloser, error) {
	rc, err := f.layer.Uncompressed()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", f.Name, err)
	}
	tr := tar.NewReader(rc)
	for i := 0; i <= f.entry; i++ {
		if _, err := tr.Next(); err != nil {
			rc.Close()
			return nil, fmt.Errorf("reading %s: %w", f.Name, noEOF(err))
		}
	}
	return struct {
		io.Reader
		io.Closer
	}{tr, rc}, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// hit is what a layer says about a wanted path.
type hit struct {
	file    *ImageFile // a regular file, or
	link    string     // the target of a hard link, or
	problem error      // why the path cannot be used, or
	gone    bool       // deleted
}

// findFiles looks for files of an image by path, in the topmost layer that
// has something to say about each: later layers win, whiteouts delete. Each
// layer is read once, as a stream, and no further down than needed. Paths
// that the image does not have are absent from the result.
func findFiles(ctx context.Context, img v1.Image, paths ...string) (map[string]*ImageFile, error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	open := map[string][]string{} // wanted in this layer: path to what was asked for
	for _, p := range paths {
		open[p] = append(open[p], p)
	}
	found := map[string]*ImageFile{}
	for i := len(layers) - 1; i >= 0 && len(open) > 0; i-- {
		if mediaType, err := layers[i].MediaType(); err == nil && !readable(mediaType) {
			continue
		}
		// A hard link has its content in the same layer, or below: hence a
		// second look at the layer after following one.
		for hops := 0; ; hops++ {
			hits, err := scanLayer(ctx, layers[i], open)
			if err != nil {
				return nil, fmt.Errorf("layer %d of %d: %w", i+1, len(layers), err)
			}
			again, err := settle(open, found, hits)
			if err != nil {
				return nil, err
			}
			if !again || hops == maxLinks {
				break
			}
		}
	}
	return found, nil
}

const maxLinks = 8

// readable reports whether a layer is a file system: attestations are not.
func readable(t types.MediaType) bool { return t.IsLayer() }

// settle takes what a layer says into account. It reports whether a hard link
// asks for another look at the layer.
func settle(open map[string][]string, found map[string]*ImageFile, hits map[string]hit) (again bool, err error) {
	for _, p := range known(hits) {
		h, asked := hits[p], open[p]
		delete(open, p)
		switch {
		case h.problem != nil:
			return false, h.problem
		case h.link != "":
			open[h.link] = append(open[h.link], asked...)
			again = true
		case h.file != nil:
			for _, name := range asked {
				found[name] = h.file
			}
		}
	}
	return again, nil
}

// scanLayer reads one layer for the paths.
func scanLayer(ctx context.Context, layer v1.Layer, open map[string][]string) (map[string]hit, error) {
	rc, err := layer.Uncompressed()
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	hits := map[string]hit{}
	hidden := map[string]bool{}
	tr := tar.NewReader(rc)
	for entry := 0; ; entry++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		name := cleanName(hdr.Name)
		hide(hidden, open, name)
		if _, wanted := open[name]; wanted {
			hits[name] = look(layer, entry, name, hdr, hits)
		}
	}
	for p := range hidden {
		if _, here := hits[p]; !here {
			hits[p] = hit{gone: true}
		}
	}
	return hits, nil
}

func cleanName(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// hide notes the wanted paths that a whiteout deletes from the layers below.
func hide(hidden map[string]bool, open map[string][]string, name string) {
	dir, base := path.Split(name)
	whiteout, ok := strings.CutPrefix(base, ".wh.")
	if !ok {
		return
	}
	for p := range open {
		deleted := dir + whiteout
		if p == deleted || strings.HasPrefix(p, deleted+"/") || whiteout == ".wh..opq" && strings.HasPrefix(p, dir) {
			hidden[p] = true
		}
	}
}

// look judges the entry of a wanted path.
func look(layer v1.Layer, entry int, name string, hdr *tar.Header, before map[string]hit) hit {
	if _, twice := before[name]; twice {
		return hit{problem: fmt.Errorf("found %s twice in one layer", name)}
	}
	switch hdr.Typeflag {
	case tar.TypeReg:
		return hit{file: &ImageFile{Name: name, Mode: hdr.Mode & 0o7777, Size: hdr.Size, layer: layer, entry: entry}}
	case tar.TypeLink:
		return hit{link: cleanName(hdr.Linkname)}
	case tar.TypeSymlink:
		return hit{problem: fmt.Errorf("%s is a symbolic link to %.200s; name the file itself", name, hdr.Linkname)}
	}
	return hit{problem: fmt.Errorf("%s is not a regular file", name)}
}
