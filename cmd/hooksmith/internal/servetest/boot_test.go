package servetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hooksmith/cmd/hooksmith/internal/qemu"
	"hooksmith/cmd/hooksmith/internal/qemutest"
)

// What machines print on their way up.
const (
	kernelStarted = `Linux version \S+ `
	initStarted   = `hooksmith: init started.*$`
	dockerReady   = `hooksmith: docker: ready \((\w+).*$`
)

// firmware is how a machine looks for what to boot.
type firmware string

const (
	bios     firmware = "BIOS"      // QEMU's BIOS with iPXE as the card's ROM
	uefiPXE  firmware = "UEFI PXE"  // EDK2's own PXE client
	uefiHTTP firmware = "UEFI HTTP" // EDK2's HTTP boot
)

// booted is what HOOKSMITH_BOOT names: architecture and folder.
func booted(t *testing.T, wanted qemu.Arch) string {
	t.Helper()
	name, dir := os.Getenv("HOOKSMITH_BOOT"), os.Getenv("HOOKSMITH_BOOT_DIR")
	if name == "" {
		t.Skip("HOOKSMITH_BOOT is not set: run make boot-test")
	}
	arch, err := qemu.ParseArch(name)
	if err != nil {
		t.Fatalf("HOOKSMITH_BOOT: %v", err)
	}
	if arch != wanted {
		t.Skipf("HOOKSMITH_BOOT is %s", arch)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// all skips what only `make boot-test-all` boots.
func all(t *testing.T) {
	t.Helper()
	if os.Getenv("HOOKSMITH_BOOT_ALL") == "" {
		t.Skip("HOOKSMITH_BOOT_ALL is not set: run make boot-test-all")
	}
}

// kind is a machine that has nothing but a network card.
type kind struct {
	arch     qemu.Arch
	firmware firmware
}

func (k kind) String() string {
	if k.arch == qemu.AMD64 {
		return string(k.firmware)
	}
	return string(k.arch) + " " + string(k.firmware)
}

// Every kind.
var (
	biosKind  = kind{qemu.AMD64, bios}
	uefiKind  = kind{qemu.AMD64, uefiPXE}
	httpKind  = kind{qemu.AMD64, uefiHTTP}
	arm64Kind = kind{qemu.ARM64, uefiPXE}
	arm64HTTP = kind{qemu.ARM64, uefiHTTP}
)

// powerOn starts a machine.
func (l *lab) powerOn(k kind, mac, logs string) *qemutest.VM {
	l.t.Helper()
	arch, f := k.arch, k.firmware
	if err := qemu.Look(arch.Binary(), arch.Package()); err != nil {
		l.t.Fatal(err)
	}
	argv := []string{arch.Binary(), "-accel", "tcg", "-m", "2048", "-display", "none", "-serial", "stdio", "-no-reboot", "-device", "virtio-rng-pci",
		"-netdev", "tap,id=n0,script=no,downscript=no,ifname=" + l.tap()}
	card := "virtio-net-pci,netdev=n0,mac=" + mac
	switch {
	case arch == qemu.ARM64:
		argv = append(argv, "-machine", "virt", "-cpu", "cortex-a57")
	case f != bios:
		argv = append(argv, "-machine", "q35")
	}
	if f == bios {
		argv = append(argv, "-boot", "n")
	} else {
		argv = append(argv, l.uefi(arch)...)
		card += ",romfile=,bootindex=1" // the firmware's own client instead of QEMU's iPXE
	}
	if f == uefiHTTP {
		argv = append(argv, "-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n", "-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n")
	}
	return l.follow(arch, logs, l.in(l.server, append(argv, "-device", card)...))
}

// uefi is the firmware, with variables that go away with QEMU.
func (l *lab) uefi(arch qemu.Arch) []string {
	l.t.Helper()
	f, err := qemu.FindFirmware(os.DirFS("/"), arch)
	if err != nil {
		l.t.Fatal(err)
	}
	return []string{"-drive", "if=pflash,format=raw,readonly=on,file=" + f.Code, "-drive", "if=pflash,format=raw,snapshot=on,file=" + f.Vars}
}

// follow starts a machine. Its log is kept beside the folder: what is in it is
// served.
func (l *lab) follow(arch qemu.Arch, logs string, cmd *exec.Cmd) *qemutest.VM {
	l.t.Helper()
	logs += "-serial"
	if err := os.MkdirAll(logs, 0o755); err != nil {
		l.t.Fatal(err)
	}
	return qemutest.Follow(l.t, arch, logs, cmd)
}

const bootMAC = "52:54:00:78:00:0a"

// record is the hardware record of the machine that boots.
const record = "mac: " + bootMAC + ", hostname: node1, ip: 10.78.0.10/24"

// toDocker boots a machine with an address of its record from power-on to
// HookOS with Docker ready, and looks at what the server knows of it then.
func (l *lab) toDocker(k kind, dir string) {
	l.t.Helper()
	l.untilDocker(k, dir, recordAddress)
	l.status("node1  10.78.0.10", "script", "/hook/vmlinuz-", "/hook/initramfs-", "ack", "syslog")
}

// The address of the record, and those that the other servers here give.
const (
	recordAddress = `10\.78\.0\.10`
	otherAddress  = `10\.78\.0\.1[0-9][0-9]`
)

// untilDocker boots a machine until Docker is ready.
func (l *lab) untilDocker(k kind, dir, address string) {
	l.t.Helper()
	m := l.powerOn(k, bootMAC, dir)
	m.Wait(kernelStarted)
	m.Wait(initStarted)
	m.Wait(`hooksmith: network: .*` + address + `/24.*$`)
	if got := m.Wait(dockerReady)[1]; got != "overlay2" {
		l.t.Errorf("storage driver %s, want overlay2", got)
	}
	// A machine that starts its kernel before it has acknowledged the last byte
	// has not broken off.
	l.process.wait(`msg="http download" mac=` + bootMAC + ` .*file=/hook/initramfs-.*$`)
	if found := l.process.Find(`download aborted|tftp-abort`); found != "" {
		l.t.Errorf("the log has %q", found)
	}
	// HookOS tells its progress, also where no container logs.
	until(l.t, "docker's line in the machine's log", func() bool {
		out, err := l.admin("logs", bootMAC, "--grep", "docker: ready")
		return err == nil && strings.Contains(out, "hookos")
	})
}

// status holds what the server says of the machine against what it should.
func (l *lab) status(wanted ...string) {
	l.t.Helper()
	out, err := l.admin("status", bootMAC)
	if err != nil {
		l.t.Fatalf("status: %v: %s", err, out)
	}
	l.t.Logf("status:\n%s", out)
	for _, want := range wanted {
		if !strings.Contains(out, want) {
			l.t.Errorf("status: no %q", want)
		}
	}
	for _, bad := range []string{"error:", "loop", ", aborted"} {
		if strings.Contains(out, bad) {
			l.t.Errorf("status has %q", bad)
		}
	}
}

// serveTo starts the server for a machine in QEMU.
func (l *lab) serveTo(k kind, dir string, args ...string) *server {
	l.t.Helper()
	return l.serve(append([]string{"--artifacts", dir, "--ra", "--console", k.arch.Console(), "--kernel-args", "panic=-1"}, args...)...)
}

// A BIOS machine, with the address of its record.
func TestBootBIOS(t *testing.T) {
	dir := booted(t, qemu.AMD64)
	l := newLab(t)
	l.serveTo(biosKind, dir, "--hardware", l.hardware(record))
	l.toDocker(biosKind, dir)
	l.process.stop()
}

// A UEFI machine by PXE: EDK2 loads ipxe.efi by TFTP, that runs autoexec.ipxe.
func TestBootUEFI(t *testing.T) {
	dir := booted(t, qemu.AMD64)
	l := newLab(t)
	s := l.serveTo(uefiKind, dir, "--hardware", l.hardware(record))
	l.toDocker(uefiKind, dir)
	if found := s.Find(`tftp-done.* file=ipxe\.efi`); found == "" {
		t.Error("no transfer of ipxe.efi in the log")
	}
	s.stop()
}

// UEFI HTTP boot: no TFTP at all.
func TestBootHTTP(t *testing.T) {
	all(t)
	dir := booted(t, qemu.AMD64)
	l := newLab(t)
	l.serveTo(httpKind, dir, "--tftp", "off", "--hardware", l.hardware(record))
	l.toDocker(httpKind, dir)
	l.process.stop()
}

// arm64, by PXE and by HTTP.
func TestBootARM64(t *testing.T) {
	dir := booted(t, qemu.ARM64)
	for _, k := range []kind{arm64Kind, arm64HTTP} {
		t.Run(string(k.firmware), func(t *testing.T) {
			l := newLab(t)
			l.serveTo(k, dir, "--hardware", l.hardware(record))
			l.toDocker(k, dir)
			l.process.stop()
		})
	}
}
