package dockertest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"hooksmith/guest/dockerd/engine"
	"hooksmith/guest/proctest"
)

// IP is the address of the network namespace, on its loopback interface. It is none of 127.0.0.0/8, which docker trusts
// without a certificate.
const IP = "10.99.0.1"

// Isolate moves the calling test into a network namespace of its own for the rest of its life, and skips it where it
// cannot run dockerd. Only what the test's goroutine itself opens is in the namespace: listeners, not an http.Client.
func Isolate(t *testing.T) {
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
	address, err := netlink.ParseAddr(IP + "/32")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(netlink.LinkSetUp(lo), netlink.AddrAdd(lo, address)); err != nil {
		t.Fatal(err)
	}
}

// Dir is a temporary folder whose name leaves room for the names of sockets.
func Dir(t *testing.T) string {
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

// Docker is the applet "docker" as a process, PID 1 of its own namespace. The machine's /run, /var/lib/docker,
// /etc/docker and /worker are folders of Dir to it.
type Docker struct {
	*proctest.Process
	*engine.Client
	Dir string
}

// inside makes a root in a mount namespace, of the machine's folders but for some that are dir's, and runs the rest of
// the command in it.
const inside = `
set -e
root="$0/root"
mount --bind "$root" "$root"
for entry in /*; do
	if [ -h "$entry" ]; then
		cp -P "$entry" "$root/"
	elif [ -d "$entry" ] && [ "$entry" != /worker ]; then
		mkdir -p "$root$entry"
		mount --rbind "$entry" "$root$entry"
	fi
done
mkdir -p "$root/worker"
for folder in run var/lib/docker etc/docker worker; do
	mount --bind "$0/$folder" "$root/$folder"
done
exec chroot "$root" "$@"`

// StartDocker runs the applet "docker" of Main with these kernel arguments until the test ends. Write files of dir, which
// is one of Dir, before. The test must be isolated.
func StartDocker(t *testing.T, dir, arguments string) *Docker {
	t.Helper()
	for _, folder := range []string{"/var/lib/docker", "/etc/docker"} { // as the packages make them
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{"root", "run", "var/lib/docker", "etc/docker", "worker"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	Write(t, filepath.Join(dir, "cmdline"), arguments+"\n")
	allowPrivileged(t, dir)
	wrap := []string{"unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", inside, dir}
	return &Docker{
		Process: Start(t, "docker", wrap, "-cmdline", filepath.Join(dir, "cmdline"), "-ca", filepath.Join(dir, "ca")),
		Client:  engine.New(filepath.Join(dir, "run/docker.sock")),
		Dir:     dir,
	}
}

// dropMissing is a runc for machines on which root lacks CAP_SYS_RESOURCE, as in some sandboxes: there a privileged
// container, which asks for every capability, does not start.
const dropMissing = `#!/bin/sh
previous=
for argument; do
	[ "$previous" = --bundle ] && sed -i 's/"CAP_SYS_RESOURCE",//g' "$argument/config.json"
	previous=$argument
done
exec runc "$@"
`

// allowPrivileged makes privileged containers start on such a machine, unless dir has a daemon.json of its own.
func allowPrivileged(t *testing.T, dir string) {
	t.Helper()
	file := filepath.Join(dir, "etc/docker/daemon.json")
	ok, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0)
	if _, exists := os.Stat(file); err != nil || ok == 1 || exists == nil {
		return
	}
	runc := filepath.Join(dir, "runc")
	Write(t, runc, dropMissing)
	if err := os.Chmod(runc, 0o755); err != nil {
		t.Fatal(err)
	}
	Write(t, file, `{"default-runtime":"test","runtimes":{"test":{"path":"`+runc+`"}}}`)
}

// Write writes a file, and makes its folder.
func Write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
