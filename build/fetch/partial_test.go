package fetch

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lines sends what is logged.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// What another process downloads is waited for, which is told, until ctx is
// done or the other is.
func TestPartialOfAnother(t *testing.T) {
	want := content(1000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(want) }))
	t.Cleanup(srv.Close)
	for _, tt := range []struct {
		name    string
		wantErr error
	}{{"interrupted", context.Canceled}, {"the other ends", nil}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, said := testCache(t), make(lines, 10)
			c.Log = slog.New(slog.NewTextHandler(said, nil))
			name := filepath.Join(c.Dir, "partial", sum(want))
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			other, err := os.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			if err := unix.Flock(int(other.Fd()), unix.LOCK_EX); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				f, err := c.Blob(ctx, []string{srv.URL + "/x"}, sum(want), int64(len(want)))
				if err == nil {
					err = f.Close()
				}
				done <- err
			}()
			const long = time.Minute
			select {
			case text := <-said:
				if !strings.Contains(text, name) {
					t.Errorf("said %q", text)
				}
			case err := <-done:
				t.Fatalf("it did not wait: %v", err)
			case <-time.After(long):
				t.Fatal("nothing was said")
			}
			if tt.wantErr != nil {
				cancel()
			} else if err := other.Close(); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-done:
				if !errors.Is(err, tt.wantErr) {
					t.Errorf("error %v, want %v", err, tt.wantErr)
				}
			case <-time.After(long):
				t.Fatal("it waits on")
			}
			if len(said) > 0 {
				t.Errorf("said more: %q", <-said)
			}
		})
	}
}
