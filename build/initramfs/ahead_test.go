package initramfs

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"hooksmith/build/rootfs"
)

// TestAhead: the result is that of a Write alone, whatever was guessed about the segments below.
func TestAhead(t *testing.T) {
	base := cacheTree(t, map[string]string{"etc/passwd": "root"})
	layer := cacheTree(t, map[string]string{"etc/layer/a": strings.Repeat("a", 5000), "var/b": "b"})
	segments := []Segment{{Name: "base", Tree: base}, {Name: "layer", Tree: layer, Level: 7}}
	var alone bytes.Buffer
	infos, err := Write(t.Context(), &alone, segments, Options{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		below []*rootfs.Tree
		made  int64 // segments, base and layer, and again what was guessed wrong
		left  int
	}{
		{"right guess", []*rootfs.Tree{base}, 2, 0},
		{"wrong guess", []*rootfs.Tree{cacheTree(t, map[string]string{"usr/a": "a"})}, 3, 1}, // etc would have a record of its own
	} {
		cache := &folder{dir: t.TempDir()}
		var progress atomic.Int64
		opt := Options{TempDir: t.TempDir(), Cache: cache}
		opt.Ahead = NewAhead(opt)
		opt.Ahead.Over(tt.below...)
		for range 2 { // the second finds it done
			if err := opt.Ahead.Compress(t.Context(), segments[1]); err != nil {
				t.Fatal(err)
			}
		}
		opt.Progress = func(n int64) { progress.Add(n) }
		var out bytes.Buffer
		got, err := Write(t.Context(), &out, segments, opt)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), alone.Bytes()) {
			t.Errorf("%s: other bytes", tt.name)
		}
		for i := range infos {
			if got[i] != infos[i] {
				t.Errorf("%s: %+v instead of %+v", tt.name, got[i], infos[i])
			}
		}
		if n := cache.made.Load(); n != tt.made {
			t.Errorf("%s: %d segments were compressed, want %d", tt.name, n, tt.made)
		}
		if size, _ := UnpackedSize(segments); progress.Load() != size {
			t.Errorf("%s: progress of %d bytes instead of %d", tt.name, progress.Load(), size)
		}
		if n := opt.Ahead.Left(); n != tt.left {
			t.Errorf("%s: %d segments were not used, want %d", tt.name, n, tt.left)
		}
		if err := opt.Ahead.Close(); err != nil {
			t.Error(err)
		}
		wantEmpty(t, opt.TempDir)
	}
}

func TestAheadFails(t *testing.T) {
	a := NewAhead(Options{TempDir: t.TempDir(), Cache: &folder{dir: t.TempDir()}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	seg := Segment{Name: "layer", Tree: cacheTree(t, map[string]string{"a": "b"})}
	a.Over(cacheTree(t, map[string]string{"etc/passwd": "root"}))
	if err := a.Compress(ctx, seg); err == nil || !strings.Contains(err.Error(), `"layer"`) {
		t.Errorf("cancelled: %v", err)
	}
	// What cannot be written is Write's to say, who knows all segments.
	seg.Level = 99
	if err := a.Compress(t.Context(), seg); err != nil {
		t.Error(err)
	}
	opt := a.opt
	opt.Ahead = a
	if _, err := Write(t.Context(), io.Discard, []Segment{seg}, opt); err == nil {
		t.Error("level 99 was accepted")
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}
