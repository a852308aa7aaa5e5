package fetch

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hooksmith/build/fetch/fetchtest"
)

// A download that is cut again and again comes whole as long as it gets on,
// and ends, with the reasons, where it does not.
func TestPatience(t *testing.T) {
	want := content(300_000)
	piece := func(w http.ResponseWriter, r *http.Request, n int) { fetchtest.Piece(w, r, want, n) }
	for _, tt := range []struct {
		name    string
		serve   func(w http.ResponseWriter, r *http.Request)
		most    int32
		wantErr []string
	}{
		{"resumed twenty times", func(w http.ResponseWriter, r *http.Request) { piece(w, r, 15_000) }, 20, nil},
		{"a byte for each request", func(w http.ResponseWriter, r *http.Request) { piece(w, r, 1) }, 3, []string{"gave up after 3 tries in a row", "beyond 3 of 300000 bytes"}},
		{"cut, and ranges are refused", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return
			}
			piece(w, r, 100_000)
		}, 3, []string{"beyond 100000 of 300000 bytes", "416", "unexpected EOF"}},
		{"a byte now and then", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte(" "))
				w.(http.Flusher).Flush()
				time.Sleep(10 * time.Millisecond)
			}
		}, 3, []string{"bytes came in 1s"}},
		{"redirected in a circle", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, 33, []string{"10 redirects"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var hits atomic.Int32
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				hits.Add(1)
				tt.serve(w, r)
			}))
			srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
			defer srv.Close()
			var said bytes.Buffer
			c := testCache(t)
			c.Client = &http.Client{Transport: &Paced{Next: &http.Transport{DisableCompression: true}, Stall: time.Second}}
			c.Log = slog.New(slog.NewTextHandler(&said, nil))
			f, err := c.Blob(t.Context(), []string{srv.URL + "/x.deb"}, sum(want), int64(len(want)))
			if n := hits.Load(); n > tt.most {
				t.Errorf("%d requests, want no more than %d", n, tt.most)
			}
			if tt.wantErr == nil {
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(readAll(t, f), want) {
					t.Error("other content")
				}
				return
			}
			for _, part := range append(tt.wantErr, srv.URL) {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("error %v lacks %q", err, part)
				}
			}
			if n := strings.Count(said.String(), "trying again"); n == 0 || n > 2 {
				t.Errorf("said %d times that it tries again: %s", n, said.String())
			}
		})
	}
}

// After a mirror that brings wrong bytes the next one has all tries, and what
// it brings is progress again.
func TestPatienceIsForEachServer(t *testing.T) {
	want := content(300_000)
	wrong := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, len(want))) }))
	defer wrong.Close()
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := 0
		_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		w.Header().Set("Content-Length", fmt.Sprint(len(want)-from))
		if from > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(want[from:min(from+30_000, len(want))])
	}))
	slow.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	defer slow.Close()
	f, err := testCache(t).Blob(t.Context(), []string{wrong.URL + "/x", slow.URL + "/x", wrong.URL + "/x"}, sum(want), int64(len(want)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readAll(t, f), want) {
		t.Error("other content")
	}
}

// Where nobody has the file, what each server said is told.
func TestAllReasons(t *testing.T) {
	want := content(1000)
	serve := func(status int, body []byte) string {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write(body)
		}))
		t.Cleanup(srv.Close)
		return srv.URL + "/x"
	}
	wrong, none, busy, half := serve(200, make([]byte, 1000)), serve(404, nil), serve(503, nil), serve(200, want[:500])
	for _, tt := range []struct {
		name  string
		urls  []string
		wants []string
		gone  bool // nobody is left to ask
	}{
		{"all for good", []string{wrong, none}, []string{wrong + ": got 1000 bytes", "broken mirror", none + ": server answered 404"}, true},
		{"one twice", []string{none, wrong, none}, []string{none + ": server answered 404", wrong + ": got 1000 bytes"}, true},
		{"one for good", []string{none, busy}, []string{none + ": server answered 404", busy + ": server answered 503", "gave up after 3 tries"}, false},
		{"one for good, another got on", []string{wrong, half}, []string{wrong + ": got 1000 bytes", "broken mirror", half + ": connection ended after 500 of 1000"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := testCache(t).Blob(t.Context(), tt.urls, sum(want), int64(len(want)))
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range tt.wants {
				if strings.Count(err.Error(), part) != 1 {
					t.Errorf("error %v lacks %q, or has it twice", err, part)
				}
			}
			if tt.gone == strings.Contains(err.Error(), "gave up") {
				t.Errorf("error %v", err)
			}
		})
	}
	_, err := testCache(t).Latest(t.Context(), []string{none, serve(403, nil)}, 10)
	if err == nil || !strings.Contains(err.Error(), "404") || !strings.Contains(err.Error(), "403") {
		t.Errorf("Latest: %v", err)
	}
}

// Time between reads is the reader's, and a slow body that comes is read.
func TestPacedReader(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(content(4 << 20))
	}))
	defer srv.Close()
	client := &http.Client{Transport: &Paced{Next: http.DefaultTransport, Stall: 100 * time.Second}}
	resp, err := client.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body := resp.Body.(*pacedBody)
	body.waited = body.stall - time.Minute // as after other reads
	for range 2 {
		if _, err := resp.Body.Read(make([]byte, stallBytes/4)); err != nil {
			t.Fatal(err)
		}
	}
	if body.waited < body.stall-time.Minute {
		t.Error("a few bytes were taken for enough")
	}
	for total := 0; total < 2*stallBytes; {
		n, err := resp.Body.Read(make([]byte, stallBytes))
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	if body.waited > body.stall/2 {
		t.Error("enough bytes came, and the time did not begin anew")
	}
}
