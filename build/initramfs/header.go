package initramfs

import (
	"errors"
	"fmt"
	"io"

	"hooksmith/build/rootfs"
)

// header is the head of a newc record: the fields of which the kernel makes
// use, the name, and the target of a symbolic link. It is read here and not
// by cavaliergopher/cpio, which drops device numbers, takes letters for zero
// and does not say what is wrong.
type header struct {
	ino, mode, uid, gid, links, mtime uint32
	major, minor                      uint32
	name, target                      string
	size                              int64 // of the content that follows; 0 for all but regular files
}

// readHeader reads the head of a record including its padding.
func readHeader(in io.Reader) (header, error) {
	var b [headerSize]byte
	if _, err := io.ReadFull(in, b[:6]); err != nil {
		return header{}, err
	}
	switch string(b[:6]) {
	case "070701":
	case "070702":
		return header{}, errors.New("it has checksums (magic 070702), which are not supported; write it with cpio -H newc")
	default:
		return header{}, fmt.Errorf("%q is not the magic 070701 of newc", b[:6])
	}
	if _, err := io.ReadFull(in, b[6:]); err != nil {
		return header{}, noEOF(err)
	}
	var f [13]uint32 // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
	for i := range f {
		var err error
		if f[i], err = parseHex(b[6+8*i:][:8]); err != nil {
			return header{}, err
		}
	}
	h := header{ino: f[0], mode: f[1], uid: f[2], gid: f[3], links: f[4], mtime: f[5], major: f[9], minor: f[10]}
	return h, h.readName(in, f[11], f[6])
}

// readName reads the name and, for a symbolic link, the target. The kernel
// skips a record whose lengths are other than this allows.
func (h *header) readName(in io.Reader, length, size uint32) error {
	if length < 2 || length > maxName+1 {
		return fmt.Errorf("its name has %d bytes with the NUL; the kernel takes 2 to %d", length, maxName+1)
	}
	name := make([]byte, int(length)+-(headerSize+int(length))&3)
	if _, err := io.ReadFull(in, name); err != nil {
		return err
	}
	h.name = string(name[:length-1])
	if name[length-1] != 0 {
		return fmt.Errorf("the name %q does not end in a NUL", name[:length])
	}
	switch h.mode & rootfs.ModeType {
	case rootfs.ModeFile:
		h.size = int64(size)
		return nil
	case rootfs.ModeLink:
		return h.readTarget(in, size)
	}
	if size != 0 {
		return fmt.Errorf("%q has content of %d bytes and is no regular file: mode %o", h.name, size, h.mode)
	}
	return nil
}

func (h *header) readTarget(in io.Reader, size uint32) error {
	if size < 1 || size > maxName {
		return fmt.Errorf("the target of %q has %d bytes; the kernel takes 1 to %d", h.name, size, maxName)
	}
	target := make([]byte, size+-size&3)
	if _, err := io.ReadFull(in, target); err != nil {
		return err
	}
	h.target = string(target[:size])
	return nil
}

// parseHex reads eight hexadecimal digits.
func parseHex(b []byte) (v uint32, err error) {
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, fmt.Errorf("%q is not a number of eight hexadecimal digits", b)
		}
		v = v<<4 | uint32(c)
	}
	return v, nil
}
