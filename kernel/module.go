package kernel

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"
)

// Module is what one loadable module says of itself in its .modinfo section.
// The JSON form is part of the Index's; a change of meaning is a new
// indexVersion.
type Module struct {
	Path     string   `json:"path"`               // in the modules' folder, as stored: "kernel/fs/xfs/xfs.ko.xz"
	Name     string   `json:"name"`               // as the kernel lists it, with '_' for '-': "xfs"
	Size     int64    `json:"size"`               // bytes as stored
	Depends  []string `json:"depends,omitempty"`  // names of the modules whose symbols it uses
	Aliases  []string `json:"aliases,omitempty"`  // "pci:v00008086d00001593sv*..", "fs-xfs", in the module's order
	Softdeps []string `json:"softdeps,omitempty"` // "pre: crc32c", verbatim
	Weakdeps []string `json:"weakdeps,omitempty"` // loaded beside it on demand; told to no one, listed by depmod
	Firmware []string `json:"firmware,omitempty"` // file names below /lib/firmware, possibly with wildcards
	License  string   `json:"license,omitempty"`
	Vermagic string   `json:"vermagic,omitempty"`
	Params   []string `json:"params,omitempty"` // names of its parameters, sorted
}

// normalName is the form in which the kernel compares module names: the file
// virtio-rng.ko is the module virtio_rng.
func normalName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// moduleName derives a module's name from its path; ok is false for a path
// that cannot be one. A path with blanks, control characters or colons cannot
// stand in modules.dep, where they separate the fields.
func moduleName(p string) (string, error) {
	stem, ok := moduleStem(path.Base(p))
	if !ok || stem == "" {
		return "", fmt.Errorf("%q is no module file", p)
	}
	if i := strings.IndexFunc(p, notInPath); i >= 0 {
		return "", fmt.Errorf("module path %q: character %q cannot stand in modules.dep", p, p[i])
	}
	return normalName(stem), nil
}

func notInPath(r rune) bool {
	return r == ':' || r == unicode.ReplacementChar || unicode.IsSpace(r) || unicode.IsControl(r)
}

// builtWith is the kernel release of the vermagic: its first word.
func (m *Module) builtWith() string {
	release, _, _ := strings.Cut(m.Vermagic, " ")
	return release
}

// setInfo fills the fields of m from a .modinfo section: "key=value" strings,
// each ended by a zero byte.
func (m *Module) setInfo(info []byte) error {
	for pair := range strings.SplitSeq(string(bytes.TrimRight(info, "\x00")), "\x00") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			continue // padding between the sections of the objects linked together
		}
		if err := m.set(key, value); err != nil {
			return err
		}
	}
	slices.Sort(m.Params)
	m.Params = slices.Compact(m.Params)
	return nil
}

func (m *Module) set(key, value string) error {
	switch key {
	case "alias":
		return appendLine(&m.Aliases, key, value)
	case "softdep":
		return appendLine(&m.Softdeps, key, value)
	case "weakdep":
		return appendLine(&m.Weakdeps, key, value)
	case "firmware":
		return appendLine(&m.Firmware, key, value)
	case "depends":
		for name := range strings.SplitSeq(value, ",") {
			if name != "" {
				m.Depends = append(m.Depends, normalName(name))
			}
		}
	case "license":
		m.License = value
	case "vermagic":
		m.Vermagic = value
	case "parm", "parmtype":
		name, _, _ := strings.Cut(value, ":")
		m.Params = append(m.Params, name)
	}
	return nil
}

// appendLine takes a value that will become part of a line of a text file.
func appendLine(list *[]string, key, value string) error {
	if strings.IndexFunc(value, unicode.IsControl) >= 0 {
		return fmt.Errorf("%s %q holds a control character", key, value)
	}
	if value != "" {
		*list = append(*list, value)
	}
	return nil
}
