package fetch

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// A file whose size nobody knows is resumed and verified like others.
func TestFetch(t *testing.T) {
	want := content(300_000)
	for _, tt := range []struct {
		name    string
		serve   func(hit int32, w http.ResponseWriter, r *http.Request)
		hits    int32
		limit   int64
		wantErr string
	}{
		{"plain", func(_ int32, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(want) }, 1, 1 << 20, ""},
		{"exactly the limit", func(_ int32, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(want) }, 1, 300_000, ""},
		{"resumed after a cut", func(hit int32, w http.ResponseWriter, r *http.Request) {
			if hit == 1 {
				w.Header().Set("Content-Length", strconv.Itoa(len(want)))
				_, _ = w.Write(want[:100_000])
				panic(http.ErrAbortHandler)
			}
			if r.Header.Get("Range") != "bytes=100000-" {
				t.Errorf("second request has range %q", r.Header.Get("Range"))
			}
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(want[100_000:])
		}, 2, 1 << 20, ""},
		{"chunked, cut, and no ranges", func(hit int32, w http.ResponseWriter, _ *http.Request) {
			n := len(want)
			if hit == 1 {
				n = 1000
			}
			_, _ = w.Write(want[:n])
			w.(http.Flusher).Flush()
			if hit == 1 {
				panic(http.ErrAbortHandler)
			}
		}, 2, 1 << 20, ""},
		{"another file", func(_ int32, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(want[1:]) }, 1, 1 << 20, "another file than expected"},
		{"larger than the limit", func(_ int32, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(want) }, 1, 1000, "more than 1000 bytes"},
		{"not there", func(_ int32, w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, 1, 1 << 20, "404"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var hits atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tt.serve(hits.Add(1), w, r) }))
			defer server.Close()
			c := testCache(t)
			f, err := c.Fetch(t.Context(), []string{server.URL + "/x"}, sum(want), tt.limit)
			if hits.Load() != tt.hits {
				t.Errorf("%d requests, want %d", hits.Load(), tt.hits)
			}
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("error %v, want one with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(readAll(t, f), want) {
				t.Error("other content")
			}
			c.Offline = true // from the cache, whether the size is known or not
			for _, again := range []func() error{
				func() error {
					f, err := c.Fetch(t.Context(), []string{server.URL + "/x"}, sum(want), tt.limit)
					if err == nil {
						f.Close()
					}
					return err
				},
				func() error {
					f, err := c.Blob(t.Context(), []string{server.URL + "/x"}, sum(want), int64(len(want)))
					if err == nil {
						f.Close()
					}
					return err
				},
			} {
				if err := again(); err != nil {
					t.Error(err)
				}
			}
			if _, err := c.Fetch(t.Context(), []string{server.URL + "/y"}, sum(nil), 1); !errors.Is(err, ErrOffline) {
				t.Errorf("offline: %v", err)
			}
		})
	}
}
