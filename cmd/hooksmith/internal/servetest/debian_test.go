package servetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/adrg/xdg"

	"hooksmith/build/debian"
	"hooksmith/build/fetch"
	"hooksmith/configs"
)

// suites are Debian's releases and the packages of their DHCP servers, with
// all libraries: hooksmith's own Debian code unpacks them, so that nothing is
// installed, and started, on the host.
var suites = map[string][]string{
	"bookworm": {"dnsmasq-base", "isc-dhcp-server", "kea-common", "kea-dhcp4-server",
		"libc6", "libcap2", "libcom-err2", "libdbus-1-3", "libffi8", "libgcc-s1", "libgcrypt20", "libgmp10", "libgnutls30", "libgpg-error0",
		"libgssapi-krb5-2", "libhogweed6", "libidn2-0", "libjansson4", "libk5crypto3", "libkeyutils1", "libkrb5-3", "libkrb5support0",
		"libldap-2.5-0", "liblog4cplus-2.0.5", "liblz4-1", "liblzma5", "libmariadb3", "libmnl0", "libnetfilter-conntrack3", "libnettle8",
		"libnfnetlink0", "libnftables1", "libnftnl11", "libp11-kit0", "libpq5", "libsasl2-2", "libssl3", "libstdc++6", "libsystemd0",
		"libtasn1-6", "libunistring2", "libxtables12", "libzstd1", "zlib1g"},
	"trixie": {"dnsmasq-base", "isc-dhcp-server", "kea-common", "kea-dhcp4-server",
		"libc6", "libcap2", "libcom-err2", "libdbus-1-3", "libgcc-s1", "libgmp10", "libgssapi-krb5-2", "libhogweed6t64", "libidn2-0",
		"libjansson4", "libk5crypto3", "libkeyutils1", "libkrb5-3", "libkrb5support0", "libldap2", "liblog4cplus-2.0.5t64", "libmariadb3",
		"libmnl0", "libnetfilter-conntrack3", "libnettle8t64", "libnfnetlink0", "libnftables1", "libnftnl11", "libpq5", "libsasl2-2",
		"libssl3t64", "libstdc++6", "libsystemd0", "libunistring5", "libxtables12", "libzstd1", "zlib1g"},
}

// root is an unpacked suite.
type root struct {
	once sync.Once
	dir  string
	err  error
}

var roots = map[string]*root{"bookworm": {}, "trixie": {}}

// debianRoot is the folder of a suite with its DHCP servers.
func debianRoot(t *testing.T, suite string) string {
	t.Helper()
	if os.Getenv("HOOKSMITH_TEST_MIRROR") == "" {
		t.Skip("HOOKSMITH_TEST_MIRROR is not set: the servers are downloaded from a Debian mirror")
	}
	r := roots[suite]
	r.once.Do(func() {
		if r.dir, r.err = os.MkdirTemp("", "hooksmith-servetest-"+suite+"-"); r.err == nil {
			r.err = unpackSuite(context.Background(), suite, r.dir)
		}
	})
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.dir
}

// removeRoots is for the end of all tests.
func removeRoots() {
	for _, r := range roots {
		if r.dir != "" {
			os.RemoveAll(r.dir)
		}
	}
}

func unpackSuite(ctx context.Context, suite, dir string) error {
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "usr", name), 0o755), os.Symlink("usr/"+name, filepath.Join(dir, name))); err != nil {
			return err
		}
	}
	for _, name := range []string{"dev", "etc", "mnt", "proc", "run", "tmp", "var/lib"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{"passwd": "root:x:0:0:root:/:/bin/sh\n", "group": "root:x:0:\n"} {
		if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	keys, err := debian.ShippedKeys(configs.FS)
	if err != nil {
		return err
	}
	cache := &fetch.Cache{Dir: filepath.Join(xdg.CacheHome, "hooksmith")}
	repo, err := debian.Open(ctx, cache, debian.Options{Suite: suite, Keys: keys, Mirrors: debian.HostMirrors(os.DirFS("/"))})
	if err != nil {
		return err
	}
	index, err := repo.Index(ctx, runtime.GOARCH, suites[suite]...)
	if err != nil {
		return err
	}
	for _, name := range suites[suite] {
		p, err := index.Package(name)
		if err == nil {
			err = unpack(debian.NewLayer(p, func() (io.ReadCloser, error) { return p.Open(ctx, cache, repo.Mirrors()) }), dir)
		}
		if err != nil {
			return fmt.Errorf("%s of %s: %w", name, suite, err)
		}
	}
	return nil
}

func unpack(layer *debian.Layer, dir string) error {
	rc, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer rc.Close()
	cmd := exec.Command("tar", "--extract", "--keep-directory-symlink", "--no-same-owner", "--directory", dir)
	cmd.Stdin = rc
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("tar: %w: %s", err, out)
	}
	return nil
}

// enter is a shell script that makes a suite's root a place to run a server
// in: devices, empty folders for its state, the lab's folder as /mnt. What is
// mounted goes away with the process.
const enter = `set -e
root=$1 lab=$2; shift 2
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/var/lib"
mount -t tmpfs tmpfs "$root/run"
mkdir -p "$root/var/lib/kea" "$root/var/lib/dhcp" "$root/var/lib/misc" "$root/run/kea"
touch "$root/var/lib/dhcp/dhcpd.leases"
mount --bind "$lab" "$root/mnt"
exec chroot "$root" "$@"
`

// chroot is a command of a suite in the server's namespace.
func (l *lab) chroot(suite string, argv ...string) *exec.Cmd {
	l.t.Helper()
	return l.chrootIn(l.server, suite, argv...)
}

// chrootIn is a command of a suite in a namespace.
func (l *lab) chrootIn(ns, suite string, argv ...string) *exec.Cmd {
	l.t.Helper()
	cmd := l.in(ns, append([]string{"sh", "-c", enter, "enter", debianRoot(l.t, suite), l.dir}, argv...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "KEA_LOCKFILE_DIR=none"}
	return cmd
}
