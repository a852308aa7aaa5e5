package qemu

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Arch is a machine architecture by its Go and Debian name.
type Arch string

// The architectures that HookOS is built for.
const (
	AMD64 Arch = "amd64"
	ARM64 Arch = "arm64"
)

// ParseArch accepts the names that Go, Debian, uname and iPXE use.
func ParseArch(s string) (Arch, error) {
	switch strings.ToLower(s) {
	case "amd64", "x86_64", "x86-64":
		return AMD64, nil
	case "arm64", "aarch64":
		return ARM64, nil
	}
	return "", fmt.Errorf("architecture %q is not known: amd64 and arm64 are", s)
}

// FlavorArch takes the architecture from the end of a flavor's id, as in
// hook-debian-cloud-amd64. It returns false for an id that names none.
func FlavorArch(flavor string) (Arch, bool) {
	i := strings.LastIndexByte(flavor, '-')
	a, err := ParseArch(flavor[i+1:])
	return a, err == nil && i > 0
}

// Uname is the name in hookImagesURLPath and of the QEMU binary.
func (a Arch) Uname() string {
	if a == ARM64 {
		return "aarch64"
	}
	return "x86_64"
}

// Binary is the QEMU program for the architecture.
func (a Arch) Binary() string { return "qemu-system-" + a.Uname() }

// Package is the Debian package that has Binary.
func (a Arch) Package() string {
	if a == ARM64 {
		return "qemu-system-arm"
	}
	return "qemu-system-x86"
}

// Console is the kernel's name of the first serial port.
func (a Arch) Console() string {
	if a == ARM64 {
		return "ttyAMA0"
	}
	return "ttyS0"
}

// Firmware is a UEFI firmware: code and the template of its variables.
type Firmware struct{ Code, Vars string }

// FirmwarePackage is the Debian package that has the architecture's firmware.
func (a Arch) FirmwarePackage() string {
	if a == ARM64 {
		return "qemu-efi-aarch64"
	}
	return "ovmf"
}

// Images without Secure Boot keys enrolled: the kernel is given directly.
func (a Arch) firmwares() []Firmware {
	if a == ARM64 {
		return []Firmware{{"usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", "usr/share/AAVMF/AAVMF_VARS.fd"},
			{"usr/share/AAVMF/AAVMF_CODE.fd", "usr/share/AAVMF/AAVMF_VARS.fd"}}
	}
	return []Firmware{
		{"usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.fd"},
		{"usr/share/OVMF/OVMF_CODE.fd", "usr/share/OVMF/OVMF_VARS.fd"},
	}
}

// FindFirmware looks for UEFI firmware where Debian and Ubuntu put it. root is
// the file system's root; the paths returned are absolute.
func FindFirmware(root fs.FS, a Arch) (Firmware, error) {
	for _, f := range a.firmwares() {
		if isFile(root, f.Code) && isFile(root, f.Vars) {
			return Firmware{path.Join("/", f.Code), path.Join("/", f.Vars)}, nil
		}
	}
	return Firmware{}, fmt.Errorf("UEFI firmware for %s is not installed: no /%s", a, a.firmwares()[0].Code)
}

func isFile(root fs.FS, name string) bool {
	info, err := fs.Stat(root, name)
	return err == nil && info.Mode().IsRegular()
}
