package images

import (
	"context"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Not all that layouts and archives name is in them. Some of it tells a damaged
// copy, the rest is how tools copy a part of an image.
//
// Normal: skopeo, docker save and containerd copy one platform of an index and
// keep the index as it was, so that its digest holds. Of other platforms there
// is no manifest then, or a manifest with nothing that it names (Docker with
// containerd's store). The same goes for attestations. Layers that must not be
// distributed are nowhere but at their own addresses. That is told only to who
// asks for what was left out, and other places may have it.
//
// Damage: index.json itself names what is not there (unless another entry of
// that name is whole: a tool that saved one of several platforms); of an image
// there is the configuration, which comes with its layers, but a layer is not;
// of an index there is no image at all; a file is shorter than promised; a tar
// has no end. Of an archive, which is read whole, all of this is told at once;
// of a folder, what concerns the image that is asked for. No other place is
// asked then, for what it has may be something else.

// sparse is content that may lack parts of what it names.
type sparse interface {
	content
	// size is how many bytes of a blob there are, -1: none.
	size(h v1.Hash) int64
}

// lack is a part of an image that is not there.
type lack struct {
	part string
	desc v1.Descriptor
	has  int64 // bytes; -1: nothing

	begun bool // more of the image than a manifest is there
}

func (l *lack) String() string {
	if l.has >= 0 {
		return fmt.Sprintf("it has only %d of %d bytes of the %s %s", l.has, l.desc.Size, l.part, l.desc.Digest)
	}
	return fmt.Sprintf("it lacks the %s %s", l.part, l.desc.Digest)
}

// lacks returns the first part of an image that is not there, nil if it is
// whole. What cannot be read is for whoever reads it to tell, but for what the
// cache dropped because it was damaged.
func lacks(ctx context.Context, c sparse, d v1.Descriptor) *lack {
	if l := lacksPart(c, "manifest", d); l != nil {
		return l
	}
	m, err := readManifest(ctx, c, d)
	if err != nil {
		return lacksPart(c, "manifest", d)
	}
	if m.image == nil {
		return nil
	}
	if l := lacksPart(c, "configuration", m.image.Config); l != nil {
		return l
	}
	for _, d := range m.image.Layers {
		if l := lacksPart(c, "layer", d); l != nil && d.MediaType.IsDistributable() {
			l.begun = true
			return l
		}
	}
	return nil
}

func lacksPart(c sparse, part string, d v1.Descriptor) *lack {
	has := c.size(d.Digest)
	if has < 0 || d.Size > 0 && has != d.Size {
		return &lack{part: part, desc: d, has: has, begun: has >= 0}
	}
	return nil
}

// incompleteError says that a copy is damaged.
type incompleteError struct{ what string }

func (e *incompleteError) Error() string {
	return "it is cut short or incomplete: " + e.what + "; copy it again"
}

// errNotCopied is wrapped by misses of what an index names.
var errNotCopied = errors.New("not copied")

// inventory is what an archive itself has, whatever else is in the store.
type inventory struct {
	storeContent
	sizes map[v1.Hash]int64
	known map[v1.Hash]*lack // what damage found
}

func (i inventory) size(h v1.Hash) int64 {
	if n, ok := i.sizes[h]; ok {
		return n
	}
	return -1
}

// whole returns the images of index.json, or what tells that they are a
// damaged copy.
func (i inventory) whole(ctx context.Context, images []named) ([]named, error) {
	var out []named
	var lost []*lack
	present := i.present(images)
	for _, n := range images {
		switch l := i.damage(ctx, n.Desc, 0); {
		case l == nil:
			out = append(out, n)
		case l.begun || !present.standIn(n):
			lost = append(lost, l)
		}
	}
	if len(lost) == 0 {
		return out, nil
	}
	what := lost[0].String()
	if len(lost) > 1 {
		what += fmt.Sprintf(", and parts of %d more of its %d images", len(lost)-1, len(images))
	}
	return nil, &incompleteError{what}
}

// present are the entries that are there, by name: of each name two, one of
// which is another than any given.
type present map[string][]v1.Hash

func (i inventory) present(images []named) present {
	const enough = 2
	p := present{}
	for _, n := range images {
		h := n.Desc.Digest
		if i.size(h) < 0 {
			continue
		}
		for _, s := range n.Names {
			if len(p[s]) < enough && !slices.Contains(p[s], h) {
				p[s] = append(p[s], h)
			}
		}
	}
	return p
}

// standIn reports whether another entry of the same name is there.
func (p present) standIn(of named) bool {
	another := func(h v1.Hash) bool { return h != of.Desc.Digest }
	return slices.ContainsFunc(of.Names, func(s string) bool { return slices.ContainsFunc(p[s], another) })
}

// damage finds what is lacking of an image, or of an index: a part of an image
// that was begun, or an image if there is none.
func (i inventory) damage(ctx context.Context, d v1.Descriptor, depth int) (found *lack) {
	if l, ok := i.known[d.Digest]; ok {
		return l
	}
	defer func() { i.known[d.Digest] = found }()
	if l := lacks(ctx, i, d); l != nil {
		return l
	}
	m, err := readManifest(ctx, i, d)
	if err != nil || m.index == nil || depth > maxIndexDepth {
		return nil
	}
	var absent *lack
	whole := false
	for _, child := range m.index.Manifests {
		if isAttestation(child) {
			continue
		}
		switch l := i.damage(ctx, child, depth+1); {
		case l == nil:
			whole = true
		case l.begun:
			return l
		default:
			absent = l
		}
	}
	if whole {
		return nil
	}
	return absent
}
