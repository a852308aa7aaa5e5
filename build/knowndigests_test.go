package build

import (
	"context"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hooksmith/build/images"
	"hooksmith/embed"
)

// resolvedImages is a source of images that tells what references stood for.
type resolvedImages []images.Pin

func (r resolvedImages) Image(context.Context, string) (v1.Image, error) { return nil, nil }
func (r resolvedImages) Resolved() []images.Pin                          { return r }

// TestKnownDigests: an image that was exported, and is embedded and exported
// again, has each of its digests once, its index's first.
func TestKnownDigests(t *testing.T) {
	index, own := "sha256:"+strings.Repeat("1", 64), "sha256:"+strings.Repeat("2", 64)
	base, upper := embedLayers()
	f := &foreignImage{img: testImage(t, v1.Config{}, base, upper), digest: own}
	const ref = "example.org/a:1"
	for _, tt := range []struct {
		name  string
		known []string
		pin   images.Pin
		want  []string
	}{
		{"from a registry, of an index", nil, images.Pin{Ref: ref, Digest: index, Source: "registry"}, []string{index, own}},
		{"from a registry, by its own digest", nil, images.Pin{Ref: ref, Digest: own, Source: "registry"}, []string{own}},
		{"from an export", []string{index, own}, images.Pin{Ref: ref, Digest: own, Source: "registry"}, []string{index, own}},
		{"from an export that has them twice", []string{index, own, own, index}, images.Pin{}, []string{index, own}},
		{"from the daemon", nil, images.Pin{Ref: ref, Digest: own, Source: "docker"}, nil},
	} {
		p := &Plan{opt: Options{Images: resolvedImages{tt.pin}}}
		if got := p.knownDigests(embed.Want{Source: ref, Known: tt.known}, f); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
