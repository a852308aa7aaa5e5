package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func sum(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }

func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 / 3)
	}
	return b
}

func testCache(t *testing.T) *Cache {
	return &Cache{Dir: t.TempDir(), Backoff: time.Millisecond, Retries: 3}
}

func readAll(t *testing.T, f *os.File) []byte {
	t.Helper()
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// counter is an Observer of one download.
type counter struct{ atomic.Int64 }

func (c *counter) Begin(string, int64) Task { return counting{c} }

type counting struct{ *counter }

func (c counting) Add(n int64) { c.Int64.Add(n) }
func (c counting) Done(error)  {}

func TestBlobFaults(t *testing.T) {
	want := content(300_000)
	tests := []struct {
		name    string
		serve   func(hit int, w http.ResponseWriter, r *http.Request)
		hits    int
		wantErr string
	}{
		{"plain", func(_ int, w http.ResponseWriter, r *http.Request) { w.Write(want) }, 1, ""},
		{"resumes after a cut", func(hit int, w http.ResponseWriter, r *http.Request) {
			if hit == 1 {
				w.Header().Set("Content-Length", fmt.Sprint(len(want)))
				w.Write(want[:100_000])
				panic(http.ErrAbortHandler)
			}
			if !strings.HasPrefix(r.Header.Get("Range"), "bytes=") {
				t.Errorf("second request has no range")
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(want))
		}, 2, ""},
		{"server without ranges starts again", func(hit int, w http.ResponseWriter, r *http.Request) {
			if hit == 1 {
				w.Header().Set("Content-Length", fmt.Sprint(len(want)))
				w.Write(want[:100_000])
				panic(http.ErrAbortHandler)
			}
			w.Write(want)
		}, 2, ""},
		{"range refused starts again", func(hit int, w http.ResponseWriter, r *http.Request) {
			switch hit {
			case 1:
				w.Header().Set("Content-Length", fmt.Sprint(len(want)))
				w.Write(want[:100_000])
				panic(http.ErrAbortHandler)
			case 2:
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			default:
				if r.Header.Get("Range") != "" {
					t.Errorf("third request for %s", r.Header.Get("Range"))
				}
				w.Write(want)
			}
		}, 3, ""},
		{"another range starts again", func(hit int, w http.ResponseWriter, r *http.Request) {
			switch hit {
			case 1:
				w.Header().Set("Content-Length", fmt.Sprint(len(want)))
				w.Write(want[:100_000])
				panic(http.ErrAbortHandler)
			case 2:
				w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(want)-1, len(want)))
				w.WriteHeader(http.StatusPartialContent)
				w.Write(want)
			default:
				w.Write(want)
			}
		}, 3, ""},
		{"503 then well", func(hit int, w http.ResponseWriter, r *http.Request) {
			if hit == 1 {
				w.WriteHeader(503)
				return
			}
			w.Write(want)
		}, 2, ""},
		{"404 is not tried again", func(_ int, w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) }, 1, "404"},
		{"503 for ever", func(_ int, w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }, 3, "503"},
		{"wrong bytes", func(_ int, w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, len(want))) }, 1, "broken mirror"},
		{"endless body", func(_ int, w http.ResponseWriter, r *http.Request) {
			for i := 0; i < 100; i++ {
				w.Write(want)
			}
		}, 1, "broken mirror"},
		{"short body", func(_ int, w http.ResponseWriter, r *http.Request) { w.Write(want[:10]) }, 3, "10 of 300000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var hits atomic.Int32
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				tt.serve(int(hits.Add(1)), w, r)
			}))
			defer srv.Close()
			c := testCache(t)
			var shown counter
			c.Observer = &shown
			f, err := c.Blob(t.Context(), []string{srv.URL + "/x.deb"}, sum(want), int64(len(want)))
			if got := int(hits.Load()); got != tt.hits {
				t.Errorf("%d requests, want %d", got, tt.hits)
			}
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("error %v, want one with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(readAll(t, f), want) {
				t.Error("other content")
			}
			if shown.Load() != int64(len(want)) {
				t.Errorf("progress says %d bytes, want %d", shown.Load(), len(want))
			}
			srv.Close() // the second time it must come from the cache
			f, err = c.Blob(t.Context(), []string{srv.URL + "/x.deb"}, sum(want), int64(len(want)))
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		})
	}
}

func TestBlobTriesTheNextMirror(t *testing.T) {
	want := content(1000)
	bad := httptest.NewServer(http.NotFoundHandler())
	defer bad.Close()
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(want) }))
	defer good.Close()
	f, err := testCache(t).Blob(t.Context(), []string{bad.URL, good.URL}, sum(want), 1000)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

func TestBlobRepairsADamagedCache(t *testing.T) {
	want := content(5000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(want) }))
	defer srv.Close()
	c := testCache(t)
	f, err := c.Blob(t.Context(), []string{srv.URL}, sum(want), 5000)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	path := filepath.Join(c.Dir, "blobs", "sha256", sum(want)[:2], sum(want))
	if err := os.WriteFile(path, make([]byte, 5000), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err = c.Blob(t.Context(), []string{srv.URL}, sum(want), 5000)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readAll(t, f), want) {
		t.Error("damaged content was used")
	}
}

func TestOffline(t *testing.T) {
	c := testCache(t)
	c.Offline = true
	if _, err := c.Blob(t.Context(), []string{"http://127.0.0.1:1/x"}, sum(nil), 0); !errors.Is(err, ErrOffline) {
		t.Errorf("Blob: %v", err)
	}
	if _, err := c.Latest(t.Context(), []string{"http://127.0.0.1:1/x"}, 10); !errors.Is(err, ErrOffline) {
		t.Errorf("Latest: %v", err)
	}
}

func TestLatestRevalidates(t *testing.T) {
	var full, same atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == `"1"` {
			same.Add(1)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		full.Add(1)
		w.Header().Set("ETag", `"1"`)
		io.WriteString(w, "hello")
	}))
	defer srv.Close()
	c := testCache(t)
	for range 3 {
		b, err := c.Latest(t.Context(), []string{srv.URL}, 10)
		if err != nil || string(b) != "hello" {
			t.Fatalf("%q, %v", b, err)
		}
	}
	if full.Load() != 1 || same.Load() != 2 {
		t.Errorf("%d full and %d unchanged answers, want 1 and 2", full.Load(), same.Load())
	}
	if _, err := c.Latest(t.Context(), []string{srv.URL + "/?other"}, 3); err == nil {
		t.Error("an answer over the limit was taken")
	}
	c.Offline = true
	if b, err := c.Latest(t.Context(), []string{srv.URL}, 10); err != nil || string(b) != "hello" {
		t.Errorf("offline: %q, %v", b, err)
	}
}

func TestCancelKeepsThePartialFile(t *testing.T) {
	want := content(200_000)
	ctx, cancel := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(want))
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(want)))
		w.Write(want[:150_000])
		w.(http.Flusher).Flush()
		time.AfterFunc(50*time.Millisecond, cancel)
		<-r.Context().Done()
	}))
	defer srv.Close()
	c := testCache(t)
	if _, err := c.Blob(ctx, []string{srv.URL}, sum(want), int64(len(want))); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want cancelled", err)
	}
	st, err := os.Stat(filepath.Join(c.Dir, "partial", sum(want)))
	if err != nil || st.Size() == 0 {
		t.Fatalf("partial file: %v, %v", st, err)
	}
	f, err := c.Blob(t.Context(), []string{srv.URL}, sum(want), int64(len(want)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readAll(t, f), want) {
		t.Error("other content after resuming")
	}
}

// What an earlier run left may be damaged, which is no fault of the server's.
func TestDamagedPartialBeginsAnew(t *testing.T) {
	want := content(200_000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(want))
	}))
	defer srv.Close()
	for _, left := range []int{1000, len(want), len(want) + 5} {
		c := testCache(t)
		if err := os.Mkdir(filepath.Join(c.Dir, "partial"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(c.Dir, "partial", sum(want)), make([]byte, left), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := c.Blob(t.Context(), []string{srv.URL}, sum(want), int64(len(want)))
		if err != nil {
			t.Errorf("%d bytes were left: %v", left, err)
		} else if !bytes.Equal(readAll(t, f), want) {
			t.Errorf("%d bytes were left: other content", left)
		}
	}
}

// A cache that cannot be written is not the fault of a server, and no other try
// will mend it: the error comes at once, with the next step.
func TestUnwritableCache(t *testing.T) {
	var hits atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		_, _ = w.Write([]byte("text"))
	}))
	defer server.Close()
	c := testCache(t)
	c.Dir = filepath.Join(c.Dir, "file")
	if err := os.WriteFile(c.Dir, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := c.Latest(t.Context(), []string{server.URL, server.URL + "/other"}, 100)
	hint, ok := errors.AsType[interface {
		error
		Hint() string
	}](err)
	if !ok || !strings.Contains(hint.Hint(), "--cache-dir") || hits.Load() != 1 {
		t.Errorf("%v after %d requests", err, hits.Load())
	}
}

// A disk that is full ends a download at once.
func TestFullDisk(t *testing.T) {
	c, tries := testCache(t), 0
	c.init()
	err := c.retry(t.Context(), []string{"http://a.example", "http://b.example"}, nil, func(string) error {
		tries++
		return fmt.Errorf("after 5 bytes: %w", &os.PathError{Op: "write", Path: "partial/x", Err: syscall.ENOSPC})
	})
	if !errors.Is(err, syscall.ENOSPC) || tries != 1 {
		t.Errorf("%v after %d tries", err, tries)
	}
}

func TestDeriveMakesOnce(t *testing.T) {
	c := testCache(t)
	var made atomic.Int32
	mk := func(_ context.Context, w io.Writer) error {
		made.Add(1)
		_, err := io.WriteString(w, "derived")
		return err
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			f, err := c.Derive(t.Context(), "key", mk)
			if err != nil {
				t.Error(err)
				return
			}
			if got := string(readAll(t, f)); got != "derived" {
				t.Errorf("content %q", got)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("made %d times", made.Load())
	}
	if _, err := c.Derive(t.Context(), "bad", func(context.Context, io.Writer) error { return io.ErrUnexpectedEOF }); err == nil {
		t.Error("a failed maker gave a file")
	}
	left, _ := filepath.Glob(filepath.Join(c.Dir, "derived", "*", ".new-*"))
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDeriveDropsAShortFile(t *testing.T) {
	c := testCache(t)
	mk := func(_ context.Context, w io.Writer) error { _, err := io.WriteString(w, "derived"); return err }
	f, err := c.Derive(t.Context(), "key", mk)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	found, _ := filepath.Glob(filepath.Join(c.Dir, "derived", "*", "*-7"))
	if len(found) != 1 {
		t.Fatal(found)
	}
	if err := os.Truncate(found[0], 3); err != nil {
		t.Fatal(err)
	}
	f, err = c.Derive(t.Context(), "key", mk)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(readAll(t, f)); got != "derived" {
		t.Errorf("content %q", got)
	}
}

// The cache's folder is no pattern.
func TestDerivedInBrackets(t *testing.T) {
	c := testCache(t)
	c.Dir = filepath.Join(c.Dir, "a[1]*")
	made := 0
	for range 2 {
		f, err := c.Derive(t.Context(), "key", func(_ context.Context, w io.Writer) error { made++; return nil })
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if made != 1 || !c.Has("key") {
		t.Errorf("made %d times, has it: %v", made, c.Has("key"))
	}
	if err := c.Forget("key"); err != nil || c.Has("key") {
		t.Errorf("it is still there: %v", err)
	}
}

func TestForgetMakesAgain(t *testing.T) {
	c := testCache(t)
	for i := range 2 {
		f, err := c.Derive(t.Context(), "key", func(_ context.Context, w io.Writer) error { _, err := fmt.Fprintf(w, "derived %d", i); return err })
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(readAll(t, f)), fmt.Sprintf("derived %d", i); got != want {
			t.Errorf("content %q, want %q", got, want)
		}
		if err := c.Forget("key"); err != nil || c.Has("key") {
			t.Errorf("it is still there: %v", err)
		}
	}
}
