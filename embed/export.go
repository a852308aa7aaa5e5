package embed

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/google/renameio/v2"

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

// Export writes images as an OCI layout: into the folder dest, or, if that
// ends in .tar, into one file. Blobs that a folder has already are left. Equal
// images give equal bytes. Progress, if not nil, is told the bytes written.
func Export(ctx context.Context, dest string, images []Image, progress func(int64)) error {
	index, blobs, err := layoutOf(images)
	if err != nil {
		return err
	}
	files := []blob{
		{name: "oci-layout", size: int64(len(layoutVersion)), open: opened([]byte(layoutVersion))},
		{name: "index.json", size: int64(len(index)), open: opened(index)},
	}
	if strings.HasSuffix(dest, ".tar") {
		return exportTar(ctx, dest, append(files, blobs...), progress)
	}
	return exportDir(ctx, dest, append(blobs, files...), progress) // the index when all that it names is there
}

const layoutVersion = `{"imageLayoutVersion":"1.0.0"}`

// blob is a file of a layout.
type blob struct {
	name string
	size int64
	open func() (io.ReadCloser, error) // fails at its end if the content is wrong
}

func opened(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

func blobName(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// layoutOf lists all blobs, each once, sorted.
func layoutOf(images []Image) (index []byte, blobs []blob, err error) {
	known := map[string]blob{}
	manifest := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
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

// exportDir writes the files into a folder, each beside and renamed.
func exportDir(ctx context.Context, dir string, files []blob, progress func(int64)) error {
	for _, b := range files {
		path := filepath.Join(dir, filepath.FromSlash(b.name))
		if st, err := os.Stat(path); err == nil && st.Size() == b.size && strings.HasPrefix(b.name, "blobs/") {
			count(progress, b.size)
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
		if err != nil {
			return err
		}
		err = b.copy(ctx, f, progress)
		if err == nil {
			err = f.CloseAtomicallyReplace()
		}
		if err := errors.Join(err, f.Cleanup()); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
	}
	return nil
}

// exportTar writes the files into one, which is there when it is whole.
func exportTar(ctx context.Context, dest string, files []blob, progress func(int64)) error {
	f, err := renameio.NewPendingFile(dest, renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	w := tar.NewWriter(f)
	for _, b := range files {
		hdr := &tar.Header{Typeflag: tar.TypeReg, Name: b.name, Size: b.size, Mode: 0o644, ModTime: storeTime}
		err := w.WriteHeader(hdr)
		if err == nil {
			err = b.copy(ctx, w, progress)
		}
		if err != nil {
			return fmt.Errorf("writing %s into %s: %w", b.name, dest, err)
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("writing %s: %w", dest, err)
	}
	return f.CloseAtomicallyReplace()
}

func (b blob) copy(ctx context.Context, w io.Writer, progress func(int64)) error {
	rc, err := b.open()
	if err != nil {
		return err
	}
	buf := make([]byte, copyBuffer)
	for {
		n, err := rc.Read(buf)
		if _, werr := w.Write(buf[:n]); werr != nil {
			return errors.Join(werr, rc.Close())
		}
		count(progress, int64(n))
		if err == nil {
			err = ctx.Err()
		}
		if err == io.EOF {
			return rc.Close()
		}
		if err != nil {
			return errors.Join(err, rc.Close())
		}
	}
}

func count(progress func(int64), n int64) {
	if progress != nil {
		progress(n)
	}
}

// maxIndex bounds an index.json.
const maxIndex = 8 << 20

// ReadExport lists the images of an OCI layout, folder or tar: those of Export
// with all that was said of them, others under their own names.
func ReadExport(path string) ([]Want, error) {
	raw, err := readIndex(path)
	if err != nil {
		return nil, fmt.Errorf("reading the images of %s: %w", path, err)
	}
	list, err := parseIndex(path, raw)
	if err != nil {
		return nil, fmt.Errorf("reading the images of %s: %w", path, err)
	}
	return list, nil
}

func readIndex(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		f, err := os.Open(filepath.Join(path, "index.json"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("no OCI layout: %w", err)
		}
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readLimited(f)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for tr := tar.NewReader(f); ; {
		hdr, err := tr.Next()
		if err == io.EOF {
			return nil, errors.New("it has no index.json, so it is no OCI layout (of docker save, add single images with --layout and --embed)")
		}
		if err != nil {
			return nil, fmt.Errorf("it is no tar, or damaged: %w", err)
		}
		if strings.TrimPrefix(hdr.Name, "./") == "index.json" {
			return readLimited(tr)
		}
	}
}

func readLimited(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxIndex+1))
	if err == nil && len(b) > maxIndex {
		err = fmt.Errorf("index.json has more than %d bytes", maxIndex)
	}
	return b, err
}

func parseIndex(path string, raw []byte) ([]Want, error) {
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	if len(index.Manifests) > maxImagesLines {
		return nil, fmt.Errorf("index.json: %d images, more than %d", len(index.Manifests), maxImagesLines)
	}
	var list []Want
	for i, d := range index.Manifests {
		origin := fmt.Sprintf("%s: image %d", path, i+1)
		w, err := wantOf(d, origin)
		if err != nil {
			return nil, fmt.Errorf("image %d: %w", i+1, err)
		}
		if w != nil {
			list = append(list, *w)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("it has no images with names")
	}
	return list, nil
}

func wantOf(d v1.Descriptor, origin string) (*Want, error) {
	if d.Digest.Algorithm != "sha256" || len(d.Digest.Hex) != 64 {
		return nil, fmt.Errorf("digest %q is no sha256", d.Digest)
	}
	note := d.Annotations[wantAnnotation]
	if note == "" {
		name := cmp.Or(d.Annotations["io.containerd.image.name"], d.Annotations[refAnnotation])
		if name == "" || !strings.ContainsAny(name, "/:") {
			return nil, nil
		}
		w, err := newWant(name, origin)
		if err != nil {
			return nil, err
		}
		w.Digest = d.Digest.String()
		w.Names, err = ownName(name)
		return &w, err
	}
	var e exported
	if err := json.Unmarshal([]byte(note), &e); err != nil {
		return nil, fmt.Errorf("annotation %s: %w", wantAnnotation, err)
	}
	w, err := newWant(e.Source, origin)
	if err != nil {
		return nil, err
	}
	w.Digest = d.Digest.String()
	for _, name := range e.Names {
		if again, err := tagged(name); err != nil || again != name {
			return nil, fmt.Errorf("annotation %s: name %q: %w", wantAnnotation, name, cmp.Or(err, errors.New("not as docker has it")))
		}
	}
	w.Names = e.Names
	for _, known := range e.Digests {
		if _, err := v1.NewHash(known); err != nil {
			return nil, fmt.Errorf("annotation %s: %w", wantAnnotation, err)
		}
		w.Known = append(w.Known, known)
	}
	return &w, nil
}
