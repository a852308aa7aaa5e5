package images

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hooksmith/build/docker/dockertest"
)

func TestDockerIsNotThere(t *testing.T) {
	dir := t.TempDir()
	notDocker, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := notDocker.Addr().String()
	notDocker.Close()
	for host, want := range map[string][]string{
		"unix://" + dir + "/none.sock": {"no Docker daemon answers at unix://" + dir + "/none.sock (DOCKER_HOST)", "systemctl start docker", "DOCKER_HOST"},
		"tcp://" + addr:                {"no Docker daemon answers at tcp://" + addr},
		"ftp://nonsense":               {`DOCKER_HOST: "ftp://nonsense" is no address of a Docker daemon`},
	} {
		s := sources(t, func(s *Sources) {
			s.UseDocker, s.Docker.Getenv = true, environment(map[string]string{"DOCKER_HOST": host})
		})
		_, err := s.Image(t.Context(), "127.0.0.1:1/app:1")
		wantError(t, err, want...)
		if strings.Contains(err.Error(), "registry") {
			t.Error("went on without the daemon that was asked for")
		}
	}
	s := sources(t, func(s *Sources) {
		s.UseDocker, s.Offline, s.Docker.Getenv = true, true, environment(map[string]string{"DOCKER_HOST": "ssh://lab"})
	})
	_, err = s.Image(t.Context(), "app:1")
	wantError(t, err, "not on this machine", "--offline")
}

func TestDockerOverSSH(t *testing.T) {
	socket := needDocker(t)
	importBase(t, "hooktest/ssh:1", []byte("over ssh"))
	bin := t.TempDir()
	args := filepath.Join(bin, "args")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\necho \"$@\" >>%s\nDIAL_STDIO=%s exec %s -test.run='^TestDialStdio$'\n", args, socket, self)
	if err := os.WriteFile(filepath.Join(bin, "ssh"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	s := dockerSources(t, func(s *Sources) {
		s.Docker.Getenv = environment(map[string]string{"DOCKER_HOST": "ssh://me@lab.test:2222"})
	})
	if got := contents(t, mustImage(t, s, "hooktest/ssh:1")); !bytes.Contains(got[0], []byte("over ssh")) {
		t.Error("other content")
	}
	called, _ := os.ReadFile(args)
	for _, want := range []string{"-l me", "-p 2222", "lab.test", "docker system dial-stdio"} {
		if !strings.Contains(string(called), want) {
			t.Errorf("ssh was called with %q, which lacks %q", called, want)
		}
	}
	if err := os.WriteFile(filepath.Join(bin, "ssh"), []byte("#!/bin/sh\nread request\necho 'ssh: no such lab' >&2\nexit 255\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s = dockerSources(t, func(s *Sources) {
		s.Docker.Getenv = environment(map[string]string{"DOCKER_HOST": "ssh://me@lab.test:2222"})
	})
	_, err = s.Image(t.Context(), "hooktest/ssh:1")
	wantError(t, err, "does not answer", "no such lab", "`ssh -p 2222 me@lab.test docker version`")
}

func TestDialStdio(t *testing.T) {
	socket := os.Getenv("DIAL_STDIO")
	if socket == "" {
		t.Skip("run by TestDockerOverSSH")
	}
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.Copy(c, os.Stdin)
		_ = c.(*net.UnixConn).CloseWrite()
	}()
	_, _ = io.Copy(os.Stdout, c)
	os.Exit(0)
}

func TestDockerContextWithTLS(t *testing.T) {
	tr := startRegistry(t, newTLSServer)
	tr.fault = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		w.Header().Set("Api-Version", "1.41")
		w.Header().Set("Ostype", "linux")
		if strings.HasSuffix(r.URL.Path, "/json") {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"message":"No such image"}`)
		}
		return true
	}
	dir := t.TempDir()
	u, _ := url.Parse(tr.URL)
	tls := dockertest.WriteContext(t, dir, "far", fmt.Sprintf(`{"Endpoints":{"docker":{"Host":"tcp://%s"}}}`, u.Host))
	if err := os.MkdirAll(tls, 0o755); err != nil {
		t.Fatal(err)
	}
	find := func() error {
		s := sources(t, func(s *Sources) {
			s.UseDocker, s.Docker.Getenv = true, environment(map[string]string{"DOCKER_CONTEXT": "far", "DOCKER_CONFIG": dir})
		})
		_, err := s.Image(t.Context(), "127.0.0.1:1/app:1")
		return err
	}
	if err := os.WriteFile(filepath.Join(tls, "ca.pem"), tr.pem(), 0o644); err != nil {
		t.Fatal(err)
	}
	wantError(t, find(), "Docker: it has no image 127.0.0.1:1/app:1")
	if err := os.WriteFile(filepath.Join(tls, "ca.pem"), []byte("no certificate"), 0o644); err != nil {
		t.Fatal(err)
	}
	wantError(t, find(), "Docker")
}
