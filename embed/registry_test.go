package embed

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// testRegistry counts the layers that are pulled from it.
type testRegistry struct {
	host  string
	blobs atomic.Int32
}

func startRegistry(t *testing.T) *testRegistry {
	t.Helper()
	r := &testRegistry{}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.Method == http.MethodGet && strings.Contains(request.URL.Path, "/blobs/") {
			r.blobs.Add(1)
		}
		handler.ServeHTTP(w, request)
	}))
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	return r
}

// push puts an image into the registry and returns it as it is there.
func (r *testRegistry) push(t *testing.T, path string, img v1.Image) v1.Image {
	t.Helper()
	ref := must(name.ParseReference(r.host+"/"+path, name.Insecure))
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	return must(remote.Image(ref))
}
