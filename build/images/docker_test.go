package images

import (
	"bytes"
	"io"
	"os"
	"runtime"
	"sync"
	"testing"

	dockerimage "github.com/docker/docker/api/types/image"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hooksmith/build/docker"
	"hooksmith/build/docker/dockertest"
)

// testDaemon is the Docker daemon of all tests of this package, started by the
// first that needs it.
var testDaemon struct {
	once   sync.Once
	socket string
	reason string // why there is none
	stop   func()
}

func TestMain(m *testing.M) {
	code := m.Run()
	if testDaemon.stop != nil {
		testDaemon.stop()
	}
	os.Exit(code)
}

// needDocker returns the socket of a real Docker daemon, or skips the test.
func needDocker(t *testing.T) string {
	t.Helper()
	testDaemon.once.Do(startDocker)
	if testDaemon.reason != "" {
		t.Skip("no Docker daemon: " + testDaemon.reason)
	}
	return testDaemon.socket
}

func startDocker() {
	d := &testDaemon
	// Another version of Docker, whose images and build cache may be littered.
	if d.socket = os.Getenv("HOOKSMITH_TEST_DOCKER_SOCKET"); d.socket != "" {
		return
	}
	if d.reason = dockertest.Missing(); d.reason == "" && runtime.GOARCH != "amd64" {
		d.reason = "the tests' images are for amd64"
	}
	if d.reason != "" {
		return
	}
	dir, err := os.MkdirTemp("", "images-docker")
	if err != nil {
		d.reason = err.Error()
		return
	}
	daemon, err := dockertest.Start(dir)
	if err != nil {
		d.reason = err.Error()
		_ = os.RemoveAll(dir)
		return
	}
	d.socket, d.stop = daemon.Socket, func() { daemon.Stop(); _ = os.RemoveAll(dir) }
}

func environment(m map[string]string) func(string) string {
	return func(name string) string { return m[name] }
}

// dockerSources are Sources with the test's daemon.
func dockerSources(t *testing.T, change ...func(*Sources)) *Sources {
	socket := needDocker(t)
	return sources(t, append([]func(*Sources){func(s *Sources) {
		s.Docker.Getenv = environment(map[string]string{"DOCKER_HOST": "unix://" + socket, "DOCKER_CONFIG": t.TempDir()})
		s.UseDocker = true
	}}, change...)...)
}

func connectDocker(t *testing.T) *docker.Daemon {
	t.Helper()
	c, err := docker.Config{Host: "unix://" + needDocker(t)}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// importBase makes an image of a tar with one file, as `docker import` does.
func importBase(t *testing.T, ref string, content []byte) {
	t.Helper()
	rc, err := connectDocker(t).ImageImport(t.Context(), dockerimage.ImportSource{Source: bytes.NewReader(tarOf(t, "base", content)), SourceName: "-"}, ref, dockerimage.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	if b, err := io.ReadAll(rc); err != nil || bytes.Contains(b, []byte("error")) {
		t.Fatalf("%s, %v", b, err)
	}
}

// load does what `docker load` does.
func load(t *testing.T, images map[string]v1.Image) {
	t.Helper()
	resp, err := connectDocker(t).ImageLoad(t.Context(), bytes.NewReader(legacySave(t, images)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || bytes.Contains(b, []byte("error")) {
		t.Fatalf("%s, %v", b, err)
	}
}

// counting records what began.
func counting(began *[]string) func(*Sources) {
	var mu sync.Mutex
	return func(s *Sources) {
		s.Progress = func(name string, _ int64) (func(int64), func(error)) {
			mu.Lock()
			defer mu.Unlock()
			*began = append(*began, name)
			return func(int64) {}, func(error) {}
		}
	}
}

func TestDaemonImages(t *testing.T) {
	importBase(t, "hooktest/base:1", []byte("content"))
	load(t, map[string]v1.Image{"hooktest/arm:1": imageOf(t, "arm64", gzLayer(t, 1, 100))})
	var began []string
	s := dockerSources(t, counting(&began))
	img := mustImage(t, s, "hooktest/base:1")
	if got := contents(t, img)[0]; !bytes.Contains(got, []byte("content")) {
		t.Error("other content")
	}
	if pins := s.Resolved(); len(pins) != 1 || pins[0].Source != "docker" || pins[0].Digest != digestOf(t, img).String() {
		t.Errorf("pins %v", pins)
	}
	again := dockerSources(t, counting(&began), func(n *Sources) { n.Dir, n.Pins, n.Offline = s.Dir, s.Resolved(), true })
	if digestOf(t, mustImage(t, again, "docker.io/hooktest/base:1")) != digestOf(t, img) {
		t.Error("another image the second time")
	}
	if len(began) != 1 {
		t.Errorf("saved %d times, want once: %v", len(began), began)
	}
	importBase(t, "hooktest/base:1", []byte("changed"))
	changed := mustImage(t, dockerSources(t, func(n *Sources) { n.Dir = s.Dir }), "hooktest/base:1")
	if digestOf(t, changed) == digestOf(t, img) {
		t.Error("the changed image was not copied")
	}
	offline := func(n *Sources) { n.Offline = true }
	_, err := dockerSources(t, offline, func(n *Sources) { n.Pins = s.Resolved() }).Image(t.Context(), "hooktest/base:1")
	wantError(t, err, "the lock file pins "+digestOf(t, img).String())
	_, err = dockerSources(t, offline).Image(t.Context(), "hooktest/arm:1")
	wantError(t, err, "Docker: it has no image for linux/amd64, only for linux/arm64")
	_, err = dockerSources(t, offline).Image(t.Context(), "hooktest/none:1")
	wantError(t, err, "Docker: it has no image docker.io/hooktest/none:1", "registry docker.io: not in the image cache")
	arm := mustImage(t, dockerSources(t, func(n *Sources) { n.Platform = v1.Platform{OS: "linux", Architecture: "arm64"} }), "hooktest/arm:1")
	contents(t, arm)
}

// TestDaemonImageOfAnIndex: with the containerd store the daemon has the index,
// but the images of our platform only.
func TestDaemonImageOfAnIndex(t *testing.T) {
	tr := newRegistry(t)
	idx := indexWith(child(t, "linux/arm64", "arm64"), child(t, "linux/amd64", "amd64"), child(t, "unknown/unknown", "unknown"))
	digest := tr.add(t, "multi:1", idx)
	rc, err := connectDocker(t).ImagePull(t.Context(), tr.ref("multi:1"), dockerimage.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(rc)
	rc.Close()
	if err != nil || bytes.Contains(b, []byte("error")) {
		t.Fatalf("%s, %v", b, err)
	}
	before := tr.total("GET blobs/")
	for _, pins := range [][]Pin{nil, {{Ref: tr.ref("multi:1"), Digest: digest.String()}}} {
		s := dockerSources(t, func(s *Sources) { s.Offline, s.Pins = true, pins })
		img := mustImage(t, s, tr.ref("multi:1"))
		if label(t, img) != "amd64" {
			t.Errorf("image for %s", label(t, img))
		}
		contents(t, img)
		if _, err := s.Image(t.Context(), tr.ref("multi@"+digest.String())); err != nil {
			t.Error(err)
		}
	}
	_, err = dockerSources(t, func(s *Sources) { s.Offline, s.Platform.Architecture = true, "arm64" }).Image(t.Context(), tr.ref("multi:1"))
	wantError(t, err, "no image for linux/arm64, only for linux/amd64")
	if n := tr.total("GET blobs/"); n != before {
		t.Errorf("%d requests to the registry", n-before)
	}
}
