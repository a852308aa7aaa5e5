package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// signedSet makes artifacts as a build leaves them, and signs them unless key
// is "".
func signedSet(t *testing.T, dir, key, content string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var files []string
	for name, role := range map[string]string{"vmlinuz-x86_64": "kernel", "initramfs-x86_64": "initramfs"} {
		data := []byte(strings.Repeat(role+content, 1000))
		writeNew(t, filepath.Join(dir, name), data)
		files = append(files, fmt.Sprintf(`{"name":%q,"role":%q,"arch":"x86_64","size":%d,"sha256":"%x","sha512":"%x"}`, name, role, len(data), sha256.Sum256(data), sha512.Sum512(data)))
	}
	manifest := fmt.Sprintf(`{"schema":1,"builds":[{"build_id":%q,"flavor":"test","arch":"x86_64","artifacts":[%s]}]}`, content, strings.Join(files, ","))
	writeNew(t, filepath.Join(dir, "hook.json"), []byte(manifest))
	if key == "" {
		return
	}
	if code, _, stderr := runHere(t.Context(), "sign", dir, "--key", key); code != 0 {
		t.Fatalf("sign: %s", stderr)
	}
}

// writeNew puts a file in place of another.
func writeNew(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func newKey(t *testing.T) (private, public string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook.key")
	if code, _, stderr := runHere(t.Context(), "keygen", path, "--no-password"); code != 0 {
		t.Fatalf("keygen: %s", stderr)
	}
	return path, path + ".pub"
}

func ipxeDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	writeNew(t, filepath.Join(dir, "snponly.efi"), []byte("not really a binary"))
	return dir
}

// A server does not start with artifacts that are not signed.
func TestRequireSignature(t *testing.T) {
	key, pub := newKey(t)
	_, otherPub := newKey(t)
	ipxe := ipxeDir(t)
	dirs := map[string]string{}
	for _, name := range []string{"good", "unsigned", "tampered", "short"} {
		dirs[name] = filepath.Join(t.TempDir(), "hook")
		signedSet(t, dirs[name], map[bool]string{true: key}[name != "unsigned"], "a")
	}
	writeNew(t, filepath.Join(dirs["tampered"], "initramfs-x86_64"), []byte(strings.Repeat("initramfsb", 1000)))
	if err := os.Truncate(filepath.Join(dirs["short"], "vmlinuz-x86_64"), 5); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		dir, pub string
		code     int
		want     []string
	}{
		{dirs["good"], pub, 0, nil},
		{dirs["unsigned"], pub, 1, []string{"is not signed", "hint: sign it"}},
		{dirs["good"], otherPub, 1, []string{"hook.json.minisig", "hint: sign it"}},
		{dirs["tampered"], pub, 1, []string{"initramfs-x86_64 has the SHA-256"}},
		{dirs["short"], pub, 1, []string{"vmlinuz-x86_64 has 5 of"}},
		{dirs["good"], pub + ".none", 1, []string{"require-signature: ", "no such file"}},
		{dirs["good"], key, 1, []string{"require-signature: ", "has to be a public key"}},
		{"", pub, 1, []string{"require-signature: ", "artifacts"}},
	} {
		args := []string{"serve", "--check", "--interface", "lo", "--ipxe-dir", ipxe, "--require-signature", tt.pub}
		if tt.dir != "" {
			args = append(args, "--artifacts", tt.dir)
		}
		code, stdout, stderr := runHere(t.Context(), args...)
		if (code == 0) != (tt.code == 0) {
			t.Errorf("%v: exit code %d: %s", args, code, stderr)
		}
		if code == 0 && !strings.Contains(stdout, "require-signature: ") {
			t.Errorf("the configuration in force does not have the key:\n%s", stdout)
		}
		for _, want := range tt.want {
			if !strings.Contains(stderr, want) {
				t.Errorf("%v: no %q in:\n%s", args, want, stderr)
			}
		}
	}
	t.Setenv("HOOKSMITH_REQUIRE_SIGNATURE", pub)
	if code, _, stderr := runHere(t.Context(), "serve", "--check", "--interface", "lo", "--ipxe-dir", ipxe, "--artifacts", dirs["unsigned"]); code != 1 {
		t.Errorf("by the environment: %d: %s", code, stderr)
	}
}

// While it runs, what is not signed does not take the place of what is.
func TestRequireSignatureWhileServing(t *testing.T) {
	key, pub := newKey(t)
	dir := filepath.Join(t.TempDir(), "hook")
	signedSet(t, dir, key, "a")
	writeNew(t, filepath.Join(dir, "stranger"), []byte("nobody vouches for it"))
	web, admin := freePort(t), freePort(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var stderr string
	var code int
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		code, _, stderr = runHere(ctx, "serve", "--interface", "lo", "--dhcp-mode", "off", "--tftp", "off", "--syslog", "off", "--http-port", web,
			"--admin-address", "127.0.0.1:"+admin, "--state", filepath.Join(dir, "..", "state"), "--ipxe-dir", ipxeDir(t), "--artifacts", dir, "--require-signature", pub)
	}()
	defer func() { stop(); <-ended }()
	get := func(name string) string {
		resp, err := http.Get("http://127.0.0.1:" + web + "/hook/" + name) //nolint:noctx // of a test
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			return resp.Status
		}
		return string(body)
	}
	initramfs := func(content string) string { return strings.Repeat("initramfs"+content, 1000) }
	status := func() string {
		_, out, errs := runHere(t.Context(), "serve", "status", "--server", "http://127.0.0.1:"+admin)
		return out + errs
	}
	wait := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(90 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
			select {
			case <-ended:
				t.Fatalf("the server ended with %d: %s", code, stderr)
			default:
			}
			if time.Now().After(end) {
				t.Fatalf("waited for %s: %.80s; %s", what, get("initramfs-x86_64"), status())
			}
		}
	}
	wait("the first set", func() bool { return get("initramfs-x86_64") == initramfs("a") })
	if got := get("stranger"); got != "404 Not Found" {
		t.Errorf("a file that nobody vouches for: %s", got)
	}
	if got := get(""); strings.Contains(got, "stranger") || !strings.Contains(got, "hook.json.minisig") {
		t.Errorf("listed: %s", got)
	}
	signedSet(t, dir, "", "b") // with the signature of before
	wait("the new set to be refused", func() bool { return strings.Contains(status(), "refused") })
	if got := get("initramfs-x86_64"); got != initramfs("a") {
		t.Errorf("after an unsigned set came: %.80s", got)
	}
	signedSet(t, dir, key, "c")
	wait("the signed set", func() bool { return get("initramfs-x86_64") == initramfs("c") })
	wait("nothing to be refused", func() bool { return !strings.Contains(status(), "refused") })
	if got := get("vmlinuz-x86_64"); !bytes.HasPrefix([]byte(got), []byte("kernelc")) {
		t.Errorf("the kernel is %.80s", got)
	}
	stop()
	<-ended
	if code != 0 || !strings.Contains(stderr, "new artifacts are refused") {
		t.Errorf("ended with %d: %s", code, stderr)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
