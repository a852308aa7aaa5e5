package boottest

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"hooksmith/build"
	"hooksmith/cmd/hooksmith/internal/qemu"
	"hooksmith/cmd/hooksmith/internal/qemutest"
	"hooksmith/configs"
)

// Upstream's flavor boots with LinuxKit's init: onboot containers in order, then
// the services. Images and kernel come from a registry of the same names; every
// image is a stand-in of the same layout.
func TestUpstreamFlavor(t *testing.T) {
	m := artifacts(t)
	if m.Arch != qemu.AMD64 {
		t.Skip("one architecture is enough")
	}
	s := newStandins(t, m)
	flavors, err := build.LoadFlavors(configs.FS)
	if err != nil {
		t.Fatal(err)
	}
	flavor, err := flavors.Buildable("hook-default-amd64")
	if err != nil {
		t.Fatal(err)
	}
	s.push(flavor.Variables["HOOK_CONTAINER_LINUXKIT_INIT_IMAGE"], s.initImage())
	args := []string{"build", "hook-default-amd64", "HOOK_KERNEL_IMAGE=ghcr.io/kernel:6.12-test", "HOOK_VERSION=of=the=test"}
	s.push("ghcr.io/kernel:6.12-test", s.kernelImage())
	for name, dir := range map[string]string{
		"RNGD": "sbin/rngd", "SYSCTL": "sbin/sysctl", "SYSFS": "sbin/sysfs", "MODPROBE": "sbin/modprobe",
		"OPENNTPD": "usr/sbin/ntpd", "GETTY": "usr/bin/rungetty.sh", "CA_CERTIFICATES": "", "FIRMWARE": "",
	} {
		name = "LINUXKIT_" + name
		script := "name " + name + "\n"
		if !slices.Contains([]string{"LINUXKIT_SYSCTL", "LINUXKIT_SYSFS", "LINUXKIT_MODPROBE"}, name) {
			script += "stay\n"
		}
		s.push(flavor.Variables["HOOK_CONTAINER_"+name+"_IMAGE"], s.container(standin{program: dir, label: labels[name], script: script}))
	}
	for _, name := range []string{"RUNC", "CONTAINERD", "UDEV", "ACPID", "NETWORK", "DOCKER", "BOOTKIT"} {
		ref := "ghcr.io/tinkerbell/" + strings.ToLower(name) + ":test"
		image := s.container(standin{program: map[string]string{"UDEV": "lib/systemd/systemd-udevd"}[name], script: "name " + name + "\nread /etc/hosts\nstay\n"})
		if name == "RUNC" {
			image = s.runcImage()
		}
		s.push(ref, image)
		args = append(args, "HOOK_CONTAINER_"+name+"_IMAGE="+ref)
	}
	m = s.build(m, "x86_64", args...)
	v := qemutest.Boot(t, m)
	for _, line := range []string{
		`standin init: motd "HookOS of=the=test \(hook-default-amd64\)`,
		`standin LINUXKIT_RNGD: args \["/sbin/rngd" "-1"\]`,
		`standin init: onboot 000-rngd1: <nil>$`,
		`standin LINUXKIT_SYSCTL: host \S+ cwd / uid 0 gid 0 groups \[0?\] first false$`, // the host's process ids
		`standin LINUXKIT_SYSCTL: CapEff 0000000000201000$`,
		`standin init: onboot 001-sysctl: <nil>$`,
		`standin init: onboot 002-sysfs: <nil>$`,
		`standin LINUXKIT_MODPROBE: args \["modprobe" "cdc_ncm"\]`,
		`standin init: onboot 003-modprobe: <nil>$`,
		`standin init: all is up$`,
	} {
		v.Wait(line)
	}
	for _, name := range []string{"LINUXKIT_RNGD", "UDEV", "ACPID", "NETWORK", "LINUXKIT_OPENNTPD", "LINUXKIT_GETTY", "DOCKER", "BOOTKIT"} {
		v.Rewind()
		v.Wait(`standin ` + name + `: done$`)
	}
	for _, line := range []string{
		`standin UDEV: args \["/lib/systemd/systemd-udevd" "--debug"\]`,
		`standin UDEV: CapEff 000001ffffffffff$`,
		`standin LINUXKIT_GETTY: env \["INSECURE=true"`,
		`standin LINUXKIT_RNGD: CapEff 0000000000200000$`,
	} {
		v.Rewind()
		v.Wait(line)
	}
	v.Lacks(`standin init: error|Initramfs unpacking failed|restarting in`)
}

// labels are those of the packages of LinuxKit (linuxkit.md 1.13).
var labels = map[string]string{
	"LINUXKIT_RNGD":     `{"capabilities":["CAP_SYS_ADMIN"],"oomScoreAdj":-800,"readonly":true,"net":"new","ipc":"new"}`,
	"LINUXKIT_SYSCTL":   `{"pid":"host","readonly":true,"capabilities":["CAP_SYS_ADMIN","CAP_NET_ADMIN"]}`,
	"LINUXKIT_SYSFS":    `{"net":"new","ipc":"new"}`,
	"LINUXKIT_MODPROBE": `{"binds":["/lib/modules:/lib/modules","/sys:/sys"],"capabilities":["CAP_SYS_MODULE"]}`,
	"LINUXKIT_OPENNTPD": `{"binds":["/etc/resolv.conf:/etc/resolv.conf"],"capabilities":["CAP_SYS_TIME","CAP_SYS_NICE","CAP_SYS_CHROOT","CAP_SETUID","CAP_SETGID"]}`,
	"LINUXKIT_GETTY":    `{"pid":"host","net":"host","binds":["/run:/run","/tmp:/tmp","/dev:/dev","/sys:/sys"],"capabilities":["all"]}`,
}

// A LinuxKit file with what upstream's flavors do not use: volumes, files,
// names for users, layers with whiteouts, microcode before the segments.
func TestLinuxKitFile(t *testing.T) {
	m := artifacts(t)
	if m.Arch != qemu.AMD64 {
		t.Skip("one architecture is enough")
	}
	s := newStandins(t, m)
	s.push("linuxkit/init:test", s.initImage())
	s.push("linuxkit/runc:test", s.runcImage())
	s.push("test/kernel:1", s.kernelImage())
	for name, script := range map[string]string{
		"first":  "stat /bottom\nstat /replaced\nstat /opaque/old\nread /opaque/new\nread /link\nwrite /here\nwrite /work/note\n",
		"second": "read /work/note\nwrite /work/more\nread /data/file\nwrite /data/file\nwrite /here\n",
		"stay":   "read /etc/with/parents\nstat /etc/with\nstat /run/shutdown\nwrite /run/shutdown\nstay\n",
		"bye":    "read /run/shutdown\n",
	} {
		s.push("test/"+name+":1", s.container(standin{script: "name " + name + "\n" + script, layers: overlayLayers(t)}))
	}
	file := filepath.Join(t.TempDir(), "standin.yml")
	if err := os.WriteFile(file, []byte(linuxkitFile), 0o644); err != nil {
		t.Fatal(err)
	}
	m = s.build(m, "", "build", "--file", file, "--name", "standin")
	v := qemutest.Boot(t, m)
	for _, line := range []string{
		`Linux version`,
		`standin first: args \["/standin-program" "one" "two words"\]`,
		`standin first: env \["A=b=c" "PATH=/x" "HOME=\S+"\]`,
		`standin first: host named cwd /opaque uid 100 gid 0 groups \[101\] first true$`,
		`standin first: CapAmb 0000000000000002$`,
		`standin first: nofile \d+ 200$`,
		`standin first: links 1$`,
		`standin first: stat /bottom: no such file or directory$`,
		`standin first: stat /replaced: -rw-r--r-- 3:4$`,
		`standin first: stat /opaque/old: no such file or directory$`,
		`standin first: read /opaque/new: "new" ok$`,
		`standin first: read /link: "linked" ok$`,
		`standin first: write /here: ok$`,
		`standin first: write /work/note: ok$`,
		`standin init: onboot 000-first: <nil>$`,
		`standin second: read /work/note: "first" ok$`,
		`standin second: write /work/more: ok$`,
		`standin second: read /data/file: "of the volume" ok$`,
		`standin second: write /data/file: read-only file system$`,
		`standin second: write /here: read-only file system$`,
		`standin init: onboot 001-second: <nil>$`,
		`standin stay: read /etc/with/parents: "text of 6\.12\\n" ok$`,
		`standin stay: stat /etc/with: drwxr-xr-x 0:0$`,
		`standin stay: write /run/shutdown: ok$`,
		`standin bye: read /run/shutdown: "stay" ok$`,
		`standin init: onboot 000-bye: <nil>$`,
		`standin init: powering off$`,
	} {
		v.Wait(line)
	}
	v.WaitEnd()
	v.Lacks(`standin init: error|Initramfs unpacking failed`)
}

const linuxkitFile = `
kernel:
  image: test/kernel:1
  cmdline: "console=ttyS0"
  ucode: intel-ucode.cpio
init:
  - linuxkit/init:test
  - linuxkit/runc:test
volumes:
  - name: work
  - name: data
    image: test/second:1
    readonly: true
onboot:
  - name: first
    image: test/first:1
    command: [/standin-program, one, two words]
    env: [A=b=c, PATH=/x]
    hostname: named
    uts: new
    net: new
    cwd: /opaque
    uid: first
    additionalGids: [second]
    capabilities: [CAP_CHOWN, CAP_DAC_OVERRIDE]
    ambient: [CAP_DAC_OVERRIDE]
    rlimits: ["nofile,100,200"]
    binds.add: ["work:/work"]
    runtime:
      mkdir: [/containers/volumes/work/merged/made]
  - name: second
    image: test/second:1
    readonly: true
    binds: ["work:/work", "data:/data:ro"]
services:
  - name: stay
    image: test/stay:1
    binds: ["/run:/run", "/etc:/etc"]
onshutdown:
  - name: bye
    image: test/bye:1
    binds: ["/run:/run:ro"]
files:
  - path: etc/with
    directory: true
    mode: "0755"
  - path: etc/with/parents
    mode: "0644"
    contents: |
      text of 6.12
`

// standins is a registry of stand-ins for the images of a build.
type standins struct {
	t       *testing.T
	server  *httptest.Server
	program []byte
	machine qemu.Machine
}

func newStandins(t *testing.T, m qemu.Machine) *standins {
	t.Helper()
	if _, err := exec.LookPath("runc"); err != nil {
		t.Skip("runc is not installed: apt-get install docker.io")
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return &standins{t: t, server: server, program: buildStatic(t, m.Arch, "./testdata/linuxkit"), machine: m}
}

// build runs hooksmith and returns the machine that boots its output: of the
// flavor with this output id, or of the file with the name standin.
func (s *standins) build(m qemu.Machine, id string, args ...string) qemu.Machine {
	s.t.Helper()
	out := s.t.TempDir()
	args = append(args, "--out", out, "--no-sbom", "--cache-dir", s.t.TempDir(),
		"--mirror", "docker.io="+s.server.URL, "--mirror", "ghcr.io="+s.server.URL)
	cmd := exec.Command(buildHooksmith(s.t), args...)
	if text, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("hooksmith %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	m.Kernel, m.Initrd = filepath.Join(out, "standin-kernel"), filepath.Join(out, "standin-initrd.img")
	if id != "" {
		m.Kernel, m.Initrd = filepath.Join(out, "vmlinuz-"+id), filepath.Join(out, "initramfs-"+id)
	}
	return m
}
