package servetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hooksmith/cmd/hooksmith/internal/console"
)

// patience bounds every wait: the machine may be slow, but not for ever.
const patience = 90 * time.Second

// Where things are in the lab.
const (
	serverIP = "10.78.0.1"
	subnet   = "10.78.0.0/24"
)

// lab is a network: a server namespace with a bridge, a client namespace on it,
// taps for machines.
type lab struct {
	t              *testing.T
	server, client string // names of the namespaces
	dir            string
	env            []string
	taps           int
	process        *server
}

var labs atomic.Int32

// newLab makes the namespaces; they go away with the test.
func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("iproute2 is not installed")
	}
	id := fmt.Sprintf("%d-%d", os.Getpid(), labs.Add(1))
	l := &lab{t: t, server: "hksv-s" + id, client: "hksv-c" + id, dir: t.TempDir(), env: os.Environ()}
	t.Cleanup(func() {
		for _, ns := range []string{l.server, l.client} {
			_ = exec.Command("ip", "netns", "del", ns).Run() // may not have been made
		}
	})
	l.ip("netns add " + l.server)
	l.ip("netns add " + l.client)
	in := func(ns, line string) { l.ip("-n " + ns + " " + line) }
	in(l.server, "link set lo up")
	in(l.client, "link set lo up")
	in(l.server, "link add br0 type bridge")
	in(l.server, "addr add "+serverIP+"/24 dev br0")
	in(l.server, "link set br0 up")
	in(l.server, "link add port0 type veth peer name eth0 netns "+l.client)
	in(l.client, "link set eth0 address 52:54:00:78:00:0c")
	in(l.server, "link set port0 master br0 up")
	in(l.client, "link set eth0 up")
	return l
}

func (l *lab) ip(line string) {
	l.t.Helper()
	if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
		l.t.Fatalf("ip %s: %v: %s", line, err, out)
	}
}

// tap makes a port of the bridge for a machine.
func (l *lab) tap() string {
	name := fmt.Sprintf("tap%d", l.taps)
	l.taps++
	l.ip("-n " + l.server + " tuntap add " + name + " mode tap")
	l.ip("-n " + l.server + " link set " + name + " master br0 up")
	return name
}

// in is a command inside of a namespace; it dies with the tests.
func (l *lab) in(ns string, argv ...string) *exec.Cmd {
	cmd := exec.Command("ip", append([]string{"netns", "exec", ns}, argv...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = l.env
	cmd.Dir = l.dir
	return cmd
}

// run runs a client's command and returns what it printed.
func (l *lab) run(argv ...string) string {
	l.t.Helper()
	out, err := l.in(l.client, argv...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// need skips the test if a program is missing, except where everything has to
// be there (make test installs it).
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("HOOKSMITH_TEST_MIRROR") != "" {
		t.Fatalf("%s is not installed", program)
	}
	t.Skipf("%s is not installed", program)
}

// write puts a file into the lab's folder, whole at once.
func (l *lab) write(name, content string) string {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path+".new", []byte(content), 0o644)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return path
}

// hardware is a file with the lab's machines.
func (l *lab) hardware(machines ...string) string {
	var b strings.Builder
	b.WriteString("machines:\n")
	for _, m := range machines {
		b.WriteString("- {" + m + "}\n")
	}
	return l.write("hardware.yaml", b.String())
}

// theClient is the record of the client namespace's interface.
const theClient = "mac: 52:54:00:78:00:0c, hostname: client, ip: 10.78.0.12/24, gateway: 10.78.0.254, nameservers: [10.78.0.53], lease: 1h"

// program builds hooksmith once for all tests.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "hooksmith-servetest-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // for tests as another user
		return "", err
	}
	path := filepath.Join(dir, "hooksmith")
	out, err := exec.Command("go", "build", "-o", path, "hooksmith/cmd/hooksmith").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building hooksmith: %w: %s", err, out)
	}
	// The binaries come into the cache while there is a network.
	out, err = exec.Command(path, "serve", "preview", "52:54:00:00:00:01", "--unknown", "auto").CombinedOutput()
	if err != nil {
		return path, fmt.Errorf("getting the boot binaries: %w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := program(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	removeRoots()
	os.Exit(code)
}

// hooksmith is the path of the program, with its boot binaries in the cache.
func hooksmith(t *testing.T) string {
	t.Helper()
	path, err := program()
	if err != nil && (path == "" || os.Getenv("HOOKSMITH_TEST_MIRROR") != "") {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip(err)
	}
	return path
}

// server is a running `hooksmith serve`.
type server struct {
	*console.Console
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{}
}

// serve starts the server and waits until it is ready.
func (l *lab) serve(args ...string) *server {
	l.t.Helper()
	s := l.start(args...)
	s.wait(`^Next: .*$`)
	return s
}

// start starts the server.
func (l *lab) start(args ...string) *server {
	l.t.Helper()
	argv := append([]string{hooksmith(l.t), "serve", "--offline", "--interface", "br0", "--state", filepath.Join(l.dir, "state"), "--log-level", "debug"}, args...)
	s := &server{Console: console.New(), t: l.t, cmd: l.in(l.server, argv...), done: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = s, s
	s.cmd.WaitDelay = 10 * time.Second
	if err := s.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	go func() {
		defer close(s.done)
		s.End(fmt.Errorf("the server has ended: %v", s.cmd.Wait()))
	}()
	l.t.Cleanup(func() {
		if l.t.Failed() {
			l.t.Logf("the server's last lines:\n%s", s.Tail(60))
			_ = s.cmd.Process.Signal(syscall.SIGQUIT) // prints what every goroutine does
			select {
			case <-s.done:
				l.t.Logf("where it was:\n%s", s.Tail(400))
			case <-time.After(10 * time.Second):
			}
		}
		_ = s.cmd.Process.Kill() // it may have ended
		<-s.done
	})
	l.process = s
	return s
}

// wait fails the test unless pattern comes in the server's output.
func (s *server) wait(pattern string) []string {
	s.t.Helper()
	m, err := s.Expect(pattern, patience)
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

// stop ends the server as systemd does, and expects that it ends well.
func (s *server) stop() {
	s.t.Helper()
	begin := time.Now()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(patience):
		s.t.Fatal("the server does not stop")
	}
	s.t.Logf("the server stopped after %s", time.Since(begin).Round(time.Millisecond))
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("the server ended with %d", code)
	}
}

// kill ends it as a power cut does.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
}

// address gives the client namespace an address without asking anybody.
func (l *lab) address() {
	l.t.Helper()
	l.ip("-n " + l.client + " addr replace 10.78.0.12/24 dev eth0")
}

// get fetches a URL inside of the client namespace.
func (l *lab) get(url string) string {
	l.t.Helper()
	return l.run("curl", "-sSf", "-m", "60", url)
}

// admin asks the server's admin address.
func (l *lab) admin(args ...string) (string, error) {
	cmd := l.in(l.server, append([]string{hooksmith(l.t), "serve"}, args...)...)
	cmd.Env = append(os.Environ(), "HOOKSMITH_STATE="+filepath.Join(l.dir, "state"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// until waits for what has no event of its own to wait for.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// artifacts makes a folder that looks like a build.
func (l *lab) artifacts() string {
	l.write("hook/vmlinuz-x86_64", strings.Repeat("kernel\n", 100_000))
	return filepath.Dir(l.write("hook/initramfs-x86_64", strings.Repeat("initrd\n", 1_000_000)))
}

// pid is the server's process: ip netns exec becomes it.
func (l *lab) pid() int { return l.process.cmd.Process.Pid }
