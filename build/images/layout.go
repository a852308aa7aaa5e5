package images

import (
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

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hooksmith/build/docker"
)

// Annotations that name the images of an OCI layout.
const (
	refNameAnnotation   = "org.opencontainers.image.ref.name" // of the OCI specification
	imageNameAnnotation = "io.containerd.image.name"          // containerd's and BuildKit's, always complete
)

// layoutDir is a folder in the OCI image layout.
type layoutDir string

func (l layoutDir) open(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	f, err := os.Open(l.path(d.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("layout %s: %w", string(l), &incompleteError{"it lacks the blob " + d.Digest.String()})
	}
	return f, err
}

func (l layoutDir) size(h v1.Hash) int64 {
	st, err := os.Stat(l.path(h))
	if err != nil {
		return -1
	}
	return st.Size()
}

func (l layoutDir) path(h v1.Hash) string {
	return filepath.Join(string(l), "blobs", filepath.Base(h.Algorithm), filepath.Base(h.Hex))
}

// find returns the images that the layout has for ref.
func (l layoutDir) find(ctx context.Context, ref reference) ([]v1.Descriptor, error) {
	images, err := l.images()
	if err != nil {
		return nil, err
	}
	return match(ctx, l, images, ref)
}

// images reads index.json.
func (l layoutDir) images() ([]named, error) {
	if _, err := os.Stat(filepath.Join(string(l), "oci-layout")); err != nil {
		return nil, fmt.Errorf("this is no OCI layout (%w): make one with `skopeo copy docker://IMAGE oci:DIR:TAG` or `docker buildx build --output type=oci,tar=false,dest=DIR`", err)
	}
	raw, err := docker.ReadLimited(filepath.Join(string(l), "index.json"), maxManifest)
	if err != nil {
		return nil, err
	}
	return parseLayoutIndex(raw)
}

// parseLayoutIndex reads a layout's index.json.
func parseLayoutIndex(raw []byte) ([]named, error) {
	var index struct {
		SchemaVersion int             `json:"schemaVersion"`
		Manifests     []v1.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("reading index.json: %w", err)
	}
	if len(index.Manifests) > maxManifests {
		return nil, fmt.Errorf("reading index.json: %d images, more than %d", len(index.Manifests), maxManifests)
	}
	var out []named
	for _, d := range index.Manifests {
		out = append(out, named{Names: annotatedNames(d), Desc: d})
	}
	return out, nil
}

// annotatedNames are the names that a layout gives to an image.
func annotatedNames(d v1.Descriptor) (names []string) {
	for _, a := range []string{imageNameAnnotation, refNameAnnotation} {
		if v := d.Annotations[a]; v != "" && !slices.Contains(names, v) {
			names = append(names, v)
		}
	}
	return names
}

// match returns those of images that ref stands for: by digest; by complete
// name; or, if none has such a name, by the tag alone, which is all that many
// tools write. Several are manifests of one image for several platforms.
func match(ctx context.Context, c content, images []named, ref reference) ([]v1.Descriptor, error) {
	if ref.hasDigest() {
		d, err := matchDigest(ctx, c, images, ref.digest)
		if err == nil || !ref.pinned || !isMiss(err) {
			return oneOf(d), err
		}
		if other := matchName(images, ref); len(other) > 0 {
			return nil, miss("it has %s as %s, but the lock file pins %s (renew it with --pull)", ref, other[0].Digest, ref.digest)
		}
		return nil, err
	}
	if found := matchName(images, ref); len(found) > 0 {
		return found, nil
	}
	return nil, miss("it has no image of that name%s", listNames(images))
}

func oneOf(d v1.Descriptor) []v1.Descriptor {
	if d.Digest == (v1.Hash{}) {
		return nil
	}
	return []v1.Descriptor{d}
}

func matchName(images []named, ref reference) []v1.Descriptor {
	for _, same := range []func(string) bool{ref.sameName, func(s string) bool { return ref.tag != "" && s == ref.tag }} {
		var found []v1.Descriptor
		for _, n := range images {
			if slices.ContainsFunc(n.Names, same) && !isAttestation(n.Desc) {
				found = append(found, n.Desc)
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// matchDigest finds a manifest by digest: one of images, or inside their indexes.
func matchDigest(ctx context.Context, c content, images []named, want v1.Hash) (v1.Descriptor, error) {
	for _, n := range images {
		if n.Desc.Digest == want {
			return n.Desc, nil
		}
	}
	var unread v1.Descriptor
	for _, n := range images {
		if !n.Desc.MediaType.IsIndex() {
			continue
		}
		m, err := readManifest(ctx, c, n.Desc)
		if err != nil || m.index == nil {
			unread = n.Desc // another image's damage, perhaps
			continue
		}
		for _, d := range m.index.Manifests {
			if d.Digest != want {
				continue
			}
			if s, ok := c.(sparse); ok {
				if l := lacks(ctx, s, d); l != nil && !l.begun {
					return v1.Descriptor{}, &missError{fmt.Sprintf("its index %s names %s, but that was not copied (skopeo copy --all copies all platforms)", n.Desc.Digest, want), errNotCopied}
				}
			}
			return d, nil
		}
	}
	if unread.Digest != (v1.Hash{}) {
		return v1.Descriptor{}, &missError{fmt.Sprintf("it has nothing with digest %s, but lacks the index %s, or that is damaged: copy it again", want, unread.Digest), errNotCopied}
	}
	return v1.Descriptor{}, miss("it has nothing with digest %s%s", want, listNames(images))
}

// listNames is for errors: what else there is.
func listNames(images []named) string {
	var names []string
	for _, n := range images {
		if len(n.Names) > 0 {
			names = append(names, n.Names[0])
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	switch {
	case len(images) == 0:
		return ": it is empty"
	case len(names) == 0:
		return ": none of its images has a name (annotation " + refNameAnnotation + ")"
	case len(names) > 8:
		return fmt.Sprintf(": it has %s and %d more", strings.Join(names[:8], ", "), len(names)-8)
	}
	return ": it has " + strings.Join(names, ", ")
}
