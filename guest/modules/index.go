package modules

import (
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"hooksmith/guest/modalias"
)

// maxIndex bounds each of depmod's files. modules.alias of Debian's full kernel has 1.6 MB.
const maxIndex = 32 << 20

// index knows the modules of one kernel release: where each is and what it needs before itself.
type index struct {
	dir  string
	deps map[string]entry
}

// entry is a line of modules.dep, with paths relative to the folder of the release.
type entry struct {
	path string
	deps string // paths separated by spaces
}

// openIndex reads modules.dep of the folder of a kernel release.
func openIndex(dir string) (*index, error) {
	text, err := readText(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("reading the list of kernel modules: %w", err)
	}
	return &index{dir: dir, deps: parseDeps(text)}, nil
}

func parseDeps(text string) map[string]entry {
	deps := make(map[string]entry, strings.Count(text, "\n"))
	for line := range strings.Lines(text) {
		file, needs, ok := strings.Cut(strings.TrimSpace(line), ":")
		if ok && file != "" {
			deps[modalias.ModuleOf(file)] = entry{path: file, deps: strings.TrimSpace(needs)}
		}
	}
	return deps
}

// needs are the names of the modules that name depends on directly or not, as modules.dep has them.
func (x *index) needs(name string) []string {
	var names []string
	for file := range strings.FieldsSeq(x.deps[name].deps) {
		names = append(names, modalias.ModuleOf(file))
	}
	return names
}

// file is the full path of a module, "" if there is none of that name.
func (x *index) file(name string) string {
	e, ok := x.deps[name]
	switch {
	case !ok:
		return ""
	case path.IsAbs(e.path):
		return e.path
	}
	return filepath.Join(x.dir, e.path)
}

// aliases is the text of modules.alias. It is read again for each batch: it is large, and after boot seldom needed.
func (x *index) aliases() string {
	text, _ := readText(filepath.Join(x.dir, "modules.alias"))
	return text
}

// builtin says whether a module is part of the kernel image.
func (x *index) builtin(name string) bool {
	text, _ := readText(filepath.Join(x.dir, "modules.builtin"))
	for line := range strings.Lines(text) {
		if modalias.ModuleOf(strings.TrimSpace(line)) == name {
			return true
		}
	}
	return false
}

func readText(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var b strings.Builder
	if info, err := f.Stat(); err == nil && info.Size() <= maxIndex {
		b.Grow(int(info.Size()))
	}
	if _, err := io.Copy(&b, io.LimitReader(f, maxIndex)); err != nil {
		return "", err
	}
	return b.String(), nil
}
