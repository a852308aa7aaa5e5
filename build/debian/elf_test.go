package debian

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// elfOf makes a shared object or program that needs libraries: what the
// loader looks at, and section headers for debug/elf. runpath may be "".
func elfOf(machine elf.Machine, interp, runpath string, needed ...string) []byte {
	strtab := []byte{0}
	add := func(s string) uint64 {
		at := len(strtab)
		strtab = append(append(strtab, s...), 0)
		return uint64(at)
	}
	var dynamic bytes.Buffer
	dyn := func(tag elf.DynTag, val uint64) {
		binary.Write(&dynamic, binary.LittleEndian, elf.Dyn64{Tag: int64(tag), Val: val})
	}
	for _, n := range needed {
		dyn(elf.DT_NEEDED, add(n))
	}
	if runpath != "" {
		dyn(elf.DT_RUNPATH, add(runpath))
	}
	dyn(elf.DT_NULL, 0)

	const head, phent, shent = 64, 56, 64
	interpData := append([]byte(interp), 0)
	interpAt := uint64(head + phent)
	strAt := interpAt + uint64(len(interpData))
	dynAt := strAt + uint64(len(strtab))
	shAt := dynAt + uint64(dynamic.Len())
	h := elf.Header64{Type: uint16(elf.ET_DYN), Machine: uint16(machine), Version: 1, Phoff: head, Shoff: shAt,
		Ehsize: head, Phentsize: phent, Phnum: 1, Shentsize: shent, Shnum: 3, Shstrndx: 1}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	prog := elf.Prog64{Type: uint32(elf.PT_INTERP), Off: interpAt, Filesz: uint64(len(interpData))}
	if interp == "" {
		prog.Type = uint32(elf.PT_NULL)
	}
	var out bytes.Buffer
	for _, part := range []any{h, prog, interpData, strtab, dynamic.Bytes(), elf.Section64{},
		elf.Section64{Type: uint32(elf.SHT_STRTAB), Off: strAt, Size: uint64(len(strtab))},
		elf.Section64{Type: uint32(elf.SHT_DYNAMIC), Off: dynAt, Size: uint64(dynamic.Len()), Link: 1, Entsize: 16},
	} {
		binary.Write(&out, binary.LittleEndian, part)
	}
	return out.Bytes()
}
