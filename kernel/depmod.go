package kernel

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"
)

// File is a generated file.
type File struct {
	Path string // in the modules' folder, as Module.Path
	Data []byte
}

// Files generates what depmod would write about the selected modules, in
// depmod's text formats, which busybox's and our own modprobe read:
// modules.dep, modules.alias, modules.softdep, modules.devname; and the lists
// of the kernel's build, modules.builtin as it is and modules.order cut down.
//
// modules.builtin.alias has the aliases of built-in drivers in the form of
// modules.alias (depmod has these in binary only): who looks for "fs-ext4" or
// "crypto-sha256" finds that nothing has to be loaded. The device tables of
// built-in drivers are among them only with kernels whose
// modules.builtin.modinfo has them; that of 6.12 does not.
//
// Not written: modules.symbols, which serves `modprobe symbol:NAME` alone (the
// kernel asks for modules by name or alias, never by symbol, and depends= has
// resolved the symbols already); the *.bin tries of libkmod, which nothing in
// HookOS reads.
func (s *Selection) Files() ([]File, error) {
	ordered := s.ordered()
	dep, err := s.dep(ordered)
	if err != nil {
		return nil, err
	}
	files := []File{
		{"modules.alias", aliasFile(ordered)},
		{"modules.builtin", s.builtinFile()},
		{"modules.builtin.alias", s.builtinAliasFile()},
		{"modules.dep", dep},
		{"modules.devname", devnameFile(ordered)},
		{"modules.order", orderFile(ordered)},
		{"modules.softdep", softdepFile(ordered)},
	}
	if weak := weakdepFile(ordered); weak != nil {
		files = append(files, File{"modules.weakdep", weak})
	}
	return files, nil
}

// ordered is the modules in the order of modules.order, which is that of the
// Makefiles: when several have the same alias, modprobe takes them in this
// order. Those that it does not list come last, by path.
func (s *Selection) ordered() []*Module {
	rank := map[string]int{}
	for i, line := range s.Index.Order {
		rank[strings.TrimSuffix(line, ".ko")] = i
	}
	place := func(m *Module) int {
		stem, _ := moduleStem(m.Path)
		if i, ok := rank[stem]; ok {
			return i
		}
		return len(s.Index.Order)
	}
	list := make([]*Module, len(s.Modules))
	for i, m := range s.Modules {
		list[i] = m.Module
	}
	slices.SortStableFunc(list, func(a, b *Module) int { return place(a) - place(b) })
	return list
}

// dep writes modules.dep: each module with all that it needs, directly or not;
// what is further to the right has to be loaded first.
func (s *Selection) dep(ordered []*Module) ([]byte, error) {
	d := depWriter{modules: map[string]*Module{}, needs: map[string][]*Module{}}
	for _, m := range ordered {
		d.modules[m.Name] = m
	}
	var b bytes.Buffer
	for _, m := range ordered {
		needs, err := d.closure(m, nil)
		if err != nil {
			return nil, err
		}
		b.WriteString(m.Path + ":")
		for _, need := range slices.Backward(needs) {
			b.WriteString(" " + need.Path)
		}
		b.WriteByte('\n')
	}
	return b.Bytes(), nil
}

type depWriter struct {
	modules map[string]*Module
	needs   map[string][]*Module // closures that are done
}

// maxNeeds bounds what a module needs; in Debian's kernels it is 30 at most.
const maxNeeds = 256

// closure lists what m needs in the order of loading: dependencies first. way
// holds the names that led to m.
func (d *depWriter) closure(m *Module, way []string) ([]*Module, error) {
	if done, ok := d.needs[m.Name]; ok {
		return done, nil
	}
	if i := slices.Index(way, m.Name); i >= 0 {
		return nil, fmt.Errorf("modules depend on each other in a circle and cannot be loaded: %s", strings.Join(append(way[i:], m.Name), " -> "))
	}
	if way = append(way, m.Name); len(way) > maxNeeds {
		return nil, fmt.Errorf("module %s needs more than %d others", way[0], maxNeeds)
	}
	var list []*Module
	seen := map[string]bool{}
	for _, name := range m.Depends {
		dep, ok := d.modules[name]
		if !ok {
			continue // built in: Select has checked it
		}
		needs, err := d.closure(dep, way)
		if err != nil {
			return nil, err
		}
		for _, n := range append(slices.Clip(needs), dep) {
			if !seen[n.Name] {
				seen[n.Name] = true
				list = append(list, n)
			}
		}
	}
	if len(list) > maxNeeds {
		return nil, fmt.Errorf("module %s needs more than %d others", m.Name, maxNeeds)
	}
	d.needs[m.Name] = list
	return list, nil
}

func aliasFile(ordered []*Module) []byte {
	b := bytes.NewBufferString("# Aliases extracted from modules themselves.\n")
	for _, m := range ordered {
		for _, alias := range m.Aliases {
			fmt.Fprintf(b, "alias %s %s\n", alias, m.Name)
		}
	}
	return b.Bytes()
}

func softdepFile(ordered []*Module) []byte {
	b := bytes.NewBufferString("# Soft dependencies extracted from modules themselves.\n")
	for _, m := range ordered {
		for _, line := range m.Softdeps {
			fmt.Fprintf(b, "softdep %s %s\n", m.Name, line)
		}
	}
	return b.Bytes()
}

// weakdepFile is written by kmod 33 and newer, and only needed by those who
// copy single modules out of a tree; nil if no module has any.
func weakdepFile(ordered []*Module) []byte {
	var b bytes.Buffer
	for _, m := range ordered {
		for _, line := range m.Weakdeps {
			if b.Len() == 0 {
				b.WriteString("# Weak dependencies extracted from modules themselves.\n")
			}
			fmt.Fprintf(&b, "weakdep %s %s\n", m.Name, line)
		}
	}
	return b.Bytes()
}

// devnameFile lists the device nodes that must exist before their module is
// loaded, so that opening them loads it: "tun net/tun c10:200".
func devnameFile(ordered []*Module) []byte {
	b := bytes.NewBufferString("# Device nodes to trigger on-demand module loading.\n")
	for _, m := range ordered {
		var name, node string
		for _, alias := range m.Aliases {
			var major, minor uint
			if rest, ok := strings.CutPrefix(alias, "devname:"); ok {
				name = rest
			} else if n, _ := fmt.Sscanf(alias, "char-major-%d-%d", &major, &minor); n == 2 {
				node = fmt.Sprintf("c%d:%d", major, minor)
			} else if n, _ := fmt.Sscanf(alias, "block-major-%d-%d", &major, &minor); n == 2 {
				node = fmt.Sprintf("b%d:%d", major, minor)
			}
			if name != "" && node != "" {
				fmt.Fprintf(b, "%s %s %s\n", m.Name, name, node)
				break
			}
		}
	}
	return b.Bytes()
}

func orderFile(ordered []*Module) []byte {
	var b bytes.Buffer
	for _, m := range ordered {
		stem, _ := moduleStem(m.Path)
		b.WriteString(stem + ".ko\n")
	}
	return b.Bytes()
}

func (s *Selection) builtinFile() []byte {
	var b bytes.Buffer
	for _, driver := range s.Index.Builtin {
		b.WriteString(driver.Path + "\n")
	}
	return b.Bytes()
}

func (s *Selection) builtinAliasFile() []byte {
	b := bytes.NewBufferString("# Aliases of drivers that are built into the kernel.\n")
	for _, driver := range s.Index.Builtin {
		for _, alias := range driver.Aliases {
			fmt.Fprintf(b, "alias %s %s\n", alias, driver.Name)
		}
	}
	return b.Bytes()
}

// Dir is the folder of the modules and the generated files in an initramfs
// after usr-merge.
func (s *Selection) Dir() string { return path.Join("usr/lib/modules", s.Index.Release) }
