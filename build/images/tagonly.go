package images

import (
	"context"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Many tools name the images of a layout by their tag alone, as the
// specification has it: a layout is one repository there. Users put images of
// several repositories into one layout, or name several layouts, and then a tag
// does not say whose it is.

// tagOnly makes sure that what a layout has for ref by its tag alone is no
// other repository's: no other layout has ref by its whole name, and the image
// has not stood for another repository before.
func (s *Sources) tagOnly(ctx context.Context, path string, ref reference, ds []v1.Descriptor) error {
	if ref.hasDigest() || !namedByTag(ds[0], ref) {
		return nil
	}
	for _, other := range s.Layouts {
		if other == path || s.onlyIn[ref.text] != "" {
			continue
		}
		if _, ds, err := s.askLayout(ctx, other, ref); err == nil && !namedByTag(ds[0], ref) {
			return miss("it has only the tag %s, and layout %s has the whole name", ref.tag, other)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := path + "\x00" + ds[0].Digest.String()
	before, known := s.tagged[key]
	if known && before != ref.name() {
		return fmt.Errorf("it has an image that is named %q and no more, which cannot be both %s:%s and %s:%s: name the images of the layout completely (skopeo copy docker://%s:%s oci:DIR:%s:%s)",
			ref.tag, before, ref.tag, ref.name(), ref.tag, ref.name(), ref.tag, ref.name(), ref.tag)
	}
	if !known {
		s.tagged[key] = ref.name()
		s.Log.Info("image taken from a layout by its tag alone", "image", ref.text, "layout", path)
	}
	return nil
}

// namedByTag reports whether a layout names the image, and not with ref's name.
func namedByTag(d v1.Descriptor, ref reference) bool {
	names := annotatedNames(d)
	return len(names) > 0 && !slices.ContainsFunc(names, ref.sameName)
}
