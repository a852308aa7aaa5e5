package kernel

import (
	"debug/elf"
	"fmt"
)

// Arch is a machine architecture as `uname -m` prints it, which is how
// LinuxKit and Tinkerbell's artifact names spell it.
type Arch string

// The architectures that HookOS knows.
const (
	X86_64  Arch = "x86_64"
	AArch64 Arch = "aarch64"
)

// ParseArch accepts the kernel's names and those of Debian, Go and Docker.
func ParseArch(s string) (Arch, error) {
	switch s {
	case "x86_64", "amd64":
		return X86_64, nil
	case "aarch64", "arm64":
		return AArch64, nil
	}
	return "", fmt.Errorf("unknown architecture %q (known: x86_64 or amd64, aarch64 or arm64)", s)
}

// Debian is the name of the architecture in Debian, Go and Docker.
func (a Arch) Debian() string {
	switch a {
	case X86_64:
		return "amd64"
	case AArch64:
		return "arm64"
	}
	return string(a)
}

// machine is the architecture in an ELF header.
func (a Arch) machine() elf.Machine {
	switch a {
	case X86_64:
		return elf.EM_X86_64
	case AArch64:
		return elf.EM_AARCH64
	}
	return elf.EM_NONE
}
