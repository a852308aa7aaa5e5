package publish_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"

	"hooksmith/publish"
	"hooksmith/publish/store"
)

// server is a real one, over a folder of the test.
type server struct {
	kind   string
	addr   string // host:port
	root   string // what it serves
	dest   func(addr string) string
	access store.Access
}

func (s *server) options(dir string) publish.Options {
	return publish.Options{Dest: s.dest(s.addr), From: dir, Access: s.access, Retry: quick, By: "test"}
}

// need finds a program or skips, except where CI has installed it.
func need(t testing.TB, name, pkg string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if p := filepath.Join(dir, name); exec.Command("test", "-x", p).Run() == nil {
			return p
		}
	}
	t.Skipf("needs %s of Debian's package %s", name, pkg)
	return ""
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// start runs a server until the test ends.
func start(t testing.TB, addr string, cmd *exec.Cmd) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			log := out.String()
			t.Logf("%s:\n%s", filepath.Base(cmd.Path), log[max(0, len(log)-4000):])
		}
	})
	until(t, cmd.Path+" to listen", func() bool {
		select {
		case <-ended:
			t.Fatalf("%s ended: %s", cmd.Path, out.String())
		default:
		}
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// versitygw is built once, by the module's own version of Go, into a folder
// that Go's build cache makes quick to fill again.
var versitygw = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("hooksmith-test-bin-%d", os.Getuid()))
	path := filepath.Join(dir, "versitygw")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(dir, "build-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	cmd := exec.Command("go", "install", "github.com/versity/versitygw/cmd/versitygw@v1.8.0")
	cmd.Env = append(os.Environ(), "GOBIN="+tmp, "GOFLAGS=")
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, os.Rename(filepath.Join(tmp, "versitygw"), path)
})

func startS3(t testing.TB) *server {
	t.Helper()
	path, err := versitygw()
	if err != nil {
		t.Skipf("needs versitygw: %v", err)
	}
	s := &server{kind: "s3", addr: freeAddr(t), root: t.TempDir()}
	must(t, os.Mkdir(filepath.Join(s.root, "hook"), 0o755))
	side := t.TempDir() // metadata: not every file system has extended attributes
	start(t, s.addr, exec.Command(path, "--access", "testkey", "--secret", "testsecret", "--port", s.addr, "--quiet", "posix", "--sidecar", side, s.root))
	t.Setenv("AWS_ACCESS_KEY_ID", "testkey")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "testsecret")
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	s.dest = func(addr string) string { return "s3://hook/boot/x?region=us-east-1&endpoint=http://" + addr }
	return s
}

// startNginx is nginx with WebDAV below /dav, and with PUT alone below /put.
func startNginx(t testing.TB) *server {
	t.Helper()
	path := need(t, "nginx", "nginx-light")
	s := &server{kind: "http", addr: freeAddr(t), root: t.TempDir()}
	dir := t.TempDir()
	for _, d := range []string{dir, s.root, filepath.Dir(s.root)} {
		must(t, os.Chmod(d, 0o777))
	}
	must(t, os.MkdirAll(filepath.Join(s.root, "dav"), 0o777))
	must(t, os.MkdirAll(filepath.Join(s.root, "put"), 0o777))
	me, err := user.Current()
	must(t, err)
	conf := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr;
%[4]s
events {}
http {
  access_log off; client_max_body_size 0; client_body_temp_path %[2]s/.tmp; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server {
    listen %[3]s; root %[2]s;
    location /dav { dav_methods PUT DELETE MKCOL COPY MOVE; }
    location /put { dav_methods PUT DELETE; create_full_put_path on; }
  }
}
`, dir, s.root, s.addr, map[bool]string{true: "user root;"}[me.Uid == "0"])
	must(t, os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o644))
	start(t, s.addr, exec.Command(path, "-e", "stderr", "-c", filepath.Join(dir, "conf")))
	s.dest = func(addr string) string { return "http://" + addr + "/dav" }
	return s
}

func startRegistry(t testing.TB) *server {
	t.Helper()
	path := need(t, "docker-registry", "docker-registry")
	s := &server{kind: "oci", addr: freeAddr(t), root: t.TempDir()}
	conf := filepath.Join(t.TempDir(), "config.yml")
	must(t, os.WriteFile(conf, []byte(fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: %q}\n", s.root, s.addr)), 0o644))
	start(t, s.addr, exec.Command(path, "serve", conf))
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	s.dest = func(addr string) string { return "oci://" + addr + "/lab/hookos:prod" }
	return s
}

// startSSHD is Debian's sshd as this user, with a known host key and a key pair.
func startSSHD(t testing.TB) *server {
	t.Helper()
	path := need(t, "sshd", "openssh-server")
	s := &server{kind: "sftp", addr: freeAddr(t), root: t.TempDir()}
	home := t.TempDir()
	must(t, os.Mkdir(filepath.Join(home, ".ssh"), 0o700))
	host := writeKey(t, filepath.Join(home, "host"))
	mine := writeKey(t, filepath.Join(home, ".ssh", "id_ed25519"))
	must(t, os.WriteFile(filepath.Join(home, "authorized"), ssh.MarshalAuthorizedKey(mine), 0o600))
	name, port, _ := strings.Cut(s.addr, ":")
	known := fmt.Sprintf("[%s]:%s %s", name, port, ssh.MarshalAuthorizedKey(host))
	must(t, os.WriteFile(filepath.Join(home, ".ssh", "known_hosts"), []byte(known), 0o600))
	if os.Getuid() == 0 {
		must(t, os.MkdirAll("/run/sshd", 0o755))
	}
	conf := fmt.Sprintf("ListenAddress %s\nHostKey %s/host\nAuthorizedKeysFile %s/authorized\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nMaxStartups 100\nSubsystem sftp internal-sftp\n", s.addr, home, home)
	must(t, os.WriteFile(filepath.Join(home, "conf"), []byte(conf), 0o600))
	start(t, s.addr, exec.Command(path, "-D", "-e", "-f", filepath.Join(home, "conf")))
	me, err := user.Current()
	must(t, err)
	s.access = store.Access{Home: home}
	s.dest = func(addr string) string {
		d := "sftp://" + me.Username + "@" + addr + s.root + "/hook"
		if addr != s.addr { // through a proxy: the same host under another address
			line := strings.Replace(known, port, addr[strings.LastIndex(addr, ":")+1:], 1)
			file := filepath.Join(t.TempDir(), "known")
			must(t, os.WriteFile(file, []byte(line), 0o600))
			d += "?known_hosts=" + file
		}
		return d
	}
	return s
}

func writeKey(t testing.TB, path string) ssh.PublicKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	block, err := ssh.MarshalPrivateKey(private, "test")
	must(t, err)
	must(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
	signer, err := ssh.NewSignerFromKey(private)
	must(t, err)
	return signer.PublicKey()
}

func folderServer(t testing.TB) *server {
	t.Helper()
	s := &server{kind: "folder", root: filepath.Join(t.TempDir(), "www")}
	s.dest = func(string) string { return s.root }
	return s
}

// servers are all kinds that have stable names.
var servers = []struct {
	name  string
	start func(t testing.TB) *server
}{
	{"folder", folderServer}, {"s3", startS3}, {"webdav", startNginx}, {"put", startPlainPut}, {"sftp", startSSHD},
}

func startPlainPut(t testing.TB) *server {
	t.Helper()
	s := startNginx(t)
	s.dest = func(addr string) string { return "http://" + addr + "/put" }
	return s
}
