package images

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// A tag does not say whose it is: an image that has nothing else is not taken
// for two repositories, nor where another layout has the whole name.
func TestTagAlone(t *testing.T) {
	tool, multi, named := imageOf(t, "amd64", gzLayer(t, 1, 50)), imageOf(t, "amd64", gzLayer(t, 2, 50)), imageOf(t, "amd64", gzLayer(t, 3, 50))
	first := writeLayout(t, map[string]mutate.Appendable{"1": tool, "v2": multi})
	archive := filepath.Join(t.TempDir(), "first.tar")
	if err := os.WriteFile(archive, ociSave(t, first, nil), 0o644); err != nil {
		t.Fatal(err)
	}
	second := writeLayout(t, map[string]mutate.Appendable{"ghcr.io/x/named:1": named})
	for _, path := range []string{first, archive} {
		s := sources(t, func(s *Sources) { s.Layouts, s.Offline = []string{path, second}, true })
		if digestOf(t, mustImage(t, s, "ghcr.io/x/named:1")) != digestOf(t, named) {
			t.Error("the image of that tag was taken, not that of that name")
		}
		for range 2 { // again is no other repository
			if digestOf(t, mustImage(t, s, "ghcr.io/x/tool:1")) != digestOf(t, tool) {
				t.Error("another image than that of the tag")
			}
		}
		if digestOf(t, mustImage(t, s, "ghcr.io/x/multi:v2")) != digestOf(t, multi) {
			t.Error("one layout has images of several repositories, by their tags")
		}
		_, err := s.Image(t.Context(), "ghcr.io/x/other:1")
		wantError(t, err, "layout "+path, `named "1" and no more`, "both ghcr.io/x/tool:1 and ghcr.io/x/other:1", "oci:DIR:ghcr.io/x/other:1")
	}
}
