package web

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"hooksmith/serve/event"
	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
)

const (
	knownMAC   = "52:54:00:12:34:56"
	unknownMAC = "52:54:00:ff:ff:ff"
	csvText    = "hostname,mac,ip_address,netmask,gateway,nameservers,disk,labels,vlan_id\n" +
		"node-1,52:54:00:12:34:56,10.0.0.5,255.255.255.0,10.0.0.1,8.8.8.8,/dev/sda,type=worker,7\n" +
		"loop,52:54:00:aa:aa:aa,10.0.0.6,255.255.255.0,10.0.0.1,8.8.8.8,/dev/sda,type=worker,\n"
)

const yamlText = `machines:
- mac: 52:54:00:bb:bb:01
  hostname: old
  ip: 10.0.0.21/24
  netboot: {pxelinux: "default hook\n"}
- mac: 52:54:00:bb:bb:02
  hostname: barred
  ip: 10.0.0.22/24
  netboot: {allow: false, pxelinux: "default hook\n"}
`

// until polls for what other goroutines bring about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

// log collects what is logged and what is told.
type log struct {
	mu     sync.Mutex
	text   bytes.Buffer
	events []event.Event
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) has(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), s)
}

func (l *log) sink(e event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *log) find(kind event.Kind, file string) (event.Event, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.events, func(e event.Event) bool { return e.Kind == kind && e.File == file })
	if i < 0 {
		return event.Event{}, false
	}
	return l.events[i], true
}

// put writes a file as builds do: beside, then renamed.
func put(t testing.TB, dir, name string, content []byte) {
	t.Helper()
	tmp := filepath.Join(dir, ".new-"+filepath.Base(name))
	if err := os.WriteFile(tmp, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

// noiseOf is content that differs everywhere.
func noiseOf(seed uint64, size int) []byte {
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

func newHardware(t testing.TB) *hardware.Store {
	t.Helper()
	dir := t.TempDir()
	put(t, dir, "hardware.csv", []byte(csvText))
	put(t, dir, "more.yaml", []byte(yamlText))
	store, err := hardware.Open([]string{dir}, hardware.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// newServer has two machines, two binaries, and a folder with vmlinuz-x86_64
// and initramfs-x86_64.
func newServer(t testing.TB) (*Server, *log) {
	t.Helper()
	efi := slices.Concat([]byte("MZ"), noiseOf(7, 70000))
	binaries, err := ipxe.OpenBinaries(fstest.MapFS{
		"undionly.kpxe": {Data: noiseOf(8, 50000)}, "snp-arm64.efi": {Data: efi},
	})
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := ipxe.NewScripts(ipxe.Config{HookURL: "http://10.0.0.1/hook"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put(t, dir, "vmlinuz-x86_64", noiseOf(1, 300000))
	put(t, dir, "initramfs-x86_64", noiseOf(2, 3<<20))
	l := &log{}
	return &Server{
		Artifacts: dir, Binaries: binaries, Hardware: newHardware(t), Sink: l.sink,
		MACOf:   func(ip netip.Addr) (string, bool) { return "52:54:00:aa:aa:aa", ip.IsLoopback() },
		Scripts: func(netip.Addr) *ipxe.Scripts { return scripts },
		Log:     slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}, l
}

// start serves on loopback until the test ends.
func start(t testing.TB, s *Server) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	run(t, func(ctx context.Context) error { return s.Serve(ctx, ln) })
	return ln.Addr().String()
}

func run(t testing.TB, serve func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// browser follows no redirect and keeps no connection.
func browser(t testing.TB) *http.Client {
	tr := &http.Transport{DisableKeepAlives: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// get fetches with headers "Name: value".
func get(t testing.TB, c *http.Client, method, url string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

// raw sends bytes and reads one answer.
func raw(t testing.TB, addr, request string) (*http.Response, []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, request)
	_ = conn.SetReadDeadline(time.Now().Add(90 * time.Second))
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	return resp, body
}
