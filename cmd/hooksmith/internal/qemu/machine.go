package qemu

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Machine is a virtual machine that boots a kernel and an initramfs directly.
// Validate tells whether Argv makes sense of it.
type Machine struct {
	Arch      Arch
	Accel     string // "tcg" or "kvm"; tcg needs nothing of the host
	MemoryMiB int
	CPUs      int
	Kernel    string // path of vmlinuz
	Initrd    string // path of the initramfs
	Append    []string
	Firmware  Firmware         // zero: QEMU's own BIOS, or none on arm64
	Netdev    string           // a -netdev value without id; "user" is QEMU's own network, "none" no network
	MAC       net.HardwareAddr // nil: QEMU's default
	SSHPort   int              // forwarded from 127.0.0.1 to port 22; 0: not
	Disk      string           // path of a qcow2 image; "": no disk
	Extra     []string         // further QEMU arguments, last
}

// smallest is below what a kernel alone needs: less is a slip of the unit.
const smallest = 128

// Validate checks the values that QEMU would refuse late or misunderstand.
func (m Machine) Validate() error {
	if m.Arch != AMD64 && m.Arch != ARM64 {
		return fmt.Errorf("architecture %q is not known", m.Arch)
	}
	if m.Accel != "tcg" && m.Accel != "kvm" {
		return fmt.Errorf("accelerator %q is not known: tcg and kvm are", m.Accel)
	}
	if m.MemoryMiB < smallest {
		return fmt.Errorf("%d MiB of memory is too little: give MiB, at least %d", m.MemoryMiB, smallest)
	}
	if m.CPUs < 1 || m.CPUs > 255 {
		return fmt.Errorf("%d CPUs: give 1 to 255", m.CPUs)
	}
	for _, a := range m.Append {
		if strings.ContainsAny(a, "\n\x00") {
			return fmt.Errorf("kernel argument %q has a line break", a)
		}
	}
	return m.validateNetwork()
}

func (m Machine) validateNetwork() error {
	if m.SSHPort < 0 || m.SSHPort > 65535 {
		return fmt.Errorf("port %d: give 1 to 65535", m.SSHPort)
	}
	if m.SSHPort > 0 && !m.userNet() {
		return fmt.Errorf("a forwarded SSH port needs QEMU's user network, not %q", m.Netdev)
	}
	if n := len(m.MAC); n != 0 && n != 6 {
		return fmt.Errorf("MAC address %s: give six bytes", m.MAC)
	}
	return nil
}

func (m Machine) userNet() bool {
	return m.Netdev == "user" || strings.HasPrefix(m.Netdev, "user,")
}

// Argv is the command line, program first. The same machine gives the same
// line; no file is looked at.
func (m Machine) Argv() []string {
	argv := []string{m.Arch.Binary(), "-accel", m.Accel}
	argv = append(argv, m.board()...)
	argv = append(argv,
		"-m", strconv.Itoa(m.MemoryMiB),
		"-smp", strconv.Itoa(m.CPUs),
		// The emulated CPU has no RDRAND: without this the full Debian kernel
		// gathers entropy for half a minute.
		"-device", "virtio-rng-pci",
		"-kernel", m.Kernel,
		"-initrd", m.Initrd,
		"-append", strings.Join(slices.Concat([]string{"console=" + m.Arch.Console()}, m.timer(), m.Append), " "),
	)
	argv = append(argv, m.network()...)
	argv = append(argv, m.disk()...)
	// Serial port and monitor share the terminal, Ctrl-C goes to the guest. Not
	// -nographic: with it the BIOS clears the screen, and what was said on it.
	argv = append(argv, "-display", "none", "-serial", "mon:stdio")
	return append(argv, m.Extra...)
}

// timer keeps the kernel from trying whether the timer's interrupts arrive: on
// a busy host an emulated machine gets none in time, and the kernel panics
// ("IO-APIC + timer doesn't work"). Under KVM it knows not to try.
func (m Machine) timer() []string {
	if m.Arch == AMD64 && m.Accel == "tcg" {
		return []string{"no_timer_check"}
	}
	return nil
}

func (m Machine) board() []string {
	argv := []string{"-machine", "q35"}
	if m.Arch == ARM64 {
		argv = []string{"-machine", "virt"}
	}
	switch {
	case m.Accel == "kvm":
		argv = append(argv, "-cpu", "host")
	case m.Arch == ARM64:
		argv = append(argv, "-cpu", "cortex-a57")
	}
	if m.Firmware == (Firmware{}) {
		return argv
	}
	return append(argv,
		"-drive", "if=pflash,format=raw,readonly=on,file="+escape(m.Firmware.Code),
		// snapshot=on: variables are written to a file that goes away with QEMU.
		"-drive", "if=pflash,format=raw,snapshot=on,file="+escape(m.Firmware.Vars))
}

func (m Machine) network() []string {
	if m.Netdev == "none" {
		return []string{"-nic", "none"}
	}
	netdev := m.Netdev + ",id=net0"
	if m.SSHPort > 0 {
		netdev += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:22", m.SSHPort)
	}
	// No option ROM: the kernel does not come from the network, and the ROM is
	// in a package of its own.
	device := "virtio-net-pci,netdev=net0,romfile="
	if len(m.MAC) > 0 {
		device += ",mac=" + m.MAC.String()
	}
	return []string{"-netdev", netdev, "-device", device}
}

func (m Machine) disk() []string {
	if m.Disk == "" {
		return nil
	}
	return []string{"-drive", "if=virtio,format=qcow2,file=" + escape(m.Disk)}
}

// escape protects a path inside a QEMU option, where a comma ends a value.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// Quote joins words to a line that a POSIX shell splits into the same words.
func Quote(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

const unquoted = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+./:,=@%"

func quote(w string) string {
	if w != "" && strings.Trim(w, unquoted) == "" {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}
