package web

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hooksmith/serve/event"
)

var loopback = netip.MustParsePrefix("127.0.0.0/8")

// writePair puts a self-signed certificate and its key in place.
func writePair(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, "tls.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	put(t, dir, "tls.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
}

// nameOf is the common name that the server shows.
func nameOf(t *testing.T, addr string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestTLS(t *testing.T) {
	s, l := newServer(t)
	put(t, s.Artifacts, "big", noiseOf(5, 8<<20))
	dir := t.TempDir()
	certFile, keyFile := writePair(t, dir, "first")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	run(t, func(ctx context.Context) error { return s.ServeTLS(ctx, ln, certFile, keyFile) })
	for _, two := range []bool{false, true} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: two, DisableKeepAlives: true}
		c := &http.Client{Transport: tr}
		resp, body := get(t, c, "GET", "https://"+addr+"/hook/big")
		if !bytes.Equal(body, noiseOf(5, 8<<20)) || (resp.ProtoMajor == 2) != two {
			t.Errorf("%s: %d bytes", resp.Proto, len(body))
		}
		resp, body = get(t, c, "GET", "https://"+addr+"/hook/big", "Range: bytes=5-9")
		if resp.StatusCode != 206 || len(body) != 5 {
			t.Errorf("%s %d", resp.Status, len(body))
		}
		if _, body := get(t, c, "GET", "https://"+addr+"/boot.ipxe"); !strings.Contains(string(body), "https://"+addr+"/ipxe/") {
			t.Errorf("%s", body)
		}
		tr.CloseIdleConnections()
	}
	old, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal("TLS 1.2 of firmware:", err)
	}
	old.Close()

	if name := nameOf(t, addr); name != "first" {
		t.Errorf("certificate of %q", name)
	}
	writePair(t, dir, "second")
	if name := nameOf(t, addr); name != "second" {
		t.Errorf("certificate of %q", name)
	}
	put(t, dir, "tls.crt", []byte("not a certificate"))
	if name := nameOf(t, addr); name != "second" || !l.has("the one before stays") {
		t.Errorf("certificate of %q", name)
	}
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	if name := nameOf(t, addr); name != "second" {
		t.Errorf("certificate of %q", name)
	}
	writePair(t, dir, "third")
	if name := nameOf(t, addr); name != "third" {
		t.Errorf("certificate of %q", name)
	}
}

func TestTLSWithoutFiles(t *testing.T) {
	s, _ := newServer(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ServeTLS(t.Context(), ln, "/missing.crt", "/missing.key"); err == nil || !strings.Contains(err.Error(), "/missing.crt") {
		t.Errorf("%v", err)
	}
}

// A client that sends its header byte by byte is given up, one that reads
// nothing too; others are served meanwhile.
func TestSlowClients(t *testing.T) {
	s, l := newServer(t)
	put(t, s.Artifacts, "big", noiseOf(5, 64<<20))
	s.Limits = Limits{HeaderTimeout: 300 * time.Millisecond, Stall: 300 * time.Millisecond, MinRate: 10 << 20}
	addr := start(t, s)
	loris, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer loris.Close()
	go func() {
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(loris, "%c", "GET /hook/ HTTP/1.1\r\nX: "[min(i, 23)]); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	reader, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	fmt.Fprint(reader, "GET /hook/big HTTP/1.1\r\nHost: x\r\n\r\n")
	until(t, "the reader of nothing is given up", func() bool {
		e, ok := l.find(event.HTTPAbort, "/hook/big")
		return ok && strings.Contains(e.Detail, "given up")
	})
	_ = loris.SetReadDeadline(time.Now().Add(90 * time.Second))
	if _, err := io.Copy(io.Discard, loris); os.IsTimeout(err) {
		t.Error("the slow header is waited for")
	}
	if s.Stats().Stalled != 1 || s.Stats().Aborted != 1 {
		t.Errorf("%+v", s.Stats())
	}
	c := browser(t)
	until(t, "others are served", func() bool { // these limits are strict: a busy machine may need a second try
		resp, err := c.Get("http://" + addr + "/hook/")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func TestConnectionsPerAddress(t *testing.T) {
	s, _ := newServer(t)
	s.Limits.PerAddress = 3
	addr := start(t, s)
	for range 3 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	until(t, "three are open", func() bool { return s.Stats().Connections == 3 })
	conn, err := net.Dial("tcp", addr)
	if err == nil {
		_ = conn.SetReadDeadline(time.Now().Add(90 * time.Second))
		if _, err = conn.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			t.Errorf("the fourth is kept: %v", err)
		}
		conn.Close()
	}
	until(t, "the fourth is counted", func() bool { return s.Stats().Refused == 1 })
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
	other, err := dialer.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	until(t, "another address is served", func() bool { return s.Stats().Connections == 4 })
}

// When there are too many connections, those that do nothing give way.
func TestIdleConnectionsGiveWay(t *testing.T) {
	s, _ := newServer(t)
	s.Limits.Connections = 2
	addr := start(t, s)
	var kept []*http.Client
	for range 2 {
		c := &http.Client{Transport: &http.Transport{}}
		get(t, c, "GET", "http://"+addr+"/boot.ipxe")
		kept = append(kept, c)
	}
	if n := s.Stats().Connections; n != 2 {
		t.Errorf("%d connections", n)
	}
	for range 5 {
		if resp, _ := get(t, browser(t), "GET", "http://"+addr+"/boot.ipxe"); resp.StatusCode != 200 {
			t.Errorf("%s", resp.Status)
		}
	}
	for _, c := range kept {
		c.CloseIdleConnections()
	}
}

// Serve ends by itself: running downloads get Grace, then they are cut.
func TestStop(t *testing.T) {
	s, l := newServer(t)
	put(t, s.Artifacts, "big", noiseOf(5, 64<<20))
	s.Limits.Grace = 200 * time.Millisecond
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, ln) }()
	slow(t, ln.Addr().String(), "/hook/big")
	idle, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, ok := l.find(event.HTTPAbort, "/hook/big"); !ok || s.Stats().Active != 0 {
		t.Errorf("%+v", s.Stats())
	}
	s.state.artifacts.mu.Lock()
	defer s.state.artifacts.mu.Unlock()
	if len(s.state.artifacts.pins)+len(s.state.artifacts.folders) != 0 {
		t.Error("files are still held")
	}
}

// watched is a connection that knows how files are written to it.
type watched struct {
	*net.TCPConn
	sent *atomic.Int64
}

func (w watched) ReadFrom(r io.Reader) (int64, error) {
	if limited, ok := r.(*io.LimitedReader); ok {
		if _, ok := limited.R.(*os.File); ok { // what the kernel's sendfile is used for
			w.sent.Add(limited.N)
		}
	}
	return w.TCPConn.ReadFrom(r)
}

type watchedListener struct {
	net.Listener
	sent atomic.Int64
}

func (l *watchedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return watched{c.(*net.TCPConn), &l.sent}, nil
}

func TestFilesReachSendfile(t *testing.T) {
	s, _ := newServer(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := &watchedListener{Listener: inner}
	run(t, func(ctx context.Context) error { return s.Serve(ctx, ln) })
	url := "http://" + inner.Addr().String() + "/hook/initramfs-x86_64"
	get(t, browser(t), "GET", url)
	if n := ln.sent.Load(); n < 3<<20-1024 {
		t.Errorf("%d of %d bytes by sendfile", n, 3<<20)
	}
	get(t, browser(t), "GET", url, "Range: bytes=1048576-2097151")
	if n := ln.sent.Load(); n < 4<<20-2048 {
		t.Errorf("%d of %d bytes by sendfile, part included", n, 4<<20)
	}
}

func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("needs curl")
	}
	s, _ := newServer(t)
	addr := start(t, s)
	dir := t.TempDir()
	content := noiseOf(2, 3<<20)
	put(t, dir, "resumed", content[:1000000])
	for _, args := range [][]string{
		{"-o", "whole"}, {"-0", "-o", "whole"}, {"-C", "-", "-o", "resumed"}, {"--path-as-is", "-o", "whole"},
	} {
		cmd := exec.Command(curl, append(args, "-sSf", "http://"+addr+"//hook/initramfs-x86_64")...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v %s", args, err, out)
		}
		name := args[len(args)-1]
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%v: %d bytes, %v", args, len(got), err)
		}
	}
	out, err := exec.Command(curl, "-sSf", "--path-as-is", "http://"+addr+"/hook/../../etc/passwd").CombinedOutput()
	if err == nil {
		t.Errorf("%s", out)
	}
}

// TestOldInodeIsFreed: a replaced build takes no disk space for ever.
func TestOldInodeIsFreed(t *testing.T) {
	s, _ := newServer(t)
	build(t, s.Artifacts, 60)
	addr := start(t, s)
	get(t, browser(t), "GET", "http://"+addr+"/hook/vmlinuz-x86_64")
	before := openFiles(t)
	for seed := uint64(61); seed < 81; seed++ {
		build(t, s.Artifacts, seed)
		get(t, browser(t), "GET", "http://"+addr+"/hook/vmlinuz-x86_64")
	}
	until(t, "descriptors are given back", func() bool { return openFiles(t) <= before+6 })
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(entries)
}
