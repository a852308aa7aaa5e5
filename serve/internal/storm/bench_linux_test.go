package storm

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The storm runs `hooksmith serve` in a network namespace and this test binary
// in another, which plays the machines:
//
//	scripts/bench-storm.sh      (root)
//
// HKS_STORM_MACHINES (1000), HKS_STORM_PARALLEL (100), HKS_STORM_MB (100, of
// kernel and initramfs together). HKS_STORM_BIN is the program.

func TestMain(m *testing.M) {
	if os.Getenv("HKS_STORM_ROLE") == "machines" {
		if err := machinesRole(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

func macOf(i int) net.HardwareAddr {
	return net.HardwareAddr{0x52, 0x54, 0, 0x77, byte(i >> 8), byte(i)}
}

// addressOf is in 10.77.128.0/17.
func addressOf(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, byte(128 + i>>8), byte(i)}) }

func machinesRole() error {
	r, err := Run(context.Background(), Config{
		Server: netip.MustParseAddr("10.77.0.1"), Relay: netip.MustParseAddr("10.77.0.2"), Bind: true,
		Machines: setting("HKS_STORM_MACHINES", 1000), Parallel: setting("HKS_STORM_PARALLEL", 100), MAC: macOf,
		Files: []string{"/hook/vmlinuz-x86_64", "/hook/initramfs-x86_64"},
	})
	if err != nil {
		return err
	}
	fmt.Print(r)
	if len(r.Failures) > 0 {
		return fmt.Errorf("%d machines failed", len(r.Failures))
	}
	return nil
}

func TestStorm(t *testing.T) {
	bin := os.Getenv("HKS_STORM_BIN")
	if bin == "" {
		t.Skip("HKS_STORM_BIN names hooksmith; see scripts/bench-storm.sh")
	}
	serverNS, machinesNS := namespaces(t)
	dir := stormFiles(t)
	var out bytes.Buffer
	server := exec.Command("ip", "netns", "exec", serverNS, bin, "serve", "--interface", "storm0", "--dhcp-mode", "reservation",
		"--artifacts", filepath.Join(dir, "hook"), "--hardware", filepath.Join(dir, "hardware.csv"),
		"--ipxe-dir", filepath.Join(dir, "ipxe"), "--state", filepath.Join(dir, "state"))
	server.Stdout, server.Stderr = &out, &out
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			_ = server.Process.Signal(syscall.SIGTERM)
			_ = server.Wait()
		}
	}
	defer stop()
	ready(t, machinesNS, "http://10.77.0.1/hook/hook.json")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	machines := exec.Command("ip", "netns", "exec", machinesNS, exe)
	machines.Env = append(os.Environ(), "HKS_STORM_ROLE=machines")
	before := cpu(server.Process.Pid)
	report, err := machines.CombinedOutput()
	t.Logf("storm: %s", strings.ReplaceAll(strings.TrimSpace(string(report)), "\n", "\nstorm: "))
	peak := peakRSS(server.Process.Pid)
	t.Logf("storm: server: peak memory %d MB, of which %d MB files; CPU %.1f s", peak.all>>10, peak.file>>10, (cpu(server.Process.Pid) - before).Seconds())
	stop()
	if err != nil || peak.all>>10 >= 200 {
		t.Errorf("%v; the server:\n%s", err, tail(out.String(), 4000))
	}
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// namespaces makes the server's and the machines' networks. All of
// 10.77.128.0/17 is the machines' own.
func namespaces(t *testing.T) (server, machines string) {
	id := fmt.Sprint(os.Getpid())
	server, machines = "hks-web-s"+id, "hks-web-m"+id
	t.Cleanup(func() {
		for _, ns := range []string{server, machines} {
			_ = exec.Command("ip", "netns", "del", ns).Run()
		}
	})
	for _, line := range []string{
		"netns add " + server, "netns add " + machines,
		"-n " + server + " link add storm0 type veth peer name storm1 netns " + machines,
		"-n " + server + " addr add 10.77.0.1/16 dev storm0", "-n " + machines + " addr add 10.77.0.2/16 dev storm1",
		"-n " + server + " link set lo up", "-n " + machines + " link set lo up",
		"-n " + server + " link set storm0 up", "-n " + machines + " link set storm1 up",
		"-n " + machines + " route add local 10.77.128.0/17 dev lo",
		// One neighbour instead of as many as machines: the table is the whole host's.
		"-n " + server + " route add 10.77.128.0/17 via 10.77.0.2",
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v %s", line, err, out)
		}
	}
	return server, machines
}

// stormFiles are a build, a boot binary of 1 MB and the hardware data.
func stormFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	initramfs := setting("HKS_STORM_MB", 100) - min(12, setting("HKS_STORM_MB", 100)/2)
	csv := "hostname,mac,ip_address,netmask,gateway,nameservers,disk,labels\n"
	for i := range setting("HKS_STORM_MACHINES", 1000) {
		csv += fmt.Sprintf("n%d,%s,%s,255.255.0.0,10.77.0.1,10.77.0.1,/dev/sda,type=worker\n", i, macOf(i), addressOf(i))
	}
	for name, content := range map[string][]byte{
		"hook/vmlinuz-x86_64": noise((setting("HKS_STORM_MB", 100) - initramfs) * 1e6), "hook/initramfs-x86_64": noise(initramfs * 1e6),
		"hook/hook.json": []byte("{}"), "hardware.csv": []byte(csv), "ipxe/ipxe.efi": program(1e6),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// program is what looks like an iPXE for x64 UEFI.
func program(size int) []byte {
	b := noise(size)
	clear(b[:1024])
	copy(b, "MZ")
	b[0x3c] = 0x80
	copy(b[0x80:], "PE\x00\x00")
	binary.LittleEndian.PutUint16(b[0x84:], 0x8664)
	binary.LittleEndian.PutUint16(b[0x94:], 240)   // size of the optional header
	binary.LittleEndian.PutUint16(b[0x98:], 0x20b) // PE32+
	copy(b[1024:], "\x00http\x00ipxe.org\x00")
	return b
}

// ready waits until the server answers.
func ready(t *testing.T, ns, url string) {
	t.Helper()
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if exec.Command("ip", "netns", "exec", ns, "curl", "-sf", "-m", "5", "-o", "/dev/null", url).Run() == nil {
			return
		}
	}
	t.Fatal("the server does not answer")
}

type memory struct{ all, file int } // kB

// peakRSS is what the kernel says the process had most; mapped files are the
// program itself and its databases.
func peakRSS(pid int) (m memory) {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.Atoi(f[1])
		switch f[0] {
		case "VmHWM:":
			m.all = n
		case "RssFile:":
			m.file = n
		}
	}
	return m
}

// cpu is a process's processor time.
func cpu(pid int) time.Duration {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}
