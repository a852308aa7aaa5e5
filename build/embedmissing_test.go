package build

import (
	"context"
	"errors"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"hooksmith/build/images"
	"hooksmith/embed"
)

// askedImages is a source of images that counts how often it is asked.
type askedImages struct {
	image func(ctx context.Context, ref string) (v1.Image, error)
	asked int
}

func (a *askedImages) Image(ctx context.Context, ref string) (v1.Image, error) {
	a.asked++
	return a.image(ctx, ref)
}

// TestExplainMissing: what the tag of an image with another digest stands for
// is told; a registry that does not answer is not asked for that.
func TestExplainMissing(t *testing.T) {
	base, _ := embedLayers()
	img := testImage(t, v1.Config{}, base)
	dir := t.TempDir()
	named := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "example.org/a:1"})
	if err := must(layout.Write(dir, empty.Index)).AppendImage(img, named); err != nil {
		t.Fatal(err)
	}
	wrong := "sha256:" + strings.Repeat("1", 64)
	w := want(t, "example.org/a:1")
	w.Digest = wrong
	sources := &images.Sources{Dir: t.TempDir(), OnlyIn: map[string]string{"example.org/a@" + wrong: dir, "example.org/a:1": dir}}
	sources.Platform = must(images.ParsePlatform("amd64"))
	t.Cleanup(func() { sources.Close() })
	down := func(context.Context, string) (v1.Image, error) { return nil, errors.New("no answer") }
	offline := func(context.Context, string) (v1.Image, error) {
		return nil, &images.NotFoundError{Places: []error{images.ErrOffline}}
	}
	for _, tt := range []struct {
		name  string
		image func(ctx context.Context, ref string) (v1.Image, error)
		want  string
		asked int
	}{
		{"another digest", sources.Image, "example.org/a:1 is there, but with the digest " + must(img.Digest()).String(), 2},
		{"no answer", down, "no answer", 1},
		{"offline", offline, "--offline forbids", 1},
	} {
		source := &askedImages{image: tt.image}
		opt := fileOptions(t, linuxkitFile)
		opt.Images, opt.Embed = source, []embed.Want{w}
		_, err := NewEmbedPlan(t.Context(), opt)
		if err == nil || !strings.Contains(err.Error(), tt.want) || source.asked != tt.asked {
			t.Errorf("%s: asked %d times, want %d; error %v, want %q", tt.name, source.asked, tt.asked, err, tt.want)
		}
	}
}
