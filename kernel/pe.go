package kernel

import (
	"encoding/binary"
	"errors"
	"io"
)

// Offsets of the Portable Executable format as far as it concerns EFI stubs
// ("PE Format", COFF header and optional header of PE32+).
const (
	peOffset        = 0x3c // u32 in the DOS header: where "PE\0\0" stands
	peOptional      = 24   // behind "PE\0\0": the optional header
	pePlus          = 0x20b
	peDirCount      = 108 // in the optional header, u32
	peCertDirectory = 112 + 4*8
)

// peFacts reports whether the image is an EFI program and whether a signature
// is attached. The certificate table is the one directory whose address is an
// offset in the file; one that leads out of the file means a damaged image.
func peFacts(r *io.SectionReader, head []byte) (efi, signed bool, err error) {
	if !at(head, 0, "MZ") || len(head) < peOffset+4 {
		return false, false, nil
	}
	pe := int(binary.LittleEndian.Uint32(head[peOffset:]))
	if pe > len(head)-peOptional-peCertDirectory-8 || !at(head, pe, "PE\x00\x00") {
		return false, false, nil
	}
	optional := head[pe+peOptional:]
	if binary.LittleEndian.Uint16(optional) != pePlus {
		return false, false, nil
	}
	if binary.LittleEndian.Uint32(optional[peDirCount:]) <= 4 {
		return true, false, nil
	}
	offset := int64(binary.LittleEndian.Uint32(optional[peCertDirectory:]))
	size := int64(binary.LittleEndian.Uint32(optional[peCertDirectory+4:]))
	if offset == 0 || size == 0 {
		return true, false, nil
	}
	if offset+size > r.Size() {
		return true, false, errors.New("is truncated: its signature ends behind the end of the file")
	}
	var b [8]byte
	if _, err := r.ReadAt(b[:], offset); err != nil {
		return true, false, err
	}
	// WIN_CERTIFICATE: length, revision 0x0200, type 2 (PKCS#7 signed data).
	length := int64(binary.LittleEndian.Uint32(b[:]))
	known := binary.LittleEndian.Uint16(b[4:]) == 0x0200 && binary.LittleEndian.Uint16(b[6:]) == 2
	return true, known && length > 8 && length <= size, nil
}
