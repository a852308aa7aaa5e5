package build

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hooksmith/build/rootfs"
	"hooksmith/embed"
)

// flatten makes an image of one layer, in which nothing is hidden. LinuxKit's
// init, which it is for, makes files of devices, copies of hard links, and
// knows no attributes: what that loses is told.
func (b *builder) flatten(ctx context.Context, img embed.Image) (embed.Image, error) {
	layers, err := img.Image.Layers()
	if err != nil {
		return img, err
	}
	config, err := img.Image.ConfigFile()
	if err != nil {
		return img, err
	}
	tree, err := b.layers.tree(ctx, layers)
	if err != nil {
		return img, err
	}
	if tree, err = b.withoutDevices(img.Source, tree); err != nil {
		return img, err
	}
	id := "flattened 1"
	for _, d := range config.RootFS.DiffIDs {
		id += " " + d.String()
	}
	l, err := b.flatLayer(ctx, id, tree)
	if err != nil {
		return img, err
	}
	out := config.DeepCopy()
	out.RootFS = v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{l.diffID}}
	out.History = []v1.History{{Created: config.Created, CreatedBy: fmt.Sprintf("hooksmith: %d layers in one", len(layers))}}
	flat, err := mutate.AppendLayers(empty.Image, l)
	if err == nil {
		img.Image, err = mutate.ConfigFile(flat, out)
	}
	img.Digests = nil
	return img, err
}

// withoutDevices leaves out device nodes of /dev, which docker makes itself,
// and refuses others.
func (b *builder) withoutDevices(source string, tree *rootfs.Tree) (*rootfs.Tree, error) {
	var attributes, links []string
	names := map[*rootfs.Inode]int{}
	err := tree.Walk(func(p string, n *rootfs.Inode) error {
		if isDevice(n) && !underDev(p) {
			return fmt.Errorf("%q is a device node, which LinuxKit's init would turn into an empty file: use hooksmith's init for this image", "/"+p)
		}
		if len(n.Xattrs) > 0 {
			attributes = append(attributes, "/"+p)
		}
		if n.Type() == rootfs.ModeFile && n.Size > 0 {
			if names[n]++; names[n] == 2 {
				links = append(links, "/"+p)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(attributes) > 0 {
		b.opt.Log.Warn("extended attributes of an embedded image are lost with LinuxKit's init", "image", source, "files", strings.Join(attributes, " "))
	}
	if len(links) > 0 {
		b.opt.Log.Warn("hard links of an embedded image become copies with LinuxKit's init, which takes more memory", "image", source, "files", len(links))
	}
	return tree.Keep(func(_ string, n *rootfs.Inode) bool { return !isDevice(n) }), nil
}

func isDevice(n *rootfs.Inode) bool {
	return n.Type() == rootfs.ModeChar || n.Type() == rootfs.ModeBlock
}

// flatLayer is a tree as a layer, which it can be read as until the build ends.
type flatLayer struct {
	write  func(io.Writer) error
	diffID v1.Hash
	size   int64
}

// flatLayer hashes the layer, or takes that from the cache.
func (b *builder) flatLayer(ctx context.Context, id string, tree *rootfs.Tree) (*flatLayer, error) {
	l := &flatLayer{write: func(w io.Writer) error { return writeTreeTar(ctx, w, tree) }}
	f, err := b.opt.Cache.Derive(ctx, "flattened layer's hash 1\n"+id, func(ctx context.Context, w io.Writer) error {
		h := sha256.New()
		n := &counted{Writer: h}
		if err := writeTreeTar(ctx, n, tree); err != nil {
			return err
		}
		return json.NewEncoder(w).Encode(map[string]any{"sha256": hex.EncodeToString(h.Sum(nil)), "size": n.n})
	})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var known struct {
		SHA256 string
		Size   int64
	}
	if err := json.NewDecoder(f).Decode(&known); err != nil {
		return nil, fmt.Errorf("reading %s: %w", f.Name(), err)
	}
	l.diffID, l.size = v1.Hash{Algorithm: "sha256", Hex: known.SHA256}, known.Size
	return l, nil
}

type counted struct {
	io.Writer
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n += int64(n)
	return n, err
}

func (l *flatLayer) Digest() (v1.Hash, error)             { return l.diffID, nil }
func (l *flatLayer) DiffID() (v1.Hash, error)             { return l.diffID, nil }
func (l *flatLayer) Size() (int64, error)                 { return l.size, nil }
func (l *flatLayer) MediaType() (types.MediaType, error)  { return types.DockerUncompressedLayer, nil }
func (l *flatLayer) Compressed() (io.ReadCloser, error)   { return l.Uncompressed() }
func (l *flatLayer) Uncompressed() (io.ReadCloser, error) { return l.stream(), nil }

// stream writes the tar from a goroutine that ends when the reader is closed.
func (l *flatLayer) stream() io.ReadCloser {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(l.write(w))
	}()
	return closeFunc{r, func() error {
		err := r.Close()
		<-done
		return err
	}}
}

type closeFunc struct {
	io.Reader
	close func() error
}

func (c closeFunc) Close() error { return c.close() }

// writeTreeTar writes a tree as a layer: parents first, sorted, with times in
// seconds.
func writeTreeTar(ctx context.Context, w io.Writer, tree *rootfs.Tree) error {
	t := tar.NewWriter(w)
	first := map[*rootfs.Inode]string{}
	add := func(p string, n *rootfs.Inode) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		hdr, err := tarHeader(p, n)
		if err != nil {
			return err
		}
		if at, again := first[n]; again {
			hdr.Typeflag, hdr.Linkname, hdr.Size = tar.TypeLink, at, 0
		} else if n.Type() == rootfs.ModeFile {
			first[n] = p
		}
		if err := t.WriteHeader(hdr); err != nil {
			return err
		}
		if hdr.Size > 0 {
			_, err = copyContext(ctx, t, n.Open())
		}
		return err
	}
	err := add(".", tree.Root())
	if err == nil {
		err = tree.Walk(func(p string, n *rootfs.Inode) error {
			if err := add(p, n); err != nil {
				return fmt.Errorf("%q: %w", p, err)
			}
			return nil
		})
	}
	return errors.Join(err, t.Close())
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
