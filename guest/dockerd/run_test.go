package dockerd

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"hooksmith/guest/dockerd/engine"
)

// asApplet makes the test binary run the applet instead of its tests.
const asApplet = "HOOKGUEST_DOCKERD_TEST_APPLET"

func TestMain(m *testing.M) {
	if os.Getenv(asApplet) == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := Run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// labIP is the address of the lab's network namespace, on its loopback interface. It is none of 127.0.0.0/8, which
// docker trusts without a certificate.
const labIP = "10.99.0.1"

// isolate moves the calling test into a network namespace of its own for the rest of its life, and skips it where it
// cannot run dockerd.
func isolate(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"dockerd", "containerd", "runc", "iptables", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s (Debian: docker.io, iptables, util-linux)", tool)
		}
	}
	runtime.LockOSThread() // and never back: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("needs root to make a network namespace: %v", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	address, err := netlink.ParseAddr(labIP + "/32")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(netlink.LinkSetUp(lo), netlink.AddrAdd(lo, address)); err != nil {
		t.Fatal(err)
	}
}

// applet is the applet as a process: PID 1 of its own namespace, with its own mounts.
type applet struct {
	t     *testing.T
	dir   string
	cmd   *exec.Cmd
	mu    sync.Mutex
	lines []string
	more  chan struct{}
	ended chan struct{}
}

// startApplet runs it with these kernel arguments until the test ends.
func startApplet(t *testing.T, dir, arguments string) *applet {
	t.Helper()
	write(t, filepath.Join(dir, "cmdline"), arguments+"\n")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	a := &applet{t: t, dir: dir, more: make(chan struct{}, 1), ended: make(chan struct{})}
	etc := filepath.Join(dir, "etc")
	for _, folder := range []string{etc, "/etc/docker"} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// dockerd knows certs.d only below /etc/docker.
	a.cmd = exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "-c", `mount --bind "$0" /etc/docker && exec "$@"`, etc, self, "-cmdline", filepath.Join(dir, "cmdline"), "-run", filepath.Join(dir, "run"), "-data", filepath.Join(dir, "data"),
		"-ca", filepath.Join(dir, "ca"))
	a.cmd.Env = append(os.Environ(), asApplet+"=1")
	out, in := io.Pipe()
	a.cmd.Stdout, a.cmd.Stderr = in, in
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { a.cmd.Wait(); in.Close() }()
	go a.watch(out)
	t.Cleanup(a.stop)
	return a
}

func (a *applet) watch(r io.Reader) {
	defer close(a.ended)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		a.mu.Lock()
		a.lines = append(a.lines, lines.Text())
		a.mu.Unlock()
		select {
		case a.more <- struct{}{}:
		default:
		}
	}
}

// stop ends the applet in order: unshare does not pass signals on, so its child is what gets it.
func (a *applet) stop() {
	if pid := a.pid(); pid != 0 {
		syscall.Kill(pid, syscall.SIGTERM)
	}
	select {
	case <-a.ended:
	case <-time.After(30 * time.Second):
		a.t.Error("the applet does not end on SIGTERM")
		a.cmd.Process.Kill()
		<-a.ended
	}
}

// pid is the applet's in the namespace of the test.
func (a *applet) pid() int {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", a.cmd.Process.Pid, a.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(children)))
	return pid
}

// child is the process of that name below the applet.
func (a *applet) child(name string) int {
	a.t.Helper()
	pid := a.pid()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		a.t.Fatal(err)
	}
	// Children are listed by the thread that made them.
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		more, _ := os.ReadFile(task)
		children = append(append(children, ' '), more...)
	}
	for child := range strings.FieldsSeq(string(children)) {
		if comm, _ := os.ReadFile("/proc/" + child + "/comm"); strings.TrimSpace(string(comm)) == name {
			n, _ := strconv.Atoi(child)
			return n
		}
	}
	a.t.Fatalf("the applet has no child %s", name)
	return 0
}

// await returns the first line from the one numbered from that contains text, and the number after it.
func (a *applet) await(from int, text string) (line string, next int) {
	a.t.Helper()
	timeout := time.After(60 * time.Second)
	for i := from; ; {
		a.mu.Lock()
		lines := a.lines
		a.mu.Unlock()
		for ; i < len(lines); i++ {
			if strings.Contains(lines[i], text) {
				return lines[i], i + 1
			}
		}
		select {
		case <-a.more:
		case <-a.ended:
			a.t.Fatalf("ended without saying %q:\n%s", text, strings.Join(lines, "\n"))
		case <-timeout:
			a.t.Fatalf("no %q in 60 s:\n%s", text, strings.Join(lines, "\n"))
		}
	}
}

func (a *applet) client() *engine.Client {
	return engine.New(filepath.Join(a.dir, "run/docker.sock"))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// shortDir is a temporary folder whose name leaves room for the names of sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestRun starts a real dockerd, kills it and its containerd, and ends it.
func TestRun(t *testing.T) {
	isolate(t)
	dir := shortDir(t)
	write(t, filepath.Join(dir, "run/docker.pid"), "1\n") // of another life
	write(t, filepath.Join(dir, "ca/broken.crt"), "no certificate")
	a := startApplet(t, dir, "syslog_host=%%")
	ctx := context.Background()

	a.await(0, `docker: kernel argument syslog_host=: "%%" is left out`)
	a.await(0, "ca/broken.crt is left out: no certificate")
	line, next := a.await(0, "docker: ready (overlay2, ")
	t.Log(line)
	if info, err := a.client().Info(ctx); err != nil || info.Driver != "overlay2" {
		t.Errorf("info %+v, %v", info, err)
	}

	syscall.Kill(a.child("dockerd"), syscall.SIGKILL)
	_, next = a.await(next, "dockerd ended after")
	_, next = a.await(next, "docker: ready (overlay2, ")

	syscall.Kill(a.child("containerd"), syscall.SIGKILL)
	_, next = a.await(next, "containerd ended after")
	for containerd := 0; containerd == 0; {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", a.pid()))
		for _, task := range tasks {
			text, _ := os.ReadFile(task)
			for child := range strings.FieldsSeq(string(text)) {
				if comm, _ := os.ReadFile("/proc/" + child + "/comm"); string(comm) == "containerd\n" {
					containerd++
				}
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := a.client().Ping(ctx); err != nil {
		t.Error(err)
	}

	syscall.Kill(a.pid(), syscall.SIGHUP)
	a.await(next, "Got signal to reload configuration")
	a.stop()
	if err := a.client().Ping(ctx); err == nil {
		t.Error("dockerd outlives the applet")
	}
}

// TestWords has a dockerd that cannot start: its last word must arrive.
func TestWords(t *testing.T) {
	isolate(t)
	dir := shortDir(t)
	write(t, filepath.Join(dir, "etc/daemon.json"), `{"storage-driver":"floppy"}`)
	a := startApplet(t, dir, "")
	line, _ := a.await(0, "hooksmith: docker: dockerd ended after")
	for _, text := range []string{"exit status 1", "driver not supported", "starting it again in 1s"} {
		if !strings.Contains(line, text) {
			t.Errorf("no %q in %q", text, line)
		}
	}
}

// TestRegistryCA pulls from a registry whose CA certificate is not there yet when dockerd starts.
func TestRegistryCA(t *testing.T) {
	isolate(t)
	ca, key, caPEM := testCA(t, "Test CA")
	listener, err := tls.Listen("tcp", labIP+":0", &tls.Config{Certificates: []tls.Certificate{serverCert(t, ca, key, labIP)}})
	if err != nil {
		t.Fatal(err)
	}
	quiet := log.New(io.Discard, "", 0)
	images := registry.New(registry.Logger(quiet))
	server := &http.Server{Handler: images, ErrorLog: quiet}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	host := listener.Addr().String()
	push(t, images, host+"/test/image:1")

	// The port on which the certificate will be: taken and given back.
	later, err := net.Listen("tcp", labIP+":0")
	if err != nil {
		t.Fatal(err)
	}
	caAddress := later.Addr().String()
	later.Close()

	// One after the other in this goroutine, whose thread is in the namespace.
	for _, arguments := range []string{"docker_registry=" + host, ""} {
		a := startApplet(t, shortDir(t), arguments+" registry_ca=http://"+caAddress+"/ca.crt")
		_, next := a.await(0, "docker: ready")
		a.await(0, "/ca.crt: dial tcp "+caAddress+": connect: connection refused; trying on")
		ctx := context.Background()
		if arguments != "" {
			err := a.client().Pull(ctx, host+"/test/image:1", engine.Auth{}, func(engine.Progress) {})
			if err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
				t.Errorf("%q: pulling without the certificate: %v", arguments, err)
			}
		}
		pending := filepath.Join(a.dir, "run/hook-docker/ca-pending")
		if _, err := os.Stat(pending); err != nil {
			t.Error("nothing tells that the certificate is still to come")
		}
		certs := serve(t, caAddress, caPEM)
		a.await(next, `/ca.crt: "CN=Test CA" until`)
		if err := a.client().Pull(ctx, host+"/test/image:1", engine.Auth{}, func(engine.Progress) {}); err != nil {
			t.Errorf("%q: %v", arguments, err)
		}
		if ok, err := a.client().HasImage(ctx, host+"/test/image:1"); !ok || err != nil {
			t.Errorf("%q: the image is there: %v, %v", arguments, ok, err)
		}
		if _, err := os.Stat(pending); err == nil {
			t.Error("the certificate is here, but still said to be coming")
		}
		certs.Close()
		a.stop()
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

// inProcess is a transport to a handler, for a client whose threads are in another network namespace than the server.
type inProcess struct{ http.Handler }

func (h inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	h.ServeHTTP(answer, r)
	response := answer.Result()
	response.Request = r
	return response, nil
}

// push puts an image with random layers into a registry.
func push(t *testing.T, images http.Handler, ref string) {
	t.Helper()
	image, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image, remote.WithTransport(inProcess{images})); err != nil {
		t.Fatal(err)
	}
}
