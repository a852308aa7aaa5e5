package images

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hooksmith/build/fetch"
)

var anHourAgo = time.Now().Add(-time.Hour)

func age(t *testing.T, path string, d time.Duration) {
	t.Helper()
	at := time.Now().Add(-d)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func TestList(t *testing.T) {
	tr := newRegistry(t)
	tr.add(t, "multi:1", indexWith(child(t, "linux/amd64", "amd64"), child(t, "linux/arm64", "arm64")))
	s := sources(t)
	contents(t, mustImage(t, s, tr.ref("multi:1")))
	if err := os.WriteFile(filepath.Join(s.Dir, "partial", strings.Repeat("a", 64)), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	entries, err := List(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, e := range entries {
		kinds[e.Kind]++
		if e.Size <= 0 || e.Used.IsZero() || e.Name == "" || !filepath.IsAbs(e.Path) {
			t.Errorf("entry %+v", e)
		}
		if e.Kind == "record" && e.Name != "ref "+tr.ref("multi:1") {
			t.Errorf("record of %q", e.Name)
		}
	}
	if want := "map[config:1 index:1 layer:1 manifest:1 partial:1 record:1]"; fmt.Sprint(kinds) != want {
		t.Errorf("kinds %v, want %s", kinds, want)
	}
	if none, err := List(filepath.Join(t.TempDir(), "none")); err != nil || len(none) != 0 {
		t.Errorf("a cache that is not there: %v, %v", none, err)
	}
}

func TestPrune(t *testing.T) {
	const day = 24 * time.Hour
	setUp := func(t *testing.T) (dir string, path map[string]string) {
		s, err := openStore(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		path = map[string]string{}
		for name, d := range map[string]time.Duration{"new": 0, "hours": 5 * time.Hour, "week": 7 * day, "month": 30 * day} {
			h, err := s.put([]byte(strings.Repeat(name[:1], 1000)))
			if err != nil {
				t.Fatal(err)
			}
			path[name] = s.blobPath(h)
			age(t, path[name], d)
		}
		path["download"] = filepath.Join(s.dir, "partial", "x")
		if err := os.WriteFile(path["download"], make([]byte, 1000), 0o644); err != nil {
			t.Fatal(err)
		}
		age(t, path["download"], 60*day)
		return s.dir, path
	}
	for _, tt := range []struct {
		name   string
		limits Limits
		want   string // what is left
	}{
		{"nothing said", Limits{}, "download hours month new week"},
		{"by age", Limits{Age: 10 * day}, "hours new week"},
		{"by size", Limits{Total: 3000}, "hours new week"},
		{"by age and size", Limits{Age: 10 * day, Total: 2000}, "hours new"},
		{"all", Limits{Age: 1, Total: 1}, "new"},
		{"all, with another guard", Limits{Age: 1, Guard: 6 * time.Hour}, "hours new"},
		{"all, with no guard to speak of", Limits{Age: 1, Guard: 1}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, path := setUp(t)
			entries, err := List(dir)
			if err != nil {
				t.Fatal(err)
			}
			removed, err := Prune(entries, tt.limits)
			if err != nil {
				t.Fatal(err)
			}
			var left []string
			for name, p := range path {
				if _, err := os.Stat(p); err == nil {
					left = append(left, name)
				}
			}
			slices.Sort(left)
			if got := strings.Join(left, " "); got != tt.want || len(removed)+len(left) != len(path) {
				t.Errorf("left %q, want %q; removed %d", got, tt.want, len(removed))
			}
		})
	}
}

func TestPruneLeavesWhatIsInUse(t *testing.T) {
	tr := newRegistry(t)
	tr.add(t, "a:1", imageOf(t, "amd64", gzLayer(t, 1, 500)))
	s := sources(t)
	img := mustImage(t, s, tr.ref("a:1"))
	contents(t, img)
	entries, err := List(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range entries {
		age(t, entries[i].Path, 100*time.Hour)
	}
	if entries, err = List(s.Dir); err != nil {
		t.Fatal(err)
	}
	contents(t, img) // used after it was listed
	layers, _ := img.Layers()
	name := filepath.Join(s.Dir, "partial", "running")
	part, err := fetch.OpenPartial(t.Context(), slog.New(slog.DiscardHandler), name)
	if err != nil {
		t.Fatal(err)
	}
	defer part.Close()
	age(t, name, 100*time.Hour)
	running, err := ListFiles(filepath.Join(s.Dir, "partial"), "partial")
	if err != nil || len(running) != 1 {
		t.Fatal(running, err)
	}
	removed, err := Prune(append(entries, running...), Limits{Age: time.Hour, Total: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range removed {
		if e.Kind == "layer" || e.Kind == "partial" {
			t.Errorf("removed %s", e.Path)
		}
	}
	if len(removed) != 3 { // manifest, configuration, record
		t.Errorf("removed %d", len(removed))
	}
	if !s.store.has(digestOf(t, layers[0]), -1) {
		t.Error("the layer is gone")
	}
	contents(t, mustImage(t, s, tr.ref("a:1"))) // comes again
}

// TestPruneWaitsForUsers: a blob is not removed between being found and being
// marked as used.
func TestPruneWaitsForUsers(t *testing.T) {
	s, err := openStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.put([]byte("blob"))
	if err != nil {
		t.Fatal(err)
	}
	age(t, s.blobPath(h), 100*time.Hour)
	entries, err := List(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := flock(filepath.Join(s.dir, "lock"), unix.LOCK_SH)
	if err != nil {
		t.Fatal(err)
	}
	pruned := make(chan []Entry)
	go func() {
		removed, err := Prune(entries, Limits{Age: time.Hour})
		if err != nil {
			t.Error(err)
		}
		pruned <- removed
	}()
	now := time.Now()
	if err := os.Chtimes(s.blobPath(h), now, now); err != nil {
		t.Fatal(err)
	}
	unlock()
	if removed := <-pruned; len(removed) != 0 || !s.has(h, 4) {
		t.Errorf("removed %v", removed)
	}
}

func TestReadOnlyCacheWorks(t *testing.T) {
	tr := newRegistry(t)
	tr.add(t, "a:1", imageOf(t, "amd64", gzLayer(t, 1, 500)))
	s := sources(t)
	contents(t, mustImage(t, s, tr.ref("a:1")))
	if os.Getuid() == 0 {
		t.Skip("root may write everywhere")
	}
	for _, sub := range []string{"", "blobs", "blobs/sha256", "records", "partial"} {
		if err := os.Chmod(filepath.Join(s.Dir, sub), 0o555); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(filepath.Join(s.Dir, sub), 0o755) })
	}
	again := sources(t, func(n *Sources) { n.Dir, n.Offline = s.Dir, true })
	contents(t, mustImage(t, again, tr.ref("a:1")))
}
