package hardware

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits on one file. The parser recurses, and is quadratic in the keys of
// one object; 10,000 machines have 1.5 MB and 250,000 tokens.
const (
	maxFile   = 16 << 20
	maxTokens = 4_000_000
	maxDepth  = 64
	maxKeys   = 20_000 // of one object
	maxNodes  = 2_000_000
)

// node is a value of a YAML document with its place. Scalars keep the text as
// it is written: 0123 and 02:00:00:00:00:01 are no numbers here. An alias
// shares the node of its anchor.
type node struct {
	kind    kind
	at      place
	text    string
	items   []*node
	entries []entry
}

type kind uint8

const (
	null kind = iota
	scalar
	list
	object
)

func (k kind) String() string { return [...]string{"nothing", "a value", "a list", "an object"}[k] }

type entry struct {
	key   string
	at    place
	value *node
}

// get returns the value of a key, nil if it is not there.
func (n *node) get(key string) *node {
	for i := range n.entries {
		if n.entries[i].key == key {
			return n.entries[i].value
		}
	}
	return nil
}

// has reports whether a key has a value.
func (n *node) has(key string) bool {
	v := n.get(key)
	return v != nil && v.kind != null
}

// str is the text of a scalar below key, else "".
func (n *node) str(key string) string {
	if v := n.get(key); v != nil && v.kind == scalar {
		return v.text
	}
	return ""
}

// parseYAML reads the documents of a file. It reports only the first error:
// what follows a syntax error says nothing.
func parseYAML(r *report, data []byte) (docs []*node) {
	if !checkEncoding(r, data) {
		return nil
	}
	c := converter{report: r}
	lines := 0
	for doc := range documents(bytes.TrimPrefix(data, []byte(byteOrderMark))) {
		c.lines = lines
		lines += bytes.Count(doc, []byte("\n"))
		if n := c.document(string(doc)); n != nil {
			docs = append(docs, n)
		}
		if c.stopped || len(r.problems.List) > 0 {
			return nil
		}
	}
	return docs
}

// documents splits a file before each "---" at the start of a line, which is
// a document marker wherever it stands (YAML 1.2, 9.1.2). One after the other
// costs half of what the parser needs for 10,000 documents at once.
func documents(data []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		start := 0
		for at := 0; at < len(data); {
			line := data[at:]
			if i := bytes.IndexByte(line, '\n'); i >= 0 {
				line = line[:i+1]
			}
			marker := bytes.HasPrefix(line, []byte("---")) && (len(line) == 3 || bytes.IndexByte([]byte(" \t\r\n"), line[3]) >= 0)
			if marker && at > start {
				if !yield(data[start:at]) {
					return
				}
				start = at
			}
			at += len(line)
		}
		yield(data[start:])
	}
}

// document reads one document, nil if there is nothing in it.
func (c *converter) document(text string) (n *node) {
	defer func() {
		// The parser indexes without checks in places; a half-written
		// file must not end the server.
		if p := recover(); p != nil {
			n, c.stopped = nil, true
			c.fail(place{c.lines + 1, 1}, "", "malformed YAML (%v)", p)
		}
	}()
	tokens := lexer.Tokenize(text)
	if c.tokens += len(tokens); !c.checkTokens(tokens) {
		return nil
	}
	tree, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		c.yamlError(err)
		return nil
	}
	for _, doc := range tree.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType || doc.Body.Type() == ast.DirectiveType {
			continue
		}
		c.anchors = map[string]*node{}
		n = c.node(doc.Body, 0)
	}
	return n
}

func (c *converter) yamlError(err error) {
	var at yaml.Error
	if errors.As(err, &at) {
		c.fail(c.position(at.GetToken()), "", "YAML: %s", at.GetMessage())
		return
	}
	message, _, _ := strings.Cut(err.Error(), "\n")
	c.fail(place{c.lines + 1, 1}, "", "YAML: %s", message)
}

// position is a token's place in the file.
func (c *converter) position(t *token.Token) place {
	at := position(t)
	if at.line > 0 {
		at.line += c.lines
	}
	return at
}

func position(t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{}
	}
	return place{t.Position.Line, t.Position.Column}
}

// checkTokens bounds the recursion of the parser (brackets, and what opens a
// level on the same line; levels by indentation alone cost a line that is
// longer than the one above each) and the keys of one object.
func (c *converter) checkTokens(tokens token.Tokens) bool {
	if c.tokens > maxTokens {
		c.fail(place{c.lines + 1, 1}, "", "too many YAML tokens; split the file")
		return false
	}
	count := tokenCounter{block: map[int]int{}}
	for _, t := range tokens {
		count.count(t)
		switch {
		case len(count.flow) > maxDepth || count.starts > maxDepth:
			c.fail(c.position(t), "", "YAML nested too deeply")
			return false
		case count.keys > maxKeys:
			c.fail(c.position(t), "", "more than %d keys in one object; split the file", maxKeys)
			return false
		}
	}
	return true
}

// tokenCounter follows where in a document a token is.
type tokenCounter struct {
	flow   []int       // keys of each open bracket
	block  map[int]int // keys by column, of the objects that indentation has open
	line   int
	starts int // what opened a level in this line
	keys   int // of the object that the last token added to
}

func (c *tokenCounter) count(t *token.Token) {
	at := position(t)
	if at.line != c.line {
		c.line, c.starts = at.line, 0
		if len(c.flow) == 0 {
			for column := range c.block {
				if column > at.column {
					delete(c.block, column)
				}
			}
		}
	}
	switch t.Type {
	case token.SequenceStartType, token.MappingStartType:
		c.flow = append(c.flow, 0)
	case token.SequenceEndType, token.MappingEndType:
		c.flow = c.flow[:max(0, len(c.flow)-1)]
	case token.SequenceEntryType, token.MappingKeyType, token.AnchorType, token.TagType:
		c.starts++
	case token.MappingValueType:
		if n := len(c.flow); n > 0 {
			c.flow[n-1]++
			c.keys = c.flow[n-1]
		} else if t.Prev != nil {
			column := position(t.Prev).column
			c.block[column]++
			c.keys = c.block[column]
		}
	}
}

// converter turns the parser's tree into nodes: aliases, merge keys and tags
// resolved. It stops at the first error.
type converter struct {
	*report
	anchors map[string]*node
	lines   int // before the document
	tokens  int
	nodes   int
	stopped bool
}

func (c *converter) stop(from ast.Node, format string, args ...any) *node {
	if !c.stopped {
		c.fail(c.position(from.GetToken()), "", "YAML: "+format, args...)
	}
	c.stopped = true
	return &node{}
}

func (c *converter) node(from ast.Node, depth int) *node {
	if from == nil || c.stopped {
		return &node{}
	}
	if c.nodes++; c.nodes > maxNodes || depth > maxDepth {
		return c.stop(from, "too large or nested too deeply")
	}
	switch from := from.(type) {
	case *ast.AnchorNode:
		n := c.node(from.Value, depth+1)
		c.anchors[from.Name.GetToken().Value] = n // after its value: no cycles
		return n
	case *ast.AliasNode:
		name := from.Value.GetToken().Value
		if n, ok := c.anchors[name]; ok {
			return n
		}
		return c.stop(from, "alias *%.40s has no anchor before it", name)
	case *ast.TagNode:
		return c.node(from.Value, depth+1)
	case *ast.MappingNode:
		return c.object(from, from.Values, depth)
	case *ast.MappingValueNode:
		return c.object(from, []*ast.MappingValueNode{from}, depth)
	case *ast.SequenceNode:
		n := &node{kind: list, at: c.position(from.GetToken())}
		for _, value := range from.Values {
			n.items = append(n.items, c.node(value, depth+1))
		}
		return n
	}
	return c.scalar(from)
}

func (c *converter) scalar(from ast.Node) *node {
	t := from.GetToken()
	n := &node{kind: scalar, at: c.position(t), text: t.Value}
	switch from := from.(type) {
	case *ast.NullNode:
		n.kind = null
	case *ast.StringNode:
		n.text = from.Value
	case *ast.LiteralNode:
		n.text = from.Value.Value
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
	default:
		return c.stop(from, "%s is not supported here", from.Type())
	}
	return n
}

func (c *converter) object(from ast.Node, values []*ast.MappingValueNode, depth int) *node {
	n := &node{kind: object, at: c.position(from.GetToken()), entries: make([]entry, 0, len(values))}
	if len(values) > 0 {
		n.at = c.position(values[0].Key.GetToken())
	}
	var inherited []entry
	for _, v := range values {
		value := c.node(v.Value, depth+1)
		if v.Key.IsMergeKey() {
			inherited = append(inherited, c.mergeKey(v, value)...)
			continue
		}
		key, ok := v.Key.(ast.ScalarNode)
		if !ok {
			return c.stop(v.Key, "a key must be a plain word")
		}
		name := key.GetToken().Value
		if s, ok := key.(*ast.StringNode); ok {
			name = s.Value
		}
		n.entries = append(n.entries, entry{name, c.position(v.Key.GetToken()), value})
	}
	return c.inherit(n, inherited)
}

// mergeKey returns what `<<:` brings: the keys of one object or of several,
// of which the first wins.
func (c *converter) mergeKey(v *ast.MappingValueNode, value *node) (all []entry) {
	from := []*node{value}
	if value.kind == list {
		from = value.items
	}
	for _, n := range from {
		if n.kind != object && !c.stopped {
			c.stop(v.Key, "<< wants an object or a list of objects, got %s", n.kind)
		}
		if c.nodes += len(n.entries); c.nodes > maxNodes {
			c.stop(v.Key, "too large")
			return nil
		}
		all = append(all, n.entries...)
	}
	return all
}

func (c *converter) inherit(n *node, inherited []entry) *node {
	if len(inherited) == 0 {
		return n
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
	return n
}

// path joins keys for messages.
func path(parent, key string) string {
	if parent == "" {
		return key
	}
	return parent + "." + key
}

// item names an element of a list.
func item(parent string, i int) string { return fmt.Sprintf("%s[%d]", parent, i) }
