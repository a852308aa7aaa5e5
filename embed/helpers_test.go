package embed

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// must returns a value that cannot fail to be had.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var testTime = time.Unix(1_500_000_000, 0)

// Entries of test layers.
func regular(name, content string, more ...func(*tar.Header)) entrySpec {
	return spec(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}, content, more)
}

func folder(name string, more ...func(*tar.Header)) entrySpec {
	return spec(tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}, "", more)
}

func symlink(name, target string) entrySpec {
	return spec(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, "", nil)
}

func hardlink(name, target string) entrySpec {
	return spec(tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}, "", nil)
}

func whiteout(name string) entrySpec { return regular(name, "") }

func mode(m int64) func(*tar.Header) { return func(h *tar.Header) { h.Mode = m } }

func owner(uid, gid int) func(*tar.Header) {
	return func(h *tar.Header) { h.Uid, h.Gid = uid, gid }
}

func xattr(name, value string) func(*tar.Header) {
	return func(h *tar.Header) {
		h.Format = tar.FormatPAX
		h.PAXRecords = map[string]string{"SCHILY.xattr." + name: value}
	}
}

type entrySpec struct {
	hdr  tar.Header
	data string
}

func spec(h tar.Header, data string, more []func(*tar.Header)) entrySpec {
	h.ModTime = testTime
	for _, f := range more {
		f(&h)
	}
	return entrySpec{h, data}
}

// tarOf is a layer's tar.
func tarOf(entries ...entrySpec) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.hdr); err != nil {
			panic(err)
		}
		must(io.WriteString(w, e.data))
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// layerOf is a layer that is not compressed.
func layerOf(entries ...entrySpec) v1.Layer {
	return static.NewLayer(tarOf(entries...), types.DockerUncompressedLayer)
}

// imageOf is an image of layers, lowest first.
func imageOf(layers ...v1.Layer) v1.Image {
	img := must(mutate.AppendLayers(mutate.MediaType(empty.Image, types.DockerManifestSchema2), layers...))
	cf := must(img.ConfigFile()).DeepCopy()
	cf.OS, cf.Architecture = "linux", "amd64"
	cf.Config.Entrypoint = []string{"/bin/sh"}
	return must(mutate.ConfigFile(img, cf))
}

// storeOf is the store of one image.
func storeOf(t testing.TB, layers ...v1.Layer) *Store {
	t.Helper()
	s, err := NewStore([]Image{{Want: Want{Source: "example.org/a:1", Names: []string{"127.0.0.1/embedded/a:latest"}}, Image: imageOf(layers...)}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// list describes the entries of a tar in order, one line each.
func list(r io.Reader) ([]string, error) {
	var out []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			return out, err
		}
		line := fmt.Sprintf("%c %s %04o %d:%d", h.Typeflag, h.Name, h.Mode, h.Uid, h.Gid)
		if h.Linkname != "" {
			line += " -> " + h.Linkname
		}
		if len(content) > 0 {
			line += fmt.Sprintf(" %q", content)
		}
		for key, value := range h.PAXRecords {
			if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
				line += fmt.Sprintf(" %s=%q", name, value)
			}
		}
		out = append(out, line)
	}
}

// content lists what the layer's diff folder gets, with paths below it.
func content(t testing.TB, l *Layer) []string {
	t.Helper()
	rc := must(l.Uncompressed())
	defer rc.Close()
	lines, err := list(rc)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := cacheID(l.ChainID())
	prefix := "overlay2/" + id + "/diff"
	var out []string
	for _, line := range lines {
		if strings.Contains(line, " "+prefix) {
			out = append(out, strings.ReplaceAll(strings.ReplaceAll(line, prefix+"/", ""), prefix, "."))
		}
	}
	return out[1:] // the folder itself
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
