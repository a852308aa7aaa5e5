package servetest

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"hooksmith/cmd/hooksmith/internal/qemu"
)

// besides is which firmware boots through which server. The first of each
// server is booted always, the others by make boot-test-all.
var besides = []struct {
	rival rival
	suite string
	form  string
	kinds []firmware
}{
	{dnsmasqRival, "bookworm", "full", []firmware{bios, uefiPXE, uefiHTTP}},
	{keaRival, "trixie", "fragment", []firmware{uefiHTTP, uefiPXE, bios}},
	{iscRival, "bookworm", "fragment", []firmware{uefiPXE, uefiHTTP, bios}},
	{proxyRival, "trixie", "full", []firmware{uefiPXE, bios}}, // dnsmasq answers no HTTP client as a proxy
}

// A machine boots through another DHCP server with the configuration that is
// generated for it: the boot server gives no addresses, and serves the rest.
func TestBootBesideRival(t *testing.T) {
	dir := booted(t, qemu.AMD64)
	for _, tt := range besides {
		for i, f := range tt.kinds {
			t.Run(tt.rival.target+"/"+string(f), func(t *testing.T) {
				if i > 0 {
					all(t)
				}
				l := newLab(t)
				hw := l.hardware(record)
				if tt.rival.target == "dnsmasq-proxy" {
					need(t, "dnsmasq")
					l.address()
					l.dnsmasq()
				}
				l.rival(tt.rival, tt.suite, tt.form, "--hardware", hw)
				s := l.bootsOnly(dir, hw)
				m := l.powerOn(qemu.AMD64, f, bootMAC, dir)
				m.wait(kernelStarted)
				s.wait(`script.* mac=` + bootMAC)
				s.stop()
			})
		}
	}
}

// bootsOnly is the boot server beside a DHCP server.
func (l *lab) bootsOnly(dir, hw string) *server {
	l.t.Helper()
	return l.serve("--dhcp-mode", "off", "--artifacts", dir, "--hardware", hw, "--ra", "--console", consoleOf(qemu.AMD64), "--kernel-args", "panic=-1")
}

// Boot loaders that run iPXE themselves: iPXE's own script, and iPXE with the
// command line that pxelinux.cfg and GRUB give to it.
func TestBootChain(t *testing.T) {
	all(t)
	dir := booted(t, qemu.AMD64)
	files := ipxeFiles(t)
	for _, tt := range []struct {
		target, file string
		command      string // that gives the file its command line; "": a script
	}{
		{"ipxe", "ipxe.lkrn", ""},
		{"pxelinux", "ipxe.lkrn", "APPEND "},
		{"grub", "ipxe.lkrn", "linux16 /boot/ipxe.lkrn "},
	} {
		t.Run(tt.target+"/"+tt.file, func(t *testing.T) {
			loader, err := fs.ReadFile(files, "usr/lib/ipxe/"+tt.file)
			if err != nil {
				t.Fatal(err)
			}
			l := newLab(t)
			l.address()
			l.dnsmasq() // knows nothing of booting
			hw := l.hardware(record)
			s := l.bootsOnly(dir, hw)
			text := l.dhcpConfig(tt.target)
			argv := []string{qemu.AMD64.Binary(), "-accel", "tcg", "-m", "2048", "-display", "none", "-serial", "stdio", "-no-reboot",
				"-netdev", "tap,id=n0,script=no,downscript=no,ifname=" + l.tap(), "-device", "virtio-net-pci,netdev=n0,romfile=,mac=" + bootMAC,
				"-kernel", l.write(tt.file, string(loader))}
			if tt.command == "" {
				argv = append(argv, "-initrd", l.write("chain.ipxe", text))
			} else {
				argv = append(argv, "-append", loaderLine(t, tt.command, text))
			}

			m := l.follow(qemu.AMD64, dir, l.in(l.server, argv...))
			m.wait(kernelStarted)
			s.wait(`script.* mac=` + bootMAC)
		})
	}
}

// For UEFI, GRUB's entry starts an iPXE on the EFI system partition, which
// runs the chain script beside it: so does this machine's firmware.
func TestBootChainUEFI(t *testing.T) {
	all(t)
	dir := booted(t, qemu.AMD64)
	efi, err := fs.ReadFile(ipxeFiles(t), "usr/lib/ipxe/ipxe.efi")
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	l.address()
	l.dnsmasq()
	s := l.bootsOnly(dir, l.hardware(record))
	esp := filepath.Dir(filepath.Dir(filepath.Dir(l.write("esp/EFI/BOOT/BOOTX64.EFI", string(efi)))))
	l.write("esp/EFI/BOOT/autoexec.ipxe", l.dhcpConfig("ipxe"))
	argv := append([]string{qemu.AMD64.Binary(), "-accel", "tcg", "-machine", "q35", "-m", "2048", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-device", "virtio-rng-pci", "-drive", "file=fat:rw:" + esp + ",format=raw,if=none,id=esp", "-device", "virtio-blk-pci,drive=esp,bootindex=1",
		"-netdev", "tap,id=n0,script=no,downscript=no,ifname=" + l.tap(), "-device", "virtio-net-pci,netdev=n0,romfile=,mac=" + bootMAC}, l.uefi(qemu.AMD64)...)
	m := l.follow(qemu.AMD64, dir, l.in(l.server, argv...))
	m.wait(kernelStarted)
	s.wait(`script.* mac=` + bootMAC)
}

// loaderLine is what a boot loader gives to iPXE after a command.
func loaderLine(t *testing.T, command, text string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), command); ok {
			return strings.ReplaceAll(rest, "'", "") // GRUB takes the quotes away
		}
	}
	t.Fatalf("no line %q in\n%s", command, text)
	return ""
}
