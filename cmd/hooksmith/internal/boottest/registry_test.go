package boottest

import (
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"hooksmith/cmd/hooksmith/internal/qemu"
)

// hostInGuest is how a machine on QEMU's user network reaches the loopback
// interface of its host.
const hostInGuest = "10.0.2.2"

// serveWorker starts a registry without TLS on loopback that holds the test
// worker of testdata/worker, and returns the registry and the image by the
// names that a machine has for them.
func serveWorker(t *testing.T, arch qemu.Arch, env ...string) (host, image string) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(u.Host+"/test/worker:v1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := workerImage(t, arch, env)
	if err == nil {
		err = remote.Write(ref, img)
	}
	if err != nil {
		t.Fatalf("worker image: %v", err)
	}
	host = hostInGuest + ":" + u.Port()
	return host, host + "/test/worker:v1"
}

// workerImage is an image of one layer with one file, its entrypoint.
func workerImage(t *testing.T, arch qemu.Arch, env []string) (v1.Image, error) {
	program := buildStatic(t, arch, "./testdata/worker")
	img, err := mutate.AppendLayers(empty.Image, tarred(t, entry{Name: "testworker", Mode: 0o755, content: program}))
	if err != nil {
		return nil, err
	}
	config := v1.Config{Entrypoint: []string{"/testworker"}, Env: append([]string{"PATH=/"}, env...)}
	return mutate.ConfigFile(img, platformConfig(t, img, arch, config))
}

// The image is one that a client can pull.
func TestServeWorker(t *testing.T) {
	_, image := serveWorker(t, qemu.AMD64, "WORKER_ACTION=none")
	ref, err := name.ParseReference(image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	here := fmt.Sprintf("127.0.0.1:%s", ref.Context().RegistryStr()[len(hostInGuest)+1:])
	local, err := name.ParseReference(here+"/test/worker:v1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(local)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if file.Architecture != "amd64" || len(file.RootFS.DiffIDs) != 1 || file.Config.Entrypoint[0] != "/testworker" {
		t.Errorf("config: %+v", file)
	}
}
