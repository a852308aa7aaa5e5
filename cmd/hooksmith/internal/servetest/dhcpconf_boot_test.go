package servetest

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hooksmith/cmd/hooksmith/internal/qemu"
)

// besides is which machines boot through which server. The first of each
// server is booted always, the others by make boot-test-all.
var besides = []struct {
	rival rival
	suite string
	form  string
	kinds []kind
}{
	{dnsmasqRival, "bookworm", "full", []kind{biosKind, uefiKind, httpKind, arm64Kind, arm64HTTP}},
	{keaRival, "trixie", "fragment", []kind{httpKind, uefiKind, biosKind, arm64Kind, arm64HTTP}},
	{iscRival, "bookworm", "fragment", []kind{uefiKind, httpKind, biosKind, arm64Kind, arm64HTTP}},
	{proxyRival, "trixie", "full", []kind{uefiKind, biosKind, arm64Kind}}, // dnsmasq answers no HTTP client as a proxy
	{keaRival, "bookworm", "full", []kind{arm64HTTP, uefiKind, arm64Kind}},
}

// A machine boots through another DHCP server with the configuration that is
// generated for it: the boot server gives no addresses, and serves the rest.
func TestBootBesideRival(t *testing.T) {
	for _, tt := range besides {
		for i, k := range tt.kinds {
			t.Run(tt.suite+"/"+tt.rival.target+"/"+k.String(), func(t *testing.T) {
				if i > 0 {
					all(t)
				}
				dir := booted(t, k.arch)
				l := newLab(t)
				hw := l.hardware(record)
				if tt.rival.target == "dnsmasq-proxy" {
					l.dnsmasq()
				}
				l.rival(tt.rival, tt.suite, tt.form, "--hardware", hw)
				s := l.serveTo(k, dir, "--dhcp-mode", "off", "--hardware", hw)
				l.besideAnother(k, dir)
				s.stop()
			})
		}
	}
}

// besideAnother boots a machine whose address comes from another server: to
// Docker where all boots are wanted, else until its kernel runs.
func (l *lab) besideAnother(k kind, dir string) {
	l.t.Helper()
	if os.Getenv("HOOKSMITH_BOOT_ALL") == "" {
		l.powerOn(k, bootMAC, dir).Wait(kernelStarted)
		l.process.wait(`script.* mac=` + bootMAC)
		return
	}
	l.untilDocker(k, dir, `(?:`+recordAddress+`|`+otherAddress+`)`)
	l.status("script", "/hook/vmlinuz-", "/hook/initramfs-", "syslog")
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
			l.dnsmasq() // knows nothing of booting
			hw := l.hardware(record)
			s := l.serveTo(biosKind, dir, "--dhcp-mode", "off", "--hardware", hw)
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
			m.Wait(kernelStarted)
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
	l.dnsmasq()
	s := l.serveTo(uefiKind, dir, "--dhcp-mode", "off", "--hardware", l.hardware(record))
	esp := filepath.Dir(filepath.Dir(filepath.Dir(l.write("esp/EFI/BOOT/BOOTX64.EFI", string(efi)))))
	l.write("esp/EFI/BOOT/autoexec.ipxe", l.dhcpConfig("ipxe"))
	argv := append([]string{qemu.AMD64.Binary(), "-accel", "tcg", "-machine", "q35", "-m", "2048", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-device", "virtio-rng-pci", "-drive", "file=fat:rw:" + esp + ",format=raw,if=none,id=esp", "-device", "virtio-blk-pci,drive=esp,bootindex=1",
		"-netdev", "tap,id=n0,script=no,downscript=no,ifname=" + l.tap(), "-device", "virtio-net-pci,netdev=n0,romfile=,mac=" + bootMAC}, l.uefi(qemu.AMD64)...)
	m := l.follow(qemu.AMD64, dir, l.in(l.server, argv...))
	m.Wait(kernelStarted)
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
