package build

import (
	"archive/tar"
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hooksmith/build/fetch"
	"hooksmith/build/rootfs"
	"hooksmith/embed"
)

// TestWarnTimes: one warning tells of all times that an initramfs cannot have.
func TestWarnTimes(t *testing.T) {
	at := func(name string, year int) tar.Header {
		return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, ModTime: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)}
	}
	source := imageMap{
		"a": testImage(t, v1.Config{}, tarLayer(at("fine", 1970), at("fine-too", 2106))),
		"b": testImage(t, v1.Config{}, tarLayer(at("late", 2107), at("old", 1950))),
		"c": testImage(t, v1.Config{}, tarLayer(at("older", 1901))),
	}
	for _, tt := range []struct {
		images []string
		want   []string // of the only line
	}{
		{images: []string{"a"}},
		{[]string{"a", "b", "c"}, []string{"files=3", `\"/late\" of 2107`, "2107-01-01T00:00:00Z", " of b:latest; layer ", " of c:latest", "1970 to 2106"}},
	} {
		var wants []embed.Want
		for _, ref := range tt.images {
			wants = append(wants, want(t, ref))
		}
		b := must(embedder(&fetch.Cache{Dir: t.TempDir()}, source, wants...))
		defer b.layers.Close()
		trees := must(b.embedTrees(t.Context(), nil))
		var log bytes.Buffer
		b.opt.Log = slog.New(slog.NewTextHandler(&log, nil))
		b.warnTimes(must(rootfs.New(nil)), trees)
		if n := strings.Count(log.String(), "\n"); n != min(1, len(tt.want)) {
			t.Errorf("%s: %d warnings:\n%s", tt.images, n, &log)
		}
		for _, want := range tt.want {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%s: the warning lacks %q:\n%s", tt.images, want, &log)
			}
		}
	}
}
