package embed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/client"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"hooksmith/build/debian"
	"hooksmith/build/fetch"
)

// patience is for a daemon on a slow and busy machine.
const patience = 2 * time.Minute

// dockerd is a Docker daemon with a root of its own and no network, that ends
// with the test.
type dockerd struct {
	*client.Client
	data string // /var/lib/docker
	log  bytes.Buffer
}

// needRoot skips tests where no daemon can run.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("dockerd needs root")
	}
	for _, tool := range []string{"dockerd", "containerd", "runc", "busybox", "tar", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s (Debian: docker.io, busybox-static)", tool)
		}
	}
}

// inRoot runs a command in another root, with the machine's kernel interfaces.
const inRoot = `
set -e
root=$1 data=$2; shift 2
mount --bind "$root" "$root"
for folder in proc sys dev; do mkdir -p "$root/$folder"; mount --rbind "/$folder" "$root/$folder"; done
mkdir -p "$root$data"; mount --rbind "$data" "$root$data"
exec chroot "$root" "$@"`

// startDockerd runs dockerd on a store that fill makes, in a tmpfs as in
// HookOS. root is where its programs are; "" is this machine.
func startDockerd(t *testing.T, root string, fill func(data string)) *dockerd {
	t.Helper()
	dir, err := os.MkdirTemp("", "embed") // short: the names of sockets are limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2g"); err != nil {
		t.Skipf("dockerd's store wants a tmpfs of its own: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting %s: %v", dir, err)
		}
	})
	d := &dockerd{data: filepath.Join(dir, "data")}
	if err := os.Mkdir(d.data, 0o711); err != nil {
		t.Fatal(err)
	}
	if fill != nil {
		fill(d.data)
	}
	socket := filepath.Join(dir, "docker.sock")
	args := []string{
		"dockerd", "--data-root", d.data, "--exec-root", filepath.Join(dir, "exec"), "-H", "unix://" + socket, "--pidfile", filepath.Join(dir, "pid"),
		"--storage-driver=overlay2", "--log-level=warn", "--bridge=none", "--iptables=false", "--ip6tables=false", "--userland-proxy=false",
	}
	if root != "" {
		args = append([]string{"unshare", "--mount", "sh", "-c", inRoot, "sh", root, dir}, args...)
	}
	d.run(t, args)
	d.Client, err = client.NewClientWithOpts(client.WithHost("unix://"+socket), client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Client.Close() })
	await(t, "dockerd", func() error { _, err := d.Ping(t.Context()); return err })
	return d
}

// run starts the daemon and stops it with the test.
func (d *dockerd) run(t *testing.T, args []string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &d.log, &d.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if root := args[0] == "unshare"; root {
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(patience):
			t.Error("dockerd does not stop")
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-exited
		}
		if t.Failed() {
			t.Logf("dockerd said:\n%s", d.log.Bytes())
		}
	})
}

// await calls f until it succeeds.
func await(t *testing.T, what string, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// newerDocker are Docker's programs as HookOS has them, unpacked from Debian's
// packages; the test is skipped where there is no mirror.
func newerDocker(t *testing.T) string {
	t.Helper()
	if raceDetector {
		t.Skip("unpacking Debian's packages takes minutes under the race detector")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	names := []string{"docker.io", "containerd", "runc", "libc6", "libseccomp2", "libsystemd0", "libcap2", "iptables", "libmnl0", "libnftnl11", "libxtables12"}
	c := &fetch.Cache{Dir: filepath.Join(cache, "hooksmith-test", "build")}
	keys := must(debian.ReadKeyring(os.DirFS("../configs/keyrings")))
	repo, err := debian.Open(t.Context(), c, debian.Options{Mirrors: debian.HostMirrors(os.DirFS("/")), Keys: keys})
	if err != nil {
		t.Skipf("no Debian mirror: %v", err)
	}
	index, err := repo.Index(t.Context(), "amd64", names...)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		err := errors.Join(os.MkdirAll(filepath.Join(root, "usr", dir), 0o755), os.Symlink("usr/"+dir, filepath.Join(root, dir)))
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		pkg := must(index.Package(name))
		t.Logf("%s", pkg)
		extract(t, root, debian.NewLayer(pkg, func() (io.ReadCloser, error) { return pkg.Open(t.Context(), c, repo.Mirrors()) }))
	}
	for _, dir := range []string{"tmp", "etc", "var/run", "run"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// extract unpacks layers with GNU tar, attributes included.
func extract(t *testing.T, dir string, layers ...v1.Layer) {
	t.Helper()
	for _, l := range layers {
		rc, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("tar", "-x", "--xattrs", "--xattrs-include=*", "-p", "--numeric-owner", "--same-owner", "--keep-directory-symlink", "-C", dir)
		cmd.Stdin = rc
		out, err := cmd.CombinedOutput()
		if err := errors.Join(err, rc.Close()); err != nil {
			t.Fatalf("tar: %v: %s", err, out)
		}
	}
}

// fillWith lays a store out in /var/lib/docker.
func fillWith(t *testing.T, s *Store) func(data string) {
	return func(data string) {
		extract(t, data, s.Head)
		for _, l := range s.Layers {
			extract(t, data, l)
		}
	}
}

// version of the daemon, for the log.
func (d *dockerd) version(t *testing.T) string {
	v, err := d.ServerVersion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	info, err := d.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Driver != "overlay2" {
		t.Fatalf("storage driver %s", info.Driver)
	}
	return fmt.Sprintf("docker %s on %v", v.Version, info.DriverStatus)
}
