package kernel

import (
	"cmp"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// ModuleFirmware is the firmware files of one module.
type ModuleFirmware struct {
	Module string   `json:"module"`
	Files  []string `json:"files"` // below /lib/firmware, sorted; may hold wildcards
}

// Firmware lists, by module, the firmware that the selected modules and the
// built-in drivers can ask for. A driver names the files of every device and
// version that it knows: a machine needs few of them.
func (s *Selection) Firmware() []ModuleFirmware {
	var list []ModuleFirmware
	for _, m := range s.Modules {
		list = appendFirmware(list, m.Name, m.Module.Firmware)
	}
	for _, b := range s.Index.Builtin {
		list = appendFirmware(list, b.Name, b.Firmware)
	}
	slices.SortFunc(list, func(a, b ModuleFirmware) int { return cmp.Compare(a.Module, b.Module) })
	return list
}

func appendFirmware(list []ModuleFirmware, module string, files []string) []ModuleFirmware {
	if len(files) == 0 {
		return list
	}
	files = slices.Clone(files)
	slices.Sort(files)
	return append(list, ModuleFirmware{module, slices.Compact(files)})
}

// FirmwareMissing lists those files of Firmware that the tree (the root of the
// initramfs) does not have where the kernel looks: /lib/firmware, with
// updates/ and the release before, plain or compressed with xz or zstd. A
// wildcard is satisfied by any file.
func (s *Selection) FirmwareMissing(tree fs.FS) []ModuleFirmware {
	var missing []ModuleFirmware
	for _, m := range s.Firmware() {
		m.Files = slices.DeleteFunc(m.Files, func(file string) bool { return hasFirmware(tree, s.Index.Release, file) })
		if len(m.Files) > 0 {
			missing = append(missing, m)
		}
	}
	return missing
}

func hasFirmware(tree fs.FS, release, file string) bool {
	for _, root := range []string{"usr/lib/firmware", "lib/firmware"} {
		for _, dir := range []string{path.Join("updates", release), "updates", release, "."} {
			for _, suffix := range []string{"", ".xz", ".zst"} {
				if hasFile(tree, path.Join(root, dir), file+suffix) {
					return true
				}
			}
		}
	}
	return false
}

func hasFile(tree fs.FS, dir, file string) bool {
	if !fs.ValidPath(file) {
		return false // "../x", "/x": the kernel refuses it too
	}
	name := path.Join(dir, file)
	if st, err := fs.Stat(tree, name); err == nil {
		return st.Mode().IsRegular()
	}
	if !strings.ContainsAny(file, "*?[") {
		return false
	}
	found, err := fs.Glob(tree, name)
	return err == nil && len(found) > 0
}

// Has reports whether the set is meant to bring the file (below /lib/firmware,
// as a module names it).
func (f *FirmwareSet) Has(file string) bool {
	return slices.ContainsFunc(f.Files, func(pattern string) bool {
		return matchSegments(strings.Split(pattern, "/"), strings.Split(file, "/"))
	})
}

// ForArch reports whether the package exists for the architecture.
func (f *FirmwareSet) ForArch(arch Arch) bool { return forArch(f.Arch, arch) }

// FirmwareSet looks a set up by the name that users say.
func (p *Policy) FirmwareSet(name string) (*FirmwareSet, bool) {
	i := slices.IndexFunc(p.Firmware, func(f FirmwareSet) bool { return f.Name == name })
	if i < 0 {
		return nil, false
	}
	return &p.Firmware[i], true
}

// FirmwareFor finds the set that brings a file which a module names; nil if no
// package of Debian's has it.
func (p *Policy) FirmwareFor(file string, arch Arch) *FirmwareSet {
	for i := range p.Firmware {
		if f := &p.Firmware[i]; f.ForArch(arch) && f.Has(file) {
			return f
		}
	}
	return nil
}
