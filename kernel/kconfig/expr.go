package kconfig

import (
	"strconv"
	"strings"
)

// Tri is a value of three: No < Mod < Yes.
type Tri int8

// The values of a bool or tristate symbol.
const (
	No Tri = iota
	Mod
	Yes
)

func (t Tri) String() string { return [...]string{"n", "m", "y"}[t] }

// parseTri reads n, m or y.
func parseTri(s string) (Tri, bool) {
	switch s {
	case "n":
		return No, true
	case "m":
		return Mod, true
	case "y":
		return Yes, true
	}
	return No, false
}

// span is what an expression can be: both ends are the same if that is known.
type span struct{ lo, hi Tri }

var anything = span{No, Yes}

func exactly(t Tri) span { return span{t, t} }

func truth(b bool) span {
	if b {
		return exactly(Yes)
	}
	return exactly(No)
}

// Op is what an Expr does with its operands.
type Op uint8

// The operators of Kconfig; OpSymbol, OpText and OpUnknown are leaves.
const (
	OpSymbol  Op = iota // a symbol; or, if no such symbol exists, its own name as text
	OpText              // text in quotes
	OpUnknown           // a macro that asks the compiler
	OpNot
	OpAnd
	OpOr
	OpEqual
	OpUnequal
	OpLess
	OpGreater
	OpLessEqual
	OpGreaterEqual
)

var opText = [...]string{
	OpAnd: " && ", OpOr: " || ", OpEqual: "=", OpUnequal: "!=",
	OpLess: "<", OpGreater: ">", OpLessEqual: "<=", OpGreaterEqual: ">=",
}

// Expr is an expression of Kconfig; nil is the expression that is always y.
type Expr struct {
	Op   Op
	Name string // of a leaf: the symbol, the text, or the macro as it is written
	L, R *Expr  // OpNot has only L
}

// String spells the expression as Kconfig files do.
func (e *Expr) String() string {
	if e == nil {
		return "y"
	}
	switch e.Op {
	case OpSymbol, OpUnknown:
		return e.Name
	case OpText:
		return Quote(e.Name)
	case OpNot:
		return "!" + e.L.within(OpNot)
	}
	return e.L.within(e.Op) + opText[e.Op] + e.R.within(e.Op)
}

// within adds the parentheses that an operand of op needs.
func (e *Expr) within(op Op) string {
	if e != nil && (e.Op == OpOr && op != OpOr || e.Op == OpAnd && op == OpNot || op == OpNot && e.Op >= OpEqual) {
		return "(" + e.String() + ")"
	}
	return e.String()
}

// eval says what e is in c.
func (t *Tree) eval(e *Expr, c Config) span {
	if e == nil {
		return exactly(Yes)
	}
	switch e.Op {
	case OpSymbol:
		return exactly(t.tri(e.Name, c))
	case OpText:
		v, _ := parseTri(e.Name)
		return exactly(v)
	case OpUnknown:
		return anything
	case OpNot:
		v := t.eval(e.L, c)
		return span{Yes - v.hi, Yes - v.lo}
	case OpAnd:
		l, r := t.eval(e.L, c), t.eval(e.R, c)
		return span{min(l.lo, r.lo), min(l.hi, r.hi)}
	case OpOr:
		l, r := t.eval(e.L, c), t.eval(e.R, c)
		return span{max(l.lo, r.lo), max(l.hi, r.hi)}
	}
	return t.compare(e, c)
}

// tri is the value of a symbol as one of three; what is no bool or tristate
// counts as n, as it does for the kernel.
func (t *Tree) tri(name string, c Config) Tri {
	sym := t.Symbols[name]
	if sym == nil {
		v, ok := parseTri(name)
		if ok && v == Mod && t.Symbols["MODULES"] != nil {
			v = min(v, t.tri("MODULES", c)) // "depends on m"
		}
		return v
	}
	if sym.Type == String || sym.Type == Int || sym.Type == Hex {
		return No
	}
	v, _ := parseTri(c[name])
	return v
}

// compare evaluates =, != and the like: by number if both sides are numbers,
// else by text (kconfig's expr_calc_value).
func (t *Tree) compare(e *Expr, c Config) span {
	if e.L.Op == OpUnknown || e.R.Op == OpUnknown {
		return anything
	}
	l, r := t.text(e.L, c), t.text(e.R, c)
	order := strings.Compare(l, r)
	if a, b, ok := numbers(l, r); ok {
		order = compareInts(a, b)
	}
	switch e.Op {
	case OpEqual:
		return truth(order == 0)
	case OpUnequal:
		return truth(order != 0)
	case OpLess:
		return truth(order < 0)
	case OpGreater:
		return truth(order > 0)
	case OpLessEqual:
		return truth(order <= 0)
	}
	return truth(order >= 0)
}

func compareInts(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func numbers(l, r string) (a, b int64, ok bool) {
	a, errA := strconv.ParseInt(l, 0, 64)
	b, errB := strconv.ParseInt(r, 0, 64)
	return a, b, errA == nil && errB == nil
}

// text is a leaf as text, to be compared.
func (t *Tree) text(e *Expr, c Config) string {
	if e.Op != OpSymbol {
		return e.Name
	}
	sym := t.Symbols[e.Name]
	if sym == nil {
		return e.Name
	}
	value, set := c[e.Name]
	if sym.Type == Bool || sym.Type == Tristate {
		if !set {
			return "n"
		}
		return value
	}
	if plain, err := Unquote(value); err == nil {
		return plain
	}
	return value
}

// symbols calls visit for every symbol's name in e.
func (e *Expr) symbols(visit func(name string)) {
	if e == nil {
		return
	}
	if e.Op == OpSymbol {
		visit(e.Name)
	}
	e.L.symbols(visit)
	e.R.symbols(visit)
}
