package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	dockerimage "github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	v1 "github.com/google/go-containerregistry/pkg/v1"
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
	path, err := exec.LookPath("dockerd")
	switch {
	case os.Getuid() != 0:
		d.reason = "dockerd needs root"
		return
	case err != nil:
		d.reason = "dockerd is not installed (apt-get install docker.io)"
		return
	}
	dir, err := os.MkdirTemp("", "images-docker")
	if err != nil {
		d.reason = err.Error()
		return
	}
	d.socket = filepath.Join(dir, "docker.sock")
	var log bytes.Buffer
	cmd := exec.Command(path, "--data-root", dir+"/data", "--exec-root", dir+"/exec", "-H", "unix://"+d.socket, "--pidfile", dir+"/pid",
		"--bridge=none", "--iptables=false", "--ip6tables=false") // no container of these tests has a network
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		d.reason = err.Error()
		return
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	d.stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-exited
		}
		_ = os.RemoveAll(dir)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		if c, err := (&Docker{Host: "unix://" + d.socket}).Connect(ctx); err == nil {
			c.Close()
			return
		}
		select {
		case <-exited:
			d.reason = "dockerd ended: " + log.String()
			return
		case <-ctx.Done():
			d.reason = "dockerd did not get ready in a minute"
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
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

func connectDocker(t *testing.T) *client.Client {
	t.Helper()
	c, err := (&Docker{Host: "unix://" + needDocker(t)}).Connect(t.Context())
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

// folder writes an image folder; modes come after a space, links after ->.
func folder(t *testing.T, root, name string, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(root, name)
	for _, file := range sortedKeys(files) {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(files[file], "-> "); ok {
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(files[file]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}

func oneFolder(t *testing.T, root, base string) Folder {
	t.Helper()
	fs, err := ReadFolders(t.Context(), root, base, amd64)
	if err != nil || len(fs) != 1 {
		t.Fatalf("%v, %v", fs, err)
	}
	return fs[0]
}

func TestFolderIsBuiltOnce(t *testing.T) {
	for _, kit := range []string{"1", "0"} {
		t.Run("DOCKER_BUILDKIT="+kit, func(t *testing.T) {
			importBase(t, "hooktest/base:build"+kit, []byte("base"))
			root := t.TempDir()
			dir := folder(t, root, "hook-app"+kit, map[string]string{
				"Dockerfile": "FROM --platform=linux/${TARGETARCH} hooktest/base:build" + kit + "\nCOPY . /data/\nLABEL for=test\n", "a.sh": "#!/bin/sh\n", "link": "-> a.sh",
				".dockerignore": "*.log\n", "noise.log": "1",
			})
			if kit == "0" { // only BuildKit sets arguments before FROM
				folder(t, root, "hook-app"+kit, map[string]string{"Dockerfile": "ARG TARGETARCH\nFROM --platform=linux/${TARGETARCH} hooktest/base:build" + kit + "\nCOPY . /data/\nLABEL for=test\n"})
			}
			if err := os.Chmod(filepath.Join(dir, "a.sh"), 0o751); err != nil {
				t.Fatal(err)
			}
			cache := t.TempDir()
			var began []string
			with := func(s *Sources) {
				s.Dir, s.UseDocker, s.Folders = cache, false, []Folder{oneFolder(t, root, "quay.invalid/hook/")}
				s.Folders[0].local = true // nobody to ask
				socket := s.Docker.Getenv("DOCKER_HOST")
				s.Docker.Getenv = environment(map[string]string{"DOCKER_HOST": socket, "DOCKER_BUILDKIT": kit, "DOCKER_CONFIG": t.TempDir()})
			}
			s := dockerSources(t, with, counting(&began))
			img := mustImage(t, s, s.Folders[0].Ref)
			if label(t, img) != "test" {
				t.Error("the image is not that of the Dockerfile")
			}
			all := contents(t, img)
			if top := string(all[len(all)-1]); !strings.Contains(top, "data/a.sh") || strings.Contains(top, "noise.log") {
				t.Error("the context is not what .dockerignore leaves")
			}
			building := "building hook-app" + kit
			if !slices.Contains(began, building) {
				t.Errorf("nothing was built: %v", began)
			}
			if p := s.Resolved(); p[0].Source != "folder" {
				t.Errorf("pins %v", p)
			}

			began = nil
			mustImage(t, dockerSources(t, with, counting(&began)), s.Folders[0].Ref) // from the cache
			mustImage(t, dockerSources(t, with, counting(&began), func(n *Sources) { n.Dir = t.TempDir() }), s.Folders[0].Ref)
			if slices.Contains(began, building) {
				t.Error("built again although the daemon has it")
			}
			// Without a daemon, from the cache.
			down := sources(t, func(n *Sources) { n.Dir, n.Folders, n.Offline = cache, s.Folders, true })
			contents(t, mustImage(t, down, s.Folders[0].Ref))
		})
	}
}

// TestPullBuildsAgain: --pull asks for newer base images.
func TestPullBuildsAgain(t *testing.T) {
	root := t.TempDir()
	folder(t, root, "app", map[string]string{"Dockerfile": "FROM scratch\nCOPY x /\n", "x": "pull"})
	for _, pull := range []bool{false, false, true} {
		var began []string
		s := dockerSources(t, counting(&began), func(s *Sources) { s.Folders, s.Pull = []Folder{oneFolder(t, root, "")}, pull })
		mustImage(t, s, s.Folders[0].Ref)
		if built := slices.Contains(began, "building app"); pull && !built {
			t.Error("--pull did not build again")
		}
	}
}

func TestBuildErrors(t *testing.T) {
	importBase(t, "hooktest/base:err", []byte("base"))
	for _, tt := range []struct {
		name, dockerfile string
		offline          bool
		wantErr          []string
	}{
		{"no such file", "FROM hooktest/base:err\nCOPY missing /\n", false, []string{"docker build of ", "missing"}},
		{"no such base", "FROM 127.0.0.1:1/none:1\n", false, []string{"docker build of ", "127.0.0.1:1/none:1"}},
		{"syntax", "FROM hooktest/base:err\nNONSENSE x\n", false, []string{"docker build of ", "NONSENSE"}},
		{"offline", "FROM hooktest/base:err\n", true, []string{"would have to be built", "--offline"}},
	} {
		for _, kit := range []string{"1", "0"} {
			t.Run(tt.name+kit, func(t *testing.T) {
				root := t.TempDir()
				folder(t, root, "bad", map[string]string{"Dockerfile": tt.dockerfile, "x": tt.name + kit})
				s := dockerSources(t, func(s *Sources) {
					s.Folders, s.Offline = []Folder{oneFolder(t, root, "")}, tt.offline
					socket := s.Docker.Getenv("DOCKER_HOST")
					s.Docker.Getenv = environment(map[string]string{"DOCKER_HOST": socket, "DOCKER_BUILDKIT": kit})
				})
				_, err := s.Image(t.Context(), s.Folders[0].Ref)
				wantError(t, err, append(tt.wantErr, "folder "+filepath.Join(root, "bad"))...)
			})
		}
	}
}

// TestBuildPullsAPrivateBase: BuildKit asks for credentials in the session,
// the classic builder gets them with the request.
func TestBuildPullsAPrivateBase(t *testing.T) {
	needDocker(t)
	for _, kit := range []string{"1", "0"} {
		for _, auth := range []string{"basic", "token"} {
			t.Run(auth+kit, func(t *testing.T) {
				tr := newRegistry(t)
				tr.auth, tr.user = auth, "ann"
				tr.add(t, "private/base:1", imageOf(t, "amd64", gzLayer(t, uint64(len(auth+kit)), 100)))
				config := t.TempDir()
				secret := base64.StdEncoding.EncodeToString([]byte("ann:secret"))
				if err := os.WriteFile(filepath.Join(config, "config.json"), fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, tr.host, secret), 0o600); err != nil {
					t.Fatal(err)
				}
				root := t.TempDir()
				folder(t, root, "app", map[string]string{"Dockerfile": "FROM " + tr.ref("private/base:1") + "\nCOPY x /\n", "x": auth + kit})
				s := dockerSources(t, func(s *Sources) {
					s.Folders = []Folder{oneFolder(t, root, "")}
					socket := s.Docker.Getenv("DOCKER_HOST")
					s.Docker.Getenv = environment(map[string]string{"DOCKER_HOST": socket, "DOCKER_BUILDKIT": kit, "DOCKER_CONFIG": config})
				})
				if got := contents(t, mustImage(t, s, s.Folders[0].Ref)); len(got) != 2 {
					t.Errorf("%d layers", len(got))
				}
			})
		}
	}
}

func TestCancelledBuild(t *testing.T) {
	root := t.TempDir()
	folder(t, root, "app", map[string]string{"Dockerfile": "FROM scratch\nCOPY . /\n"})
	s := dockerSources(t, func(s *Sources) { s.Folders = []Folder{oneFolder(t, root, "")} })
	ctx, cancel := context.WithCancel(t.Context())
	s.Progress = func(name string, _ int64) (func(int64), func(error)) {
		if strings.HasPrefix(name, "building") {
			cancel()
		}
		return func(int64) {}, func(error) {}
	}
	if _, err := s.Image(ctx, s.Folders[0].Ref); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// writeContext makes a context as `docker context create` does.
func writeDockerContext(t *testing.T, dir, name, meta string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(name))
	path := filepath.Join(dir, "contexts", "meta", hex.EncodeToString(sum[:]))
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "meta.json"), []byte(meta), 0o644); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "contexts", "tls", hex.EncodeToString(sum[:]), "docker")
}

func TestFindDocker(t *testing.T) {
	dir := t.TempDir()
	socketIn := func(name string) string {
		path := filepath.Join(dir, name)
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return path
	}
	meta := func(host string) string {
		return fmt.Sprintf(`{"Name":"x","Metadata":{},"Endpoints":{"docker":{"Host":%q,"SkipTLSVerify":false}}}`, host)
	}
	config := func(current string) string {
		d := t.TempDir()
		writeDockerContext(t, d, "lab", meta("ssh://me@lab"))
		writeDockerContext(t, d, "socket", meta("unix:///lab.sock"))
		writeDockerContext(t, d, "empty", `{}`)
		writeDockerContext(t, d, "broken", `{`)
		tls := writeDockerContext(t, d, "tls", meta("tcp://lab:2376"))
		if err := os.MkdirAll(tls, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tls, "ca.pem"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		writeDockerContext(t, d, "skip", strings.Replace(meta("tcp://lab:2376"), "false", "true", 1))
		if err := os.WriteFile(filepath.Join(d, "config.json"), fmt.Appendf(nil, `{"currentContext":%q,"HttpHeaders":{"X":"1"}}`, current), 0o644); err != nil {
			t.Fatal(err)
		}
		return d
	}
	rootless := filepath.Dir(socketIn("docker.sock"))
	for _, tt := range []struct {
		name    string
		docker  Docker
		env     map[string]string
		want    string // address, from
		tls     bool
		wantErr string
	}{
		{name: "host option", docker: Docker{Host: "tcp://a:1"}, env: map[string]string{"DOCKER_HOST": "tcp://b:1"}, want: "tcp://a:1"},
		{name: "context option", docker: Docker{Context: "lab"}, env: map[string]string{"DOCKER_HOST": "tcp://b:1", "DOCKER_CONFIG": config("socket")}, want: "ssh://me@lab (context lab)"},
		{name: "DOCKER_HOST", env: map[string]string{"DOCKER_HOST": "tcp://b:1", "DOCKER_CONTEXT": "lab", "DOCKER_CONFIG": config("socket")}, want: "tcp://b:1 (DOCKER_HOST)"},
		{name: "DOCKER_CONTEXT", env: map[string]string{"DOCKER_CONTEXT": "lab", "DOCKER_CONFIG": config("socket")}, want: "ssh://me@lab (context lab of DOCKER_CONTEXT)"},
		{name: "current context", env: map[string]string{"DOCKER_CONFIG": config("socket")}, want: "unix:///lab.sock (context socket, the current one)"},
		{name: "context with TLS", env: map[string]string{"DOCKER_CONFIG": config("tls")}, want: "tcp://lab:2376 (context tls, the current one)", tls: true},
		{name: "context that does not verify", env: map[string]string{"DOCKER_CONFIG": config("skip")}, want: "tcp://lab:2376 (context skip, the current one)", tls: true},
		{name: "TLS by environment", env: map[string]string{"DOCKER_HOST": "tcp://b:1", "DOCKER_TLS_VERIFY": "1", "DOCKER_CONFIG": config("")}, want: "tcp://b:1 (DOCKER_HOST)", tls: true},
		{name: "no such context", env: map[string]string{"DOCKER_CONTEXT": "none", "DOCKER_CONFIG": config("")}, wantErr: "docker context ls"},
		{name: "context without host", env: map[string]string{"DOCKER_CONTEXT": "empty", "DOCKER_CONFIG": config("")}, wantErr: "names no Docker host"},
		{name: "broken context", env: map[string]string{"DOCKER_CONTEXT": "broken", "DOCKER_CONFIG": config("")}, wantErr: "meta.json"},
		{name: "context with a path", env: map[string]string{"DOCKER_CONTEXT": "../x", "DOCKER_CONFIG": config("")}, wantErr: "no name of a context"},
		{name: "rootless", env: map[string]string{"XDG_RUNTIME_DIR": rootless, "DOCKER_CONFIG": config("default")}, want: "unix://" + filepath.Join(rootless, "docker.sock")},
		{name: "nothing set", want: "unix:///var/run/docker.sock"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "rootless" && isSocket("/var/run/docker.sock") {
				t.Skip("this machine has the usual socket")
			}
			tt.docker.Getenv = environment(tt.env)
			h, err := tt.docker.find()
			if tt.wantErr != "" {
				wantError(t, err, tt.wantErr)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if h.String() != tt.want || (h.tls != nil) != tt.tls {
				t.Errorf("found %s, TLS %v; want %s", h, h.tls, tt.want)
			}
		})
	}
}

func isSocket(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode()&os.ModeSocket != 0
}

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
		"nonsense":                     {"unable to parse docker host"},
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

// TestDockerOverSSH has a program called ssh that does what the remote
// `docker system dial-stdio` does.
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
	if err := os.WriteFile(filepath.Join(bin, "ssh"), []byte("#!/bin/sh\necho 'ssh: no such lab' >&2\nexit 255\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s = dockerSources(t, func(s *Sources) {
		s.Docker.Getenv = environment(map[string]string{"DOCKER_HOST": "ssh://me@lab.test:2222"})
	})
	_, err = s.Image(t.Context(), "hooktest/ssh:1")
	wantError(t, err, "does not answer", "no such lab", "ssh lab.test:2222 docker version")
}

// TestDialStdio is no test: it is the far end of TestDockerOverSSH.
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

// TestDockerContextWithTLS speaks to a stand-in behind TLS.
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
	tls := writeDockerContext(t, dir, "far", fmt.Sprintf(`{"Endpoints":{"docker":{"Host":"tcp://%s"}}}`, u.Host))
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
