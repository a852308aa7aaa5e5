package initramfs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hooksmith/build/rootfs"
)

// folder is a Cache that counts what it makes. Write asks for several segments at once.
type folder struct {
	dir  string
	made atomic.Int64
}

func (f *folder) Derive(ctx context.Context, key string, mk func(context.Context, io.Writer) error) (*os.File, error) {
	sum := sha256.Sum256([]byte(key))
	path := filepath.Join(f.dir, hex.EncodeToString(sum[:]))
	if file, err := os.Open(path); err == nil {
		return file, nil
	}
	f.made.Add(1)
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return file, mk(ctx, file)
}

func cacheTree(t *testing.T, files map[string]string) *rootfs.Tree {
	t.Helper()
	inodes := map[string]*rootfs.Inode{}
	for name, content := range files {
		inodes[name] = rootfs.NewFile(0o644, []byte(content))
	}
	tree, err := rootfs.New(inodes)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestCachedSegments(t *testing.T) {
	cache := &folder{dir: t.TempDir()}
	a, b := cacheTree(t, map[string]string{"a": "1", "b/c": "2"}), cacheTree(t, map[string]string{"d": "3"})
	write := func(opt Options, segments ...Segment) string {
		t.Helper()
		var out bytes.Buffer
		if _, err := Write(t.Context(), &out, segments, opt); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	opt := Options{TempDir: t.TempDir(), Cache: cache, Program: "x"}
	segments := []Segment{{Name: "a", Tree: a}, {Name: "b", Tree: b}}
	plain := write(Options{TempDir: t.TempDir()}, segments...)
	for _, step := range []struct {
		name     string
		opt      Options
		segments []Segment
		makes    int64
	}{
		{"empty cache", opt, segments, 2},
		{"nothing changed", opt, segments, 0},
		{"one segment changed", opt, []Segment{segments[0], {Name: "b", Tree: cacheTree(t, map[string]string{"d": "4"})}}, 1},
		{"another level", opt, []Segment{segments[0], {Name: "b", Tree: b, Level: 1}}, 1},
		{"another order of records", opt, []Segment{{Name: "a", Tree: a, Last: func(p string) bool { return p == "a" }}, segments[1]}, 1},
		{"an epoch that changes nothing", opt, []Segment{{Name: "a", Tree: a, Epoch: time.Unix(5, 0)}, segments[1]}, 0},
		{"another program", Options{TempDir: opt.TempDir, Cache: cache, Program: "y"}, segments, 2},
		{"back again", opt, segments, 0},
	} {
		before := cache.made.Load()
		got := write(step.opt, step.segments...)
		if n := cache.made.Load() - before; n != step.makes {
			t.Errorf("%s: %d segments were made, want %d", step.name, n, step.makes)
		}
		if want := write(Options{TempDir: opt.TempDir}, step.segments...); got != want {
			t.Errorf("%s: other bytes than without a cache", step.name)
		}
		if &step.segments[0] == &segments[0] && got != plain {
			t.Errorf("%s: other bytes than before", step.name)
		}
	}
}

// However many segments of the cache are damaged, the command has to be run
// again once.
func TestDamagedCache(t *testing.T) {
	cache := &folder{dir: t.TempDir()}
	opt := Options{TempDir: t.TempDir(), Cache: cache}
	var segments []Segment
	for _, name := range []string{"a", "b", "c"} {
		segments = append(segments, Segment{Name: name, Tree: cacheTree(t, map[string]string{name: strings.Repeat("x", 100)}), Compression: None})
	}
	if _, err := Write(t.Context(), io.Discard, segments, opt); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(cache.dir, "*"))
	if err != nil || len(found) != len(segments) {
		t.Fatal(found, err)
	}
	for _, path := range found {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[200] ^= 1
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Write(t.Context(), io.Discard, segments, opt); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("error %v", err)
	}
	if _, err := Write(t.Context(), io.Discard, segments, opt); err != nil {
		t.Errorf("the second time: %v", err)
	}
}
