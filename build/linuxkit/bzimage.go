package linuxkit

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// compressionOf names the compression of data by its first bytes, or "".
func compressionOf(head []byte) string {
	for _, format := range []struct{ name, magic string }{
		{"gzip", "\x1f\x8b"},
		{"xz", "\xfd7zXZ\x00"},
		{"zstd", "\x28\xb5\x2f\xfd"},
		{"lz4", "\x02\x21\x4c\x18"},
		{"lzo", "\x89LZO"},
		{"bzip2", "BZh"},
		{"lzma", "\x5d\x00\x00"},
	} {
		if bytes.HasPrefix(head, []byte(format.magic)) {
			return format.name
		}
	}
	return ""
}

// Offsets of the x86 setup header (Documentation/arch/x86/boot.rst of the
// kernel). The payload's are there since protocol 2.08.
const (
	setupSects    = 0x1f1
	headerMagic   = 0x202
	protocol      = 0x206
	payloadOffset = 0x248
	payloadLength = 0x24c
	setupEnd      = 0x250
)

// decompressKernel returns the kernel inside a gzip file or inside a bzImage
// whose payload is gzip.
func decompressKernel(data []byte) ([]byte, error) {
	payload := data
	if compressionOf(data) != "gzip" {
		var err error
		if payload, err = bzImagePayload(data); err != nil {
			return nil, err
		}
	}
	if format := compressionOf(payload); format != "gzip" {
		if format == "" {
			format = "something unknown"
		}
		return nil, fmt.Errorf("its payload is compressed with %s, only gzip can be undone", format)
	}
	zr, err := gzip.NewReader(bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	zr.Multistream(false) // a bzImage pads its payload
	kernel, err := io.ReadAll(io.LimitReader(zr, maxKernel+1))
	if err != nil {
		return nil, err
	}
	if len(kernel) > maxKernel {
		return nil, fmt.Errorf("more than %d bytes", maxKernel)
	}
	return kernel, nil
}

// bzImagePayload returns the compressed kernel inside a bzImage.
func bzImagePayload(data []byte) ([]byte, error) {
	if len(data) < setupEnd || string(data[headerMagic:headerMagic+4]) != "HdrS" {
		return nil, errors.New("neither gzip nor a bzImage; it may be uncompressed already")
	}
	if version := binary.LittleEndian.Uint16(data[protocol:]); version < 0x208 {
		return nil, fmt.Errorf("boot protocol %d.%02d has no payload fields, 2.08 is needed", version>>8, version&0xff)
	}
	sectors := int64(data[setupSects])
	if sectors == 0 {
		sectors = 4
	}
	start := (sectors+1)*512 + int64(binary.LittleEndian.Uint32(data[payloadOffset:]))
	end := start + int64(binary.LittleEndian.Uint32(data[payloadLength:]))
	if end > int64(len(data)) {
		return nil, fmt.Errorf("its payload ends at byte %d of %d", end, len(data))
	}
	return data[start:end], nil
}
