package kconfig

import (
	"errors"
	"fmt"
	"strings"
)

type tokenKind uint8

const (
	wordToken tokenKind = iota
	textToken
	unknownToken
	opToken
)

type token struct {
	kind tokenKind
	text string
}

func (t token) is(word string) bool { return t.kind == wordToken && t.text == word }

// lex splits a line (with its continuations) into tokens; # begins a comment.
func (m *macros) lex(line string) ([]token, error) {
	var tokens []token
	for i := 0; i < len(line); {
		switch ch := line[i]; {
		case ch == ' ' || ch == '\t' || ch == '\r' || ch == '\f':
			i++
		case ch == '#':
			return tokens, nil
		case ch == '"' || ch == '\'':
			text, n, err := quoted(line[i:])
			if err != nil {
				return tokens, err
			}
			tokens = append(tokens, m.leaf(textToken, text))
			i += n
		case wordByte(ch) || ch == '$':
			n := wordLength(line[i:])
			tokens = append(tokens, m.leaf(wordToken, line[i:i+n]))
			i += n
		default:
			op := operator(line[i:])
			if op == "" {
				return tokens, fmt.Errorf("unexpected %q", line[i:i+1])
			}
			tokens = append(tokens, token{opToken, op})
			i += len(op)
		}
	}
	return tokens, nil
}

// leaf expands the macros of a word or text. What stays unknown keeps its spelling.
func (m *macros) leaf(kind tokenKind, text string) token {
	if !strings.Contains(text, "$(") {
		return token{kind, text}
	}
	expanded := m.expand(text, nil, 0)
	if strings.Contains(expanded, unknownMark) {
		return token{unknownToken, text}
	}
	return token{kind, strings.TrimSpace(expanded)}
}

func wordByte(ch byte) bool {
	return ch == '_' || ch == '-' || ch == '.' || ch == '/' ||
		ch >= '0' && ch <= '9' || ch >= 'A' && ch <= 'Z' || ch >= 'a' && ch <= 'z'
}

// wordLength is the length of the word that s begins with; macros in it are
// part of it, with all that is in their parentheses.
func wordLength(s string) int {
	for i := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], "$("):
			end := closing(s, i+1)
			if end < 0 {
				return len(s)
			}
			i = end + 1
		case wordByte(s[i]):
			i++
		default:
			return max(i, 1)
		}
	}
	return len(s)
}

// quoted reads the string that s begins with, and says how long it is there.
func quoted(s string) (text string, length int, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == s[0]:
			return b.String(), i + 1, nil
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", 0, errors.New("a string has no closing quote")
}

func operator(s string) string {
	for _, op := range []string{"||", "&&", "!=", "<=", ">=", "=", "<", ">", "!", "(", ")"} {
		if strings.HasPrefix(s, op) {
			return op
		}
	}
	return ""
}

// maxNesting bounds parentheses and negations in an expression.
const maxNesting = 64

// exprParser reads an expression from tokens.
type exprParser struct {
	tokens []token
	depth  int
}

// parseExpr reads tokens that are one expression and nothing else.
func parseExpr(tokens []token) (*Expr, error) {
	p := exprParser{tokens: tokens}
	e, err := p.or()
	if err == nil && len(p.tokens) > 0 {
		err = fmt.Errorf("unexpected %q in an expression", p.tokens[0].text)
	}
	return e, err
}

func (p *exprParser) take(op string) bool {
	if len(p.tokens) > 0 && p.tokens[0] == (token{opToken, op}) {
		p.tokens = p.tokens[1:]
		return true
	}
	return false
}

func (p *exprParser) or() (*Expr, error) { return p.chain("||", OpOr, p.and) }

func (p *exprParser) and() (*Expr, error) { return p.chain("&&", OpAnd, p.not) }

func (p *exprParser) chain(word string, op Op, operand func() (*Expr, error)) (*Expr, error) {
	e, err := operand()
	for err == nil && p.take(word) {
		var r *Expr
		r, err = operand()
		e = &Expr{Op: op, L: e, R: r}
	}
	return e, err
}

func (p *exprParser) not() (*Expr, error) {
	if p.depth++; p.depth > maxNesting {
		return nil, errors.New("an expression is nested too deeply")
	}
	defer func() { p.depth-- }()
	if p.take("!") {
		e, err := p.not()
		return &Expr{Op: OpNot, L: e}, err
	}
	if !p.take("(") {
		return p.comparison()
	}
	e, err := p.or()
	if err == nil && !p.take(")") {
		err = errors.New("an expression lacks a closing parenthesis")
	}
	return e, err
}

var comparisons = map[string]Op{
	"=": OpEqual, "!=": OpUnequal, "<": OpLess, ">": OpGreater, "<=": OpLessEqual, ">=": OpGreaterEqual,
}

func (p *exprParser) comparison() (*Expr, error) {
	l, err := p.leaf()
	if err != nil || len(p.tokens) == 0 || p.tokens[0].kind != opToken {
		return l, err
	}
	op, ok := comparisons[p.tokens[0].text]
	if !ok {
		return l, nil
	}
	p.tokens = p.tokens[1:]
	r, err := p.leaf()
	return &Expr{Op: op, L: l, R: r}, err
}

func (p *exprParser) leaf() (*Expr, error) {
	if len(p.tokens) == 0 {
		return nil, errors.New("an expression ends early")
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	switch t.kind {
	case wordToken:
		return &Expr{Op: OpSymbol, Name: t.text}, nil
	case textToken:
		return &Expr{Op: OpText, Name: t.text}, nil
	case unknownToken:
		return &Expr{Op: OpUnknown, Name: t.text}, nil
	}
	return nil, fmt.Errorf("unexpected %q in an expression", t.text)
}
