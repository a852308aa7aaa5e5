package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Offsets in the header of an arm64 Image, from the kernel's
// Documentation/arch/arm64/booting.rst ("Call the kernel image").
const (
	arm64ImageSize = 16 // u64
	arm64Flags     = 24 // u64: bit 0 big endian
	arm64Header    = 64
)

// inspectPlain reads the header of an uncompressed arm64 kernel.
func inspectPlain(r *io.SectionReader, head []byte) (*Image, error) {
	image, err := arm64Facts(Plain, head, r)
	if err != nil {
		return nil, err
	}
	image.EFI, image.Signed, err = peFacts(r, head)
	return image, err
}

// arm64Facts reads the header in head, and the kernel's banner from r.
func arm64Facts(format Format, head []byte, r io.Reader) (*Image, error) {
	if len(head) < arm64Header || !at(head, 0x38, "ARM\x64") {
		return nil, fmt.Errorf("%s holds no arm64 kernel", format)
	}
	if binary.LittleEndian.Uint64(head[arm64Flags:])&1 != 0 {
		return nil, errors.New("arm64 kernel is big-endian: HookOS is built little-endian")
	}
	image := &Image{Format: format, Arch: AArch64}
	if size := binary.LittleEndian.Uint64(head[arm64ImageSize:]); size < maxImage {
		image.LoadSize = int64(size)
	}
	var err error
	if image.Version, err = findBanner(io.LimitReader(r, maxImage)); err != nil {
		return nil, fmt.Errorf("arm64 kernel: %w", err)
	}
	return image, nil
}

// inspectGzipped looks through the compression of an Image.gz.
func inspectGzipped(r *io.SectionReader, _ []byte) (*Image, error) {
	return compressedFacts(Gzipped, "gzip", r)
}

func compressedFacts(format Format, compression string, r io.Reader) (*Image, error) {
	var u unpacker
	defer u.close()
	var content io.Reader
	var err error
	switch compression {
	case "gzip":
		content, err = u.openGzip(r)
	case "zstd", "zstd22":
		content, err = u.openZstd(r)
	case "xz", "xzkern":
		content, err = u.openXZ(r)
	default:
		return nil, fmt.Errorf("%s is compressed with %q (known: gzip, zstd, xz)", format, compression)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", format, err)
	}
	head := make([]byte, arm64Header)
	if _, err := io.ReadFull(content, head); err != nil {
		return nil, fmt.Errorf("%s: %w", format, err)
	}
	return arm64Facts(format, head, content)
}

// Offsets in the header of an EFI zboot image, from the kernel's
// include/linux/pe.h (struct linux_pe_zboot_header).
const (
	zbootPayload     = 8  // u32: offset
	zbootPayloadSize = 12 // u32
	zbootCompression = 24 // text
	zbootHeader      = 64
)

// inspectZboot looks through the compression of an EFI zboot image.
func inspectZboot(r *io.SectionReader, head []byte) (*Image, error) {
	if len(head) < zbootHeader {
		return nil, errors.New("zboot image is truncated")
	}
	offset := int64(binary.LittleEndian.Uint32(head[zbootPayload:]))
	size := int64(binary.LittleEndian.Uint32(head[zbootPayloadSize:]))
	if offset+size > r.Size() {
		return nil, errors.New("zboot image is truncated: its kernel ends behind the end of the file")
	}
	compression, _, _ := strings.Cut(string(head[zbootCompression:zbootCompression+8]), "\x00")
	image, err := compressedFacts(Zboot, compression, io.NewSectionReader(r, offset, size))
	if err != nil {
		return nil, err
	}
	image.EFI, image.Signed, err = peFacts(r, head)
	return image, err
}
