package debian

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"
)

// LabelKey is the image label that LinuxKit reads a container's defaults from.
const LabelKey = "org.mobyproject.config"

// Image is a definition as a container image: one layer per package, which
// images share, then hooksmith's programs, then what the definition generates
// and hides. Layers are unpacked when they are read, not before.
type Image struct {
	v1.Image
	layers []*Layer
	config v1.ConfigFile
}

// Image returns the planned image. open returns the .deb of a package; it is
// called whenever a layer is read, by several goroutines at once if need be, and
// what it returns is closed after that.
func (p *Plan) Image(open func(*Package) (io.ReadCloser, error)) (*Image, error) {
	img := &Image{}
	for _, pkg := range p.Packages {
		read := func() (io.ReadCloser, error) { return open(pkg) }
		img.layers = append(img.layers, NewLayer(pkg, read, p.content.keep...))
	}
	lower := img.layers
	if len(p.binaries) > 0 {
		img.layers = append(img.layers, p.binaryLayer())
	}
	img.layers = append(img.layers, p.topLayer(lower))
	config, err := p.config()
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", p.Definition.Name, err)
	}
	img.config = config
	core := &imageCore{layers: img.layers, config: config}
	core.raw = sync.OnceValues(core.marshal)
	img.Image, err = partial.UncompressedToImage(core)
	return img, err
}

// Layers returns the layers, lowest first. Each is a *Layer. Unlike with most
// methods of the image, nothing is unpacked for it.
func (i *Image) Layers() ([]v1.Layer, error) {
	out := make([]v1.Layer, len(i.layers))
	for n, l := range i.layers {
		out[n] = l
	}
	return out, nil
}

// Unhashed returns the image for those who want its settings and layers only:
// the configuration lacks the hashes of the unpacked layers (RootFS.DiffIDs),
// for whose sake the whole image must unpack every package. It cannot be
// pushed.
func (i *Image) Unhashed() v1.Image { return unhashed{i} }

type unhashed struct{ *Image }

func (u unhashed) ConfigFile() (*v1.ConfigFile, error) { return u.config.DeepCopy(), nil }

func (u unhashed) RawConfigFile() ([]byte, error) { return json.Marshal(u.config) }

// config is the image's configuration without DiffIDs.
func (p *Plan) config() (v1.ConfigFile, error) {
	d := p.Definition
	c := v1.ConfigFile{
		Architecture: p.Arch, OS: "linux", Created: v1.Time{Time: epoch},
		Config: v1.Config{Entrypoint: d.Entrypoint, Cmd: d.Cmd, Env: d.Env, WorkingDir: d.Cwd},
		RootFS: v1.RootFS{Type: "layers"},
	}
	if d.Label != nil {
		label, err := json.Marshal(d.Label)
		if err != nil {
			return c, fmt.Errorf("label: %w", err)
		}
		c.Config.Labels = map[string]string{LabelKey: string(label)}
	}
	for _, pkg := range p.Packages {
		c.History = append(c.History, v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "debian package " + pkg.String()})
	}
	if len(p.binaries) > 0 {
		c.History = append(c.History, v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "hooksmith programs"})
	}
	c.History = append(c.History, v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "hooksmith definition " + d.Name})
	return c, nil
}

// epoch is the time of everything that is generated.
var epoch = time.Unix(0, 0).UTC()

// binaryLayer holds hooksmith's own programs. It is apart from the top layer
// because all images with the same programs share it.
func (p *Plan) binaryLayer() *Layer {
	b, _ := json.Marshal(p.binaries) // strings and numbers only
	sum := sha256.Sum256(b)
	id := "hooksmith-programs-" + topVersion + "-" + hex.EncodeToString(sum[:])
	return newLayer(nil, id, func() (io.ReadCloser, error) {
		r := &programs{left: p.binaries, guest: p.guest}
		return &tarStream{next: r.next, close: r.close, what: "reading hooksmith's programs"}, nil
	})
}

// programs reads hooksmith's programs one after the other.
type programs struct {
	left  []program
	guest fs.FS
	open  fs.File
}

func (r *programs) next() (*tar.Header, io.Reader, error) {
	if err := r.close(); err != nil {
		return nil, nil, err
	}
	if len(r.left) == 0 {
		return nil, nil, io.EOF
	}
	b := r.left[0]
	r.left = r.left[1:]
	var err error
	if r.open, err = r.guest.Open(b.Name); err != nil {
		return nil, nil, err
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: b.Path, Mode: 0o755, Size: b.Size, ModTime: epoch}
	return h, newCheckedReader(r.open, b.SHA256, b.Size), nil
}

func (r *programs) close() error {
	if r.open == nil {
		return nil
	}
	err := r.open.Close()
	r.open = nil
	return err
}

// imageCore is what partial needs to make a whole image of uncompressed layers.
type imageCore struct {
	layers []*Layer
	config v1.ConfigFile
	raw    func() ([]byte, error)
}

func (c *imageCore) MediaType() (types.MediaType, error) { return types.DockerManifestSchema2, nil }

func (c *imageCore) RawConfigFile() ([]byte, error) { return c.raw() }

// marshal unpacks all layers, several at a time, because the configuration of
// an image holds the hash of each.
func (c *imageCore) marshal() ([]byte, error) {
	ids := make([]v1.Hash, len(c.layers))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, l := range c.layers {
		g.Go(func() error {
			var err error
			ids[i], err = l.DiffID()
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	config := c.config.DeepCopy()
	config.RootFS.DiffIDs = ids
	return json.Marshal(config)
}

func (c *imageCore) LayerByDiffID(want v1.Hash) (partial.UncompressedLayer, error) {
	for _, l := range c.layers {
		if got, err := l.DiffID(); err != nil {
			return nil, err
		} else if got == want {
			return l, nil
		}
	}
	return nil, fmt.Errorf("image has no layer with diff ID %s", want)
}
