package ipxe

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"hooksmith/serve/hardware"
)

// console is what a machine writes on its serial line.
type console struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.Write(p)
	select {
	case c.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

// spaces: the screen has 80 columns, so that texts are broken anywhere.
var spaces = regexp.MustCompile(`(\x1b\[[0-9;?]*[a-zA-Z]|\s)+`)

func flat(s string) string { return spaces.ReplaceAllString(s, "") }

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// wait waits until the console shows every text, in this order.
func (c *console) wait(t *testing.T, texts ...string) {
	t.Helper()
	deadline := time.After(3 * time.Minute)
	for {
		rest, missing := flat(c.String()), ""
		for _, text := range texts {
			_, after, found := strings.Cut(rest, flat(text))
			if !found {
				missing = text
				break
			}
			rest = after
		}
		if missing == "" {
			return
		}
		select {
		case <-c.more:
		case <-deadline:
			t.Fatalf("no %q on the console:\n%s", missing, c)
		}
	}
}

// startIPXE boots Debian's ipxe.lkrn in QEMU with a script; it ends with the test.
func startIPXE(t *testing.T, script string, args ...string) *console {
	t.Helper()
	if testing.Short() {
		t.Skip("QEMU")
	}
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skip(err)
	}
	lkrn := filepath.Join(debianBinaries(t), "usr/lib/ipxe/ipxe.lkrn")
	file := filepath.Join(t.TempDir(), "script.ipxe")
	if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	c := &console{more: make(chan struct{}, 1)}
	cmd := exec.CommandContext(ctx, qemu, append([]string{"-accel", "tcg", "-m", "256", "-nographic", "-no-reboot", "-kernel", lkrn, "-initrd", file}, args...)...)
	cmd.Stdout, cmd.Stderr = c, c
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel() // kills this process
		_ = cmd.Wait()
	})
	return c
}

// tell writes to QEMU's monitor, which may still be about to listen.
func tell(t *testing.T, monitor, commands string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		conn, err := net.Dial("unix", monitor)
		if err == nil {
			t.Cleanup(func() { conn.Close() })
			if _, err = io.WriteString(conn, commands); err != nil {
				t.Fatal(err)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// bootHost serves what handler gives, and remembers what was asked. From
// QEMU's user network it is 10.0.2.2.
type bootHost struct {
	base string
	mu   sync.Mutex
	urls []string
}

func newBootHost(t *testing.T, handler func(h *bootHost, w http.ResponseWriter, r *http.Request)) *bootHost {
	t.Helper()
	h := &bootHost{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.urls = append(h.urls, r.URL.String())
		h.mu.Unlock()
		handler(h, w, r)
	}))
	t.Cleanup(server.Close)
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	h.base = "http://10.0.2.2:" + port
	return h
}

func (h *bootHost) asked() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.urls, "\n")
}

// TestBootScriptInQEMU: the one URL leads to the machine's script, which
// tries the kernel as often as it should and says what is wrong.
func TestBootScriptInQEMU(t *testing.T) {
	h := newBootHost(t, func(h *bootHost, w http.ResponseWriter, r *http.Request) {
		var text string
		var err error
		switch r.URL.Path {
		case "/boot.ipxe":
			text, err = Entry{Base: h.base}.BootScript()
		case "/ipxe/script/52-54-00-12-34-56/auto.ipxe":
			m := testMachine()
			c := Config{HookURL: h.base + "/hook", SyslogHost: "log.example.com", Retries: 1, RetryDelay: time.Second}
			var result Result
			result, err = (&Scripts{config: c}).For(&m)
			text = result.Script
		default:
			http.NotFound(w, r)
			return
		}
		if err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, text)
	})
	script := "#!ipxe\nset user-class Tinkerbell\nifconf --configurator dhcp net0\nchain " + h.base + "/boot.ipxe\n"
	c := startIPXE(t, script, "-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,romfile=,mac=52:54:00:12:34:56",
		"-uuid", "11111111-2222-3333-4444-555555555555")
	c.wait(t, "hooksmith: booting HookOS on node1 (52:54:00:12:34:56)",
		"hooksmith: no syslog from iPXE: log.example.com has no address here",
		"hooksmith: fetching the kernel failed, next try in 1 s: 1 of 1",
		"hooksmith: STOPPED: the kernel could not be fetched from "+h.base+"/hook/vmlinuz-x86_64",
		"my address is 10.0.2.15, gateway 10.0.2.2, architecture x86_64",
		"press s for an iPXE shell")
	want := `/boot.ipxe
/ipxe/script/52-54-00-12-34-56/auto.ipxe?uuid=11111111-2222-3333-4444-555555555555&arch=i386&platform=pcbios&serial=
/hook/vmlinuz-x86_64
/hook/vmlinuz-x86_64`
	if got := h.asked(); got != want {
		t.Errorf("asked\n%s\nwant\n%s", got, want)
	}
}

// TestAutoexecInQEMU: the first interface has no link, the second a DHCP
// server; the script goes on to a kernel that starts. The kernel is iPXE
// itself, whose banner appears again.
func TestAutoexecInQEMU(t *testing.T) {
	lkrn := filepath.Join(debianBinaries(t), "usr/lib/ipxe/ipxe.lkrn")
	h := newBootHost(t, func(h *bootHost, w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/ipxe/script/"):
			m := hardware.Machine{MAC: "52:54:00:00:00:02"}
			result, err := (&Scripts{config: Config{HookURL: h.base + "/hook"}}).For(&m)
			if err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(w, result.Script)
		case r.URL.Path == "/hook/vmlinuz-x86_64":
			http.ServeFile(w, r, lkrn)
		case r.URL.Path == "/hook/initramfs-x86_64":
			_, _ = fmt.Fprint(w, "#!ipxe\necho second kernel\n")
		}
	})
	script, err := Entry{Base: h.base, VLANs: []int{7}}.AutoexecScript()
	if err != nil {
		t.Fatal(err)
	}
	monitor := filepath.Join(t.TempDir(), "monitor")
	c := startIPXE(t, script, "-nic", "none", "-device", "e1000,id=unplugged,romfile=,mac=52:54:00:00:00:01",
		"-netdev", "user,id=n1", "-device", "virtio-net-pci,netdev=n1,romfile=,mac=52:54:00:00:00:02",
		"-S", "-monitor", "unix:"+monitor+",server=on,wait=off")
	tell(t, monitor, "set_link unplugged off\ncont\n")
	c.wait(t, "iPXE initialising devices",
		"hooksmith: net0 52:54:00:00:00:01: no link. Is the cable plugged in",
		"hooksmith: net1 52:54:00:00:00:02: asking for an address, round 1",
		"hooksmith: net1 52:54:00:00:00:02: address 10.0.2.15",
		"hooksmith: booting HookOS on 52:54:00:00:00:02",
		"hooksmith: starting the kernel",
		"iPXE initialising devices")
	if got := h.asked(); !strings.HasSuffix(got, "/hook/vmlinuz-x86_64\n/hook/initramfs-x86_64") {
		t.Errorf("asked\n%s", got)
	}
}

// TestMessageInQEMU: hostile text is shown, not run; no interface is said in words.
func TestMessageInQEMU(t *testing.T) {
	autoexec, err := Entry{Base: "http://10.0.2.2"}.AutoexecScript()
	if err != nil {
		t.Fatal(err)
	}
	message := MessageScript("evil || reboot", "# ${buildarch} && poweroff", "\nexit")
	message = message[:strings.Index(message, "prompt")] // go on at once
	c := startIPXE(t, message+strings.TrimPrefix(autoexec, "#!ipxe\n"), "-nic", "none")
	c.wait(t, "hooksmith: evil '||' reboot", "hooksmith: '#' $ {buildarch} '&&' poweroff", "hooksmith: ?exit",
		"hooksmith: STOPPED: iPXE has no driver for a network interface of this machine", "press s for an iPXE shell")
}
