package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Offsets in the first sectors of a bzImage, from the kernel's
// Documentation/arch/x86/boot.rst ("The Real-Mode Kernel Header").
const (
	x86SetupSects    = 0x1f1 // u8: sectors of setup code behind the boot sector
	x86BootFlag      = 0x1fe // u16: 0xaa55
	x86Protocol      = 0x206 // u16: 0x020f is 2.15
	x86KernelVersion = 0x20e // u16: offset of the version string, less 0x200
	x86XLoadFlags    = 0x236 // u16, since 2.12
	x86CmdlineSize   = 0x238 // u32, since 2.06: without the final zero byte
	x86InitSize      = 0x260 // u32, since 2.10: memory needed when it starts
	x86HeaderEnd     = 0x264
	x86Kernel64      = 1 << 0 // of XLoadFlags: has a 64-bit entry point
)

// inspectBzImage reads the x86 setup header.
func inspectBzImage(r *io.SectionReader, head []byte) (*Image, error) {
	if len(head) < x86HeaderEnd || binary.LittleEndian.Uint16(head[x86BootFlag:]) != 0xaa55 {
		return nil, errors.New("bzImage is truncated within its setup header")
	}
	image := &Image{Format: BzImage, Arch: X86_64, Protocol: binary.LittleEndian.Uint16(head[x86Protocol:])}
	if image.Protocol < 0x020c {
		return nil, fmt.Errorf("bzImage of boot protocol %d.%02d: need 2.12 (Linux 3.8) or newer", image.Protocol>>8, image.Protocol&0xff)
	}
	if binary.LittleEndian.Uint16(head[x86XLoadFlags:])&x86Kernel64 == 0 {
		return nil, errors.New("bzImage is a 32-bit kernel: HookOS needs x86_64")
	}
	image.CommandLine = int(binary.LittleEndian.Uint32(head[x86CmdlineSize:]))
	image.LoadSize = int64(binary.LittleEndian.Uint32(head[x86InitSize:]))
	var err error
	if image.Version, err = x86Version(r, head); err != nil {
		return nil, err
	}
	image.EFI, image.Signed, err = peFacts(r, head)
	return image, err
}

// x86Version reads the version string out of the setup sectors.
func x86Version(r *io.SectionReader, head []byte) (string, error) {
	setup := int64(head[x86SetupSects])
	if setup == 0 {
		setup = 4 // as old kernels meant it
	}
	offset := int64(binary.LittleEndian.Uint16(head[x86KernelVersion:]))
	end := (setup + 1) * 512
	if offset == 0 || offset+0x200 >= end {
		return "", errors.New("bzImage does not name its version: the offset in its header leads out of the setup sectors")
	}
	b := make([]byte, min(512, end-offset-0x200))
	n, err := r.ReadAt(b, offset+0x200)
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("reading the kernel's version: %w", err)
	}
	text, _, ended := bytes.Cut(b[:n], []byte{0})
	if !ended || !printable(text) {
		return "", errors.New("bzImage does not name its version: no text at the offset in its header")
	}
	return string(text), nil
}
