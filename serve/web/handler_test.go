package web

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"hooksmith/serve/event"
	"hooksmith/serve/ipxe"
)

const trace = "-00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestPaths(t *testing.T) {
	s, _ := newServer(t)
	put(t, s.Artifacts, "hook.iso", []byte("iso"))
	put(t, s.Artifacts, "boot.img", []byte("img"))
	put(t, s.Artifacts, "grub.EFI", []byte("efi"))
	if err := os.Mkdir(filepath.Join(s.Artifacts, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, s.Artifacts, "sub/file.txt", []byte("text"))
	addr := start(t, s)
	const (
		plain  = "text/plain; charset=utf-8"
		octets = "application/octet-stream"
	)
	for _, tc := range []struct {
		path   string
		status int
		kind   string // Content-Type
		has    string
	}{
		{"/", 404, plain, ""},
		{"/nothing", 404, plain, ""},
		{"/metrics", 404, plain, ""},
		{"/hook", 200, plain, "vmlinuz-x86_64\n"},
		{"/hook/", 200, plain, "initramfs-x86_64\n"},
		{"//hook//", 200, plain, "sub/\n"},
		{"/hook/sub", 200, plain, "file.txt\n"},
		{"/hook/sub/", 200, plain, "file.txt\n"},
		{"/hook/sub/file.txt", 200, plain, "text"},
		{"/hook//sub/./file.txt", 200, plain, "text"},
		{"/hook/vmlinuz-x86_64", 200, octets, ""},
		{"//hook/vmlinuz-x86_64/", 200, octets, ""},
		{"/hook/vmlinuz-x86_64" + trace, 200, octets, ""},
		{"/hook/vmlinuz%2dx86_64?x=y", 200, octets, ""},
		{"/hook/hook.iso", 200, "application/vnd.efi-iso", "iso"},
		{"/hook/boot.img", 200, "application/vnd.efi-img", "img"},
		{"/hook/grub.EFI", 200, "application/efi", "efi"},
		{"/hook/autoexec.ipxe", 200, plain, "set user-class Tinkerbell"},
		{"/hook/vmlinuz-aarch64", 404, plain, "vmlinuz-aarch64: not found"},
		{"/hook/vmlinuz-x86_64/x", 404, plain, ""},
		{"/hook/.new", 404, plain, ""},
		{"/auto.ipxe", 200, plain, "booting HookOS on loop"},
		{"/52:54:00:12:34:56/auto.ipxe", 200, plain, "booting HookOS on node-1"},
		{"/52-54-00-12-34-56/auto.ipxe", 200, plain, "booting HookOS on node-1"},
		{"/5254.0012.3456/auto.ipxe", 200, plain, "booting HookOS on node-1"},
		{"/525400123456/auto.ipxe", 200, plain, "booting HookOS on node-1"},
		{"/52%3A54%3A00%3A12%3A34%3A56/auto.ipxe", 200, plain, "booting HookOS on node-1"},
		{"/ipxe/script/auto.ipxe", 200, plain, "booting HookOS on loop"},
		{"/ipxe/script/52-54-00-12-34-56/auto.ipxe?uuid=1&arch=x86_64", 200, plain, "booting HookOS on node-1"},
		{"//ipxe//script/52-54-00-12-34-56//auto.ipxe" + trace, 200, plain, "booting HookOS on node-1"},
		{"/52-54-00-ff-ff-ff/auto.ipxe", 200, plain, "its MAC address is 52:54:00:ff:ff:ff"},
		{"/boot.ipxe", 200, plain, "chain --autofree http://" + addr + "/ipxe/script/${mac:hexhyp}/auto.ipxe"},
		{"/autoexec.ipxe", 200, plain, "vcreate --tag 7 net${i}"},
		{"/any/folder/autoexec.ipxe", 200, plain, "set user-class Tinkerbell"},
		{"/undionly.kpxe", 200, octets, ""},
		{"/52-54-00-12-34-56/undionly.kpxe", 200, octets, ""},
		{"/snp-arm64.efi", 200, "application/efi", "MZ"},
		{"/ipxe/binary/snp-arm64.efi", 200, "application/efi", "MZ"},
		{"/ipxe/binary/52:54:00:12:34:56/snp-arm64.efi" + trace, 200, "application/efi", "MZ"},
		{"/ipxe/binary/52:54:00:bb:bb:02/snp-arm64.efi", 403, "text/plain; charset=utf-8", "netboot is not allowed"},
		{"/ipxe/script/snp-arm64.efi", 404, plain, ""},
		{"/other/snp-arm64.efi", 404, plain, ""},
		{"/tftp/pxelinux.cfg/01-52-54-00-12-34-56", 404, plain, "no pxelinux"},
		{"/pxelinux.cfg/01-52-54-00-bb-bb-01", 200, plain, "default hook"},
		{"/tftp/pxelinux.cfg/01-52-54-00-bb-bb-01", 200, plain, "default hook"},
		{"/pxelinux.cfg/01-52-54-00-bb-bb-02", 404, plain, "no pxelinux"},
		{"/pxelinux.cfg/default", 404, plain, "not found"},
		{"/52-54-00-bb-bb-02/auto.ipxe", 200, plain, "does not allow netboot"},
		{"/hook/../secret", 400, plain, "bad path"},
		{"/hook/%00", 400, plain, "bad path"},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			resp, body := raw(t, addr, method+" "+tc.path+" HTTP/1.1\r\nHost: "+addr+"\r\nConnection: close\r\n\r\n")
			if resp.StatusCode != tc.status || resp.Header.Get("Content-Type") != tc.kind {
				t.Errorf("%s %s: %s, %s", method, tc.path, resp.Status, resp.Header.Get("Content-Type"))
			}
			if method == "GET" && !strings.Contains(string(body), tc.has) {
				t.Errorf("%s: no %q in %q", tc.path, tc.has, body[:min(len(body), 500)])
			}
			if len(resp.TransferEncoding) > 0 || resp.Header.Get("Location") != "" {
				t.Errorf("%s %s: chunked or redirected: %v", method, tc.path, resp.Header)
			}
			if n, err := strconv.Atoi(resp.Header.Get("Content-Length")); err != nil || method == "GET" && n != len(body) {
				t.Errorf("%s %s: Content-Length %q for %d bytes", method, tc.path, resp.Header.Get("Content-Length"), len(body))
			}
		}
	}
}

func TestIndexForBrowsers(t *testing.T) {
	s, _ := newServer(t)
	put(t, s.Artifacts, `<b>&"x".txt`, nil)
	addr := start(t, s)
	resp, body := get(t, browser(t), "GET", "http://"+addr+"/hook", "Accept: text/html,*/*")
	if resp.Header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(string(body), `href="/hook/vmlinuz-x86_64"`) {
		t.Errorf("%v %s", resp.Header, body)
	}
	if strings.Contains(string(body), "<b>") || !strings.Contains(string(body), `href="/hook/%3Cb%3E&amp;%22x%22.txt"`) {
		t.Errorf("name not escaped: %s", body)
	}
}

func TestMethods(t *testing.T) {
	s, _ := newServer(t)
	addr := start(t, s)
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PROPFIND", "TRACE"} {
		resp, _ := get(t, browser(t), method, "http://"+addr+"/hook/vmlinuz-x86_64")
		if resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %s", method, resp.Status)
		}
	}
	resp, _ := raw(t, addr, "GET /hook/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc")
	if resp.StatusCode != 413 || !resp.Close {
		t.Errorf("with a body: %s, close %v", resp.Status, resp.Close)
	}
}

func TestOldAndKeptConnections(t *testing.T) {
	s, _ := newServer(t)
	addr := start(t, s)
	resp, body := raw(t, addr, "GET /hook/vmlinuz-x86_64 HTTP/1.0\r\n\r\n")
	if resp.StatusCode != 200 || resp.ContentLength != 300000 || !resp.Close || len(body) != 300000 {
		t.Errorf("HTTP/1.0: %s, %d bytes", resp.Status, len(body))
	}
	resp, body = raw(t, addr, "GET /boot.ipxe HTTP/1.0\r\n\r\n")
	if !strings.Contains(string(body), "http://"+addr+"/ipxe") {
		t.Errorf("without Host the address that was reached: %s %s", resp.Status, body)
	}
	resp, body = raw(t, addr, "GET http://boot.example:81/boot.ipxe HTTP/1.1\r\nHost: ignored\r\n\r\n")
	if !strings.Contains(string(body), "http://boot.example:81/ipxe") {
		t.Errorf("as the client wrote it: %s %s", resp.Status, body)
	}
	_, body = raw(t, addr, "GET /boot.ipxe HTTP/1.1\r\nHost: a${b}\r\n\r\n")
	if strings.Contains(string(body), "a${b}") {
		t.Errorf("a Host that scripts cannot have: %s", body)
	}

	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	for i := range 5 { // pipelined by two
		fmt.Fprintf(conn, "GET /hook/vmlinuz-x86_64 HTTP/1.1\r\nHost: x\r\n\r\nHEAD /hook/vmlinuz-x86_64 HTTP/1.1\r\nHost: x\r\n\r\n")
		for _, method := range []string{"GET", "HEAD"} {
			req, _ := http.NewRequest(method, "/", nil)
			resp, err := http.ReadResponse(r, req)
			if err != nil {
				t.Fatal(i, err)
			}
			n, err := io.Copy(io.Discard, resp.Body)
			if resp.ContentLength != 300000 || err != nil || method == "GET" && n != 300000 {
				t.Fatal(i, method, n, err)
			}
		}
	}
}

func TestRangesAndConditions(t *testing.T) {
	s, _ := newServer(t)
	addr := start(t, s)
	content := noiseOf(2, 3<<20)
	sum := sha256.Sum256(content)
	tag := `"` + hex.EncodeToString(sum[:]) + `"`
	url := "http://" + addr + "/hook/initramfs-x86_64"
	c := browser(t)
	until(t, "the hash is known", func() bool {
		resp, _ := get(t, c, "HEAD", url)
		return resp.Header.Get("ETag") != ""
	})
	first, _ := get(t, c, "HEAD", url)
	if first.Header.Get("ETag") != tag || first.ContentLength != int64(len(content)) || first.Header.Get("Accept-Ranges") != "bytes" {
		t.Fatalf("%v", first.Header)
	}
	modified := first.Header.Get("Last-Modified")
	for _, tc := range []struct {
		headers  []string
		status   int
		from, to int
	}{
		{nil, 200, 0, len(content)},
		{[]string{"Range: bytes=0-0"}, 206, 0, 1},
		{[]string{"Range: bytes=100-199"}, 206, 100, 200},
		{[]string{"Range: bytes=2000000-"}, 206, 2000000, len(content)},
		{[]string{"Range: bytes=-7"}, 206, len(content) - 7, len(content)},
		{[]string{"Range: bytes=0-99999999"}, 206, 0, len(content)},
		{[]string{"Range: bytes=99999999-"}, 416, 0, -1},
		{[]string{"Range: lines=1-2"}, 416, 0, -1},
		{[]string{"Range: bytes=5-9", "If-Range: " + tag}, 206, 5, 10},
		{[]string{"Range: bytes=5-9", `If-Range: "other"`}, 200, 0, len(content)},
		{[]string{"Range: bytes=5-9", "If-Range: W/" + tag}, 200, 0, len(content)},
		{[]string{"Range: bytes=5-9", "If-Range: " + modified}, 206, 5, 10},
		{[]string{"Range: bytes=5-9", "If-Range: Mon, 02 Jan 2006 15:04:05 GMT"}, 200, 0, len(content)},
		{[]string{"If-None-Match: " + tag}, 304, 0, 0},
		{[]string{`If-None-Match: "a", W/` + tag}, 304, 0, 0},
		{[]string{"If-None-Match: *"}, 304, 0, 0},
		{[]string{`If-None-Match: "other"`}, 200, 0, len(content)},
		{[]string{"If-Modified-Since: " + modified}, 304, 0, 0},
		{[]string{`If-Match: "other"`}, 412, 0, 0},
		{[]string{"If-Match: " + tag}, 200, 0, len(content)},
	} {
		resp, body := get(t, c, "GET", url, tc.headers...)
		if resp.StatusCode != tc.status || tc.to >= 0 && !bytes.Equal(body, content[tc.from:tc.to]) {
			t.Errorf("%v: %s, %d bytes", tc.headers, resp.Status, len(body))
		}
	}
	manyRanges(t, c, url, content)
}

func manyRanges(t *testing.T, c *http.Client, url string, content []byte) {
	resp, body := get(t, c, "GET", url, "Range: bytes=0-9,100-199,-5")
	kind, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode != 206 || kind != "multipart/byteranges" || err != nil || resp.ContentLength != int64(len(body)) {
		t.Fatalf("%s %v %v", resp.Status, resp.Header, err)
	}
	parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for _, want := range [][]byte{content[:10], content[100:200], content[len(content)-5:]} {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(p); err != nil || !bytes.Equal(got, want) {
			t.Errorf("part %s: %d bytes, %v", p.Header.Get("Content-Range"), len(got), err)
		}
	}
	// Parts that overlap to more than the file are answered by the file.
	resp, body = get(t, c, "GET", url, "Range: bytes="+strings.Repeat("0-,", 100)+"0-")
	if resp.StatusCode != 200 || len(body) != len(content) {
		t.Errorf("overlapping parts: %s, %d bytes", resp.Status, len(body))
	}
}

// A large file is sent before its hash is known, without an ETag; who asks for
// a condition waits for it.
func TestHashIsNotWaitedFor(t *testing.T) {
	s, _ := newServer(t)
	release := make(chan struct{})
	s.init().artifacts.digests.of(job{id: identity{size: 1 << 40}, open: func() (*os.File, func(), error) {
		<-release
		return nil, nil, os.ErrNotExist
	}}, later)
	addr := start(t, s)
	put(t, s.Artifacts, "big", noiseOf(3, 6<<20))
	url := "http://" + addr + "/hook/big"
	c := browser(t)
	resp, body := get(t, c, "GET", url)
	if resp.Header.Get("ETag") != "" || resp.Header.Get("Last-Modified") == "" || len(body) != 6<<20 {
		t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	small, _ := get(t, c, "GET", "http://"+addr+"/hook/vmlinuz-x86_64")
	if small.Header.Get("ETag") == "" {
		t.Error("a small file has its ETag at once")
	}
	close(release)
	resp, body = get(t, c, "GET", url, "Range: bytes=1-2", `If-Range: "something"`)
	if resp.StatusCode != 200 || resp.Header.Get("ETag") == "" || len(body) != 6<<20 {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
}

// Whatever is asked for, nothing from outside the folder is sent.
func TestConfinement(t *testing.T) {
	s, _ := newServer(t)
	outside := t.TempDir()
	put(t, outside, "secret", []byte("SECRET"))
	for name, to := range map[string]string{
		"abs": filepath.Join(outside, "secret"), "up": "../" + filepath.Base(outside) + "/secret", "dir": outside, "root": "/",
	} {
		if err := os.Symlink(to, filepath.Join(s.Artifacts, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("vmlinuz-x86_64", filepath.Join(s.Artifacts, "inside")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(s.Artifacts, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(s.Artifacts, ".tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, s.Artifacts, ".tmp/half", []byte("SECRET"))
	addr := start(t, s)
	up := "../" + filepath.Base(outside) + "/secret"
	corpus := []string{
		"/hook/abs", "/hook/up", "/hook/dir/secret", "/hook/dir", "/hook/root/etc/passwd", "/hook/fifo", "/hook/.tmp/half", "/hook/.tmp",
		"/hook/" + up, "/hook/x/../" + up, "/hook/sub/../../" + up, "/../" + up, "/hook/%2e%2e/" + up[3:], "/hook/..%2f" + up[3:],
		"/hook/%2e%2e%2f" + up[3:], "/hook/%252e%252e/" + up[3:], "/hook/..%5c" + up[3:], `/hook/..\` + up[3:], "/hook/..;/" + up[3:],
		"/hook/%c0%ae%c0%ae/" + up[3:], "/hook//" + outside + "/secret", "/hook/" + strings.Repeat("../", 12) + "etc/passwd",
		"/hook/etc/passwd", "/etc/passwd", "//etc/passwd", "/hook/....//" + up[3:], "/hook/vmlinuz-x86_64%00.txt", "/hook/%0d%0aX:%20y",
		"/ipxe/binary/../../hook/" + up, "/hook/proc/self/environ", "/52-54-00-12-34-56/../../etc/passwd", "/hook/" + strings.Repeat("a", 4000),
		"/hook/" + strings.Repeat("a/", 400), "/hook/.", "/hook/..", "/hook/...",
	}
	for _, p := range corpus {
		resp, body := raw(t, addr, "GET "+p+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if bytes.Contains(body, []byte("SECRET")) || bytes.Contains(body, []byte("root:")) || resp.Header.Get("X") != "" {
			t.Errorf("%s: %s %s", p, resp.Status, body)
		}
		if resp.StatusCode != 400 && resp.StatusCode != 404 && p != "/hook/." {
			t.Errorf("%s: %s", p, resp.Status)
		}
	}
	if resp, body := get(t, browser(t), "GET", "http://"+addr+"/hook/inside"); resp.StatusCode != 200 || len(body) != 300000 {
		t.Errorf("a link inside the folder: %s", resp.Status)
	}
}

func TestMachines(t *testing.T) {
	s, l := newServer(t)
	s.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.9.0.0/16")}
	s.MACOf = func(ip netip.Addr) (string, bool) {
		switch ip.String() {
		case "10.0.0.77":
			return unknownMAC, true
		case "127.0.0.1":
			return "52:54:00:aa:aa:aa", true
		case "10.0.0.78":
			return knownMAC, true
		}
		return "", false
	}
	addr := start(t, s)
	c := browser(t)
	for _, tc := range []struct{ forwarded, has string }{
		{"10.0.0.5", "booting HookOS on node-1"},
		{"1.2.3.4, 10.0.0.5", "booting HookOS on node-1"},
		{"10.0.0.5, 10.9.0.1", "booting HookOS on node-1"},
		{"10.0.0.5, 10.0.0.77", "its MAC address is " + unknownMAC},
		{"10.0.0.78", "booting HookOS on node-1"},
		{"10.0.0.99", "chain --autofree http://" + addr + "/ipxe/script/${mac:hexhyp}/auto.ipxe"},
		{"garbage", "booting HookOS on loop"},
	} {
		_, body := get(t, c, "GET", "http://"+addr+"/auto.ipxe?arch=arm64%0a", "X-Forwarded-For: "+tc.forwarded)
		if !strings.Contains(string(body), tc.has) {
			t.Errorf("%s: %s", tc.forwarded, body)
		}
	}
	if e, ok := l.find(event.Unknown, "/auto.ipxe"); !ok || e.MAC != unknownMAC || e.IP != "10.0.0.77" || e.Arch != "arm64?" {
		t.Errorf("%v %+v", ok, e)
	}
	s, _ = newServer(t)
	addr = start(t, s)
	if _, body := get(t, c, "GET", "http://"+addr+"/auto.ipxe", "X-Forwarded-For: 10.0.0.5"); !strings.Contains(string(body), "loop") {
		t.Errorf("anybody's X-Forwarded-For: %s", body)
	}
}

func TestUnknownMachines(t *testing.T) {
	s, _ := newServer(t)
	s.Unknown = Auto
	s.BaseURL = "http://boot.example/"
	addr := start(t, s)
	_, body := get(t, browser(t), "GET", "http://"+addr+"/"+unknownMAC+"/auto.ipxe")
	if !strings.Contains(string(body), "worker_id="+unknownMAC) {
		t.Errorf("%s", body)
	}
	_, body = get(t, browser(t), "GET", "http://"+addr+"/autoexec.ipxe")
	if !strings.Contains(string(body), "http://boot.example/ipxe/script") {
		t.Errorf("%s", body)
	}
	denied, _ := newServer(t)
	addr = start(t, denied)
	_, body = get(t, browser(t), "GET", "http://"+addr+"/"+unknownMAC+"/auto.ipxe")
	for _, has := range []string{"#!ipxe\n", unknownMAC, "hostname,", "exit 1"} {
		if !strings.Contains(string(body), has) {
			t.Errorf("no %q in %s", has, body)
		}
	}
}

func TestNoScripts(t *testing.T) {
	s, _ := newServer(t)
	s.Scripts = func(local netip.Addr) *ipxe.Scripts {
		if local != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("local address %s", local)
		}
		return nil
	}
	addr := start(t, s)
	_, body := get(t, browser(t), "GET", "http://"+addr+"/auto.ipxe")
	if !strings.Contains(string(body), "no scripts configured") {
		t.Errorf("%s", body)
	}
}

func FuzzPath(f *testing.F) {
	for _, p := range []string{"/", "/hook/vmlinuz", "//hook/../x", "/52-54-00-12-34-56/auto.ipxe", "/ipxe/binary/a/b" + trace, "/pxelinux.cfg/01-52-54-00-12-34-56"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		got, err := parsePath(p)
		if err != nil {
			return
		}
		for e := range strings.SplitSeq(got.name, "/") {
			if e == ".." || strings.ContainsRune(e, 0) || got.kind == artifact && e == "" {
				t.Fatalf("%q: %+v", p, got)
			}
		}
		if strings.HasPrefix(got.name, "/") || got.mac != "" && len(got.mac) != 17 {
			t.Fatalf("%q: %+v", p, got)
		}
		again, err := parsePath("/" + p + "/")
		if err != nil && len(p) < maxPath-1 || err == nil && again != got {
			t.Fatalf("%q: slashes matter: %+v, %+v", p, got, again)
		}
	})
}
