package kconfig

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Step is something to set, and the symbol that needs it.
type Step struct {
	Assignment
	For string // empty for the symbol that was asked for
}

// maxSteps bounds the search; a driver takes a handful.
const maxSteps = 2000

// neverChosen are the ways out of a dependency that no running system takes.
var neverChosen = []string{"COMPILE_TEST", "BROKEN", "EXPERT"}

// Enable says what has to be set in c so that the symbol is at least want: it
// and what it depends on, outermost first. It follows only what is plainly
// determined: if either of two symbols would do, the error names both.
func (t *Tree) Enable(c Config, name string, want Tri) ([]Step, error) {
	s := &solver{tree: t, config: c.Clone(), left: new(int)}
	*s.left = maxSteps
	if err := s.raise(name, want, ""); err != nil {
		return nil, err
	}
	return s.steps, nil
}

// solver tries; a copy of it is one way to go on.
type solver struct {
	tree   *Tree
	config Config
	steps  []Step
	active []string // being raised, to see circles
	left   *int
}

func (s *solver) fork() *solver {
	return &solver{s.tree, s.config.Clone(), slices.Clone(s.steps), slices.Clone(s.active), s.left}
}

// raise makes a symbol at least want.
func (s *solver) raise(name string, want Tri, wanted string) error {
	if *s.left--; *s.left < 0 {
		return errors.New("what it depends on is too much to follow")
	}
	if s.tree.tri(name, s.config) >= want {
		return nil
	}
	sym := s.tree.Symbols[name]
	if sym == nil {
		r := &Reason{Symbol: name, Want: want.String(), Why: "this kernel has no such symbol (for this architecture)"}
		if wanted == "" {
			r.Near = s.tree.Near(name)
		}
		return r
	}
	if sym.Type != Bool && sym.Type != Tristate {
		return fmt.Errorf("CONFIG_%s is %s: it is neither on nor off (%s)", name, sym.Type, sym.Pos())
	}
	if slices.Contains(s.active, name) {
		return fmt.Errorf("CONFIG_%s depends on itself (%s)", name, sym.Pos())
	}
	s.active = append(s.active, name)
	defer func() { s.active = s.active[:len(s.active)-1] }()
	if sym.Type == Bool {
		want = Yes
	}
	if sym.Prompts() {
		return s.set(sym, want, wanted)
	}
	return s.derive(sym, want)
}

// set makes the prompt of a symbol visible, and answers it.
func (s *solver) set(sym *Symbol, want Tri, wanted string) error {
	need := want
	if sym.Type == Bool {
		need = Mod
	}
	var first error
	for _, d := range sym.Defs {
		if d.Prompt == "" {
			continue
		}
		try := s.fork()
		if err := try.satisfyAll(sym.Name, d.prompting(), need); err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		s.config, s.steps = try.config, try.steps
		s.steps = append(s.steps, Step{Assignment{sym.Name, want.String()}, wanted})
		s.turnOn(sym, want, 0)
		return nil
	}
	return first
}

// turnOn notes in the configuration that a symbol is on, and what it selects.
func (s *solver) turnOn(sym *Symbol, v Tri, depth int) {
	if s.tree.tri(sym.Name, s.config) >= v || depth > maxDepth {
		return
	}
	if sym.Type == Bool {
		v = Yes
	}
	s.config[sym.Name] = v.String()
	for _, sel := range sym.Selects {
		target := s.tree.Symbols[sel.Target]
		if target != nil && s.tree.eval(sel.If, s.config).hi > No {
			s.turnOn(target, v, depth+1)
		}
	}
}

// derive turns on a symbol that nobody can set: by its default, if only
// dependencies of it are missing, or by the one symbol that selects it.
func (s *solver) derive(sym *Symbol, want Tri) error {
	for _, d := range sym.Defs {
		for _, def := range d.Defaults {
			conditions := append(d.Conditions(), Dep{def.If, def.Pos}, Dep{def.Value, def.Pos})
			if try := s.fork(); try.satisfyAll(sym.Name, conditions, Mod) == nil {
				s.config, s.steps = try.config, try.steps
				s.turnOn(sym, want, 0)
				return nil
			}
		}
	}
	var ways []*solver
	for _, sel := range sym.Selected {
		try := s.fork()
		if try.satisfyAll(sym.Name, []Dep{{&Expr{Op: OpSymbol, Name: sel.By}, sel.Pos}, {sel.If, sel.Pos}}, want) == nil {
			ways = append(ways, try)
		}
	}
	if len(ways) != 1 {
		return fmt.Errorf("CONFIG_%s: %s", sym.Name, s.tree.whyNoPrompt(sym, s.config))
	}
	s.config, s.steps = ways[0].config, ways[0].steps
	s.turnOn(sym, want, 0)
	return nil
}

func (s *solver) satisfyAll(name string, conditions []Dep, need Tri) error {
	for _, dep := range conditions {
		if err := s.satisfy(dep.Expr, need, name); err != nil {
			return fmt.Errorf("CONFIG_%s depends on %s (%s): %w", name, dep.Expr, dep.Pos, err)
		}
	}
	return nil
}

// satisfy makes e at least need. What only the compiler knows is taken to hold.
func (s *solver) satisfy(e *Expr, need Tri, name string) error {
	if s.tree.eval(e, s.config).hi >= need {
		return nil
	}
	switch e.Op {
	case OpSymbol:
		if slices.Contains(neverChosen, e.Name) {
			return fmt.Errorf("CONFIG_%s is for developers of the kernel", e.Name)
		}
		return s.raise(e.Name, need, name)
	case OpAnd:
		if err := s.satisfy(e.L, need, name); err != nil {
			return err
		}
		return s.satisfy(e.R, need, name)
	case OpOr:
		return s.satisfyOne(e, need, name)
	case OpEqual:
		if v, ok := parseTri(e.R.Name); ok && v >= need && e.L.Op == OpSymbol {
			return s.raise(e.L.Name, v, name)
		}
	case OpUnequal:
		if e.R.Name == "n" && e.L.Op == OpSymbol {
			return s.raise(e.L.Name, Mod, name)
		}
	}
	var have []string
	e.symbols(func(name string) { have = append(have, name+" is "+s.tree.show(name, s.config)) })
	return errors.New(strings.Join(have, ", "))
}

// satisfyOne takes the operand of an || that can be had, if there is just one.
func (s *solver) satisfyOne(e *Expr, need Tri, name string) error {
	var ways []*solver
	var names []string
	var first error // of the operand that is written first: most often what is meant
	for _, operand := range alternatives(e) {
		try := s.fork()
		if err := try.satisfy(operand, need, name); err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		ways, names = append(ways, try), append(names, operand.String())
	}
	switch len(ways) {
	case 0:
		return first
	case 1:
		s.config, s.steps = ways[0].config, ways[0].steps
		return nil
	}
	return fmt.Errorf("%s would do: choose one", list(names, "or"))
}

// alternatives are the operands of nested ||.
func alternatives(e *Expr) []*Expr {
	if e.Op != OpOr {
		return []*Expr{e}
	}
	return append(alternatives(e.L), alternatives(e.R)...)
}
