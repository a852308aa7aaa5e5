package images

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"hooksmith/build/fetch/fetchtest"
)

// answer is what a registry says to a request for the whole blob.
func (tr *testRegistry) answer(r *http.Request) []byte {
	rec := httptest.NewRecorder()
	tr.inner.ServeHTTP(rec, strip(r))
	return rec.Body.Bytes()
}

// piece answers a request for a range with at most n bytes of it, and breaks off.
func (tr *testRegistry) piece(w http.ResponseWriter, r *http.Request, n int) {
	fetchtest.Piece(w, r, tr.answer(r), n)
}

func trickle(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		_, _ = w.Write([]byte(" "))
		w.(http.Flusher).Flush()
		time.Sleep(10 * time.Millisecond)
	}
}

// TestNothingIsEndless: whatever a registry does, a download ends: whole, or
// with an error that says why, after few requests.
func TestNothingIsEndless(t *testing.T) {
	const size = 200_000
	layer := gzLayer(t, 1, size)
	for _, tt := range []struct {
		name    string
		serve   func(tr *testRegistry, w http.ResponseWriter, r *http.Request)
		stall   time.Duration
		most    int // requests for the layer
		wantErr []string
	}{
		{"cut again and again, and ranges are refused", func(tr *testRegistry, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return
			}
			tr.piece(w, r, 50_000)
		}, 0, 4, []string{"gave up after 3 tries in a row that brought nothing new beyond 50000 of ", "416", "unexpected EOF"}},
		{"cut again and again, and ranges are ignored", func(tr *testRegistry, w http.ResponseWriter, r *http.Request) {
			tr.piece(w, strip(r), 50_000)
		}, 0, 4, []string{"gave up after 3 tries in a row", "unexpected EOF"}},
		{"cut again and again, and resumed", func(tr *testRegistry, w http.ResponseWriter, r *http.Request) {
			tr.piece(w, r, size/20)
		}, 0, 25, nil},
		{"a byte for each request", func(tr *testRegistry, w http.ResponseWriter, r *http.Request) {
			tr.piece(w, r, 1)
		}, 0, 4, []string{"gave up after 3 tries in a row", "beyond 3 of "}},
		{"another range than asked for", func(tr *testRegistry, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") == "" {
				tr.piece(w, r, 50_000)
			}
			w.Header().Set("Content-Range", "bytes 7-99/100")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(make([]byte, 93))
		}, 0, 4, []string{"gave up", `"bytes 7-99/100"`}},
		{"too many requests, always", func(_ *testRegistry, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		}, 0, 3, []string{"limits how much may be pulled"}},
		{"redirected in a circle", func(_ *testRegistry, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		}, 0, 11, []string{"10 redirects"}},
		{"a byte now and then", func(_ *testRegistry, w http.ResponseWriter, r *http.Request) {
			trickle(w, r)
		}, time.Second, 3, []string{"gave up after 3 tries in a row", "bytes came in 1s"}},
		{"nothing after the beginning", func(_ *testRegistry, w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, time.Second, 3, []string{"gave up after 3 tries in a row", "no byte came for 1s"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := newRegistry(t)
			tr.add(t, "hook/app:v1", imageOf(t, "amd64", layer))
			blob := "blobs/" + digestOf(t, layer).String()
			tr.setFault(func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if strings.HasSuffix(r.URL.Path, blob) {
					tt.serve(tr, w, r)
					return true
				}
				return false
			})
			var said syncBuffer
			s := sources(t, func(s *Sources) { s.Log = slog.New(slog.NewTextHandler(&said, nil)) })
			if tt.stall != 0 {
				s.stall = tt.stall
			}
			_, err := tryContents(mustImage(t, s, tr.ref("hook/app:v1")))
			if n := tr.count("GET " + blob); n > tt.most {
				t.Errorf("%d requests for the layer, want no more than %d", n, tt.most)
			}
			if tt.wantErr == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantError(t, err, tt.wantErr...)
			if log := said.String(); strings.Contains(err.Error(), "gave up") && !strings.Contains(log, "trying again") {
				t.Errorf("nobody was told: %s", log)
			}
		})
	}
}

// TestManifestsAndTagsEnd: these are read whole, in one go.
func TestManifestsAndTagsEnd(t *testing.T) {
	for _, tt := range []struct {
		name, at string
		serve    func(w http.ResponseWriter, r *http.Request)
		wantErr  string
	}{
		{"a manifest that trickles", "/manifests/", trickle, "bytes came in 1s"},
		{"tags that trickle", "/tags/list", trickle, "bytes came in 1s"},
		{"tags in a circle", "/tags/list", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "<"+r.URL.Path+`>; rel="next"`)
			fmt.Fprint(w, `{"name":"hook/app","tags":[]}`)
		}, "pages of tags"},
		{"tags without end", "/tags/list", func(w http.ResponseWriter, _ *http.Request) {
			_, err := w.Write([]byte(`{"tags":["`))
			for many := bytes.Repeat([]byte("x"), 1<<16); err == nil; {
				_, err = w.Write(many)
			}
		}, "too large"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := newRegistry(t)
			tr.add(t, "hook/app:v1", imageOf(t, "amd64", gzLayer(t, 1, 100)))
			tr.setFault(func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if !strings.Contains(r.URL.Path, tt.at) {
					return false
				}
				tt.serve(w, r)
				return true
			})
			s := sources(t, func(s *Sources) { s.stall = time.Second })
			_, err := s.Image(t.Context(), tr.ref("hook/app:v1"))
			if tt.at == "/tags/list" {
				_, err = s.Tags(t.Context(), tr.ref("hook/app"))
			}
			wantError(t, err, tt.wantErr)
		})
	}
}

// syncBuffer is a buffer for several writers.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

var _ io.Writer = (*syncBuffer)(nil)

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
