package kernel

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Builtin is a driver that is part of the kernel image: what modules.builtin
// and modules.builtin.modinfo of the kernel's build say about it. Up to 6.12 at
// least that is without the ids of the devices that it drives.
type Builtin struct {
	Path     string   `json:"path"` // as the module would be called: "kernel/drivers/nvme/host/nvme.ko"
	Name     string   `json:"name"`
	Aliases  []string `json:"aliases,omitempty"`
	Firmware []string `json:"firmware,omitempty"`
}

// readBuiltins reads modules.builtin and modules.builtin.modinfo of the
// modules' folder; a kernel without the files has no builtins that we know of.
func readBuiltins(dir fs.FS) ([]Builtin, error) {
	paths, err := readLines(dir, "modules.builtin")
	if err != nil {
		return nil, err
	}
	var list []Builtin
	byName := map[string]int{}
	for _, p := range paths {
		name, err := moduleName(p)
		if err != nil {
			return nil, fmt.Errorf("modules.builtin: %w", err)
		}
		byName[name] = len(list)
		list = append(list, Builtin{Path: p, Name: name})
	}
	info, err := readSmall(dir, "modules.builtin.modinfo")
	if err != nil {
		return nil, err
	}
	// The strings are those of .modinfo, with the module's name before: "nvme.alias=pci:..".
	for pair := range strings.SplitSeq(string(info), "\x00") {
		name, pair, _ := strings.Cut(pair, ".")
		key, value, ok := strings.Cut(pair, "=")
		i, known := byName[normalName(name)]
		if !ok || !known {
			continue
		}
		if err := list[i].set(key, value); err != nil {
			return nil, fmt.Errorf("modules.builtin.modinfo: %s: %w", name, err)
		}
	}
	return list, nil
}

func (b *Builtin) set(key, value string) error {
	switch key {
	case "alias":
		return appendLine(&b.Aliases, key, value)
	case "firmware":
		return appendLine(&b.Firmware, key, value)
	}
	return nil
}

// maxList bounds modules.order and its like: Debian's largest has 180 KiB.
const maxList = 16 << 20

// readSmall reads a file of the modules' folder; nil if there is none.
func readSmall(dir fs.FS, name string) ([]byte, error) {
	f, err := dir.Open(name)
	if isNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f, path.Base(name), maxList)
}

func readLines(dir fs.FS, name string) ([]string, error) {
	b, err := readSmall(dir, name)
	if err != nil {
		return nil, err
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines, nil
}
