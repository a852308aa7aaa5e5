package embed

import (
	"archive/tar"
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxIndex bounds an index.json.
const maxIndex = 8 << 20

// ReadExport lists the images of an OCI layout, folder or tar: those of Export
// with all that was said of them, others under their own names. Unnamed are
// those that have none, by digest and what their layout calls them: nobody can
// ask docker for such an image.
func ReadExport(path string) (list []Want, unnamed []string, err error) {
	raw, err := readIndex(path)
	if err == nil {
		list, unnamed, err = parseIndex(path, raw)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the images of %s: %w", path, err)
	}
	return list, unnamed, nil
}

func readIndex(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		f, err := os.Open(filepath.Join(path, "index.json"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("this is no OCI layout, and nothing that hooksmith embed export wrote: %w", err)
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
	r := bufio.NewReader(f)
	if how := compression(r); how != "" {
		return nil, fmt.Errorf("it is compressed with %s, which saves nothing, because layers are compressed already: unpack it first (%s -d)", how, how)
	}
	for tr := tar.NewReader(r); ; {
		hdr, err := tr.Next()
		if err == io.EOF {
			return nil, errors.New("it has no index.json, so it is no OCI layout (of docker save, add single images with --layout and --embed)")
		}
		if err != nil {
			return nil, fmt.Errorf("it is no tar, or damaged (%w): copy it again, or write it again with hooksmith embed export", err)
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

// compression says how a file is compressed; "": it is not.
func compression(r *bufio.Reader) string {
	head, _ := r.Peek(4) // what is shorter is no tar either
	for magic, name := range map[string]string{"\x1f\x8b": "gzip", "\x28\xb5\x2f\xfd": "zstd", "\xfd7zX": "xz", "BZh": "bzip2"} {
		if strings.HasPrefix(string(head), magic) {
			return name
		}
	}
	return ""
}

func parseIndex(path string, raw []byte) (list []Want, unnamed []string, err error) {
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, nil, fmt.Errorf("index.json: %w", err)
	}
	if len(index.Manifests) > maxImagesLines {
		return nil, nil, fmt.Errorf("index.json: %d images, more than %d", len(index.Manifests), maxImagesLines)
	}
	if index.Annotations[exportAnnotation] == exportBegun {
		return nil, nil, errors.New("the export into this folder was interrupted: run the same hooksmith embed export again")
	}
	for i, d := range index.Manifests {
		w, err := wantOf(d, fmt.Sprintf("%s: image %d", path, i+1))
		if err != nil {
			return nil, nil, fmt.Errorf("image %d: %w", i+1, err)
		}
		if w != nil {
			w.Export = path
		}
		switch {
		case w != nil && d.Annotations[wantAnnotation] == "":
			list = addPlatform(list, *w)
		case w != nil:
			list = append(list, *w)
		case !isAttestation(d):
			unnamed = append(unnamed, strings.TrimSpace(d.Digest.String()+" "+layoutName(d)))
		}
	}
	if len(list) == 0 && len(unnamed) > 0 {
		return nil, nil, fmt.Errorf("none of its %d images has a complete name (annotation %s): add each with --layout %s --embed IMAGE=NAME, where IMAGE is REPOSITORY:TAG with a tag that the layout has, or REPOSITORY@DIGEST, as in example.org/x@%s",
			len(unnamed), refAnnotation, path, strings.Fields(unnamed[0])[0])
	}
	if len(list) == 0 {
		return nil, nil, errors.New("it has no images: fill it with hooksmith embed export")
	}
	return list, unnamed, nil
}

// addPlatform adds an image of another tool's layout. Such may list one for
// several platforms under one name: whoever looks for that name chooses.
func addPlatform(list []Want, w Want) []Want {
	for i, was := range list {
		if was.Source == w.Source && slices.Equal(was.Names, w.Names) {
			list[i].Digest = ""
			return list
		}
	}
	return append(list, w)
}

// isAttestation reports whether BuildKit attached this to an image.
func isAttestation(d v1.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] != "" || d.Platform != nil && d.Platform.OS == "unknown"
}

// layoutName is what a layout of another tool calls an image.
func layoutName(d v1.Descriptor) string {
	return cmp.Or(d.Annotations["io.containerd.image.name"], d.Annotations[refAnnotation])
}

func wantOf(d v1.Descriptor, origin string) (*Want, error) {
	if d.Digest.Algorithm != "sha256" || len(d.Digest.Hex) != 64 {
		return nil, fmt.Errorf("digest %q is no sha256", d.Digest)
	}
	note := d.Annotations[wantAnnotation]
	if note == "" {
		name := layoutName(d)
		if name == "" || !strings.ContainsAny(name, "/:") {
			return nil, nil
		}
		w, err := newWant(name, origin)
		if err != nil {
			return nil, err
		}
		w.Digest, w.FromList = d.Digest.String(), true
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
	w.Digest, w.FromList = d.Digest.String(), true
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
