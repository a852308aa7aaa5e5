package build

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hooksmith/build/fetch"
	"hooksmith/build/linuxkit"
	"hooksmith/configs"
	"hooksmith/embed"
)

// TestEmbedPlan: for every flavor the plan is what a build lays out, which
// depends on whose init the template has.
func TestEmbedPlan(t *testing.T) {
	shared := gzipped(t, text("shared", "in both"))
	source := imageMap{
		"example.org/a:1": testImage(t, v1.Config{}, shared, gzipped(t, text("a", "1"))),
		"example.org/b:1": testImage(t, v1.Config{}, shared, gzipped(t, text("b", "2"))),
	}
	opt := Options{
		Configs: configs.FS, Cache: &fetch.Cache{Dir: t.TempDir()}, Images: source, Program: "test",
		Embed: []embed.Want{want(t, "example.org/a:1"), want(t, "example.org/b:1")},
	}
	a := source["example.org/a:1"]
	var compressed int64
	for _, l := range must(a.Manifest()).Layers {
		compressed += l.Size
	}
	for _, flavor := range must(LoadFlavors(configs.FS)).All {
		opt.Flavor = flavor
		plan, err := NewEmbedPlan(t.Context(), opt)
		if err != nil {
			t.Fatalf("%s: %v", flavor.ID, err)
		}
		flat := flavor.Template != "hook"
		img := plan.Images[0]
		if img.Digest != must(a.Digest()).String() || img.CompressedBytes != compressed || plan.Flattened != flat {
			t.Errorf("%s: flattened %t, %+v", flavor.ID, plan.Flattened, img)
		}
		layers, sharing, digests, sameID := 2, 1, 1, true
		if flat {
			layers, sharing, digests, sameID = 1, 0, 0, false
		}
		if img.Layers != layers || img.SharedLayers != sharing || len(img.Digests) != digests || (img.ID == must(a.ConfigName()).String()) != sameID {
			t.Errorf("%s: flattened %t: %+v", flavor.ID, flat, img)
		}
	}
}

// TestEmbedPlanIsBuild: the IDs of the plan are those of the build.
func TestEmbedPlanIsBuild(t *testing.T) {
	opt := fileOptions(t, linuxkitFile)
	images := fileImages(t)
	images["example.org/b:1"] = testImage(t, v1.Config{}, gzipped(t, text("a", "1")), gzipped(t, text("b", "2")))
	opt.Images, opt.Embed = images, []embed.Want{want(t, "example.org/b:1")}
	built, err := Build(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := NewEmbedPlan(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if !plan.Flattened || plan.Images[0].ID != built.Embedded[0].ID || len(plan.Images[0].Digests) != 0 {
		t.Errorf("planned %+v, built %+v", plan.Images[0], built.Embedded)
	}
	opt.Files = []linuxkit.Source{{Name: "t.yml", Data: []byte("init: nothing\n")}}
	if _, err := NewEmbedPlan(t.Context(), opt); err == nil {
		t.Error("a template that is wrong is not told")
	}
}
