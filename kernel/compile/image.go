package compile

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"

	"hooksmith/kernel"
)

// epoch is the time of all that is in the image: when it was compiled changes
// nothing of it.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// files of the image, in its order.
var files = []string{"System.map", "dtbs.tar.gz", "kernel", "kernel.tar"}

// Labels and annotations of the image.
const (
	labelVersion  = kernel.LabelVersion
	labelConfig   = kernel.LabelConfig
	labelSum      = kernel.LabelConfigSHA256
	labelSource   = "dev.hooksmith.kernel.source"
	labelHash     = "dev.hooksmith.kernel.source.sha256"
	labelPatches  = "dev.hooksmith.kernel.patches"
	labelExternal = "dev.hooksmith.kernel.external"
	labelInputs   = "dev.hooksmith.kernel.inputs.sha256"
)

// labels say what the kernel is made of.
func (s Spec) labels(release string) map[string]string {
	sum := sha256.Sum256(s.Config)
	l := map[string]string{
		"org.opencontainers.image.title":   "Linux " + release + " for HookOS",
		"org.opencontainers.image.version": release,
		labelVersion:                       s.Source.Version(),
		labelConfig:                        s.ConfigName,
		labelSum:                           hex.EncodeToString(sum[:]),
		labelSource:                        filepath.Base(s.Source.String()),
		labelHash:                          s.Source.Hash(),
		labelInputs:                        s.hash(),
	}
	var patches, external []string
	for _, p := range s.Patches {
		patches = append(patches, filepath.Base(p.Name)+"="+p.Hash())
	}
	for _, e := range s.External {
		external = append(external, strings.TrimSuffix(e.Name+"-"+e.Version, "-")+"="+e.Hash())
	}
	if len(patches) > 0 {
		l[labelPatches] = strings.Join(patches, ",")
	}
	if len(external) > 0 {
		l[labelExternal] = strings.Join(external, ",")
	}
	return l
}

// newImage puts the image together of the files in the kernel's folder.
func newImage(s Spec, k *Kernel) (v1.Image, error) {
	l, err := writeLayer(filepath.Join(k.dir, layerName), func(w io.Writer) error { return writeFiles(w, k.dir) })
	if err != nil {
		return nil, fmt.Errorf("writing the image: %w", err)
	}
	return assemble(l, s.Arch.Debian(), s.labels(k.Release))
}

// assemble makes the image of a layer; the labels are its annotations too.
func assemble(l v1.Layer, arch string, labels map[string]string) (v1.Image, error) {
	img := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	img, err := mutate.Append(img, mutate.Addendum{Layer: l, History: v1.History{CreatedBy: "hooksmith kernel", Created: v1.Time{Time: epoch}}})
	if err != nil {
		return nil, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Created = "linux", arch, v1.Time{Time: epoch}
	cfg.Config.Labels = labels
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		return nil, err
	}
	return mutate.Annotations(img, labels).(v1.Image), nil
}

// original is what an image was before a Docker daemon had it, which keeps
// neither the compressed layer nor annotations: so that it is the same image in
// the registry, whenever it is pushed. One that is not ours stays as it is.
func original(img v1.Image, path string) (v1.Image, error) {
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		return img, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	l, err := writeLayer(path, func(w io.Writer) error {
		r, err := layers[0].Uncompressed()
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(w, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	again, err := assemble(l, cfg.Architecture, cfg.Config.Labels)
	if err != nil {
		return nil, err
	}
	want, err := img.ConfigName()
	if err != nil {
		return nil, err
	}
	if got, err := again.ConfigName(); err != nil || got != want {
		return img, err
	}
	return again, nil
}

// MarkNewest makes an image of the Docker daemon the one that was tagged last:
// what `hooksmith build` goes by, of several kernels of one release. Loading an
// image does not count as tagging, and all images have the same time. One that
// the daemon has not is not an error.
func (b *Builder) MarkNewest(ctx context.Context, ref string) error {
	d, err := b.Docker.Connect(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.ImageTag(ctx, ref, ref); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("docker tag %s: %w", ref, d.Explain(err))
	}
	return nil
}

// layer is a layer in a file.
type layer struct {
	path           string
	digest, diffID v1.Hash
	size           int64
}

func (l *layer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l *layer) DiffID() (v1.Hash, error)             { return l.diffID, nil }
func (l *layer) Size() (int64, error)                 { return l.size, nil }
func (l *layer) MediaType() (types.MediaType, error)  { return types.OCILayer, nil }
func (l *layer) Compressed() (io.ReadCloser, error)   { return os.Open(l.path) }
func (l *layer) Uncompressed() (io.ReadCloser, error) { return openGzip(l.path) }

// layerName is the file of the layer, beside those that are in it.
const layerName = "layer.tar.gz"

// writeLayer writes a layer into a file, whose content is what write writes.
func writeLayer(path string, write func(io.Writer) error) (v1.Layer, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	packed, plain := sha256.New(), sha256.New()
	counted := &countedWriter{w: io.MultiWriter(f, packed)}
	zw, err := gzip.NewWriterLevel(counted, 6)
	if err != nil {
		return nil, err
	}
	if err := write(io.MultiWriter(zw, plain)); err != nil {
		return nil, err
	}
	if err := errors.Join(zw.Close(), f.Close()); err != nil {
		return nil, err
	}
	return &layer{path: path, digest: sum(packed), diffID: sum(plain), size: counted.n}, nil
}

func sum(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

type countedWriter struct {
	w io.Writer
	n int64
}

func (c *countedWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// writeFiles writes the tar of the image, and removes each file that is in it:
// a kernel's modules need not be on the disk twice.
func writeFiles(w io.Writer, dir string) error {
	tw := tar.NewWriter(w)
	for _, name := range files {
		path := filepath.Join(dir, name)
		st, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // no device trees
		}
		if err != nil {
			return err
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: st.Size(), ModTime: epoch, Format: tar.FormatUSTAR}
		if st.Size() >= 8<<30 {
			h.Format = tar.FormatPAX
		}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		_, err = io.Copy(tw, f)
		if err := errors.Join(err, f.Close(), os.Remove(path)); err != nil {
			return err
		}
	}
	return tw.Close()
}

// eachFile visits the files of a tar that are in files.
func eachFile(r io.Reader, visit func(name string, size int64, content io.Reader) error) error {
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg || !slices.Contains(files, filepath.Base(h.Name)) {
			continue
		}
		if err := visit(h.Name, h.Size, tr); err != nil {
			return err
		}
	}
}

type gzipFile struct {
	*gzip.Reader
	f *os.File
}

func (g gzipFile) Close() error { return errors.Join(g.Reader.Close(), g.f.Close()) }

func openGzip(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	zr, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return gzipFile{zr, f}, nil
}
