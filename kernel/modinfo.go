package kernel

import (
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	// maxModule bounds a decompressed module: Debian's largest, amdgpu, has
	// 27 MiB. A compressed one could grow a thousandfold.
	maxModule = 128 << 20
	// maxInfo bounds a .modinfo section; the largest known has 60 KiB.
	maxInfo = 4 << 20
	// readStep is how much is decompressed before the first look for .modinfo;
	// later steps grow with what is there, so that little is read in vain and
	// looking stays cheap.
	readStep = 4 << 10
)

// infoReader reads the .modinfo section of one module after the other. Its
// zero value is ready; it is not safe for concurrent use.
type infoReader struct {
	unpacker
	buf      []byte
	limit    int // most bytes of a module; 0: maxModule
	complete int // modules that had to be decompressed completely
}

// read returns the .modinfo of the module in r, which is stored under path.
// The result is valid until the next call. release and arch are those of the
// kernel.
//
// The section table of an ELF file stands at its end and the modules are
// compressed as one block, so the straight way decompresses everything for
// some hundred bytes in the first fifth. Therefore the strings are looked for
// while decompressing (findInfo); where these could be anything else than
// exactly the section, the whole module is read and the section table decides.
func (u *infoReader) read(path string, r io.Reader, release string, machine elf.Machine) ([]byte, error) {
	content, err := u.open(path, r)
	if err != nil {
		return nil, err
	}
	u.buf = u.buf[:0]
	name, err := moduleName(path)
	if err != nil {
		return nil, err
	}
	for search := (infoSearch{name: name, release: release}); ; {
		eof, err := u.more(content)
		if err != nil {
			return nil, err
		}
		if eof {
			u.complete++
			return sectionInfo(u.buf, machine)
		}
		if info := search.find(u.buf); info != nil && isModule(u.buf, machine) {
			return info, nil
		}
	}
}

// more appends the next step of content to the buffer.
func (u *infoReader) more(content io.Reader) (eof bool, err error) {
	have, limit := len(u.buf), cmp.Or(u.limit, maxModule)
	if have > limit {
		return false, fmt.Errorf("has more than %d MiB decompressed", limit>>20)
	}
	step := min(max(readStep, have/8), limit+1-have)
	u.buf = slices.Grow(u.buf, step)
	n, err := io.ReadFull(content, u.buf[have:have+step])
	u.buf = u.buf[:have+n]
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true, nil
	}
	return false, err
}

// isModule reports whether the file begins as a 64-bit little-endian
// relocatable object for the machine does.
func isModule(b []byte, machine elf.Machine) bool {
	return checkHeader(b, machine) == nil
}

func checkHeader(b []byte, machine elf.Machine) error {
	const headerSize = 64
	if len(b) < headerSize || string(b[:4]) != elf.ELFMAG {
		return errors.New("is no ELF file")
	}
	if elf.Class(b[elf.EI_CLASS]) != elf.ELFCLASS64 || elf.Data(b[elf.EI_DATA]) != elf.ELFDATA2LSB {
		return errors.New("is no 64-bit little-endian ELF file")
	}
	if t := elf.Type(uint16(b[16]) | uint16(b[17])<<8); t != elf.ET_REL {
		return fmt.Errorf("is an ELF file of type %v, a module is ET_REL", t)
	}
	if m := elf.Machine(uint16(b[18]) | uint16(b[19])<<8); m != machine {
		return fmt.Errorf("is built for %v, the kernel for %v", m, machine)
	}
	return nil
}

// sectionInfo returns the .modinfo section of a whole module.
func sectionInfo(b []byte, machine elf.Machine) ([]byte, error) {
	if err := checkHeader(b, machine); err != nil {
		return nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("elf: %w", err)
	}
	s := f.Section(".modinfo")
	if s == nil {
		return nil, errors.New("has no .modinfo section")
	}
	// The kernel reads the section in place: it is never compressed.
	if s.Type == elf.SHT_NOBITS || s.Flags&elf.SHF_COMPRESSED != 0 || s.FileSize > maxInfo {
		return nil, fmt.Errorf("has a .modinfo section of type %v, flags %v and %d bytes", s.Type, s.Flags, s.FileSize)
	}
	if s.Offset > uint64(len(b)) || s.FileSize > uint64(len(b))-s.Offset {
		return nil, errors.New("is truncated: .modinfo ends behind the end of the file")
	}
	return b[s.Offset : s.Offset+s.FileSize], nil
}
