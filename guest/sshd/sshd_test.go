package sshd

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

const asApplet = "HOOKGUEST_SSHD_TEST_APPLET"

// TestMain runs an applet where the test binary stands in for hookguest: by the environment, or by the argument that
// the script of installShell gives, for dropbear passes no environment on.
func TestMain(m *testing.M) {
	run, args := Run, os.Args[1:]
	switch {
	case len(args) > 0 && args[0] == "hostshell":
		run, args = Shell, args[1:]
	case os.Getenv(asApplet) == "":
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, args, os.Stdout, os.Stderr); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// host is PID 1 of a machine: it has a file that the service's container does not see, and runs that.
const host = `
mkdir -p "$0/host"
mount -t tmpfs tmpfs "$0/host"
: > "$0/host/mark"
unshare --mount sh -c "$INSIDE" "$@" &
trap 'kill $!' TERM
wait $!`

// inside is the container: it has an /etc, a /usr/bin and a /root that the applet may write to.
const inside = `
set -e
umount "$0/host"
for folder in etc usr/bin; do
	mkdir -p "$0/upper/$folder" "$0/work/$folder"
	mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$0/upper/$folder,workdir=$0/work/$folder" "/$folder"
done
mount -t tmpfs -o mode=777 tmpfs /root
exec "$@"`

// start runs the applet in mounts of its own, and returns its output by lines.
func start(t *testing.T, dir string, args ...string) *bufio.Scanner {
	t.Helper()
	for _, tool := range []string{"dropbear", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s (Debian: dropbear-bin, util-linux)", tool)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to mount")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", append([]string{"--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "-c", host, dir, dir, self}, args...)...)
	cmd.Env = append(os.Environ(), asApplet+"=1", "INSIDE="+inside)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // and with it, by --kill-child, all of the namespace
		cmd.Wait()
	})
	return bufio.NewScanner(out)
}

// newKey makes a key and its line for authorized_keys.
func newKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	line, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return signer, string(ssh.MarshalAuthorizedKey(line))
}

// TestLogin logs in to a real dropbear: with the key, with another one, and with a password.
func TestLogin(t *testing.T) {
	dir := t.TempDir()
	good, line := newKey(t)
	bad, _ := newKey(t)
	keys := filepath.Join(dir, "authorized_keys")
	if err := os.WriteFile(keys, []byte("# a comment\n"+line), 0o644); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()

	lines := start(t, dir, "-keys", keys, "-port", address)
	for lines.Scan() && !strings.Contains(lines.Text(), "listening on port "+address+" for 1 key(s)") {
		t.Log(lines.Text())
	}
	go func() {
		for lines.Scan() {
			t.Log(lines.Text())
		}
	}()
	dial := func(auth ssh.AuthMethod) (client *ssh.Client, err error) {
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) { // until it listens
			client, err = ssh.Dial("tcp", address, &ssh.ClientConfig{
				User: "root", Auth: []ssh.AuthMethod{auth}, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: time.Minute,
			})
			if err == nil || !strings.Contains(err.Error(), "refused") {
				return client, err
			}
		}
		return client, err
	}
	client, err := dial(ssh.PublicKeys(good))
	if err != nil {
		t.Fatal(err)
	}
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := session.CombinedOutput(`ls "` + dir + `/host"; echo "$0"; exit 3`)
	if exit := (*ssh.ExitError)(nil); !errors.As(err, &exit) || exit.ExitStatus() != 3 {
		t.Errorf("the session ended with %v", err)
	}
	if got, want := string(out), "mark\nsh\n"; got != want {
		t.Errorf("the session is not on the host: %q, want %q", got, want)
	}
	client.Close()

	if _, err := dial(ssh.PublicKeys(bad)); err == nil || !strings.Contains(err.Error(), "unable to authenticate") {
		t.Errorf("another key: %v", err)
	}
	if _, err := dial(ssh.Password("root")); err == nil || !strings.Contains(err.Error(), "no supported methods remain") {
		t.Errorf("a password: %v", err)
	}
}

// TestNoKeys says that nobody can log in, and stays.
func TestNoKeys(t *testing.T) {
	dir := t.TempDir()
	keys := filepath.Join(dir, "authorized_keys")
	if err := os.WriteFile(keys, []byte("\n# only a comment\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	lines := start(t, dir, "-keys", keys)
	if !lines.Scan() || !strings.Contains(lines.Text(), "hooksmith: sshd: no key is in "+keys+": SSH stays closed") {
		t.Errorf("it says %q", lines.Text())
	}
}

func TestInstallKeys(t *testing.T) {
	for _, test := range []struct {
		name, file, home string // contents; "-" for none
		count            int
		want             string
	}{
		{"a file", "ssh-ed25519 AAAA one\n\n#x\nssh-rsa BBBB two\n", "-", 2, "ssh-ed25519 AAAA one\n\n#x\nssh-rsa BBBB two\n"},
		{"the file wins", "one\n", "two\n", 1, "one\n"},
		{"only the home's", "-", "two\n", 1, "two\n"},
		{"none", "-", "-", 0, "-"},
		{"an empty file", "\n", "-", 0, "-"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			file, home := filepath.Join(dir, "keys"), filepath.Join(dir, "root")
			target := filepath.Join(home, ".ssh/authorized_keys")
			if err := os.MkdirAll(filepath.Dir(target), 0o777); err != nil {
				t.Fatal(err)
			}
			for path, text := range map[string]string{file: test.file, target: test.home} {
				if text == "-" {
					continue
				}
				if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			count, err := installKeys(file, home)
			if err != nil || count != test.count {
				t.Errorf("%d keys, %v, want %d", count, err, test.count)
			}
			got, err := os.ReadFile(target)
			if test.want == "-" {
				if err == nil && test.home == "-" {
					t.Errorf("keys were written: %q", got)
				}
				return
			}
			if err != nil || string(got) != test.want {
				t.Errorf("the keys are %q, %v, want %q", got, err, test.want)
			}
			for path, mode := range map[string]os.FileMode{target: 0o600, filepath.Dir(target): 0o700, home: 0o700} {
				if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
					t.Errorf("%s has mode %v, %v, want %v", path, info.Mode(), err, mode)
				}
			}
		})
	}
}

func TestSetRootShell(t *testing.T) {
	for _, test := range []struct{ passwd, want string }{
		{"root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\n", "root:x:0:0:root:/root:/usr/bin/hostshell\ndaemon:x:1:1::/:/usr/sbin/nologin\n"},
		{"daemon:x:1:1::/:/usr/sbin/nologin", "root:*:0:0:root:/root:/usr/bin/hostshell\ndaemon:x:1:1::/:/usr/sbin/nologin"},
		{"", "root:*:0:0:root:/root:/usr/bin/hostshell\n"},
	} {
		if got := setRootShell(test.passwd); got != test.want {
			t.Errorf("%q becomes %q, want %q", test.passwd, got, test.want)
		}
	}
}

// TestHostKeys prefers those that are part of the HookOS.
func TestHostKeys(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "dropbear_ed25519_host_key")
	if err := os.WriteFile(key, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	args, err := dropbearArgs("22", dir)
	if got, want := strings.Join(args, " "), "dropbear -F -E -s -K 60 -p 22 -r "+key; err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}
