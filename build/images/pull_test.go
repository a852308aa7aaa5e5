package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestSharedLayersAreDownloadedOnce(t *testing.T) {
	tr := newRegistry(t)
	base := []v1.Layer{gzLayer(t, 1, 50_000), gzLayer(t, 2, 60_000), gzLayer(t, 3, 70_000)}
	var refs []string
	for i := range 6 {
		ref := fmt.Sprintf("hook/app%d:v1", i)
		tr.add(t, ref, imageOf(t, "amd64", append(base[:i%3+1:i%3+1], gzLayer(t, uint64(10+i), 20_000))...))
		refs = append(refs, tr.ref(ref))
	}
	var began atomic.Int32
	s := sources(t, func(s *Sources) {
		s.Progress = func(string, int64) (func(int64), func(error)) {
			began.Add(1)
			return func(int64) {}, func(error) {}
		}
	})
	var images []v1.Image
	for _, ref := range refs {
		images = append(images, mustImage(t, s, ref))
	}
	var wg sync.WaitGroup
	for _, img := range images {
		wg.Go(func() {
			if _, err := tryContents(img); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if err := s.Prefetch(t.Context(), img); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for key, n := range tr.hits {
		if strings.HasPrefix(key, "GET blobs/") && n != 1 {
			t.Errorf("%s: %d times", key, n)
		}
	}
	if began.Load() != 9+6 { // layers and configurations
		t.Errorf("progress of %d downloads, want 15", began.Load())
	}
}

func TestOfflineNeedsAnEarlierRun(t *testing.T) {
	tr := newRegistry(t)
	ref := tr.ref("hook/app:v1")
	tr.add(t, "hook/app:v1", imageOf(t, "amd64", gzLayer(t, 1, 9_000), gzLayer(t, 2, 9_000)))
	dir := t.TempDir()
	offline := func(s *Sources) { s.Dir, s.Offline = dir, true }

	_, err := sources(t, offline).Image(t.Context(), ref)
	if !errors.Is(err, ErrOffline) {
		t.Fatalf("error %v, want ErrOffline", err)
	}
	online := sources(t, func(s *Sources) { s.Dir = dir })
	img := mustImage(t, online, ref)
	layers, _ := img.Layers()
	rc, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	rc.Close()
	digest := digestOf(t, img)
	tr.Server.Close()

	for _, r := range []string{ref, tr.ref("hook/app@" + digest.String()), tr.ref("hook/app:other@" + digest.String())} {
		img := mustImage(t, sources(t, offline), r)
		layers, _ := img.Layers()
		if rc, err := layers[0].Uncompressed(); err != nil {
			t.Errorf("%s: %v", r, err)
		} else {
			rc.Close()
		}
		if _, err := layers[1].Uncompressed(); !errors.Is(err, ErrOffline) {
			t.Errorf("a layer that was not downloaded: %v", err)
		}
	}
}

func TestPinsAndPull(t *testing.T) {
	tr := newRegistry(t)
	ref := tr.ref("hook/app:v1")
	old, now := imageOf(t, "amd64", gzLayer(t, 1, 5_000)), imageOf(t, "amd64", gzLayer(t, 2, 5_000))
	tr.add(t, "hook/app:v1", old)
	s := sources(t)
	contents(t, mustImage(t, s, ref))
	pins := s.Resolved()
	if len(pins) != 1 || pins[0] != (Pin{Ref: ref, Digest: digestOf(t, old).String(), Source: "registry"}) {
		t.Fatalf("pins %v", pins)
	}
	tr.add(t, "hook/app:v1", now)
	for _, tt := range []struct {
		name   string
		change func(*Sources)
		want   v1.Image
	}{
		{"what the cache knows", func(n *Sources) { n.Dir = s.Dir }, old},
		{"an empty cache asks", func(*Sources) {}, now},
		{"a pin holds", func(n *Sources) { n.Pins = pins }, old},
		{"pull renews", func(n *Sources) { n.Dir, n.Pins, n.Pull = s.Dir, pins, true }, now},
		{"the cache knows the new one", func(n *Sources) { n.Dir = s.Dir }, now},
		{"but the pin is stronger", func(n *Sources) { n.Dir, n.Pins = s.Dir, pins }, old},
		{"pull of nothing new", func(n *Sources) { n.Dir, n.Pull = s.Dir, true }, now},
	} {
		before := tr.total("GET manifests/")
		img := mustImage(t, sources(t, tt.change), ref)
		if digestOf(t, img) != digestOf(t, tt.want) {
			t.Errorf("%s: another image", tt.name)
		}
		if tt.name == "pull of nothing new" && tr.total("GET manifests/") != before {
			t.Errorf("%s: the manifest was downloaded again", tt.name)
		}
	}
	gone := []Pin{{Ref: ref, Digest: "sha256:" + strings.Repeat("0", 64)}}
	_, err := sources(t, func(s *Sources) { s.Pins = gone }).Image(t.Context(), ref)
	wantError(t, err, "no such image in hook/app")
	_, err = sources(t, func(s *Sources) { s.Pins = []Pin{{Ref: ref, Digest: "sha256:1"}} }).Image(t.Context(), ref)
	wantError(t, err, "pin of "+ref)
}

func TestCancelledDownloadReturnsAtOnce(t *testing.T) {
	tr := newRegistry(t)
	layer := gzLayer(t, 1, 50_000)
	tr.add(t, "a:1", imageOf(t, "amd64", layer))
	ctx, cancel := context.WithCancel(t.Context())
	tr.setFault(func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if !strings.HasSuffix(r.URL.Path, digestOf(t, layer).String()) {
			return false
		}
		w.Header().Set("Content-Length", "50000")
		_, _ = w.Write(make([]byte, 10_000))
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
		return true
	})
	s := sources(t)
	img, err := s.Image(ctx, tr.ref("a:1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tryContents(img); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want cancelled", err)
	}
}

func TestDamagedCacheIsRepairedByTheNextRun(t *testing.T) {
	tr := newRegistry(t)
	layer := gzLayer(t, 1, 30_000)
	tr.add(t, "a:1", imageOf(t, "amd64", layer))
	s := sources(t)
	img := mustImage(t, s, tr.ref("a:1"))
	contents(t, img)
	size, _ := layer.Size()
	path := s.store.blobPath(digestOf(t, layer))
	if err := os.WriteFile(path, make([]byte, size), 0o644); err != nil {
		t.Fatal(err)
	}
	rc, err := img.(*image).layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	_, err = bytes.NewBuffer(nil).ReadFrom(rc)
	wantError(t, err, "run the command again")
	contents(t, img)
	if err := os.Truncate(path, 7); err != nil { // as after a crash of the machine
		t.Fatal(err)
	}
	contents(t, img)
}

// TestDamageIsFoundByUnpacking: the compressed bytes of a file are not hashed
// then; the error is of them all the same, or names the blob.
func TestDamageIsFoundByUnpacking(t *testing.T) {
	tr := newRegistry(t)
	blob := gzLayer(t, 1, 30_000)
	tr.add(t, "a:1", imageOf(t, "amd64", blob))
	s := sources(t)
	img := mustImage(t, s, tr.ref("a:1"))
	contents(t, img)
	path := s.store.blobPath(digestOf(t, blob))
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	unpack := func() error {
		rc, err := img.(*image).layers[0].Uncompressed()
		if err != nil {
			return err
		}
		defer rc.Close()
		_, err = bytes.NewBuffer(nil).ReadFrom(rc)
		return err
	}
	for _, at := range []int{0, 5, len(good) / 2, len(good) - 8, len(good) - 1} { // another size would be fetched again at once
		damaged := bytes.Clone(good)
		damaged[at] ^= 0x10
		if err := os.WriteFile(path, damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := unpack(); err != nil {
			wantError(t, err, "wrong content", digestOf(t, blob).String(), "run the command again")
		} else if at != 5 { // a byte of the time, which is not content
			t.Errorf("no error after a change of byte %d", at)
		}
		contents(t, img) // fetched again
	}
	// The blob is what the manifest says, but never was this layer.
	wrong := *img.(*image).layers[0].(*layer)
	wrong.diffID = v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}
	rc, err := wrong.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	_, err = bytes.NewBuffer(nil).ReadFrom(rc)
	wantError(t, err, "blob "+digestOf(t, blob).String()+": wrong content")
	if err := unpack(); err != nil {
		t.Error(err)
	}
}

func TestTwoProcessesShareACache(t *testing.T) {
	tr := newRegistry(t)
	tr.add(t, "a:1", imageOf(t, "amd64", gzLayer(t, 1, 100_000), gzLayer(t, 2, 100_000), gzLayer(t, 3, 100_000)))
	tr.setFault(func(w http.ResponseWriter, r *http.Request, hit int) bool {
		if hit == 1 && strings.Contains(r.URL.Path, "/blobs/") {
			return cut(tr.inner, w, r, 10)
		}
		return false
	})
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 4 {
		s := sources(t, func(s *Sources) { s.Dir = dir })
		wg.Go(func() {
			img, err := s.Image(t.Context(), tr.ref("a:1"))
			if err == nil {
				_, err = tryContents(img)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := tr.total("GET blobs/"); n != 8 { // each is cut once
		t.Errorf("%d requests for 4 blobs, want 8", n)
	}
}
