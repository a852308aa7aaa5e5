package tftp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
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
	"unsafe"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// The benchmark runs this test binary as server and as client in two network namespaces joined by a veth pair, beside
// Debian's atftpd, in turns:
//
//	HKS_TFTP_BENCH=1 go test -run TestBench -v ./serve/tftp      (root; packages iproute2 and atftpd)
//
// HKS_TFTP_ROUNDS sets the turns (default 3), HKS_TFTP_MB the file size (default 100).

func TestMain(m *testing.M) {
	switch os.Getenv("HKS_TFTP_ROLE") {
	case "server":
		os.Exit(exitCode(serveRole()))
	case "client":
		os.Exit(exitCode(clientRole()))
	case "storm":
		os.Exit(exitCode(stormRole()))
	}
	os.Exit(m.Run())
}

func exitCode(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// serveRole: HKS_TFTP_DIR, HKS_TFTP_LISTEN, HKS_TFTP_MODE (multi, single, shared).
func serveRole() error {
	root, err := os.OpenRoot(os.Getenv("HKS_TFTP_DIR"))
	if err != nil {
		return err
	}
	conn, err := net.ListenPacket("udp", os.Getenv("HKS_TFTP_LISTEN"))
	if err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	s := Server{Files: Dir(root), SinglePort: os.Getenv("HKS_TFTP_MODE") != "multi", MaxPerClient: 2048, MaxTransfers: 2048, RequestRate: 2048}
	s.oneSocket = os.Getenv("HKS_TFTP_MODE") == "shared"
	return s.Serve(ctx, conn)
}

// clientRole: HKS_TFTP_SERVER, HKS_TFTP_FILE, HKS_TFTP_BLK, HKS_TFTP_WINDOW; prints bytes and seconds.
func clientRole() error {
	blk, _ := strconv.Atoi(os.Getenv("HKS_TFTP_BLK"))
	window, _ := strconv.Atoi(os.Getenv("HKS_TFTP_WINDOW"))
	start := time.Now()
	n, err := fastGet(os.Getenv("HKS_TFTP_SERVER"), os.Getenv("HKS_TFTP_FILE"), blk, window)
	fmt.Println(n, time.Since(start).Seconds())
	return err
}

// stormRole runs HKS_TFTP_CLIENTS clients at once.
func stormRole() error {
	blk, window, n := envInt("HKS_TFTP_BLK", 512), envInt("HKS_TFTP_WINDOW", 1), envInt("HKS_TFTP_CLIENTS", 1)
	var group errgroup.Group
	for range n {
		group.Go(func() error {
			_, err := fastGet(os.Getenv("HKS_TFTP_SERVER"), os.Getenv("HKS_TFTP_FILE"), blk, window)
			return err
		})
	}
	fmt.Println(n, "transfers")
	return group.Wait()
}

// fastGet fetches a file with blocking system calls and batch reads and throws it away. It is not the bottleneck and
// treats every server alike.
func fastGet(server, file string, blk, window int) (int64, error) {
	to, err := net.ResolveUDPAddr("udp4", server)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
	rrq := []byte("\x00\x01" + file + "\x00octet\x00blksize\x00" + strconv.Itoa(blk) + "\x00")
	if window > 1 {
		rrq = append(rrq, "windowsize\x00"+strconv.Itoa(window)+"\x00"...)
	}
	if err := unix.Sendto(fd, rrq, 0, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}); err != nil {
		return 0, err
	}
	buf := make([]byte, 65536)
	n, from, err := unix.Recvfrom(fd, buf, 0)
	for tries := 0; (err == unix.EAGAIN || err == unix.EINTR) && tries < 30; tries++ {
		unix.Sendto(fd, rrq, 0, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())})
		n, from, err = unix.Recvfrom(fd, buf, 0)
	}
	if err != nil || opcode(buf[:n]) != opOACK {
		return 0, fmt.Errorf("no OACK: %v %q", err, buf[:max(0, n)])
	}
	if window > 1 && !strings.Contains(string(buf[:n]), "windowsize\x00"+strconv.Itoa(window)+"\x00") {
		return 0, errors.New("window not granted: " + string(buf[:n]))
	}
	if err := unix.Connect(fd, from); err != nil {
		return 0, err
	}
	if a := from.(*unix.SockaddrInet4); net.IP(a.Addr[:]).String() != to.IP.String() {
		return 0, fmt.Errorf("asked %v, answered from %v", to.IP, a.Addr)
	}
	granted, err := parseOptions(buf[2:n])
	if err != nil {
		return 0, err
	}
	for _, o := range granted {
		if o.name == "blksize" {
			blk, _ = strconv.Atoi(o.value)
		}
	}
	if os.Getenv("HKS_TFTP_TELL") != "" {
		fmt.Print(blk, " ")
	}
	return drain(fd, blk, window)
}

func drain(fd, blk, window int) (int64, error) {
	batch := min(window, 64)
	msgs, iovs, bufs := make([]mmsghdr, batch), make([]unix.Iovec, batch), make([]byte, batch*(blk+4))
	for i := range batch {
		iovs[i].Base = &bufs[i*(blk+4)]
		iovs[i].SetLen(blk + 4)
		msgs[i].hdr.Iov = &iovs[i]
		msgs[i].hdr.SetIovlen(1)
	}
	ack := [4]byte{0, opAck}
	var total int64
	expected, inWindow := uint16(1), 0
	unix.Write(fd, ack[:])
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(batch), unix.MSG_WAITFORONE, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 && errno != unix.EAGAIN {
			return total, errno
		}
		if errno != 0 {
			n = 0
			unix.Write(fd, ack[:])
		}
		for i := range int(n) {
			p := bufs[i*(blk+4):][:msgs[i].len]
			if opcode(p) == opOACK {
				continue // repeated while this client was slow
			}
			if opcode(p) != opData {
				return total, fmt.Errorf("got %q", p[:min(len(p), 100)])
			}
			if binary.BigEndian.Uint16(p[2:]) != expected {
				continue
			}
			binary.BigEndian.PutUint16(ack[2:], expected)
			expected++
			inWindow++
			total += int64(len(p) - 4)
			last := len(p) < blk+4
			if last || inWindow == window {
				unix.Write(fd, ack[:])
				inWindow = 0
			}
			if last {
				return total, nil
			}
		}
	}
}

// benchCase is one column of the table.
type benchCase struct {
	name        string
	blk, window int
}

func TestBench(t *testing.T) {
	if os.Getenv("HKS_TFTP_BENCH") == "" {
		t.Skip("set HKS_TFTP_BENCH=1 to run the benchmark")
	}
	lab := newLab(t, 1500)
	dir := t.TempDir()
	os.Chmod(dir, 0o755)
	os.Chmod(filepath.Dir(dir), 0o755)
	mb := envInt("HKS_TFTP_MB", 100)
	if err := os.WriteFile(filepath.Join(dir, "big"), make([]byte, mb<<20+7), 0o644); err != nil {
		t.Fatal(err)
	}
	servers := []string{"atftpd", "multi", "single", "shared"}
	if _, err := exec.LookPath("atftpd"); err != nil {
		servers = servers[1:]
	}
	rates, cpus := map[string][]float64{}, map[string][]float64{}
	cases := []benchCase{{"lockstep 1468", 1468, 1}, {"window 4", 1468, 4}, {"window 16", 1468, 16}, {"window 64", 1468, 64}, {"lockstep 512", 512, 1}}
	if only := os.Getenv("HKS_TFTP_CASE"); only != "" {
		cases = slices.DeleteFunc(cases, func(c benchCase) bool { return !strings.Contains(c.name, only) })
	}
	for range envInt("HKS_TFTP_ROUNDS", 3) {
		for _, c := range cases {
			for _, s := range servers {
				rate, cpu := lab.benchOne(t, s, dir, c, mb)
				rates[s+c.name] = append(rates[s+c.name], rate)
				cpus[s+c.name] = append(cpus[s+c.name], cpu)
			}
		}
	}
	for _, c := range cases {
		base := median(rates["atftpd"+c.name])
		for _, s := range servers {
			r := median(rates[s+c.name])
			t.Logf("%-14s %-7s %6.0f MB/s  %5.2f CPU s/GB  %5.2f x atftpd", c.name, s, r, median(cpus[s+c.name]), r/base)
		}
	}
}

func envInt(name string, fallback int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return fallback
}

func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	x = slices.Sorted(slices.Values(x))
	return x[len(x)/2]
}

// benchOne starts a server, fetches the file once to warm up what is to be warm, fetches it again for the figures, and ends
// the server. CPU is the server's alone.
func (l *lab) benchOne(t *testing.T, server, dir string, c benchCase, mb int) (rate, cpu float64) {
	stop := l.startServer(t, server, dir)
	out := l.client(t, c, "big")
	took := stop()
	fields := strings.Fields(out)
	if len(fields) != 2 {
		t.Fatalf("%s %s: client said %q", server, c.name, out)
	}
	n, _ := strconv.ParseFloat(fields[0], 64)
	seconds, _ := strconv.ParseFloat(fields[1], 64)
	if int(n) != mb<<20+7 {
		t.Fatalf("%s %s: %v bytes", server, c.name, n)
	}
	return n / 1e6 / seconds, took.Seconds() / (n / 1e9)
}

// startServer runs a server in the server's namespace; stop ends it and tells its CPU time.
func (l *lab) startServer(t *testing.T, server, dir string) (stop func() time.Duration) {
	var cmd *exec.Cmd
	if server == "atftpd" {
		cmd = l.server("atftpd", "--daemon", "--no-fork", "--user", "root", "--group", "root", "--port", "6969",
			"--verbose=0", "--logfile", "/dev/null", dir)
	} else {
		cmd = l.server(os.Args[0])
		cmd.Env = append(os.Environ(), "HKS_TFTP_ROLE=server", "HKS_TFTP_DIR="+dir, "HKS_TFTP_LISTEN="+l.listen, "HKS_TFTP_MODE="+server)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.waitServer(t)
	return func() time.Duration {
		l.peakRSS = peakRSS(cmd.Process.Pid)
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
}

// peakRSS in kB. (The rusage of a child also counts its parent at the time of the fork.)
func peakRSS(pid int) int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return counter(strings.ReplaceAll(string(status), " kB\n", "\n"), "VmHWM:")
}

// waitServer asks for a file that is not there until an error comes back.
func (l *lab) waitServer(t *testing.T) {
	t.Helper()
	for range 50 {
		out := l.client(t, benchCase{blk: 512, window: 1}, "none")
		if out != "" {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the server does not answer")
}

// client fetches a file in the client's namespace and returns what it printed, nothing if no server answered.
func (l *lab) client(t *testing.T, c benchCase, file string) string {
	t.Helper()
	cmd := l.peer(os.Args[0])
	cmd.Env = append(os.Environ(), "HKS_TFTP_ROLE=client", "HKS_TFTP_SERVER="+l.ask+":6969", "HKS_TFTP_FILE="+file,
		"HKS_TFTP_BLK="+strconv.Itoa(c.blk), "HKS_TFTP_WINDOW="+strconv.Itoa(c.window))
	out, err := cmd.CombinedOutput()
	if err != nil && (file != "none" || !strings.Contains(string(out), `\x05`)) {
		if file != "none" {
			t.Fatalf("client: %v\n%s", err, out)
		}
		return ""
	}
	return strings.TrimSpace(string(out))
}
