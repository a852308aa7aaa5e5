package bootkit

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"hooksmith/guest/dockerd"
	"hooksmith/guest/dockerd/dockertest"
	"hooksmith/guest/dockerd/engine"
	"hooksmith/guest/proctest"
)

func TestMain(m *testing.M) {
	dockertest.Main(m, map[string]dockertest.Applet{"docker": dockerd.Run, "bootkit": Run})
}

// workerImage is an image of testdata/worker with these arguments.
func workerImage(t *testing.T, args ...string) v1.Image {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "worker")
	build := exec.Command("go", "build", "-o", binary, "./testdata/worker")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	w := tar.NewWriter(&text)
	w.WriteHeader(&tar.Header{Name: "program", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program))})
	w.Write(program)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.Entrypoint = append([]string{"/program"}, args...)
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

// start runs bootkit beside a dockerd with these kernel arguments.
func start(t *testing.T, docker *dockertest.Docker, arguments string, more ...string) *proctest.Process {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cmdline")
	dockertest.Write(t, file, arguments+"\n")
	args := append([]string{"-cmdline", file, "-socket", filepath.Join(docker.Dir, "run/docker.sock"),
		"-network", "/nonexistent/status.json", "-ca-pending", filepath.Join(docker.Dir, "run/hook-docker/ca-pending")}, more...)
	return dockertest.Start(t, "bootkit", nil, args...)
}

func want(t *testing.T, have string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(have, text) {
			t.Errorf("no %q in:\n%s", text, have)
		}
	}
}

// logs are the worker's, when they have the text.
func logs(t *testing.T, docker *dockertest.Docker, text string) string {
	t.Helper()
	for end := time.Now().Add(proctest.Patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		lines, err := docker.Logs(context.Background(), workerName, 1000)
		if all := strings.Join(lines, "\n"); err == nil && strings.Contains(all, text) {
			return all
		}
	}
	t.Fatalf("the worker has not written %q", text)
	return ""
}

const secret = "hunter2hunter2"

// TestWorker pulls a worker with credentials from a registry with TLS, and follows it through two restarts of those
// that watch over it.
func TestWorker(t *testing.T) {
	dockertest.Isolate(t)
	registry := dockertest.StartRegistry(t, secret)
	registry.Push(t, "tink-worker:latest", workerImage(t, "serve"))
	dir := dockertest.Dir(t)
	dockertest.Write(t, filepath.Join(dir, "ca/test.crt"), string(registry.CA))
	dockertest.Write(t, filepath.Join(dir, "worker/mark"), "")
	docker := dockertest.StartDocker(t, dir, "docker_registry="+registry.Host)

	arguments := "docker_registry=" + registry.Host + " registry_username=worker registry_password=" + secret +
		" grpc_authority=10.99.0.1:42113 worker_id=52:54:00:12:34:56 tinkerbell_tls=false"
	bootkit := start(t, docker, arguments)
	bootkit.Await(0, "hooksmith: bootkit: pulling "+registry.Host+"/tink-worker:latest with credentials")
	bootkit.Await(0, "bootkit: pulled ")
	bootkit.Await(0, "bootkit: worker started (image "+registry.Host+"/tink-worker:latest, container ")
	want(t, logs(t, docker, "path /run"), "env TINKERBELL_GRPC_AUTHORITY=10.99.0.1:42113", "env WORKER_ID=52:54:00:12:34:56",
		"env ID=52:54:00:12:34:56", "env TINKERBELL_TLS=false", "env DOCKER_REGISTRY="+registry.Host, "env REGISTRY_USERNAME=worker",
		"env REGISTRY_PASSWORD="+secret, "path /worker/mark true", "path /var/run/docker.sock true", "path /dev/kmsg true")
	first, _, err := docker.Inspect(context.Background(), workerName)
	if err != nil {
		t.Fatal(err)
	}

	// bootkit ends and comes back: the worker is left alone.
	bootkit.Stop()
	want(t, bootkit.Output(), "worker started")
	if strings.Contains(bootkit.Output(), secret) {
		t.Errorf("the password is in the log:\n%s", bootkit.Output())
	}
	bootkit = start(t, docker, arguments)
	_, next := bootkit.Await(0, "worker runs already (container "+first.ID[:12])

	// dockerd ends and comes back: so it is.
	_, told := docker.Await(0, "docker: ready")
	syscall.Kill(docker.Child("dockerd"), syscall.SIGKILL)
	docker.Await(told, "docker: ready")
	bootkit.Await(next, "worker runs already (container "+first.ID[:12])

	// Other arguments make another worker.
	bootkit.Stop()
	bootkit = start(t, docker, strings.Replace(arguments, "tinkerbell_tls=false", "tinkerbell_tls=true", 1))
	bootkit.Await(0, "worker started")
	logs(t, docker, "env TINKERBELL_TLS=true")
}

// TestNoWorker is about what is said when there is no image, or none that can be had.
func TestNoWorker(t *testing.T) {
	dockertest.Isolate(t)
	registry := dockertest.StartRegistry(t, secret)
	dir := dockertest.Dir(t)
	dockertest.Write(t, filepath.Join(dir, "ca/test.crt"), string(registry.CA))
	docker := dockertest.StartDocker(t, dir, "docker_registry="+registry.Host)
	docker.Await(0, "docker: ready")

	for _, test := range []struct {
		arguments string
		lines     []string
	}{
		{"tink_worker_image grpc_authority", []string{
			"the kernel argument tink_worker_image has no value", "the kernel argument grpc_authority has no value: write grpc_authority=HOST:PORT",
			"worker_id= is missing", "no worker can be started: the kernel arguments name no image; set tink_worker_image=HOST/REPOSITORY:TAG, or docker_registry=HOST",
		}},
		{"tink_worker_image=" + registry.Host + "/a:1 docker_registry=other.local registry_username=worker registry_password=" + secret, []string{
			"pulling " + registry.Host + "/a:1", "registry_username= and registry_password= are only sent to docker_registry=other.local, and the image is on " + registry.Host,
			"trying again in 2s", "trying again in 4s",
		}},
		{"docker_registry=" + registry.Host + " registry_username=worker registry_password=wrong", []string{"are registry_username= and registry_password= right"}},
		{"docker_registry=" + registry.Host + " registry_username=worker registry_password=" + secret, []string{"is the image in the registry, under this name and tag?"}},
		{"tink_worker_image=127.0.0.1/embedded/tink-worker", []string{"the image is not embedded in this HookOS"}},
		{"tink_worker_image=reg.invalid/a:1", []string{"the name reg.invalid cannot be resolved"}},
		{"tink_worker_image=" + dockertest.IP + ":1/a:1", []string{"the registry cannot be reached from here"}},
		{"tink_worker_image=a/UPPER", []string{"must be lowercase"}},
	} {
		bootkit := start(t, docker, test.arguments)
		for _, line := range test.lines {
			bootkit.Await(0, line)
		}
		bootkit.Stop()
		if strings.Contains(bootkit.Output(), secret) {
			t.Errorf("the password is in the log:\n%s", bootkit.Output())
		}
	}
}

// load gives docker an image under a name that no registry has.
func load(t *testing.T, docker *dockertest.Docker, registry *dockertest.Registry, name string, image v1.Image) {
	t.Helper()
	ref := registry.Push(t, "load:1", image)
	if err := docker.Pull(context.Background(), ref, engine.Auth{}, func(engine.Progress) {}); err != nil {
		t.Fatal(err)
	}
	tag := exec.Command("curl", "-sS", "--fail", "-X", "POST", "--unix-socket", filepath.Join(docker.Dir, "run/docker.sock"),
		"http://docker/images/"+ref+"/tag?repo="+name)
	if out, err := tag.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestLocalImage is about images that are on the machine, and a network that comes late.
func TestLocalImage(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("needs curl")
	}
	dockertest.Isolate(t)
	registry := dockertest.StartRegistry(t, "")
	dir := dockertest.Dir(t)
	dockertest.Write(t, filepath.Join(dir, "ca/test.crt"), string(registry.CA))
	docker := dockertest.StartDocker(t, dir, "docker_registry="+registry.Host)
	docker.Await(0, "docker: ready")
	load(t, docker, registry, "127.0.0.1/embedded/tink-worker", workerImage(t, "serve"))
	load(t, docker, registry, "reg.invalid/worker", workerImage(t, "fail", "3"))

	// An embedded image is not pulled. The network is not up yet; when it is, the worker gets it.
	status := filepath.Join(dir, "network/status.json")
	dockertest.Write(t, status, `{"state": "waiting"}`)
	bootkit := start(t, docker, "tink_worker_image=127.0.0.1/embedded/tink-worker", "-network", status, "-patience", "100ms")
	bootkit.Await(0, "waiting for the network, at most 100ms")
	bootkit.Await(0, "image 127.0.0.1/embedded/tink-worker is on this machine")
	_, next := bootkit.Await(0, "worker started")
	dockertest.Write(t, status, `{"state": "up"}`)
	bootkit.Await(next, "the network is up: restarting the worker")
	bootkit.Stop()
	if strings.Contains(bootkit.Output(), "pulling") {
		t.Errorf("an embedded image was pulled:\n%s", bootkit.Output())
	}

	// A pull that fails takes what is there, which here is a worker that fails as well.
	bootkit = start(t, docker, "tink_worker_image=reg.invalid/worker registry_password="+secret)
	bootkit.Await(0, "taking the image of that name that is on this machine")
	_, next = bootkit.Await(0, "worker started")
	_, next = bootkit.Await(next, "with exit code 3; starting it again in 1s")
	_, next = bootkit.Await(next, "bootkit: worker: cannot reach the server with ***")
	_, next = bootkit.Await(next, "worker started again")
	bootkit.Await(next, "with exit code 3; starting it again in 2s")
	bootkit.Stop()
	if strings.Contains(bootkit.Output(), secret) {
		t.Errorf("the password is in the log:\n%s", bootkit.Output())
	}
}

// TestSyslog has a docker whose logs go to syslog: to a server that is there, and to one that is not.
func TestSyslog(t *testing.T) {
	dockertest.Isolate(t)
	registry := dockertest.StartRegistry(t, "")
	ref := registry.Push(t, "tink-worker:latest", workerImage(t, "serve"))
	for _, test := range []struct {
		host  string
		lines []string
	}{
		{dockertest.IP, []string{"worker started"}},
		{"logs.invalid", []string{"the worker starts without syslog", "worker started"}},
	} {
		dir := dockertest.Dir(t)
		dockertest.Write(t, filepath.Join(dir, "ca/test.crt"), string(registry.CA))
		docker := dockertest.StartDocker(t, dir, "syslog_host="+test.host)
		bootkit := start(t, docker, "tink_worker_image="+ref)
		next := 0
		for _, line := range test.lines {
			_, next = bootkit.Await(next, line)
		}
		logs(t, docker, "path /run") // dockerd keeps a copy of what it sends to syslog
		bootkit.Stop()
		docker.Stop()
	}
}

// TestSpec pins what the worker gets; hookos.md 3.6 has the list.
func TestSpec(t *testing.T) {
	spec := config{image: "a", env: []string{"X=1"}}.spec()
	if !spec.HostConfig.Privileged || spec.HostConfig.NetworkMode != "host" || len(spec.HostConfig.Mounts) != 3 || spec.HostConfig.Binds[0] != "/host_root/run:/run" {
		t.Errorf("%+v", spec)
	}
	if other := (config{image: "a", env: []string{"X=2"}}).spec(); other.Labels[specLabel] == spec.Labels[specLabel] {
		t.Error("another environment makes the same worker")
	}
}
