package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"

	"github.com/therootcompany/xz"
)

// maxMakefile bounds one Makefile; the kernel's own has 70 KB.
const maxMakefile = 4 << 20

// readMakefiles goes through a source archive (tar.xz) and returns which
// symbol builds which module.
func readMakefiles(r io.Reader) (map[string]string, error) {
	z, err := xz.NewReader(r, 0)
	if err != nil {
		return nil, err
	}
	symbols := map[string]string{}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return symbols, nil
		}
		if err != nil {
			return nil, err
		}
		_, name, _ := strings.Cut(strings.TrimPrefix(path.Clean("/"+h.Name), "/"), "/")
		if base := path.Base(name); base != "Makefile" && base != "Kbuild" {
			continue
		}
		b, err := io.ReadAll(io.LimitReader(t, maxMakefile))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		addMakefile(symbols, path.Dir(name), string(b))
	}
}

// object is a line that makes a module or part of the kernel, as kbuild's
// documentation has it: obj-$(CONFIG_ICE) += ice.o
var (
	object    = regexp.MustCompile(`^obj-\$\((?:subst m,y,\$\()?(CONFIG_[A-Za-z0-9_]+)\)+\s*[:+]?=\s*(.*)$`)
	continued = regexp.MustCompile(`\\\r?\n`)
)

// addMakefile notes the symbols of the modules that a Makefile in dir builds.
// The first symbol counts for a module that several select.
func addMakefile(symbols map[string]string, dir, text string) {
	for line := range strings.Lines(continued.ReplaceAllString(text, " ")) {
		line, _, _ = strings.Cut(line, "#")
		m := object.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		for word := range strings.FieldsSeq(m[2]) {
			if name, ok := strings.CutSuffix(word, ".o"); ok {
				if p := path.Join(dir, name); symbols[p] == "" {
					symbols[p] = m[1]
				}
			}
		}
	}
}
