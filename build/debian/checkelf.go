package debian

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// maxUnseekable bounds ELF files of file systems without random access.
const maxUnseekable = 256 << 20

// elfMachines are the machines of the architectures that images are built for.
var elfMachines = map[string]elf.Machine{
	"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "armhf": elf.EM_ARM, "i386": elf.EM_386,
	"ppc64el": elf.EM_PPC64, "riscv64": elf.EM_RISCV, "s390x": elf.EM_S390,
}

// elfInfo is what decides whether an ELF file can be loaded.
type elfInfo struct {
	machine elf.Machine
	interp  string
	needed  []string
	search  []string // DT_RUNPATH, or DT_RPATH in its absence
}

// checkFile looks for the interpreter and the libraries of an ELF file.
func (c *checker) checkFile(name string) error {
	if strings.HasPrefix(name, firmware) {
		return nil
	}
	e, err := c.readELF(name)
	if err != nil || e == nil || (e.interp == "" && len(e.needed) == 0) {
		return err
	}
	if want := elfMachines[c.opt.Arch]; e.machine != want {
		c.miss(name, fmt.Sprintf("a processor of type %s (the image is for %s)", e.machine, want), "")
		return nil
	}
	if e.interp != "" && !c.loadable(e.interp) {
		c.miss(name, "interpreter "+e.interp, path.Base(e.interp))
	}
	for _, lib := range e.needed {
		if !c.hasLibrary(name, lib, e.search) {
			c.miss(name, "library "+lib, path.Base(lib))
		}
	}
	return nil
}

// readELF returns nil for files that are not ELF, or not complete.
func (c *checker) readELF(name string) (*elfInfo, error) {
	f, err := c.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	magic := make([]byte, len(elf.ELFMAG))
	if _, err := io.ReadFull(f, magic); err != nil || string(magic) != elf.ELFMAG {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = nil
		}
		return nil, err
	}
	at, ok := f.(io.ReaderAt)
	if !ok {
		rest, err := readAllBounded(f, maxUnseekable, name)
		if err != nil {
			return nil, err
		}
		at = bytes.NewReader(append(magic, rest...))
	}
	return parseELF(at), nil
}

func parseELF(r io.ReaderAt) *elfInfo {
	f, err := elf.NewFile(r)
	if err != nil || (f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN) {
		return nil
	}
	e := &elfInfo{machine: f.Machine}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz <= 4096 {
			b, _ := io.ReadAll(p.Open())
			e.interp = string(bytes.TrimRight(b, "\x00"))
		}
	}
	e.needed, _ = f.ImportedLibraries()
	runpath, _ := f.DynString(elf.DT_RUNPATH)
	if len(runpath) == 0 {
		runpath, _ = f.DynString(elf.DT_RPATH)
	}
	for _, list := range runpath {
		e.search = append(e.search, strings.Split(list, ":")...)
	}
	return e
}

// hasLibrary looks for a library as ld.so does: in the folders that the file
// names, then in those that are built into Debian's ld.so.
func (c *checker) hasLibrary(file, lib string, search []string) bool {
	if strings.Contains(lib, "/") {
		return c.loadable(lib)
	}
	origin := "/" + path.Dir(file)
	vars := strings.NewReplacer("$ORIGIN", origin, "${ORIGIN}", origin, "$LIB", "lib/"+c.triplet, "${LIB}", "lib/"+c.triplet)
	for _, dir := range search {
		if dir != "" && c.loadable(path.Join(vars.Replace(dir), lib)) {
			return true
		}
	}
	for _, dir := range []string{"lib/" + c.triplet, "usr/lib/" + c.triplet, "lib", "usr/lib"} {
		if c.loadable(path.Join(dir, lib)) {
			return true
		}
	}
	return false
}

// loadable reports whether a path leads to an ELF file for the right machine.
func (c *checker) loadable(name string) bool {
	name = strings.TrimPrefix(path.Clean(name), "/")
	at, err := c.resolve(name)
	if err != nil {
		return false
	}
	ok, known := c.machines[at]
	if known {
		return ok
	}
	if info, err := fs.Lstat(c.fsys, at); err == nil && info.Mode().IsRegular() {
		e, err := c.readELF(at)
		ok = err == nil && e != nil && e.machine == elfMachines[c.opt.Arch]
	}
	c.machines[at] = ok
	return ok
}
