package hooktest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
)

// Driver is a kernel module as the kernel's build makes it, as far as its
// .modinfo goes: an ELF object for x86_64 (62) or aarch64 (183) with that
// section. info are its strings, such as "alias=pci:v..", beside the license,
// the name and the vermagic; without one that begins with "depends=" it
// depends on nothing.
func Driver(machine byte, name, release string, info ...string) []byte {
	depends := "depends="
	for _, s := range info {
		if strings.HasPrefix(s, depends) {
			depends = ""
		}
	}
	info = append([]string{"license=GPL", "name=" + name, "vermagic=" + release + " SMP preempt mod_unload "}, info...)
	if depends != "" {
		info = append(info, depends)
	}
	text := strings.Join(info, "\x00") + "\x00"
	const names, head = "\x00.modinfo\x00.shstrtab\x00", 64
	sections := []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: head, Size: uint64(len(text)), Addralign: 1},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: head + uint64(len(text)), Size: uint64(len(names)), Addralign: 1},
	}
	header := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(machine), Version: 1, Ehsize: head,
		Shoff: head + uint64(len(text)+len(names)), Shentsize: 64, Shnum: 3, Shstrndx: 2,
	}
	copy(header.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	var b bytes.Buffer
	for _, part := range []any{header, []byte(text + names), sections} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}
