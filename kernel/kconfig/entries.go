package kconfig

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

var errNowhere = errors.New("it belongs to no entry")

// keyword does a statement: an entry, or an attribute of the entry before.
func (p *parser) keyword(word string, args []token) error {
	switch word {
	case "source", "rsource", "osource", "orsource":
		return p.include(word, args)
	case "config", "menuconfig":
		return p.config(args)
	case "mainmenu", "comment":
		p.end()
		p.group = &scope{} // takes its attributes, and is forgotten
		return nil
	case "menu":
		return p.open("endmenu")
	case "choice":
		c := &Choice{Pos: p.pos}
		p.tree.Choices = append(p.tree.Choices, c)
		err := p.open("endchoice")
		p.scope.choice = c
		return err
	case "if":
		return p.openIf(args)
	case "endmenu", "endchoice", "endif":
		if p.scope == nil || p.scope.end != word {
			return errors.New("nothing is open that it closes")
		}
		p.close()
		p.end()
		return nil
	}
	return p.attribute(word, args)
}

// open begins a menu, an if or a choice.
func (p *parser) open(end string) error {
	p.end()
	p.scope = &scope{outer: p.scope, end: end, pos: p.pos}
	p.group = p.scope
	if p.scopes++; p.scopes > maxScopes {
		return &sourceError{fmt.Errorf("%s: more than %d menus inside each other", p.pos, maxScopes)}
	}
	return nil
}

func (p *parser) close() {
	p.scope = p.scope.outer
	p.scopes--
}

func (p *parser) openIf(args []token) error {
	e, exprErr := parseExpr(args)
	err := p.open("endif") // an if that we do not understand ends all the same
	p.group = nil
	if exprErr == nil {
		p.scope.depends = []Dep{{e, p.pos}}
	}
	return cmp.Or(err, exprErr)
}

func (p *parser) config(args []token) error {
	p.end()
	if len(args) != 1 || args[0].kind != wordToken || !validName(args[0].text) {
		return errors.New("a config has one name")
	}
	name := args[0].text
	p.sym = p.tree.Symbols[name]
	if p.sym == nil {
		p.sym = &Symbol{Name: name}
		p.tree.Symbols[name] = p.sym
	}
	p.def = &Def{Pos: p.pos, scope: p.scope}
	for s := p.scope; s != nil && p.def.Choice == nil; s = s.outer {
		p.def.Choice = s.choice
	}
	if c := p.def.Choice; c != nil && !slices.Contains(c.Members, name) {
		c.Members = append(c.Members, name)
	}
	p.sym.Defs = append(p.sym.Defs, p.def)
	return nil
}

var types = map[string]Type{
	"bool": Bool, "boolean": Bool, "tristate": Tristate, "string": String, "int": Int, "hex": Hex,
	"def_bool": Bool, "def_tristate": Tristate,
}

// attribute does a line that says something of the entry before it.
func (p *parser) attribute(word string, args []token) error {
	if p.sym == nil && p.group == nil {
		return errNowhere
	}
	args, condition, err := splitIf(args)
	if err != nil {
		return err
	}
	switch word {
	case "bool", "boolean", "tristate", "string", "int", "hex":
		p.setType(types[word])
		if len(args) > 0 {
			return p.prompt(args, condition)
		}
		return nil
	case "def_bool", "def_tristate":
		p.setType(types[word])
		return p.addDefault(args, condition)
	case "prompt":
		return p.prompt(args, condition)
	case "default":
		return p.addDefault(args, condition)
	case "depends":
		if len(args) == 0 || !args[0].is("on") {
			return errors.New("want: depends on EXPRESSION")
		}
		return p.depends(args[1:], condition)
	case "visible":
		if len(args) > 0 || condition == nil {
			return errors.New("want: visible if EXPRESSION")
		}
		if p.group != nil {
			p.group.visible = append(p.group.visible, Dep{condition, p.pos})
		}
		return nil
	case "select", "imply":
		return p.selects(word, args, condition)
	case "range":
		return p.addRange(args, condition)
	case "option", "modules", "optional", "transitional":
		return nil // nothing that an answer would hang on
	}
	return errors.New("no word of Kconfig")
}

// splitIf takes `if EXPRESSION` off the end of an attribute.
func splitIf(args []token) ([]token, *Expr, error) {
	i := slices.IndexFunc(args, func(t token) bool { return t.is("if") })
	if i < 0 {
		return args, nil, nil
	}
	e, err := parseExpr(args[i+1:])
	return args[:i], e, err
}

func (p *parser) setType(t Type) {
	if p.sym != nil {
		p.sym.Type = t
	}
}

func (p *parser) prompt(args []token, condition *Expr) error {
	if len(args) != 1 || args[0].kind == opToken {
		return errors.New("a prompt is one string")
	}
	switch {
	case p.def != nil:
		p.def.Prompt, p.def.PromptIf = args[0].text, condition
	case p.group.choice != nil:
		p.group.choice.Prompt = args[0].text
		if condition != nil {
			p.group.visible = append(p.group.visible, Dep{condition, p.pos})
		}
	}
	return nil
}

func (p *parser) addDefault(args []token, condition *Expr) error {
	e, err := parseExpr(args)
	if err != nil || p.def == nil { // a choice's default says nothing of why
		return err
	}
	p.def.Defaults = append(p.def.Defaults, Default{e, condition, p.pos})
	return nil
}

func (p *parser) depends(args []token, condition *Expr) error {
	e, err := parseExpr(args)
	if err != nil {
		return err
	}
	if condition != nil { // "depends on A if B", since 6.18
		e = &Expr{Op: OpOr, L: e, R: &Expr{Op: OpNot, L: condition}}
	}
	if p.def != nil {
		p.def.Depends = append(p.def.Depends, Dep{e, p.pos})
	} else {
		p.group.depends = append(p.group.depends, Dep{e, p.pos})
	}
	return nil
}

func (p *parser) selects(word string, args []token, condition *Expr) error {
	if p.def == nil {
		return errNowhere
	}
	if len(args) != 1 || args[0].kind != wordToken {
		return fmt.Errorf("want: %s SYMBOL", word)
	}
	s := Select{p.sym.Name, args[0].text, condition, p.pos, p.def}
	if word == "select" {
		p.sym.Selects = append(p.sym.Selects, s)
		return nil
	}
	target := p.tree.mention(s.Target)
	target.Implied = append(target.Implied, s)
	return nil
}

func (p *parser) addRange(args []token, condition *Expr) error {
	if p.def == nil {
		return errNowhere
	}
	if len(args) != 2 || args[0].kind == opToken || args[1].kind == opToken {
		return errors.New("a range has two ends")
	}
	low, _ := parseExpr(args[:1])
	high, _ := parseExpr(args[1:])
	p.def.Ranges = append(p.def.Ranges, Range{low, high, condition, p.pos})
	return nil
}

// mention is the symbol of that name, made if nothing defined it yet.
func (t *Tree) mention(name string) *Symbol {
	s := t.Symbols[name]
	if s == nil {
		s = &Symbol{Name: name}
		t.Symbols[name] = s
	}
	return s
}

// link tells the targets of selects who selects them. Symbols that no entry
// defines are left out of the tree again: to Kconfig they are text.
func (t *Tree) link() {
	for name, s := range t.Symbols {
		if len(s.Defs) == 0 {
			delete(t.Symbols, name)
		}
	}
	for _, s := range t.Symbols {
		for _, sel := range s.Selects {
			if target := t.Symbols[sel.Target]; target != nil {
				target.Selected = append(target.Selected, sel)
			}
		}
	}
	for _, s := range t.Symbols {
		slices.SortStableFunc(s.Selected, func(a, b Select) int { return comparePos(a.Pos, b.Pos) })
	}
}
