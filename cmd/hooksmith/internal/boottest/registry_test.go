package boottest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

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
	img, err := workerImage(arch, buildWorker(t, arch), env)
	if err == nil {
		err = remote.Write(ref, img)
	}
	if err != nil {
		t.Fatalf("worker image: %v", err)
	}
	host = hostInGuest + ":" + u.Port()
	return host, host + "/test/worker:v1"
}

// buildWorker compiles the worker as one static file.
func buildWorker(t *testing.T, arch qemu.Arch) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "worker")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "./testdata/worker")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+string(arch))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the worker: %v: %s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// workerImage is an image of one layer with one file, its entrypoint.
func workerImage(arch qemu.Arch, program []byte, env []string) (v1.Image, error) {
	var tarred bytes.Buffer
	w := tar.NewWriter(&tarred)
	if err := w.WriteHeader(&tar.Header{Name: "testworker", Mode: 0o755, Size: int64(len(program))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(program); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(tarred.Bytes())), nil })
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", string(arch)
	file.Config = v1.Config{Entrypoint: []string{"/testworker"}, Env: append([]string{"PATH=/"}, env...)}
	return mutate.ConfigFile(img, file)
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
