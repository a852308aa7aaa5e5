package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// The benchmark runs this test binary as server beside Debian's nginx, in
// turns, over loopback; the clients take the bytes without copying them, so that
// the servers' work is what is measured.
//
//	scripts/bench-http.sh      (package nginx-light)
//
// HKS_WEB_ROUNDS sets the turns (default 3), HKS_WEB_MB the file's size (300).

func TestMain(m *testing.M) {
	if os.Getenv("HKS_WEB_ROLE") == "server" {
		if err := serveRole(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func serveRole() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ln, err := net.Listen("tcp", os.Getenv("HKS_WEB_LISTEN"))
	if err != nil {
		return err
	}
	return (&Server{Artifacts: os.Getenv("HKS_WEB_DIR")}).Serve(ctx, ln)
}

// peer is a server under measurement.
type peer struct {
	name, addr, path string
	pid              int
	rates, costs     []float64 // MB/s, CPU seconds per GB
}

func TestBench(t *testing.T) {
	if os.Getenv("HKS_WEB_BENCH") == "" {
		t.Skip("HKS_WEB_BENCH=1 measures beside nginx; see scripts/bench-http.sh")
	}
	size := int64(setting("HKS_WEB_MB", 300)) << 20
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "file", noiseOf(1, int(size)))
	for _, clients := range []int{1, 64} {
		peers := []*peer{ours(t, dir), nginx(t, dir)}
		for range setting("HKS_WEB_ROUNDS", 3) {
			for _, p := range peers {
				p.measure(t, clients, size)
			}
		}
		for _, p := range peers {
			t.Logf("%2d clients  %-9s %6.0f MB/s  %.3f CPU s/GB   (rates %.0f)", clients, p.name, median(p.rates), median(p.costs), p.rates)
		}
		t.Logf("%2d clients  rate of hooksmith / nginx: %.2f, CPU: %.2f", clients,
			median(peers[0].rates)/median(peers[1].rates), median(peers[0].costs)/median(peers[1].costs))
	}
}

func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func freeAddr(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func ours(t *testing.T, dir string) *peer {
	p := &peer{name: "hooksmith", addr: freeAddr(t), path: "/hook/file"}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "HKS_WEB_ROLE=server", "HKS_WEB_DIR="+dir, "HKS_WEB_LISTEN="+p.addr)
	p.start(t, cmd)
	// At the start the file is hashed once, as no other server does.
	until(t, "the file is hashed", func() bool {
		resp, err := http.Head("http://" + p.addr + p.path)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.Header.Get("ETag") != ""
	})
	return p
}

func nginx(t *testing.T, dir string) *peer {
	bin, err := exec.LookPath("nginx")
	if err != nil {
		bin = "/usr/sbin/nginx"
	}
	p := &peer{name: "nginx", addr: freeAddr(t), path: "/file"}
	config := filepath.Join(t.TempDir(), "nginx.conf")
	text := fmt.Sprintf(`worker_processes auto; daemon off; pid %s.pid; error_log stderr;
events { worker_connections 1024; }
http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000; server { listen %s; root %s; } }
`, config, p.addr, dir)
	if os.Getuid() == 0 {
		text = "user root; " + text // the folder is a test's, closed to others
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p.start(t, exec.Command(bin, "-e", "stderr", "-c", config))
	return p
}

// start runs a server until the test ends and waits until it answers.
func (p *peer) start(t *testing.T, cmd *exec.Cmd) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.pid = cmd.Process.Pid
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", p.name, &out)
		}
	})
	until(t, p.name+" answers", func() bool {
		c, err := net.Dial("tcp", p.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// measure has clients fetch the file, each once; one client alone four times.
func (p *peer) measure(t *testing.T, clients int, size int64) {
	times := max(1, 4/clients)
	before, begun := cpuOf(p.pid), time.Now()
	var g errgroup.Group
	for range clients {
		g.Go(func() error { return fetch(p.addr, p.path, size, times) })
	}
	if err := g.Wait(); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	total := float64(size) * float64(clients*times)
	p.rates = append(p.rates, total/1e6/time.Since(begun).Seconds())
	p.costs = append(p.costs, (cpuOf(p.pid)-before).Seconds()/(total/1e9))
}

// fetch reads answers on one connection. MSG_TRUNC drops what was received in
// the kernel.
func fetch(addr, path string, size int64, times int) error {
	host, port, _ := strings.Cut(addr, ":")
	n, _ := strconv.Atoi(port)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: n, Addr: [4]byte(net.ParseIP(host).To4())}); err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for range times {
		if _, err := unix.Write(fd, []byte("GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			return err
		}
		n, err := unix.Read(fd, buf[:4096])
		if err != nil {
			return err
		}
		head, body, ok := bytes.Cut(buf[:n], []byte("\r\n\r\n"))
		if !ok || !bytes.HasPrefix(head, []byte("HTTP/1.1 200")) {
			return fmt.Errorf("unexpected answer %q", buf[:min(n, 100)])
		}
		for left := size - int64(len(body)); left > 0; left -= int64(n) {
			n, _, err = unix.Recvfrom(fd, buf[:min(left, int64(len(buf)))], unix.MSG_TRUNC)
			if errors.Is(err, unix.EINTR) {
				n = 0
				continue
			}
			if err != nil || n == 0 {
				return fmt.Errorf("%d bytes missing: %v", left, err)
			}
		}
	}
	return nil
}

// cpuOf is the processor time of a process and its children that live.
func cpuOf(pid int) (total time.Duration) {
	for _, one := range append(children(pid), pid) {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", one))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(data), ") ")
		fields := strings.Fields(rest)
		user, _ := strconv.Atoi(fields[11])
		system, _ := strconv.Atoi(fields[12])
		total += time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100 everywhere
	}
	return total
}

func children(pid int) (pids []int) {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, f := range strings.Fields(string(data)) {
		if n, err := strconv.Atoi(f); err == nil {
			pids = append(pids, n)
		}
	}
	return pids
}
