package ipxe

import "fmt"

// Arch is a client architecture of DHCP option 93 (RFC 4578 and IANA's
// "Processor Architecture Types").
type Arch uint16

// Platform is what a binary must be made for.
type Platform string

// The platforms. None is that of a client that no iPXE binary runs on.
const (
	None     Platform = ""
	BIOS     Platform = "x86 BIOS"
	IA32     Platform = "IA32 UEFI"
	X64      Platform = "x64 UEFI"
	ARM32    Platform = "ARM32 UEFI"
	ARM64    Platform = "ARM64 UEFI"
	RISCV64  Platform = "RISC-V 64 UEFI"
	LOONG64  Platform = "LoongArch64 UEFI"
	RISCV32  Platform = "RISC-V 32 UEFI"
	LOONG32  Platform = "LoongArch32 UEFI"
	LinuxBIO Platform = "x86 BIOS (Linux kernel format)" // ipxe.lkrn: for boot loaders, not for PXE
)

// Rpiboot is what a Raspberry Pi's own boot ROM is; it says 0 or nothing.
const Rpiboot Arch = 41

// archInfo is a row of IANA's table.
type archInfo struct {
	name     string
	platform Platform
	http     bool // the firmware fetches by HTTP
	why      string
}

// The table, with the mistakes of other servers corrected: Itanium, Alpha,
// Arc and Lean clients run no x86 BIOS program, IA32 no x64 one, ARM32 no
// ARM64 one, and x64 HTTP is 16 (not 8). RFC 4578 and its erratum disagree
// about 7 and 9; both are x64 in practice.
var architectures = map[Arch]archInfo{
	0:  {name: "x86 BIOS", platform: BIOS},
	1:  {name: "NEC PC-98", why: "a PC-98 is no PC"},
	2:  {name: "EFI Itanium", why: "there is no iPXE for Itanium"},
	3:  {name: "DEC Alpha", why: "there is no iPXE for Alpha"},
	4:  {name: "Arc x86", why: "there is no iPXE for Arc firmware"},
	5:  {name: "Intel Lean Client", why: "there is no iPXE for it"},
	6:  {name: "EFI IA32", platform: IA32},
	7:  {name: "EFI x64", platform: X64},
	8:  {name: "EFI Xscale", why: "there is no iPXE for Xscale"},
	9:  {name: "EFI x64, as BC", platform: X64},
	10: {name: "EFI ARM32", platform: ARM32},
	11: {name: "EFI ARM64", platform: ARM64},
	12: {name: "PowerPC Open Firmware", why: "there is no iPXE for PowerPC"},
	13: {name: "PowerPC ePAPR", why: "there is no iPXE for PowerPC"},
	14: {name: "POWER OPAL v3", why: "there is no iPXE for POWER; petitboot reads pxelinux.cfg"},
	15: {name: "EFI IA32 HTTP", platform: IA32, http: true},
	16: {name: "EFI x64 HTTP", platform: X64, http: true},
	17: {name: "EFI byte code HTTP", why: "there is no iPXE in EFI byte code"},
	18: {name: "EFI ARM32 HTTP", platform: ARM32, http: true},
	19: {name: "EFI ARM64 HTTP", platform: ARM64, http: true},
	20: {name: "x86 BIOS HTTP", platform: BIOS, http: true},
	21: {name: "ARM32 U-Boot", why: "U-Boot reads pxelinux.cfg, not iPXE; with bootefi it says 10"},
	22: {name: "ARM64 U-Boot", why: "U-Boot reads pxelinux.cfg, not iPXE; with bootefi it says 11"},
	23: {name: "ARM32 U-Boot HTTP", why: "U-Boot reads pxelinux.cfg, not iPXE"},
	24: {name: "ARM64 U-Boot HTTP", why: "U-Boot reads pxelinux.cfg, not iPXE"},
	25: {name: "EFI RISC-V 32", platform: RISCV32},
	26: {name: "EFI RISC-V 32 HTTP", platform: RISCV32, http: true},
	27: {name: "EFI RISC-V 64", platform: RISCV64},
	28: {name: "EFI RISC-V 64 HTTP", platform: RISCV64, http: true},
	29: {name: "EFI RISC-V 128", why: "there is no iPXE for RISC-V 128"},
	30: {name: "EFI RISC-V 128 HTTP", why: "there is no iPXE for RISC-V 128"},
	31: {name: "s390 Basic", why: "there is no iPXE for s390"},
	32: {name: "s390 Extended", why: "there is no iPXE for s390"},
	33: {name: "MIPS 32", why: "there is no iPXE for MIPS"},
	34: {name: "MIPS 64", why: "there is no iPXE for MIPS"},
	35: {name: "Sunway 32", why: "there is no iPXE for Sunway"},
	36: {name: "Sunway 64", why: "there is no iPXE for Sunway"},
	37: {name: "EFI LoongArch32", platform: LOONG32},
	38: {name: "EFI LoongArch32 HTTP", platform: LOONG32, http: true},
	39: {name: "EFI LoongArch64", platform: LOONG64},
	40: {name: "EFI LoongArch64 HTTP", platform: LOONG64, http: true},
	41: {name: "Raspberry Pi", platform: ARM64},
}

// String is the name of an architecture with its number, for messages.
func (a Arch) String() string {
	if info, ok := architectures[a]; ok {
		return fmt.Sprintf("%s (%d)", info.name, uint16(a))
	}
	return fmt.Sprintf("architecture %d", uint16(a))
}

// Platform is what a binary for a must be made for, None if there is none.
func (a Arch) Platform() Platform { return architectures[a].platform }

// HTTP reports whether such a firmware fetches by HTTP.
func (a Arch) HTTP() bool { return architectures[a].http }

// preferred is which binary a platform gets of those that are there, by name:
// Tinkerbell's names first, then Debian's. Native drivers on x64, as they are
// upstream's and Tinkerbell's default; the firmware's own driver on ARM64,
// whose NICs iPXE hardly knows.
var preferred = map[Platform][]string{
	BIOS:    {"undionly.kpxe", "ipxe.pxe", "undionly.kkpxe"},
	IA32:    {"ipxe-i386.efi", "ipxe-ia32.efi", "snponly-i386.efi"},
	X64:     {"ipxe.efi", "ipxe-amd64.efi", "ipxe-x86_64.efi", "snp-x86_64.efi", "snponly.efi", "snponly-x86_64.efi"},
	ARM32:   {"ipxe-arm32.efi", "snp-arm32.efi"},
	ARM64:   {"snp-arm64.efi", "ipxe-arm64.efi", "snponly-arm64.efi", "snp.efi"},
	RISCV32: {"ipxe-riscv32.efi"},
	RISCV64: {"ipxe-riscv64.efi", "snp-riscv64.efi"},
	LOONG64: {"ipxe-loong64.efi", "snp-loong64.efi"},
}
