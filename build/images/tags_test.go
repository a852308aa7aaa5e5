package images

import (
	"io"
	"log"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestTags(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	for _, tag := range []string{"5.10.2-b", "5.10.1-a"} {
		ref, err := name.NewTag(host + "/kernel:" + tag)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, empty.Image); err != nil {
			t.Fatal(err)
		}
	}
	s := &Sources{Dir: t.TempDir(), Retries: 1}
	got, err := s.Tags(t.Context(), host+"/kernel")
	if slices.Sort(got); err != nil || !slices.Equal(got, []string{"5.10.1-a", "5.10.2-b"}) {
		t.Errorf("%q, %v", got, err)
	}
	mirrored := &Sources{Dir: t.TempDir(), Retries: 1, Mirrors: []Mirror{{Host: "registry.invalid", URL: server.URL}}}
	if got, err := mirrored.Tags(t.Context(), "registry.invalid/kernel"); err != nil || len(got) != 2 {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := s.Tags(t.Context(), host+"/nothing"); err == nil || !strings.Contains(err.Error(), host) {
		t.Errorf("error %v does not name the registry", err)
	}
	offline := &Sources{Dir: t.TempDir(), Offline: true}
	if _, err := offline.Tags(t.Context(), host+"/kernel"); err == nil || !strings.Contains(err.Error(), "--offline") {
		t.Errorf("error %v", err)
	}
}
