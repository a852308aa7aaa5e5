package initd

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hooksmith/guest/bootlog"
)

func write(t *testing.T, file, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func TestLinkModprobe(t *testing.T) {
	for _, test := range []struct {
		name  string
		files []string
		want  string // target of sbin/modprobe
	}{
		{"ours", []string{"usr/bin/modprobe", "sbin/x"}, "/usr/bin/modprobe"},
		{"again, or that of another", []string{"usr/bin/modprobe", "sbin/modprobe"}, ""},
		{"none", []string{"sbin/x"}, ""},
	} {
		root := t.TempDir()
		for _, file := range test.files {
			write(t, filepath.Join(root, file), "", 0o755)
		}
		if err := linkModprobe(root); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if got, _ := os.Readlink(filepath.Join(root, "sbin/modprobe")); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestIncomplete(t *testing.T) {
	const kernel = "6,512,2697416,-;Initramfs unpacking failed: write error\n"
	tests := []struct {
		name      string
		files     map[string]string
		log       string
		installed int
		want      string // in the message, "" for none
	}{
		{"whole", map[string]string{sentinelFile: "", ramFile: "768\n"}, "", 512, ""},
		{"whole, with another archive behind it that is not", map[string]string{sentinelFile: ""}, kernel, 512, ""},
		{"cut off", map[string]string{ramFile: "768\n"}, kernel, 512, "this machine has 512 MiB, HookOS needs at least 768 MiB"},
		{"cut off without a word of the kernel", map[string]string{ramFile: "768\n"}, "", 512, "HookOS needs at least 768 MiB"},
		{"cut off even in front", map[string]string{ramFile: ""}, kernel, 256, "HookOS needs at least 0 MiB"},
		{"damaged", map[string]string{ramFile: "768\n"}, "x;Initramfs unpacking failed: ZSTD-compressed data is corrupt\n", 4096, "damaged or was not loaded whole (Initramfs unpacking failed: ZSTD-compressed data is corrupt)"},
		{"half of it loaded", map[string]string{ramFile: "768\n"}, "other\n", 4096, "its last file is missing"},
		{"built by another tool", nil, "6,1,1,-;Run /init\n", 512, ""},
		{"built by another tool and cut off", nil, kernel, 512, "this machine has 512 MiB, HookOS needs more memory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range test.files {
				write(t, filepath.Join(root, name), text, 0o644)
			}
			got := incomplete(root, func() string { return test.log }, test.installed)
			if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("incomplete = %q, want %q", got, test.want)
			}
		})
	}
}

func TestInstalledRAM(t *testing.T) {
	tests := []struct {
		name, iomem, meminfo string
		want                 int
	}{
		{"qemu 512", "00000000-00000fff : Reserved\n00001000-0009fbff : System RAM\n00100000-1ffdffff : System RAM\n  01000000-01ffffff : Kernel code\n1ffe0000-1fffffff : Reserved\n", "", 512},
		{"qemu 4096", "00001000-0009fbff : System RAM\n00100000-bffdffff : System RAM\n100000000-13fffffff : System RAM\n", "", 4096},
		{"not root", "00000000-00000000 : System RAM\n", "MemTotal:        2021840 kB\nMemFree: 1 kB\n", 1976},
		{"nothing", "", "", 0},
		{"nonsense", "zz-1 : System RAM\n5-1 : System RAM\n : System RAM\n", "MemTotal: many kB", 0},
	}
	for _, test := range tests {
		if got := installedRAM(test.iomem, test.meminfo); got != test.want {
			t.Errorf("%s: %d MiB, want %d", test.name, got, test.want)
		}
	}
}

func TestSysctls(t *testing.T) {
	got := parseSysctls("# c\n; c\n\nnet.ipv4.ip_forward = 1\n-nosuch.key=2\nkernel/x=a = b\nbroken\n  net.ipv4.conf.eth0/1.rp_filter=0\n")
	want := []sysctl{{"net.ipv4.ip_forward", "1", false}, {"nosuch.key", "2", true}, {"kernel/x", "a = b", false}, {"net.ipv4.conf.eth0/1.rp_filter", "0", false}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("parsed %v", got)
	}
	for key, path := range map[string]string{
		"net.ipv4.ip_forward": "/p/net/ipv4/ip_forward", "net/ipv4/conf/eth0.1/x": "/p/net/ipv4/conf/eth0.1/x",
		"net.ipv4.conf.eth0/1.rp_filter": "/p/net/ipv4/conf/eth0.1/rp_filter", "../../etc/passwd": "/p/.etc.passwd", "single": "/p/single", "/etc/passwd": "/p/etc/passwd",
	} {
		if got := (sysctl{key: key}).path("/p"); got != path {
			t.Errorf("path of %s is %s, want %s", key, got, path)
		}
	}
	root := t.TempDir()
	write(t, filepath.Join(root, "net/x"), "0", 0o644)
	if err := (sysctl{key: "net.x", value: "7"}).set(root); err != nil || readFile(filepath.Join(root, "net/x")) != "7\n" {
		t.Errorf("set: %v", err)
	}
	if err := (sysctl{key: "net.y", value: "7"}).set(filepath.Join(root, "none")); err == nil || !strings.Contains(err.Error(), "net.y") {
		t.Errorf("set of nothing: %v", err)
	}
}

func TestXattrs(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "a b"), "", 0o644)
	if err := unix.Lsetxattr(filepath.Join(root, "a b"), "user.probe", []byte("x"), 0); err != nil {
		t.Skipf("no extended attributes here: %v", err)
	}
	if err := applyXattrs(root, "manifest"); err != nil {
		t.Errorf("without a manifest: %v", err)
	}
	write(t, filepath.Join(root, "caf\xe9"), "", 0o644) // Latin-1
	type is struct{ path, name, value string }
	var manifest strings.Builder
	for _, x := range []is{{"a b", "user.hook", "y\x00"}, {"missing", "user.hook", ""}, {"../a b", "user.two", "1"}, {"caf\xe9", "user.\xff", "2"}} {
		encoded := base64.StdEncoding.EncodeToString
		fmt.Fprintf(&manifest, `{"path":%q,"name":%q,"value":%q}`+"\n", encoded([]byte(x.path)), encoded([]byte(x.name)), encoded([]byte(x.value)))
	}
	write(t, filepath.Join(root, "manifest"), manifest.String(), 0o644)
	err := applyXattrs(root, "manifest")
	if err == nil || !strings.Contains(err.Error(), `"user.hook" of "missing"`) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v", err)
	}
	for _, x := range []is{{"a b", "user.hook", "y\x00"}, {"a b", "user.two", "1"}, {"caf\xe9", "user.\xff", "2"}} {
		value := make([]byte, 16)
		n, err := unix.Lgetxattr(filepath.Join(root, x.path), x.name, value)
		if err != nil || string(value[:max(n, 0)]) != x.value {
			t.Errorf("%q of %q is %q, %v", x.name, x.path, value[:max(n, 0)], err)
		}
	}
	write(t, filepath.Join(root, "manifest"), `{"path":`, 0o644)
	if err := applyXattrs(root, "manifest"); err == nil || !strings.Contains(err.Error(), "manifest") {
		t.Errorf("a manifest that is cut off: %v", err)
	}
}

func TestScripts(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	for name, mode := range map[string]os.FileMode{"002-b": 0o755, "001-a": 0o755, "003-not-executable": 0o644, "010-onboot": 0o755, "020-containerd": 0o755} {
		write(t, filepath.Join(dir, "init.d", name), "#!/bin/sh\necho "+name+" >> "+out+"\n", mode)
	}
	if err := os.Mkdir(filepath.Join(dir, "init.d", "000-folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	scripts := scriptsIn(filepath.Join(dir, "init.d"))
	if want := []string{filepath.Join(dir, "init.d/001-a"), filepath.Join(dir, "init.d/002-b")}; !slices.Equal(scripts, want) {
		t.Errorf("scripts %q", scripts)
	}
	if scriptsIn(filepath.Join(dir, "absent")) != nil {
		t.Error("scripts in a folder that is not there")
	}
}

func TestFlagsAndOrder(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "early/config.json"), `{"annotations":{"hooksmith.order":"10"}}`, 0o644)
	write(t, filepath.Join(root, "odd/config.json"), `{"annotations":{"hooksmith.order":"soon"}}`, 0o644)
	for name, want := range map[string]int{"early": 10, "odd": 50, "absent": 50} {
		if got := order(filepath.Join(root, name)); got != want {
			t.Errorf("order of %s is %d", name, got)
		}
	}
}

func TestDiskMounts(t *testing.T) {
	const mountinfo = `23 31 0:21 / /proc rw,nosuid shared:6 - proc proc rw
31 1 0:2 / / rw shared:1 - rootfs rootfs rw
40 31 254:1 / /mnt rw shared:20 - ext4 /dev/vda1 rw
41 40 254:2 / /mnt/with\040space rw - xfs /dev/vda2 rw
42 31 0:30 / /nfs rw - nfs4 server:/export rw
broken
`
	if got := diskMounts(mountinfo); !slices.Equal(got, []string{"/mnt", "/mnt/with space"}) {
		t.Errorf("diskMounts = %q", got)
	}
}

func TestOthersLeft(t *testing.T) {
	proc := t.TempDir()
	for _, dir := range []string{"1", "2", "self", "77"} {
		if err := os.Mkdir(filepath.Join(proc, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/init", filepath.Join(proc, "1/exe")); err != nil {
		t.Fatal(err)
	}
	if othersLeft(proc) {
		t.Error("kernel threads count")
	}
	if err := os.Symlink("/bin/sh", filepath.Join(proc, "77/exe")); err != nil {
		t.Fatal(err)
	}
	if !othersLeft(proc) {
		t.Error("a process does not count")
	}
}

func TestSpawnSurvivesFaults(t *testing.T) {
	told := make(chan string, 1)
	j := &job{log: &bootlog.Log{Console: writerFunc(func(p []byte) { told <- string(p) })}}
	j.spawn("testing", func() { panic("boom") })
	if got := <-told; !strings.Contains(got, "testing has a fault: boom") {
		t.Errorf("told %q", got)
	}
	p := &pid1{log: &bootlog.Log{}}
	if err := p.guard(func() error { var none []int; none[len(none)] = 1; return nil }); err == nil || !strings.Contains(err.Error(), "init has a fault") {
		t.Errorf("guard: %v", err)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }
