package images

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

func cut(inner http.Handler, w http.ResponseWriter, r *http.Request, n int) bool {
	rec := httptest.NewRecorder()
	plain := r.Clone(r.Context())
	plain.Header.Del("Range")
	inner.ServeHTTP(rec, plain)
	w.Header().Set("Content-Length", fmt.Sprint(rec.Body.Len()))
	_, _ = w.Write(rec.Body.Bytes()[:n])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func TestRegistryFaults(t *testing.T) {
	const size = 200_000
	plain := tarOf(t, "file1", noise(1, size))
	layer := gzLayer(t, 1, size)
	blob := "GET blobs/" + digestOf(t, layer).String()
	isBlob := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, digestOf(t, layer).String()) }
	isManifest := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") }
	tests := []struct {
		name    string
		fault   func(tr *testRegistry) func(w http.ResponseWriter, r *http.Request, hit int) bool
		gets    int // requests for the layer
		ranges  int
		wantErr []string
	}{
		{name: "plain", gets: 1},
		{name: "429 with Retry-After", gets: 2, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, hit int) bool {
				if hit == 1 {
					w.Header().Set("Retry-After", "0")
					w.WriteHeader(http.StatusTooManyRequests)
				}
				return hit == 1
			}
		}},
		{name: "429 for too long", wantErr: []string{"limits how much may be pulled", "docker login 127.0.0.1"}, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				w.Header().Set("Retry-After", "7200")
				w.WriteHeader(http.StatusTooManyRequests)
				return true
			}
		}},
		{name: "503, then well", gets: 2, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, hit int) bool {
				if hit == 1 && isBlob(r) {
					w.WriteHeader(http.StatusServiceUnavailable)
					return true
				}
				return false
			}
		}},
		{name: "503 for ever", gets: 3, wantErr: []string{"503"}, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if isBlob(r) {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				return isBlob(r)
			}
		}},
		{name: "cut connections are resumed", gets: 4, ranges: 3, fault: func(tr *testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, hit int) bool {
				if !isBlob(r) || hit > 3 {
					return false
				}
				var from int
				_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
				rec := httptest.NewRecorder()
				tr.inner.ServeHTTP(rec, strip(r))
				body := rec.Body.Bytes()[from:]
				if from > 0 {
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, rec.Body.Len()-1, rec.Body.Len()))
					w.Header().Set("Content-Length", fmt.Sprint(len(body)))
					w.WriteHeader(http.StatusPartialContent)
				} else {
					w.Header().Set("Content-Length", fmt.Sprint(len(body)))
				}
				_, _ = w.Write(body[:hit*9_973])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
		}},
		{name: "cut, and the server knows no ranges", gets: 2, ranges: 1, fault: func(tr *testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, hit int) bool {
				if !isBlob(r) {
					return false
				}
				if hit == 1 {
					return cut(tr.inner, w, r, 50_000)
				}
				tr.inner.ServeHTTP(w, strip(r))
				return true
			}
		}},
		{name: "cut, and ranges are refused", gets: 3, ranges: 1, fault: func(tr *testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, hit int) bool {
				if isBlob(r) && hit == 1 {
					return cut(tr.inner, w, r, 50_000)
				}
				if isBlob(r) && hit == 2 {
					w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
					return true
				}
				return false
			}
		}},
		{name: "never more than nothing", gets: 3, wantErr: []string{"unexpected EOF"}, fault: func(tr *testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, hit int) bool {
				return isBlob(r) && cut(tr.inner, w, r, 0)
			}
		}},
		{name: "wrong bytes", gets: 1, wantErr: []string{"wrong digest", "broken mirror"}, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if isBlob(r) {
					n, _ := layer.Size()
					_, _ = w.Write(make([]byte, n))
				}
				return isBlob(r)
			}
		}},
		{name: "endless body", gets: 1, wantErr: []string{"wrong size"}, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				for isBlob(r) {
					if _, err := w.Write(make([]byte, 1<<16)); err != nil {
						return true
					}
				}
				return false
			}
		}},
		{name: "body too short", gets: 3, ranges: 2, wantErr: []string{"of", "unexpected EOF"}, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if isBlob(r) {
					_, _ = w.Write([]byte("short"))
				}
				return isBlob(r)
			}
		}},
		{name: "slow, then well", gets: 2, ranges: 1, fault: func(tr *testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, hit int) bool {
				if !isBlob(r) || hit > 1 {
					return false
				}
				rec := httptest.NewRecorder()
				tr.inner.ServeHTTP(rec, strip(r))
				w.Header().Set("Content-Length", fmt.Sprint(rec.Body.Len()))
				_, _ = w.Write(rec.Body.Bytes()[:1000])
				w.(http.Flusher).Flush()
				<-r.Context().Done() // until the client loses patience
				return true
			}
		}},
		{name: "wrong manifest", wantErr: []string{"wrong digest"}, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if isManifest(r) {
					w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("1", 64))
					fmt.Fprint(w, `{"schemaVersion":2,"layers":[]}`)
				}
				return isManifest(r)
			}
		}},
		{name: "endless manifest", wantErr: []string{"larger than"}, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				for isManifest(r) {
					if _, err := w.Write(make([]byte, 1<<16)); err != nil {
						return true
					}
				}
				return false
			}
		}},
		{name: "manifest breaks off, then well", gets: 1, fault: func(tr *testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, hit int) bool {
				return isManifest(r) && hit < 3 && cut(tr.inner, w, r, 100)
			}
		}},
		{name: "manifest breaks off", wantErr: []string{"reading manifest v1", "unexpected EOF"}, fault: func(tr *testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				return isManifest(r) && cut(tr.inner, w, r, 100)
			}
		}},
		{name: "manifest is a page", wantErr: []string{"not JSON"}, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if isManifest(r) {
					fmt.Fprint(w, "<html>captive portal</html>")
				}
				return isManifest(r)
			}
		}},
		{name: "schema 1", wantErr: []string{"schema version 1", "current Docker"}, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if isManifest(r) {
					w.Header().Set("Content-Type", string(types.DockerManifestSchema1Signed))
					fmt.Fprint(w, `{"schemaVersion":1,"name":"a","fsLayers":[{"blobSum":"sha256:00"}],"history":[]}`)
				}
				return isManifest(r)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := newRegistry(t)
			tr.add(t, "hook/app:v1", imageOf(t, "amd64", layer))
			if tt.fault != nil {
				tr.setFault(tt.fault(tr))
			}
			s := sources(t, func(s *Sources) {
				if strings.HasPrefix(tt.name, "slow") {
					s.stall = 3 * time.Second
				}
			})
			img, err := s.Image(t.Context(), tr.ref("hook/app:v1"))
			var got [][]byte
			if err == nil {
				got, err = tryContents(img)
			}
			if n := tr.count(blob); n != tt.gets {
				t.Errorf("%d requests for the layer, want %d", n, tt.gets)
			}
			if n := len(tr.ranges); n != tt.ranges {
				t.Errorf("%d of them for a range (%v), want %d", n, tr.ranges, tt.ranges)
			}
			if tt.wantErr != nil {
				wantError(t, err, tt.wantErr...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got[0], plain) {
				t.Error("other content")
			}
			left, _ := filepath.Glob(filepath.Join(s.Dir, "partial", "*"))
			if len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func strip(r *http.Request) *http.Request {
	c := r.Clone(r.Context())
	c.Header.Del("Range")
	return c
}

func TestCutAtAnyByteIsResumedByTheNextRun(t *testing.T) {
	const size = 120_000
	layer := gzLayer(t, 9, size)
	whole, _ := layer.Size()
	for _, at := range []int{0, 1, 4096, 77_777, int(whole) - 1} {
		tr := newRegistry(t)
		tr.add(t, "a:1", imageOf(t, "amd64", layer))
		tr.setFault(func(w http.ResponseWriter, r *http.Request, hit int) bool {
			return strings.HasSuffix(r.URL.Path, digestOf(t, layer).String()) && cut(tr.inner, w, r, at)
		})
		dir := t.TempDir()
		first := sources(t, func(s *Sources) { s.Dir, s.Retries = dir, 1 })
		_, err := tryContents(mustImage(t, first, tr.ref("a:1")))
		wantError(t, err, "downloading "+digestOf(t, layer).String())
		tr.setFault(nil)
		second := sources(t, func(s *Sources) { s.Dir = dir })
		contents(t, mustImage(t, second, tr.ref("a:1")))
		want := []string(nil)
		if at > 0 {
			want = []string{fmt.Sprintf("bytes=%d-%d", at, whole-1)}
		}
		if got := tr.ranges; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("cut at %d: second run asked for %v, want %v", at, got, want)
		}
	}
}

// TestWhatAnotherBroughtIsWrong: a mirror's wrong bytes, or an earlier run's, are
// no fault of the registry that is asked for the rest.
func TestWhatAnotherBroughtIsWrong(t *testing.T) {
	layer := gzLayer(t, 9, 120_000)
	digest := digestOf(t, layer)
	size, _ := layer.Size()
	isLayer := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, digest.String()) }
	for name, tt := range map[string]struct {
		left  int // of an earlier run
		fault func(w http.ResponseWriter, r *http.Request, hit int) bool
	}{
		"an earlier run":            {left: 5000},
		"an earlier run, the whole": {left: int(size)},
		"a mirror that goes away": {fault: func(w http.ResponseWriter, r *http.Request, hit int) bool {
			switch {
			case !isLayer(r):
				return false
			case hit > 1:
				w.WriteHeader(http.StatusNotFound)
				return true
			}
			w.Header().Set("Content-Length", fmt.Sprint(size))
			_, _ = w.Write(make([]byte, size/2))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}},
	} {
		tr, mirror := newRegistry(t), newRegistry(t)
		through, err := ParseMirror(mirror.URL)
		if err != nil {
			t.Fatal(err)
		}
		img := imageOf(t, "amd64", layer)
		tr.add(t, "a:1", img)
		mirror.add(t, "a:1", img)
		mirror.setFault(tt.fault)
		s := sources(t, func(s *Sources) {
			if tt.fault != nil {
				s.Mirrors = []Mirror{through}
			}
		})
		found := mustImage(t, s, tr.ref("a:1"))
		if tt.left > 0 {
			if err := os.WriteFile(filepath.Join(s.Dir, "partial", digest.Hex), make([]byte, tt.left), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tryContents(found); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPlainHTTPIsRefused: only loopback, mirrors that say http and insecure
// registries are spoken to without TLS.
// TestTwoProcessesShareACache: two Sources are two processes to the locks.
