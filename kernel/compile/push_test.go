package compile

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
)

// TestMayPush: what a registry will refuse in the end is known before a kernel
// is compiled.
func TestMayPush(t *testing.T) {
	for _, tt := range []struct {
		name       string
		upload     int // status that the registry answers to an upload; 0: it takes it
		want, hint string
	}{
		{"allowed", 0, "", ""},
		{"denied", http.StatusForbidden, "pushing ", "docker login 127.0.0.1:"},
		{"no credentials", http.StatusUnauthorized, "pushing ", "HOOK_KERNEL_OCI_BASE"},
		{"read only", http.StatusMethodNotAllowed, "pushing ", "nothing was compiled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			real := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost && tt.upload != 0 {
					w.WriteHeader(tt.upload)
					return
				}
				real.ServeHTTP(w, r)
			}))
			defer srv.Close()
			err := (&Builder{}).mayPush(t.Context(), pushTag(t, srv.URL), Want{Keychain: authn.NewMultiKeychain()})
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var hinted interface{ Hint() string }
			if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), tt.hint) {
				t.Errorf("%v, want %q with the hint %q", err, tt.want, tt.hint)
			}
		})
	}
}

// A registry that does not answer does not keep those who interrupt.
func TestMayPushInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() }))
	defer srv.Close()
	if err := (&Builder{}).mayPush(ctx, pushTag(t, srv.URL), Want{Keychain: authn.NewMultiKeychain()}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func pushTag(t *testing.T, url string) name.Tag {
	t.Helper()
	tag, err := spec().Image(strings.TrimPrefix(url, "http://") + "/kernel")
	if err != nil {
		t.Fatal(err)
	}
	return tag
}
