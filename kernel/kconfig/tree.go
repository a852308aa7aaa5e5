package kconfig

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/agnivade/levenshtein"
)

// Pos is a line of a Kconfig file or Makefile.
type Pos struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

func (p Pos) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// Type is what values a symbol takes.
type Type uint8

// The types of Kconfig. A symbol that is only mentioned has none.
const (
	Untyped Type = iota
	Bool
	Tristate
	String
	Int
	Hex
)

func (t Type) String() string {
	return [...]string{"of no type", "a bool", "a tristate", "a string", "an int", "a hex number"}[t]
}

// Tree is what a kernel's Kconfig files say for one architecture.
type Tree struct {
	Symbols map[string]*Symbol
	Choices []*Choice
	Files   []string // that were read, in this order
	// Unknown are the lines that are not of the language as we know it. They
	// are passed over: a newer kernel may have a word more.
	Unknown []string
}

// Symbol is a configuration symbol with all that is said of it.
type Symbol struct {
	Name     string
	Type     Type
	Defs     []*Def
	Selects  []Select // by this symbol
	Selected []Select // by others: this one is at least as much as they are
	Implied  []Select // by others: this one is so by default
}

// Def is one `config` entry; a symbol may have several.
type Def struct {
	Pos      Pos
	Prompt   string // empty: nobody can set it here
	PromptIf *Expr
	Depends  []Dep // its own; Conditions adds those of the menus around it
	Defaults []Default
	Ranges   []Range
	Choice   *Choice
	scope    *scope
}

// Dep is a condition and the line that makes it.
type Dep struct {
	Expr *Expr
	Pos  Pos
}

// Default is a value that a symbol has unless somebody sets it.
type Default struct {
	Value *Expr
	If    *Expr
	Pos   Pos
}

// Range bounds an int or hex symbol.
type Range struct {
	Low, High *Expr
	If        *Expr
	Pos       Pos
}

// Select is a `select` or `imply` line: By turns Target on.
type Select struct {
	By, Target string
	If         *Expr
	Pos        Pos
	def        *Def
}

// Choice is a group of symbols of which one is on.
type Choice struct {
	Pos     Pos
	Prompt  string
	Members []string
}

// scope is a menu, an if or a choice: what it says holds for all inside.
type scope struct {
	outer   *scope
	depends []Dep
	visible []Dep // only prompts need these
	choice  *Choice
	end     string // the word that closes it
	pos     Pos
}

// Conditions are all dependencies of the entry: those of the menus around it,
// outermost first, then its own.
func (d *Def) Conditions() []Dep {
	var all []Dep
	for s := d.scope; s != nil; s = s.outer {
		all = append(slices.Clone(s.depends), all...)
	}
	return append(all, d.Depends...)
}

// prompting are the conditions for the prompt to be shown.
func (d *Def) prompting() []Dep {
	var all []Dep
	for s := d.scope; s != nil; s = s.outer {
		all = append(slices.Clone(s.visible), all...)
	}
	all = append(all, d.Conditions()...)
	if d.PromptIf != nil {
		all = append(all, Dep{d.PromptIf, d.Pos})
	}
	return all
}

// Prompts tells whether somebody can set the symbol, given its dependencies.
func (s *Symbol) Prompts() bool {
	return slices.ContainsFunc(s.Defs, func(d *Def) bool { return d.Prompt != "" })
}

// Pos is where the symbol is first defined.
func (s *Symbol) Pos() Pos {
	if len(s.Defs) == 0 {
		return Pos{}
	}
	return s.Defs[0].Pos
}

// choice is the choice that the symbol is a member of, if any.
func (s *Symbol) choice() *Choice {
	for _, d := range s.Defs {
		if d.Choice != nil {
			return d.Choice
		}
	}
	return nil
}

// Near lists at most three names of symbols that look like name, nearest first.
func (t *Tree) Near(name string) []string {
	return nearest(name, func(yield func(string) bool) {
		for known, s := range t.Symbols {
			if len(s.Defs) > 0 && !yield(known) {
				return
			}
		}
	})
}

// nearest finds at most three names within a third of the letters.
func nearest(name string, names func(yield func(string) bool)) []string {
	type near struct {
		name     string
		distance int
	}
	var found []near
	limit := min(3, 1+len(name)/3)
	for known := range names {
		if d := len(known) - len(name); d > limit || d < -limit {
			continue
		}
		if d := levenshtein.ComputeDistance(name, known); d <= limit && d < len(known) {
			found = append(found, near{known, d})
		}
	}
	slices.SortFunc(found, func(a, b near) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	var result []string
	for _, n := range found[:min(3, len(found))] {
		result = append(result, n.name)
	}
	return result
}

func comparePos(a, b Pos) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
}
