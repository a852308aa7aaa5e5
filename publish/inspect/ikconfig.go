package inspect

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"

	"hooksmith/kernel"
)

// maxKernel bounds an unpacked kernel.
const maxKernel = 256 << 20

// embeddedConfig reads the configuration that a kernel built with
// CONFIG_IKCONFIG carries (kernel/configs.c: a gzip file behind "IKCFG_ST").
// nil if it has none, or is packed in a way that is not known here.
func embeddedConfig(r io.ReaderAt, size int64) map[string]string {
	var u unpacker
	defer u.close()
	for _, open := range []func(io.ReaderAt, int64) io.Reader{u.bzPayload, u.zbootPayload, u.wholeFile} {
		content := open(r, size)
		if content == nil {
			continue
		}
		found := findAfter(bufio.NewReaderSize(io.LimitReader(content, maxKernel), 64<<10), "IKCFG_ST")
		if found == nil {
			return nil
		}
		z, err := gzip.NewReader(found)
		if err != nil {
			return nil
		}
		z.Multistream(false)
		config, err := kernel.ParseConfig(io.LimitReader(z, 4<<20))
		if err != nil {
			return nil
		}
		return config
	}
	return nil
}

// bzPayload opens the compressed kernel inside a bzImage
// (Documentation/arch/x86/boot.rst: payload_offset, payload_length).
func (u *unpacker) bzPayload(r io.ReaderAt, size int64) io.Reader {
	var head [0x250]byte
	if _, err := r.ReadAt(head[:], 0); err != nil || string(head[0x202:0x206]) != "HdrS" {
		return nil
	}
	setup := int64(head[0x1f1])
	if setup == 0 {
		setup = 4
	}
	offset := (setup+1)*512 + int64(binary.LittleEndian.Uint32(head[0x248:]))
	return u.openPayload(r, offset, int64(binary.LittleEndian.Uint32(head[0x24c:])), size)
}

// zbootPayload opens the one inside an EFI zboot image (include/linux/pe.h).
func (u *unpacker) zbootPayload(r io.ReaderAt, size int64) io.Reader {
	var head [64]byte
	if _, err := r.ReadAt(head[:], 0); err != nil || string(head[4:8]) != "zimg" {
		return nil
	}
	return u.openPayload(r, int64(binary.LittleEndian.Uint32(head[8:])), int64(binary.LittleEndian.Uint32(head[12:])), size)
}

// wholeFile is a kernel that is compressed as a file, or not at all.
func (u *unpacker) wholeFile(r io.ReaderAt, size int64) io.Reader {
	return u.openPayload(r, 0, size, size)
}

func (u *unpacker) openPayload(r io.ReaderAt, offset, length, size int64) io.Reader {
	if offset > size || length > size-offset {
		return nil
	}
	section := io.NewSectionReader(r, offset, length)
	magic := make([]byte, 6)
	if _, err := section.ReadAt(magic, 0); err != nil {
		return nil
	}
	suffix := ""
	for prefix, s := range map[string]string{"\x1f\x8b": ".gz", "\x28\xb5\x2f\xfd": ".zst", "\xfd7zXZ": ".xz"} {
		if bytes.HasPrefix(magic, []byte(prefix)) {
			suffix = s
		}
	}
	if suffix == "" {
		return section
	}
	content, err := u.open(suffix, section, 128<<20)
	if err != nil {
		return nil
	}
	return content
}

// findAfter returns what follows the first occurrence of mark; nil if there is none.
func findAfter(r *bufio.Reader, mark string) io.Reader {
	for {
		b, err := r.Peek(32 << 10)
		if i := bytes.Index(b, []byte(mark)); i >= 0 {
			if _, err := r.Discard(i + len(mark)); err != nil {
				return nil
			}
			return r
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) || len(b) < len(mark) {
			return nil
		}
		if _, err := r.Discard(len(b) - len(mark) + 1); err != nil {
			return nil
		}
	}
}
