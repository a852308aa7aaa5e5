package kconfig

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Modules are the objects that a kernel's Makefiles build by configuration.
type Modules struct {
	drivers map[string][]*Driver // by module name
	parts   map[string][]string  // object file -> the modules that it is linked into
	gates   map[string][]gate    // folder -> the lines that enter it
}

// Driver is a line of a Makefile that builds a module.
type Driver struct {
	Name    string   // as lsmod has it: be2net, snd_hda_intel
	File    string   // as the module file is called, without .ko
	Symbols []string // all have to be on; empty if it is always built
	At      Pos
}

// gate is a line that makes kbuild enter a folder.
type gate struct {
	symbols []string // all have to be on
	at      Pos
}

// ParseMakefiles reads the Makefiles (and Kbuild files) of a kernel's source.
// Of the folders below arch/ it reads only srcArch.
func ParseMakefiles(source fs.FS, srcArch string) (*Modules, error) {
	m := &Modules{drivers: map[string][]*Driver{}, parts: map[string][]string{}, gates: map[string][]gate{}}
	total, files := 0, 0
	err := fs.WalkDir(source, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if foreign(name, srcArch) {
				return fs.SkipDir
			}
			return nil
		}
		if base := path.Base(name); base != "Makefile" && base != "Kbuild" || !d.Type().IsRegular() {
			return nil
		}
		text, err := readFile(source, name)
		if err != nil {
			return err
		}
		if total, files = total+len(text), files+1; total > maxTotal || files > maxSources {
			return errors.New("more Makefiles than a kernel has")
		}
		m.makefile(name, text, srcArch)
		return nil
	})
	return m, err
}

// foreign folders have nothing that this kernel is built from.
func foreign(name, srcArch string) bool {
	top, below, _ := strings.Cut(name, "/")
	switch top {
	case "Documentation", "tools", "scripts", "LICENSES", ".git":
		return true
	case "arch":
		arch, _, _ := strings.Cut(below, "/")
		return arch != "" && arch != srcArch
	}
	return false
}

// makefile reads one file: its assignments, and the conditionals around them.
func (m *Modules) makefile(name, text, srcArch string) {
	var conditions []condition
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		at := Pos{name, i + 1}
		line := lines[i]
		for strings.HasSuffix(line, "\\") && i+1 < len(lines) && len(line) < maxMacroText {
			i++
			line = strings.TrimSuffix(line, "\\") + " " + lines[i]
		}
		if strings.HasPrefix(line, "\t") && !strings.Contains(line, "=") {
			continue // a recipe
		}
		line, _, _ = strings.Cut(line, "#")
		line = strings.ReplaceAll(strings.TrimSpace(line), "$(SRCARCH)", srcArch)
		if next, ok := conditional(conditions, line); ok {
			conditions = next
			continue
		}
		left, right, ok := makeAssignment(line)
		if !ok {
			continue
		}
		var around []string
		for _, c := range conditions {
			around = append(around, c.symbols...)
		}
		m.assignment(at, left, strings.Fields(right), around)
	}
}

// condition is an open ifdef, ifeq or the like: the symbols that have to be
// on for it to hold, as far as that is plain.
type condition struct{ symbols []string }

// conditional does ifdef, else, endif and their relatives.
func conditional(open []condition, line string) ([]condition, bool) {
	word, rest, _ := strings.Cut(line, " ")
	if paren := strings.IndexByte(word, '('); paren > 0 { // ifeq(a,b)
		word, rest = word[:paren], line[paren:]
	}
	switch word {
	case "ifdef", "ifeq", "ifneq", "ifndef":
		if len(open) < maxScopes {
			open = append(slices.Clone(open), condition{holds(word, strings.TrimSpace(rest))})
		}
		return open, true
	case "else":
		if len(open) > 0 {
			word, rest, _ = strings.Cut(strings.TrimSpace(rest), " ")
			open = append(slices.Clone(open[:len(open)-1]), condition{holds(word, strings.TrimSpace(rest))})
		}
		return open, true
	case "endif":
		return open[:max(len(open)-1, 0)], true
	}
	return open, false
}

// holds names the symbol that has to be on for a conditional, if it is plain.
func holds(word, rest string) []string {
	compact := strings.ReplaceAll(rest, " ", "")
	symbols := configNames(compact)
	if len(symbols) != 1 {
		return nil
	}
	switch {
	case word == "ifdef",
		word == "ifeq" && (strings.HasSuffix(compact, ",y)") || strings.HasSuffix(compact, ",m)") || strings.HasPrefix(compact, "(y,")),
		word == "ifneq" && strings.HasSuffix(compact, ",)"):
		return symbols
	}
	return nil
}

// configNames finds what follows CONFIG_ in s.
func configNames(s string) []string {
	var names []string
	for {
		_, after, ok := strings.Cut(s, "CONFIG_")
		if !ok {
			return names
		}
		end := 0
		for end < len(after) && validName(after[end:end+1]) {
			end++
		}
		if end > 0 {
			names = append(names, after[:end])
		}
		s = after[end:]
	}
}

// makeAssignment splits NAME += words; the name may hold $(...).
func makeAssignment(line string) (left, right string, ok bool) {
	i := 0
	for i < len(line) && !strings.ContainsRune(" \t=:+?", rune(line[i])) {
		if strings.HasPrefix(line[i:], "$(") {
			end := closing(line, i+1)
			if end < 0 {
				return "", "", false
			}
			i = end
		}
		i++
	}
	rest := strings.TrimLeft(line[i:], " \t")
	for _, op := range []string{"+=", ":=", "?=", "="} {
		if right, found := strings.CutPrefix(rest, op); found && i > 0 {
			return line[:i], right, true
		}
	}
	return "", "", false
}

// assignment notes what a line adds: modules and folders to obj-, objects to
// a module that is linked from several (foo-objs, foo-y, foo-$(CONFIG_X)).
func (m *Modules) assignment(at Pos, left string, words, around []string) {
	dash := suffixDash(left)
	if dash < 0 {
		return
	}
	target, when := left[:dash], left[dash+1:]
	symbols := slices.Concat(around, configNames(when))
	switch {
	case len(configNames(when)) == 0 && when != "y" && when != "m" && when != "objs":
		return
	case target == "obj", isArchMakefile(at.File) && slices.Contains([]string{"core", "drivers", "libs", "net"}, target):
		for _, word := range words {
			m.object(at, word, symbols)
		}
	default:
		for _, word := range words {
			if part, ok := strings.CutSuffix(word, ".o"); ok && len(m.parts[moduleName(part)]) < 64 {
				m.parts[moduleName(part)] = append(m.parts[moduleName(part)], moduleName(target))
			}
		}
	}
}

// suffixDash is the dash before -y, -m, -objs or -$(...).
func suffixDash(left string) int {
	if i := strings.Index(left, "$"); i >= 0 {
		left = left[:i]
	}
	return strings.LastIndexByte(left, '-')
}

// Makefiles of an architecture name folders from the top of the source.
func isArchMakefile(name string) bool {
	return strings.HasPrefix(name, "arch/") && strings.Count(name, "/") == 2
}

func (m *Modules) object(at Pos, word string, symbols []string) {
	dir := path.Dir(at.File)
	if folder, ok := strings.CutSuffix(word, "/"); ok {
		if !strings.HasPrefix(folder, "arch/") {
			folder = path.Join(dir, folder)
		}
		m.gates[folder] = append(m.gates[folder], gate{symbols, at})
		return
	}
	file, ok := strings.CutSuffix(word, ".o")
	if !ok || strings.ContainsAny(file, "$()") {
		return
	}
	name := moduleName(file)
	m.drivers[name] = append(m.drivers[name], &Driver{name, path.Base(file), symbols, at})
}

// moduleName is a module's name as the kernel spells it.
func moduleName(file string) string {
	return strings.ReplaceAll(path.Base(file), "-", "_")
}
