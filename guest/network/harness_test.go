package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hooksmith/guest/proctest"
)

// asApplet makes the test binary run the applet instead of its tests, so that it can be a process in a namespace.
const asApplet = "HOOKGUEST_NETWORK_TEST_APPLET"

func TestMain(m *testing.M) {
	switch os.Getenv(asApplet) {
	case "":
		os.Exit(m.Run())
	case "reach":
		reach(os.Args[1])
		return
	case "serve":
		if err := serve(os.Args[1:]); err != nil {
			fmt.Println(err)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := Run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// reach fails unless a machine answers at address, if only by refusing the connection.
func reach(address string) {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(address, "9"), 30*time.Second)
	if err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err == nil {
		conn.Close()
	}
}

// lab is two network namespaces, one for servers and one for the applet, which begin without a link between them.
type lab struct {
	t              *testing.T
	server, client string
	dir            string
}

// labs counts the labs, for their names.
var labs atomic.Int32

// newLab makes the namespaces and lets the test run beside others, or skips the test where that cannot be done.
func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	for _, tool := range []string{"ip", "unshare", "dnsmasq"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s (Debian: iproute2, util-linux, dnsmasq-base)", tool)
		}
	}
	t.Parallel()
	l := &lab{t: t, dir: t.TempDir()}
	n := labs.Add(1)
	l.server, l.client = fmt.Sprintf("hs%d-%d", os.Getpid(), n), fmt.Sprintf("hc%d-%d", os.Getpid(), n)
	for _, ns := range []string{l.server, l.client} {
		if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
			t.Skipf("no network namespaces here: %v: %s", err, out)
		}
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
		l.run(ns, "ip", "link", "set", "lo", "up")
	}
	return l
}

// run runs a command in a namespace and returns its output.
func (l *lab) run(ns string, command ...string) string {
	l.t.Helper()
	out, err := exec.Command("ip", append([]string{"netns", "exec", ns}, command...)...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s: %v: %s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

// cable joins a new interface of the server with a new one of the client. The server's has the address, if any.
func (l *lab) cable(serverName, clientName, mac, address string) {
	l.t.Helper()
	l.run(l.server, "ip", "link", "add", serverName, "type", "veth", "peer", "name", clientName, "netns", l.client, "address", mac)
	if address != "" {
		l.run(l.server, "ip", "address", "add", address, "dev", serverName)
	}
	l.run(l.server, "ip", "link", "set", serverName, "up")
}

// reach fails the test unless the client's namespace reaches address.
func (l *lab) reach(address string) {
	l.t.Helper()
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	l.run(l.client, "env", asApplet+"=reach", self, address)
}

// slack is what a bound on a time must allow for: on a busy machine a program that does nothing takes seconds.
func (l *lab) slack() time.Duration {
	l.t.Helper()
	begun := time.Now()
	l.reach("127.0.0.1")
	return 20 * time.Since(begun)
}

// vlan makes s0.<id> on the server's s0, or skips the test where the kernel cannot.
func (l *lab) vlan(id, address string) {
	l.t.Helper()
	name := "s0." + id
	command := []string{"netns", "exec", l.server, "ip", "link", "add", "link", "s0", "name", name, "type", "vlan", "id", id}
	if out, err := exec.Command("ip", command...).CombinedOutput(); err != nil {
		l.t.Skipf("this kernel makes no VLAN interfaces: %s", out)
	}
	l.run(l.server, "ip", "address", "add", address, "dev", name)
	l.run(l.server, "ip", "link", "set", name, "up")
}

// start runs a program in a namespace until the test ends.
func (l *lab) start(ns string, env []string, command ...string) *proctest.Process {
	l.t.Helper()
	return proctest.Start(l.t, env, append([]string{"ip", "netns", "exec", ns}, command...)...)
}

// dnsmasq is a DHCP server on one or more interfaces of the server's namespace.
func (l *lab) dnsmasq(args ...string) *proctest.Process {
	l.t.Helper()
	dir := l.t.TempDir()
	p := l.start(l.server, nil, append([]string{"dnsmasq", "--keep-in-foreground", "--log-facility=-", "--log-dhcp",
		"--port=0", "--no-ping", "--conf-file=/dev/null", "--bind-interfaces", "--dhcp-authoritative", "--user=root",
		"--pid-file=" + filepath.Join(dir, "pid"), "--dhcp-leasefile=" + filepath.Join(dir, "leases")}, args...)...)
	p.Await(0, "IP range")
	return p
}

// applet runs the network applet with these kernel arguments. It has its own hostname.
func (l *lab) applet(arguments string) *proctest.Process {
	l.t.Helper()
	file := filepath.Join(l.dir, "cmdline")
	if err := os.WriteFile(file, []byte(arguments+"\n"), 0o644); err != nil {
		l.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	return l.start(l.client, []string{asApplet + "=1"}, "unshare", "--uts", self, "-cmdline", file, "-run", filepath.Join(l.dir, "run"))
}

// written returns a file that the applet wrote.
func (l *lab) written(name string) string {
	l.t.Helper()
	text, err := os.ReadFile(filepath.Join(l.dir, "run", name))
	if err != nil {
		l.t.Fatal(err)
	}
	return string(text)
}

// eventually waits until the output of a command in the client's namespace has all of the texts.
func (l *lab) eventually(command string, texts ...string) string {
	l.t.Helper()
	deadline := time.Now().Add(proctest.Patience)
	for {
		out := l.run(l.client, "sh", "-c", command)
		missing := ""
		for _, text := range texts {
			if not, ok := strings.CutPrefix(text, "!"); ok == containsAny(out, not) {
				missing = text
			}
		}
		if missing == "" {
			return out
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("%s: no %q in\n%s", command, missing, out)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// containsAny reports whether text holds one of the alternatives, which stand
// between bars.
func containsAny(text, alternatives string) bool {
	for a := range strings.SplitSeq(alternatives, "|") {
		if strings.Contains(text, a) {
			return true
		}
	}
	return false
}
