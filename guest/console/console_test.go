package console

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"hooksmith/guest/cmdline"
)

func TestNames(t *testing.T) {
	tests := []struct {
		line, active string
		want         []string
	}{
		{"console=tty0 console=ttyS1,115200", "tty0\n", []string{"tty0", "ttyS1"}},
		{"quiet", "ttyS0", []string{"ttyS0"}},
		{"console=ttyS0 console=ttyS0,9600", "tty0 ttyS0", []string{"ttyS0", "tty0"}},
		{"console=uart8250,io,0x3f8,115200n8 console=netcon0 console= console=ttynull", "ttyS0", []string{"ttyS0"}},
		{"console=../../etc/x console=a/b", "", nil},
		{"console=tty console=hvc0", "", []string{"tty0", "hvc0"}},
		{"console", "", nil},
	}
	for _, test := range tests {
		if got := Names(cmdline.Parse(test.line), test.active); !slices.Equal(got, test.want) {
			t.Errorf("Names(%q, %q) = %q, want %q", test.line, test.active, got, test.want)
		}
	}
}

func TestDevices(t *testing.T) {
	for _, test := range []struct{ name, device, term string }{
		{"tty0", "/dev/tty1", "linux"}, {"tty2", "/dev/tty2", "linux"}, {"ttyS0", "/dev/ttyS0", "vt220"}, {"hvc0", "/dev/hvc0", "vt220"}, {"ttyAMA0", "/dev/ttyAMA0", "vt220"},
	} {
		if got := LoginDevice(test.name); got != test.device {
			t.Errorf("LoginDevice(%s) = %s", test.name, got)
		}
		if got := Terminal(test.name); got != test.term {
			t.Errorf("Terminal(%s) = %s", test.name, got)
		}
	}
}

func TestWired(t *testing.T) {
	sys := t.TempDir()
	for name, kind := range map[string]string{"ttyS0": "4\n", "ttyS1": "0\n"} {
		if err := os.MkdirAll(filepath.Join(sys, "class/tty", name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sys, "class/tty", name, "type"), []byte(kind), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{"ttyS0": true, "ttyS1": false, "hvc0": true} {
		if got := Wired(sys, name); got != want {
			t.Errorf("Wired(%s) = %v", name, got)
		}
	}
}

func TestBanner(t *testing.T) {
	release := filepath.Join(t.TempDir(), "release")
	if err := os.WriteFile(release, []byte("NAME=\"HookOS\"\nVERSION=1.2\n# x=y\nFLAVOR=hook-debian-amd64\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got := Banner(Status{
		Release: ReadRelease(release), Kernel: "6.12", Machine: "x86_64", Hostname: "node1", Line: "ttyS0",
		Addresses: []string{"eth0 10.0.2.15/24"}, Services: []string{"network running", "docker starting"},
	})
	want := `
HookOS 1.2 hook-debian-amd64 on ttyS0
  kernel    6.12 x86_64
  host      node1
  network   eth0 10.0.2.15/24
  services  network running, docker starting
  logs      service logs NAME (-f follows), /var/log/init.log, dmesg
`
	if got != want {
		t.Errorf("banner:\n%s\nwant:\n%s", got, want)
	}
	if bare := Banner(Status{Release: ReadRelease("/nonexistent")}); !strings.Contains(bare, "\nHookOS\n") || !strings.Contains(bare, "no address yet") {
		t.Errorf("bare banner:\n%s", bare)
	}
	if s := Gather(release); s.Kernel == "" || s.Machine == "" || s.Hostname == "" {
		t.Errorf("Gather = %+v", s)
	}
}

func TestReadEnter(t *testing.T) {
	tests := []struct {
		name string
		in   io.Reader
		err  error
	}{
		{"enter", strings.NewReader("abc\n"), nil},
		{"return", iotest.OneByteReader(strings.NewReader("abc\r")), nil},
		{"hangup", strings.NewReader("abc"), io.EOF},
		{"ctrl-d and enter", io.MultiReader(iotest.OneByteReader(strings.NewReader("x")), strings.NewReader("\n")), nil},
		{"error", iotest.ErrReader(os.ErrDeadlineExceeded), os.ErrDeadlineExceeded},
	}
	for _, test := range tests {
		if err := readEnter(test.in); !errors.Is(err, test.err) {
			t.Errorf("%s: %v, want %v", test.name, err, test.err)
		}
	}
}

func TestWriter(t *testing.T) {
	dev := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dev, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w := NewWriter(dev, []string{"a", "missing", "b"})
	for range 3 {
		if n, err := w.Write([]byte("line\n")); n != 5 || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	w.Flush(time.Minute)
	for _, name := range []string{"a", "b"} {
		if got, _ := os.ReadFile(filepath.Join(dev, name)); string(got) != "line\nline\nline\n" {
			t.Errorf("%s holds %q", name, got)
		}
	}
	w.Close()
}
