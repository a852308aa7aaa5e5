package storm

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"hooksmith/serve/tftp"
	"hooksmith/serve/web"
)

func noise(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func folder(t *testing.T, name string, content []byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// The machine's TFTP and HTTP against our own servers.
func TestTransfers(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	dir := folder(t, "file", noise(1000003))
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	go func() { done <- (&tftp.Server{Files: tftp.Dir(root)}).Serve(ctx, udp) }()
	go func() { done <- (&web.Server{Artifacts: dir}).Serve(ctx, tcp) }()
	loop := netip.MustParseAddr("127.0.0.1")
	server := udp.LocalAddr().(*net.UDPAddr).AddrPort()
	for _, window := range []int{1, 4, 64} {
		if n, err := tftpGet(ctx, loop, server, "file", 1468, window); n != 1000003 || err != nil {
			t.Errorf("window %d: %d bytes, %v", window, n, err)
		}
	}
	if _, err := tftpGet(ctx, loop, server, "missing", 1468, 4); err == nil {
		t.Error("a file that is not there")
	}
	c := Config{BaseURL: "http://" + tcp.Addr().String(), Files: []string{"/hook/file", "/hook/file"}}
	m := &machine{Config: &c, bytes: map[Stage]int64{}}
	if err := m.fetchFiles(ctx); err != nil || m.bytes[HTTP] != 2*1000003 {
		t.Errorf("%d bytes, %v", m.bytes[HTTP], err)
	}
	c.Files = []string{"/hook/missing"}
	if err := m.fetchFiles(ctx); err == nil {
		t.Error("a file that is not there")
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestConfig(t *testing.T) {
	if _, err := Run(t.Context(), Config{}); err == nil {
		t.Error("nothing is said and it begins")
	}
}
