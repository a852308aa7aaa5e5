package kconfig

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Find lists the lines that build a module: by its name or its file's
// (be2net, snd-hda-intel, drivers/net/.../be2net.ko.xz). It is an error if no
// line does.
func (m *Modules) Find(name string) ([]*Driver, error) {
	base := path.Base(strings.TrimSpace(name))
	if i := strings.Index(base, ".ko"); i > 0 {
		base = base[:i]
	}
	key := moduleName(base)
	if found := m.drivers[key]; len(found) > 0 {
		return found, nil
	}
	r := &driverError{name: name}
	parts := slices.Clone(m.parts[key])
	slices.Sort(parts)
	for _, p := range slices.Compact(parts) {
		if len(m.drivers[p]) > 0 {
			r.partOf = append(r.partOf, p)
		}
	}
	r.near = nearest(key, maps.Keys(m.drivers))
	return nil, r
}

// driverError is a driver that no Makefile builds.
type driverError struct {
	name   string
	partOf []string
	near   []string
}

func (e *driverError) Error() string {
	if len(e.partOf) > 0 {
		return fmt.Sprintf("%s is no module of this kernel, but a part of %s", e.name, list(e.partOf, "and"))
	}
	return "no Makefile of this kernel builds a module of that name (for this architecture)"
}

// Hint names the drivers that may have been meant.
func (e *driverError) Hint() string {
	if near := append(slices.Clone(e.partOf), e.near...); len(near) > 0 {
		return "did you mean " + list(near, "or") + "?"
	}
	return "drivers outside the kernel's source are built by hooksmith kernel --external-module"
}

// Enable says what has to be set in c so that the module is built: the symbols
// of the Makefile's line, those of the lines that enter its folder, and what
// all of these depend on. Where several lines build a module of that name, it
// takes the one that can be had; if that are several, the error names them.
func (m *Modules) Enable(t *Tree, c Config, name string) ([]Step, *Driver, error) {
	found, err := m.Find(name)
	if err != nil {
		return nil, nil, err
	}
	var first error
	var best *Driver
	var steps []Step
	for _, d := range t.likeliest(found) {
		try, err := m.enable(t, c, d)
		switch {
		case err != nil:
			first = cmp.Or(first, fmt.Errorf("%s (%s): %w", d.Name, d.At, err))
		case len(try) == 0: // it is on already
			return nil, d, nil
		case best == nil:
			best, steps = d, try
		case fit(d) == fit(best) && !slices.Equal(d.Symbols, best.Symbols):
			return nil, nil, fmt.Errorf("%s is built by CONFIG_%s (%s) or by CONFIG_%s (%s): set the one that you mean",
				d.Name, strings.Join(best.Symbols, " and CONFIG_"), best.At, strings.Join(d.Symbols, " and CONFIG_"), d.At)
		}
	}
	if best == nil {
		return nil, nil, first
	}
	return steps, best, nil
}

// fit ranks lines for one module: a symbol of the same name says most.
func fit(d *Driver) int {
	for _, s := range d.Symbols {
		if strings.EqualFold(s, d.Name) {
			return 0
		}
	}
	return 1
}

// likeliest sorts lines by fit. What only a bool builds never becomes a
// module: such lines count if there are no others.
func (t *Tree) likeliest(drivers []*Driver) []*Driver {
	var modular []*Driver
	for _, d := range drivers {
		if slices.ContainsFunc(d.Symbols, func(name string) bool {
			s := t.Symbols[name]
			return s != nil && s.Type == Tristate
		}) {
			modular = append(modular, d)
		}
	}
	if len(modular) == 0 {
		modular = slices.Clone(drivers)
	}
	slices.SortStableFunc(modular, func(a, b *Driver) int { return cmp.Compare(fit(a), fit(b)) })
	return modular
}

func (m *Modules) enable(t *Tree, c Config, d *Driver) ([]Step, error) {
	s := &solver{tree: t, config: c.Clone(), left: new(int)}
	*s.left = maxSteps
	for _, symbol := range d.Symbols {
		if err := s.raise(symbol, Mod, ""); err != nil {
			return nil, err
		}
	}
	for dir := path.Dir(d.At.File); dir != "."; dir = path.Dir(dir) {
		if err := m.enter(s, dir); err != nil {
			return nil, err
		}
	}
	return s.steps, nil
}

// enter makes kbuild enter a folder.
func (m *Modules) enter(s *solver, dir string) error {
	gates := m.gates[dir]
	for _, g := range gates {
		if !slices.ContainsFunc(g.symbols, func(name string) bool { return s.tree.tri(name, s.config) == No }) {
			return nil
		}
	}
	var last error
	for _, g := range gates {
		try := s.fork()
		last = nil
		for _, symbol := range g.symbols {
			last = cmp.Or(last, try.raise(symbol, Mod, path.Base(dir)+"/"))
		}
		if last == nil {
			s.config, s.steps = try.config, try.steps
			return nil
		}
	}
	return last
}
