package linuxkit

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits on one document. The parser recurses and is quadratic in the keys of
// one object, so what it is given is bounded first; a HookOS template has
// 10 kB, 1500 tokens and 5 levels.
const (
	maxDocument = 1 << 20
	maxTokens   = 30_000
	maxDepth    = 64
	maxNodes    = 100_000 // after aliases: "billion laughs"
)

// parseYAML reads one document. File names it in errors.
func parseYAML(file string, data []byte) (*node, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if len(data) > maxDocument {
		return nil, &Error{Pos: Pos{File: file}, Message: fmt.Sprintf("%d bytes: a LinuxKit file has at most %d", len(data), maxDocument)}
	}
	if pos, ok := invalidText(data); !ok {
		pos.File = file
		return nil, &Error{Pos: pos, Message: "not text: a byte that is neither UTF-8 nor printable"}
	}
	body, err := syntaxTree(file, string(data))
	if err != nil {
		return nil, err
	}
	c := converter{file: file, anchors: map[string]*node{}}
	return c.node(body, 0)
}

// invalidText finds the first byte that YAML does not allow.
func invalidText(data []byte) (Pos, bool) {
	line, start := 1, 0
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		control := r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f
		if r == utf8.RuneError && size == 1 || control {
			return Pos{Line: line, Column: i - start + 1}, false
		}
		i += size
		if r == '\n' {
			line, start = line+1, i
		}
	}
	return Pos{}, true
}

// syntaxTree runs the YAML parser over a bounded document. It returns nil for
// an empty one.
func syntaxTree(file, data string) (body ast.Node, err error) {
	defer func() {
		// The parser indexes without checks in places; a label comes from
		// anyone's registry and must not stop the build without a message.
		if r := recover(); r != nil {
			body, err = nil, &Error{Pos: Pos{File: file}, Message: fmt.Sprintf("malformed YAML (%v)", r)}
		}
	}()
	tokens := lexer.Tokenize(data)
	if err := checkTokens(file, tokens); err != nil {
		return nil, err
	}
	tree, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, syntaxError(file, err)
	}
	for _, doc := range tree.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType || doc.Body.Type() == ast.DirectiveType {
			continue
		}
		if body != nil {
			return nil, &Error{Pos: position(file, doc.Start), Message: "a second YAML document; put it into a file of its own"}
		}
		body = doc.Body
	}
	return body, nil
}

// checkTokens bounds the recursion of the parser: brackets, and what opens a
// level on the same line. Levels by indentation alone cost a line that is
// longer than the one above each; maxDocument has room for 1500.
func checkTokens(file string, tokens token.Tokens) error {
	if len(tokens) > maxTokens {
		return &Error{Pos: position(file, tokens[maxTokens]), Message: "too many YAML tokens"}
	}
	flow, line, starts := 0, 0, 0
	for _, t := range tokens {
		if t.Position != nil && t.Position.Line != line {
			line, starts = t.Position.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType, token.AnchorType, token.TagType:
			starts++
		}
		if flow > maxDepth || starts > maxDepth {
			return &Error{Pos: position(file, t), Message: "YAML nested too deeply"}
		}
	}
	return nil
}

func syntaxError(file string, err error) error {
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) {
		return &Error{Pos: position(file, syntax.GetToken()), Message: "YAML: " + syntax.GetMessage()}
	}
	message, _, _ := strings.Cut(err.Error(), "\n")
	return &Error{Pos: Pos{File: file}, Message: "YAML: " + message}
}

func position(file string, t *token.Token) Pos {
	if t == nil || t.Position == nil {
		return Pos{File: file}
	}
	return Pos{File: file, Line: t.Position.Line, Column: t.Position.Column}
}

// converter turns the parser's tree into nodes: aliases, merge keys and tags
// resolved.
type converter struct {
	file    string
	anchors map[string]*node
	nodes   int
}

func (c *converter) fail(n ast.Node, format string, args ...any) error {
	return &Error{Pos: position(c.file, n.GetToken()), Message: fmt.Sprintf(format, args...)}
}

func (c *converter) node(from ast.Node, depth int) (*node, error) {
	if from == nil {
		return &node{kind: null, pos: Pos{c.file, 1, 1}}, nil
	}
	if c.nodes++; c.nodes > maxNodes || depth > maxDepth {
		return nil, c.fail(from, "YAML too large or nested too deeply")
	}
	switch from := from.(type) {
	case *ast.AnchorNode:
		return c.anchor(from, depth)
	case *ast.AliasNode:
		return c.alias(from)
	case *ast.TagNode:
		return c.tag(from, depth)
	case *ast.MappingNode:
		return c.object(from, from.Values, depth)
	case *ast.MappingValueNode:
		return c.object(from, []*ast.MappingValueNode{from}, depth)
	case *ast.SequenceNode:
		n := &node{kind: list, pos: position(c.file, from.GetToken())}
		for _, value := range from.Values {
			item, err := c.node(value, depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, item)
		}
		return n, nil
	}
	return c.scalar(from)
}

func (c *converter) scalar(from ast.Node) (*node, error) {
	t := from.GetToken()
	n := &node{pos: position(c.file, t), text: t.Value}
	switch from := from.(type) {
	case *ast.NullNode:
		n.kind = null
	case *ast.BoolNode:
		n.kind = boolean
	case *ast.IntegerNode:
		n.kind = integer
		var ok bool
		if n.number, ok = parseNumber(t.Value); !ok {
			n.kind = float // beyond 64 bits
		}
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		n.kind = float
	case *ast.StringNode:
		n.kind, n.text = text, from.Value
		n.plain = t.Type != token.SingleQuoteType && t.Type != token.DoubleQuoteType
	case *ast.LiteralNode:
		n.kind, n.text = text, from.Value.Value
	default:
		return nil, c.fail(from, "YAML construct %s is not supported here", from.Type())
	}
	return n, nil
}

func (c *converter) anchor(from *ast.AnchorNode, depth int) (*node, error) {
	n, err := c.node(from.Value, depth+1)
	if err != nil {
		return nil, err
	}
	// Registered after its value: an alias inside its own anchor is unknown.
	c.anchors[from.Name.GetToken().Value] = n
	return n, nil
}

func (c *converter) alias(from *ast.AliasNode) (*node, error) {
	name := from.Value.GetToken().Value
	n, ok := c.anchors[name]
	if !ok {
		return nil, c.fail(from, "alias *%.40s has no anchor before it", name)
	}
	return n, nil
}

// tag resolves the tags of the core schema.
func (c *converter) tag(from *ast.TagNode, depth int) (*node, error) {
	n, err := c.node(from.Value, depth+1)
	if err != nil {
		return nil, err
	}
	switch from.Start.Value {
	case "!!str", "!":
		if n.kind != list && n.kind != object {
			return &node{kind: text, pos: n.pos, text: n.text}, nil
		}
	case "!!seq", "!!map", "!!int", "!!bool", "!!null", "!!float":
		return n, nil
	}
	return nil, c.fail(from, "YAML tag %.40s is not supported here", from.Start.Value)
}

func (c *converter) object(from ast.Node, values []*ast.MappingValueNode, depth int) (*node, error) {
	n := &node{kind: object, pos: position(c.file, from.GetToken())}
	if len(values) > 0 {
		n.pos = position(c.file, values[0].Key.GetToken())
	}
	var inherited []entry
	for _, v := range values {
		value, err := c.node(v.Value, depth+1)
		if err != nil {
			return nil, err
		}
		if v.Key.IsMergeKey() {
			more, err := c.mergeKey(v, value)
			if err != nil {
				return nil, err
			}
			inherited = append(inherited, more...)
			continue
		}
		key, err := c.key(v)
		if err != nil {
			return nil, err
		}
		n.entries = append(n.entries, entry{key, position(c.file, v.Key.GetToken()), value})
	}
	n.inherit(inherited)
	return n, nil
}

// key returns the text of a key, which must be a scalar.
func (c *converter) key(v *ast.MappingValueNode) (string, error) {
	key, ok := v.Key.(ast.ScalarNode)
	if !ok {
		return "", c.fail(v.Key, "a key must be a plain word")
	}
	if s, ok := key.(*ast.StringNode); ok {
		return s.Value, nil
	}
	return key.GetToken().Value, nil
}

// mergeKey returns what `<<:` brings: the keys of one object or of several,
// of which the first wins.
func (c *converter) mergeKey(v *ast.MappingValueNode, value *node) ([]entry, error) {
	from := []*node{value}
	if value.kind == list {
		from = value.items
	}
	var all []entry
	for _, n := range from {
		if n.kind != object {
			return nil, c.fail(v.Key, "<< wants an object or a list of objects, got %s", n.kind)
		}
		if c.nodes += len(n.entries); c.nodes > maxNodes {
			return nil, c.fail(v.Key, "YAML too large")
		}
		all = append(all, n.entries...)
	}
	return all, nil
}

// inherit adds the entries of merge keys whose keys the object does not have.
func (n *node) inherit(inherited []entry) {
	if len(inherited) == 0 {
		return
	}
	have := map[string]bool{}
	for _, e := range n.entries {
		have[e.key] = true
	}
	for _, e := range inherited {
		if !have[e.key] {
			have[e.key] = true
			n.entries = append(n.entries, e)
		}
	}
}
