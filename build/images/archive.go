package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Bounds of an archive.
const (
	maxArchiveEntries = 200_000
	maxArchiveJSON    = 8 << 20
)

// storeContent is what was imported into the store whole.
type storeContent struct{ *store }

func (s storeContent) open(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	f, err := s.store.open(d.Digest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not in the image cache: it was not among what was copied, or was pruned meanwhile", d.Digest)
	}
	return f, err
}

// size marks the blob as used.
func (s storeContent) size(h v1.Hash) int64 {
	f, err := s.store.open(h)
	if err != nil {
		return -1
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return -1
	}
	return st.Size()
}

// imported returns what pick takes of the images that key stands for. They are
// brought into the store by bring, unless what is needed is there already.
func (s *store) imported(ctx context.Context, key string, want v1.Platform, pick func([]named) ([]v1.Descriptor, error), bring func() ([]named, error)) ([]v1.Descriptor, error) {
	defer s.locks.Lock(key)()
	if known := s.recall(key); known != nil {
		ds, err := pick(known)
		if err != nil && !errors.Is(err, errNotCopied) {
			return nil, err
		}
		if err == nil {
			if _, err := choose(ctx, storeContent{s}, ds, want); err == nil {
				return ds, nil
			}
		}
	}
	images, err := bring()
	if err != nil {
		return nil, err
	}
	if err := s.remember(key, images...); err != nil {
		return nil, err
	}
	return pick(images)
}

// archive returns the images for ref of a docker-save or OCI archive,
// compressed or not. It is read whole once, and again when it changed.
func (s *store) archive(ctx context.Context, file string, ref reference, want v1.Platform, progress Progress) ([]v1.Descriptor, error) {
	return s.archiveImages(ctx, file, want, progress, func(images []named) ([]v1.Descriptor, error) {
		return match(ctx, storeContent{s}, images, ref)
	})
}

// archiveImages returns those images of an archive that pick takes.
func (s *store) archiveImages(ctx context.Context, file string, want v1.Platform, progress Progress, pick func([]named) ([]v1.Descriptor, error)) ([]v1.Descriptor, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	key := fmt.Sprintf("whole archive %s %d %d", abs, st.Size(), st.ModTime().UnixNano())
	return s.imported(ctx, key, want, pick, func() ([]named, error) {
		add, done := progress.start("reading "+filepath.Base(file), st.Size())
		images, err := s.importArchive(ctx, &counted{f, add})
		done(err)
		return images, err
	})
}

// counted tells how much was read.
type counted struct {
	r   io.Reader
	add func(int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.add(int64(n))
	return n, err
}

// unpacked is what an archive had.
type unpacked struct {
	s     *store
	files map[string]v1.Descriptor // by cleaned path; the media type says how a layer is compressed
	links map[string]string
	texts map[string][]byte // manifest.json, index.json
	cut   bool              // the tar has no end
}

// importArchive reads what `docker save` writes, of all versions: the old form
// with manifest.json and a folder for each layer, and the OCI layout that
// newer ones add. Blobs go into the store as they come; nothing is named
// before its digest was checked.
func (s *store) importArchive(ctx context.Context, r io.Reader) ([]named, error) {
	plain, release, err := decompress(r)
	if err != nil {
		return nil, err
	}
	defer release()
	u := &unpacked{s: s, files: map[string]v1.Descriptor{}, links: map[string]string{}, texts: map[string][]byte{}}
	if err := u.read(ctx, plain); err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	var images []named
	if raw := u.texts["index.json"]; raw != nil {
		all, err := parseLayoutIndex(raw)
		if err != nil {
			return nil, err
		}
		if images, err = u.inventory().whole(ctx, all); err != nil {
			return nil, err
		}
	}
	if raw := u.texts["manifest.json"]; raw != nil {
		old, err := u.saved(ctx, raw)
		incomplete := (*incompleteError)(nil)
		if err != nil && (len(images) == 0 || errors.As(err, &incomplete)) {
			return nil, err
		}
		images = append(images, old...)
	}
	if u.cut {
		return nil, &incompleteError{"the end of the tar is missing"}
	}
	if len(images) == 0 {
		return nil, errors.New("it is no archive of images: it has neither manifest.json (docker save) nor index.json (OCI layout) with images")
	}
	return images, nil
}

// inventory lists what the archive has.
func (u *unpacked) inventory() inventory {
	i := inventory{storeContent{u.s}, map[v1.Hash]int64{}, map[v1.Hash]*lack{}}
	for _, d := range u.files {
		i.sizes[d.Digest] = d.Size
	}
	return i
}

func (u *unpacked) read(ctx context.Context, r io.Reader) error {
	end := &zeros{r: r}
	tr := tar.NewReader(end)
	for n := 0; ; n++ {
		end.n = 0
		h, err := tr.Next()
		if err == io.EOF {
			const block = 512 // after content, fewer fill its last block
			u.cut = end.n < block
			return nil
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return &incompleteError{err.Error()}
		}
		if err != nil {
			return err
		}
		if n >= maxArchiveEntries {
			return fmt.Errorf("more than %d entries", maxArchiveEntries)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		err = u.entry(path.Clean(h.Name), h, tr)
		if err == nil {
			_, err = io.Copy(io.Discard, tr)
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return &incompleteError{fmt.Sprintf("%s: %v", h.Name, err)}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

// zeros counts those at the end of what was read. A tar ends with two blocks
// of them, and archive/tar takes any end between two files for one.
type zeros struct {
	r io.Reader
	n int
}

func (z *zeros) Read(p []byte) (int, error) {
	n, err := z.r.Read(p)
	tail := len(bytes.TrimRight(p[:n], "\x00"))
	if tail > 0 {
		z.n = 0
	}
	z.n += n - tail
	return n, err
}

func (u *unpacked) entry(name string, h *tar.Header, r io.Reader) error {
	switch {
	case h.Typeflag == tar.TypeSymlink: // a layer that another image has too
		u.links[name] = path.Join(path.Dir(name), h.Linkname)
		return nil
	case h.Typeflag == tar.TypeLink:
		u.links[name] = path.Clean(h.Linkname)
		return nil
	case h.Typeflag != tar.TypeReg:
		return nil
	case name == "manifest.json" || name == "index.json":
		b, err := io.ReadAll(io.LimitReader(r, maxArchiveJSON+1))
		if err == nil && len(b) > maxArchiveJSON {
			err = fmt.Errorf("larger than %d bytes", maxArchiveJSON)
		}
		u.texts[name] = b
		return err
	case name == "repositories", name == "oci-layout", path.Base(name) == "VERSION", path.Base(name) == "json":
		return nil // of Docker before 1.10
	}
	in, err := u.s.create()
	if err != nil {
		return err
	}
	if _, err := io.Copy(in, r); err != nil {
		in.abort()
		return err
	}
	d := v1.Descriptor{MediaType: types.OCIUncompressedLayer, Size: in.size}
	switch {
	case bytes.HasPrefix(in.head[:], gzipMagic):
		d.MediaType = types.OCILayer
	case isZstd(in.head[:]):
		d.MediaType = types.OCILayerZStd
	}
	if d.Digest, err = in.commit(); err != nil {
		return err
	}
	u.files[name] = d
	return nil
}

// file finds a file of the archive, through the links of docker save.
func (u *unpacked) file(name string) (v1.Descriptor, error) {
	name = path.Clean(name)
	for range 8 {
		if d, ok := u.files[name]; ok {
			return d, nil
		}
		to, ok := u.links[name]
		if !ok {
			break
		}
		name = to
	}
	return v1.Descriptor{}, &incompleteError{fmt.Sprintf("manifest.json names %q, which is not in the archive", name)}
}

// saved makes OCI manifests of what manifest.json says.
func (u *unpacked) saved(ctx context.Context, raw []byte) ([]named, error) {
	var entries []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(raw, &entries); err != nil {
		return nil, fmt.Errorf("reading manifest.json: %w", err)
	}
	if len(entries) > maxManifests {
		return nil, fmt.Errorf("reading manifest.json: %d images, more than %d", len(entries), maxManifests)
	}
	var out []named
	for _, e := range entries {
		d, err := u.manifest(ctx, e.Config, e.Layers)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", strings.Join(e.RepoTags, ", "), err)
		}
		out = append(out, named{Names: e.RepoTags, Desc: d})
	}
	return out, nil
}

// manifest stores the OCI manifest of an image that had none. Equal images
// give equal manifests.
func (u *unpacked) manifest(ctx context.Context, config string, layers []string) (v1.Descriptor, error) {
	c, err := u.file(config)
	if err != nil {
		return v1.Descriptor{}, err
	}
	c.MediaType = types.DockerConfigJSON
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: c, Layers: []v1.Descriptor{}}
	if len(layers) > maxLayers {
		return v1.Descriptor{}, fmt.Errorf("%d layers, more than %d", len(layers), maxLayers)
	}
	for _, name := range layers {
		l, err := u.file(name)
		if err != nil {
			return v1.Descriptor{}, err
		}
		m.Layers = append(m.Layers, l)
	}
	file, _, err := readConfig(ctx, storeContent{u.s}, &m)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if len(file.RootFS.DiffIDs) != len(layers) {
		return v1.Descriptor{}, fmt.Errorf("manifest.json has %d layers, the image's configuration %d", len(layers), len(file.RootFS.DiffIDs))
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return v1.Descriptor{}, err
	}
	h, err := u.s.put(raw)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: h, Size: int64(len(raw))}, nil
}
