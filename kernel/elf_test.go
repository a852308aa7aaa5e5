package kernel

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"strings"
	"testing/fstest"
)

const testRelease = "6.12.1-test"

// testModule is a hand-made module.
type testModule struct {
	info    []string // strings of .modinfo, beside name and vermagic
	before  string   // contents of the section before .modinfo
	behind  string   // and of the one behind
	machine elf.Machine
	padding int // bytes between the sections and the section table: what comes in real modules
}

func (m testModule) bytes(name string) []byte {
	info := append(append([]string{}, m.info...), "name="+normalName(name), "vermagic="+testRelease+" SMP mod_unload ")
	return m.object(strings.Join(info, "\x00") + "\x00")
}

// object builds an ELF file with the sections in this order: .rodata, .modinfo,
// .text, the names, the table.
func (m testModule) object(info string) []byte {
	names := "\x00.rodata\x00.modinfo\x00.text\x00.shstrtab\x00"
	contents := []string{m.before, info, m.behind + strings.Repeat("\xcc", m.padding), names}
	var body bytes.Buffer
	body.Write(make([]byte, 64))
	table := make([]elf.Section64, 1)
	for i, name := range []string{".rodata", ".modinfo", ".text", ".shstrtab"} {
		kind := elf.SHT_PROGBITS
		if name == ".shstrtab" {
			kind = elf.SHT_STRTAB
		}
		table = append(table, elf.Section64{
			Name: uint32(strings.Index(names, name+"\x00")), Type: uint32(kind),
			Off: uint64(body.Len()), Size: uint64(len(contents[i])), Addralign: 1,
		})
		body.WriteString(contents[i])
	}
	if m.machine == elf.EM_NONE {
		m.machine = elf.EM_X86_64
	}
	header := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(m.machine), Version: 1, Ehsize: 64,
		Shoff: uint64(body.Len()), Shentsize: 64, Shnum: uint16(len(table)), Shstrndx: uint16(len(table) - 1),
	}
	copy(header.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	for _, s := range table {
		must(binary.Write(&body, binary.LittleEndian, s))
	}
	b := body.Bytes()
	var h bytes.Buffer
	must(binary.Write(&h, binary.LittleEndian, header))
	copy(b, h.Bytes())
	return b
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// modulesFS is a modules' folder: path -> strings of .modinfo, separated by blanks.
func modulesFS(modules map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for path, info := range modules {
		name, err := moduleName(path)
		if err != nil {
			name = "x"
		}
		fsys[path] = &fstest.MapFile{Data: testModule{info: infoStrings(info)}.bytes(name)}
	}
	return fsys
}

// infoStrings turns "depends=a alias=b|softdep=pre: c" into strings; '|'
// separates those that hold blanks.
func infoStrings(s string) []string {
	list := []string{"license=GPL"}
	if strings.Contains(s, "|") {
		return append(list, strings.Split(s, "|")...)
	}
	hasDepends := false
	for _, f := range strings.Fields(s) {
		hasDepends = hasDepends || strings.HasPrefix(f, "depends=")
		list = append(list, f)
	}
	if !hasDepends {
		list = append(list, "depends=")
	}
	return list
}

func lines(format string, args ...any) string {
	return strings.ReplaceAll(fmt.Sprintf(format, args...), "; ", "\n") + "\n"
}
