package dockerd

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/random"

	"hooksmith/guest/dockerd/dockertest"
	"hooksmith/guest/dockerd/engine"
)

func TestMain(m *testing.M) {
	dockertest.Main(m, map[string]dockertest.Applet{"docker": Run})
}

// TestRun starts a real dockerd, kills it and its containerd, and ends it.
func TestRun(t *testing.T) {
	dockertest.Isolate(t)
	dir := dockertest.Dir(t)
	dockertest.Write(t, filepath.Join(dir, "run/docker.pid"), "1\n") // of another life
	dockertest.Write(t, filepath.Join(dir, "ca/broken.crt"), "no certificate")
	docker := dockertest.StartDocker(t, dir, "syslog_host=%%")
	ctx := context.Background()

	docker.Await(0, `docker: kernel argument syslog_host=: "%%" is left out`)
	docker.Await(0, "ca/broken.crt is left out: no certificate")
	line, next := docker.Await(0, "hooksmith: docker: ready (overlay2, ")
	t.Log(line)
	if info, err := docker.Info(ctx); err != nil || info.Driver != "overlay2" {
		t.Errorf("info %+v, %v", info, err)
	}

	syscall.Kill(docker.Child("dockerd"), syscall.SIGKILL)
	_, next = docker.Await(next, "dockerd ended after")
	_, next = docker.Await(next, "docker: ready (overlay2, ")

	syscall.Kill(docker.Child("containerd"), syscall.SIGKILL)
	_, next = docker.Await(next, "containerd ended after")
	docker.Child("containerd")
	if err := docker.Ping(ctx); err != nil {
		t.Error(err)
	}

	docker.Signal(syscall.SIGHUP)
	docker.Await(next, "Got signal to reload configuration")
	docker.Stop()
	if err := docker.Ping(ctx); err == nil {
		t.Error("dockerd outlives the applet")
	}
}

// TestWords has a dockerd that cannot start: its last word must arrive.
func TestWords(t *testing.T) {
	dockertest.Isolate(t)
	dir := dockertest.Dir(t)
	dockertest.Write(t, filepath.Join(dir, "etc/docker/daemon.json"), `{"storage-driver":"floppy"}`)
	docker := dockertest.StartDocker(t, dir, "")
	line, _ := docker.Await(0, "hooksmith: docker: dockerd ended after")
	for _, text := range []string{"exit status 1", "driver not supported", "starting it again in 1s"} {
		if !strings.Contains(line, text) {
			t.Errorf("no %q in %q", text, line)
		}
	}
}

// TestRegistryCA pulls from a registry whose CA certificate is not there yet when dockerd starts.
func TestRegistryCA(t *testing.T) {
	dockertest.Isolate(t)
	registry := dockertest.StartRegistry(t, "")
	image, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	ref := registry.Push(t, "test/image:1", image)
	pull := func(docker *dockertest.Docker) error {
		return docker.Pull(context.Background(), ref, engine.Auth{}, func(engine.Progress) {})
	}

	// The port on which the certificate will be: taken and given back.
	later, err := net.Listen("tcp", dockertest.IP+":0")
	if err != nil {
		t.Fatal(err)
	}
	address := later.Addr().String()
	later.Close()

	// One after the other in this goroutine, whose thread is in the namespace.
	for _, arguments := range []string{"docker_registry=" + registry.Host, ""} {
		docker := dockertest.StartDocker(t, dockertest.Dir(t), arguments+" registry_ca=http://"+address+"/ca.crt")
		_, next := docker.Await(0, "docker: ready")
		docker.Await(0, "/ca.crt: dial tcp "+address+": connect: connection refused; trying on")
		if arguments != "" { // for a registry without a name it would be too late after that
			if err := pull(docker); err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
				t.Errorf("%q: pulling without the certificate: %v", arguments, err)
			}
		}
		pending := filepath.Join(docker.Dir, "run/hook-docker/ca-pending")
		if _, err := os.Stat(pending); err != nil {
			t.Error("nothing tells that the certificate is still to come")
		}
		certificates := serve(t, address, registry.CA)
		docker.Await(next, `/ca.crt: "CN=Test CA" until`)
		if err := pull(docker); err != nil {
			t.Errorf("%q: %v", arguments, err)
		}
		if ok, err := docker.HasImage(context.Background(), ref); !ok || err != nil {
			t.Errorf("%q: the image is there: %v, %v", arguments, ok, err)
		}
		if _, err := os.Stat(pending); err == nil {
			t.Error("the certificate is here, but still said to be coming")
		}
		certificates.Close()
		docker.Stop()
	}
}

// serve serves one file over HTTP.
func serve(t *testing.T, address string, file []byte) *http.Server {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(file) })}
	go server.Serve(listener)
	return server
}
