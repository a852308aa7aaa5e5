package kconfig

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Reason says why a symbol has not the value that was asked for. It is an error.
type Reason struct {
	Symbol string   `json:"symbol"`
	Want   string   `json:"want"`
	Have   string   `json:"have"`
	Why    string   `json:"why"` // the clause after "CONFIG_X=y did not stick: "
	Unmet  []Unmet  `json:"unmet,omitempty"`
	Near   []string `json:"near,omitempty"` // symbols that may have been meant
}

// Unmet is a condition that does not hold.
type Unmet struct {
	Needs string `json:"needs"` // the expression, as in the Kconfig file
	Have  string `json:"have"`  // "which is n", for the symbols in it
	At    Pos    `json:"at"`    // where it is required
}

func (r *Reason) Error() string {
	if r.Have == "" && len(r.Unmet) == 0 {
		return fmt.Sprintf("CONFIG_%s: %s", r.Symbol, r.Why)
	}
	return fmt.Sprintf("CONFIG_%s=%s did not stick, it is %s: %s", r.Symbol, r.Want, r.Have, r.Why)
}

// Hint is the next step, where one is known.
func (r *Reason) Hint() string {
	if len(r.Near) == 0 {
		return ""
	}
	return "did you mean CONFIG_" + strings.Join(r.Near, " or CONFIG_") + "?"
}

// Normalize brings a's value into the form of its symbol (a string into
// quotes) and checks what can be checked without the rest of a configuration.
// Errors are *Reason.
func (t *Tree) Normalize(a Assignment) (Assignment, error) {
	s := t.Symbols[a.Name]
	refuse := func(format string, args ...any) (Assignment, error) {
		return a, &Reason{Symbol: a.Name, Want: a.Value, Why: fmt.Sprintf(format, args...)}
	}
	if s == nil {
		return a, &Reason{Symbol: a.Name, Want: a.Value, Near: t.Near(a.Name),
			Why: "this kernel has no such symbol (for this architecture)"}
	}
	v, isTri := parseTri(a.Value)
	switch s.Type {
	case String:
		if !strings.HasPrefix(a.Value, `"`) {
			a.Value = Quote(a.Value)
		}
	case Bool:
		if !isTri || v == Mod {
			return refuse("%q is not y or n, and it is a bool (%s)", a.Value, s.Pos())
		}
	case Tristate:
		if !isTri {
			return refuse("%q is not y, m or n, and it is a tristate (%s)", a.Value, s.Pos())
		}
	case Int:
		if _, err := strconv.ParseInt(a.Value, 10, 64); err != nil {
			return refuse("%q is no whole number (%s)", a.Value, s.Pos())
		}
	case Hex:
		digits := strings.TrimPrefix(strings.TrimPrefix(a.Value, "0x"), "0X")
		if _, err := strconv.ParseUint(digits, 16, 64); err != nil {
			return refuse("%q is no hexadecimal number (%s)", a.Value, s.Pos())
		}
		a.Value = "0x" + digits
	}
	return a, nil
}

// Why says why the configuration c, which olddefconfig made, has not what a
// asks for; nil if it has.
func (t *Tree) Why(c Config, a Assignment) *Reason {
	a, err := t.Normalize(a)
	if err != nil {
		return err.(*Reason) //nolint:errorlint // Normalize has no others
	}
	s := t.Symbols[a.Name]
	have := c[a.Name]
	if have == a.Value || off(have) && a.Value == "n" {
		return nil
	}
	r := &Reason{Symbol: a.Name, Want: a.Value, Have: have}
	if have == "" {
		r.Have = "n"
	}
	if s.Type == Bool || s.Type == Tristate {
		t.whyTri(s, c, r)
		return r
	}
	if s.Type != String {
		if sameNumber(have, a.Value, s.Type) {
			return nil
		}
	}
	if have == "" {
		r.Have = "not there"
	}
	if t.whyHidden(s, c, No+1, r) || t.whyRange(s, c, r) {
		return r
	}
	r.Why = fmt.Sprintf("the kernel's own tools decided so (%s)", s.Pos())
	return r
}

func sameNumber(a, b string, t Type) bool {
	base := 10
	if t == Hex {
		base = 16
		a, b = strings.TrimPrefix(a, "0x"), strings.TrimPrefix(b, "0x")
	}
	x, errX := strconv.ParseInt(a, base, 64)
	y, errY := strconv.ParseInt(b, base, 64)
	return errX == nil && errY == nil && x == y
}

func (t *Tree) whyTri(s *Symbol, c Config, r *Reason) {
	want, _ := parseTri(r.Want)
	have := t.tri(s.Name, c)
	if want < have {
		t.whyMore(s, c, want, r)
		return
	}
	if choice := s.choice(); choice != nil {
		for _, other := range choice.Members {
			if other != s.Name && t.tri(other, c) == Yes && !t.hidden(s, c, Mod) {
				r.Why = fmt.Sprintf("it is one of the choice %q (%s), in which CONFIG_%s is on", choice.Prompt, choice.Pos, other)
				return
			}
		}
	}
	need := want
	if s.Type == Bool {
		need = Mod // a bool is y as soon as what it depends on is m
	}
	if t.whyHidden(s, c, need, r) {
		return
	}
	if want == Mod && t.tri("MODULES", c) == No {
		r.Why = "this kernel has no modules (CONFIG_MODULES is not set)"
		return
	}
	r.Why = fmt.Sprintf("the kernel's own tools decided so, by something that the compiler tells (%s)", s.Pos())
}

// whyMore: the symbol is more than was asked for.
func (t *Tree) whyMore(s *Symbol, c Config, want Tri, r *Reason) {
	var by []string
	for _, sel := range s.Selected {
		if min(t.tri(sel.By, c), t.eval(sel.If, c).hi) > want {
			by = append(by, fmt.Sprintf("CONFIG_%s, which is %s (%s)", sel.By, t.tri(sel.By, c), sel.Pos))
		}
	}
	switch {
	case len(by) > 0:
		r.Why = "it is selected by " + list(atMost(by, 5), "and")
	case s.choice() != nil:
		choice := s.choice()
		r.Why = fmt.Sprintf("one of the choice %q has to be on (%s): turn on another, of CONFIG_%s",
			choice.Prompt, choice.Pos, strings.Join(choice.Members, ", CONFIG_"))
	case t.hidden(s, c, Mod):
		r.Why = "nobody can set it here, " + t.defaultOf(s, c)
	default:
		r.Why = fmt.Sprintf("the kernel's own tools decided so (%s)", s.Pos())
	}
}

// defaultOf says where the value comes from that nobody set.
func (t *Tree) defaultOf(s *Symbol, c Config) string {
	for _, d := range s.Defs {
		for _, def := range d.Defaults {
			if t.eval(def.If, c).hi > No {
				return fmt.Sprintf("and its default is %s (%s)", def.Value, def.Pos)
			}
		}
	}
	return fmt.Sprintf("and it has no default (%s)", s.Pos())
}

// hidden tells whether no prompt of s lets it be set to need.
func (t *Tree) hidden(s *Symbol, c Config, need Tri) bool {
	return !slices.ContainsFunc(s.Defs, func(d *Def) bool {
		if d.Prompt == "" {
			return false
		}
		for _, dep := range d.prompting() {
			if t.eval(dep.Expr, c).hi < need {
				return false
			}
		}
		return true
	})
}

// whyHidden fills r if no prompt lets the symbol be set to need: the
// conditions of the entry that is nearest to it.
func (t *Tree) whyHidden(s *Symbol, c Config, need Tri, r *Reason) bool {
	if !t.hidden(s, c, need) {
		return false
	}
	if !s.Prompts() {
		r.Why = t.whyNoPrompt(s, c)
		return true
	}
	for _, d := range s.Defs {
		if d.Prompt == "" {
			continue
		}
		var unmet []Unmet
		for _, dep := range d.prompting() {
			unmet = append(unmet, t.unmet(dep.Expr, dep.Pos, c, need)...)
		}
		if r.Unmet == nil || len(unmet) < len(r.Unmet) {
			r.Unmet = unmet
		}
	}
	var parts []string
	for _, u := range r.Unmet {
		parts = append(parts, u.String())
	}
	r.Why = "it depends on " + list(parts, "and on")
	return true
}

func (u Unmet) String() string { return fmt.Sprintf("%s, %s (%s)", u.Needs, u.Have, u.At) }

// unmet takes apart what of e is less than need: all operands of an && that
// are, but an || as a whole.
func (t *Tree) unmet(e *Expr, at Pos, c Config, need Tri) []Unmet {
	if t.eval(e, c).hi >= need {
		return nil
	}
	if e.Op == OpAnd {
		return append(t.unmet(e.L, at, c, need), t.unmet(e.R, at, c, need)...)
	}
	var have []string
	e.symbols(func(name string) {
		if _, isValue := parseTri(name); isValue && t.Symbols[name] == nil {
			return
		}
		text := name + " is " + t.show(name, c)
		if e.Op == OpSymbol {
			text = "which is " + t.show(name, c)
		}
		if !slices.Contains(have, text) {
			have = append(have, text)
		}
	})
	if len(have) == 0 {
		have = []string{"which never holds"}
	}
	return []Unmet{{e.String(), list(have, "and"), at}}
}

// show is a symbol's value for people.
func (t *Tree) show(name string, c Config) string {
	s := t.Symbols[name]
	if s == nil {
		if strings.Trim(name, "0123456789") == "" {
			return "a number"
		}
		return "no symbol of this kernel (for this architecture)"
	}
	if value, ok := c[name]; ok {
		return value
	}
	if s.Type == Bool || s.Type == Tristate {
		return "n"
	}
	return "not set"
}

// whyNoPrompt: who could turn the symbol on.
func (t *Tree) whyNoPrompt(s *Symbol, c Config) string {
	if len(s.Selected) == 0 {
		return fmt.Sprintf("it has no prompt, nothing selects it, %s", t.defaultOf(s, c))
	}
	var by []string
	for _, sel := range s.Selected {
		by = append(by, fmt.Sprintf("CONFIG_%s (%s, %s)", sel.By, t.show(sel.By, c), sel.Pos))
	}
	return fmt.Sprintf("it has no prompt (%s) and is on only if one of these selects it: %s", s.Pos(), list(atMost(by, 5), "or"))
}

// whyRange: the number is out of its range.
func (t *Tree) whyRange(s *Symbol, c Config, r *Reason) bool {
	for _, d := range s.Defs {
		for _, rg := range d.Ranges {
			if t.eval(rg.If, c).hi == No {
				continue
			}
			low, high := t.text(rg.Low, c), t.text(rg.High, c)
			v, err := strconv.ParseInt(r.Want, 0, 64)
			l, h, ok := numbers(low, high)
			if err == nil && ok && (v < l || v > h) {
				r.Why = fmt.Sprintf("it has to be from %s to %s (%s)", low, high, rg.Pos)
				return true
			}
			return false // the first range that holds is the one
		}
	}
	return false
}

// list joins items as a sentence does.
func list(items []string, word string) string {
	switch n := len(items); n {
	case 0:
		return ""
	case 1:
		return items[0]
	default:
		return strings.Join(items[:n-1], ", ") + " " + word + " " + items[n-1]
	}
}

// atMost shortens a list for people.
func atMost(items []string, n int) []string {
	if rest := len(items) - n; rest > 0 {
		return append(items[:n:n], fmt.Sprintf("%d more", rest))
	}
	return items
}
