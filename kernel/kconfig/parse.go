package kconfig

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

const (
	maxFile    = 8 << 20
	maxTotal   = 128 << 20
	maxSources = 20_000
	maxDepth   = 64
	maxScopes  = 128
	maxUnknown = 100
)

// Arch is SRCARCH, the folder below arch/ of an architecture, by the name
// that configurations have for it: x86_64 or aarch64.
func Arch(name string) (string, error) {
	switch name {
	case "x86_64", "amd64":
		return "x86", nil
	case "aarch64", "arm64":
		return "arm64", nil
	}
	return "", fmt.Errorf("architecture %q: want x86_64 or aarch64", name)
}

// ParseTree reads the file Kconfig of a kernel's source and all that it
// includes, for the architecture whose folder below arch/ is srcArch.
func ParseTree(source fs.FS, srcArch string) (*Tree, error) {
	p := &parser{
		source: source,
		tree:   &Tree{Symbols: map[string]*Symbol{}},
		macros: macros{values: map[string]string{
			"SRCARCH": srcArch, "ARCH": srcArch, "SUBARCH": srcArch, "srctree": ".", "comma": ",",
		}},
	}
	if err := p.file("Kconfig"); err != nil {
		return nil, err
	}
	p.tree.link()
	return p.tree, nil
}

// parser holds where a parse is. An entry's attributes are the lines after it.
type parser struct {
	source fs.FS
	tree   *Tree
	macros macros
	total  int64 // bytes read
	depth  int   // of files that include each other

	scope  *scope
	scopes int
	pos    Pos
	sym    *Symbol // whose attributes follow, or
	def    *Def    // (its entry)
	group  *scope  // the menu or choice whose attributes follow
}

func (p *parser) file(name string) error {
	if p.depth++; p.depth > maxDepth {
		return fmt.Errorf("%s: %d files include each other", p.pos, maxDepth)
	}
	defer func() { p.depth-- }()
	if len(p.tree.Files) >= maxSources {
		return fmt.Errorf("%s: more than %d files are included", p.pos, maxSources)
	}
	text, err := readFile(p.source, name)
	if err != nil {
		return err
	}
	if p.total += int64(len(text)); p.total > maxTotal {
		return fmt.Errorf("%s: more than %d bytes of Kconfig files", name, maxTotal)
	}
	p.tree.Files = append(p.tree.Files, name)
	before, outer := p.pos, p.scope
	if err := p.lines(name, strings.Split(text, "\n")); err != nil {
		return err
	}
	if p.scope != outer {
		p.unknown("end of file: %q of line %d is not closed", p.scope.end, p.scope.pos.Line)
		for p.scope != outer && p.scope != nil {
			p.close()
		}
	}
	p.pos = before
	return nil
}

func readFile(source fs.FS, name string) (string, error) {
	f, err := source.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("larger than %d bytes", maxFile)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return string(b), nil
}

// lines reads a file's statements, joins lines that end in a backslash, and
// passes over help texts.
func (p *parser) lines(name string, lines []string) error {
	for i := 0; i < len(lines); i++ {
		p.pos = Pos{name, i + 1}
		var joined strings.Builder
		for strings.HasSuffix(lines[i], "\\") && i+1 < len(lines) {
			joined.WriteString(strings.TrimSuffix(lines[i], "\\") + " ")
			i++
		}
		joined.WriteString(lines[i])
		help, err := p.statement(joined.String())
		if err != nil {
			return err
		}
		if help {
			i += helpLines(lines[i+1:])
		}
	}
	return nil
}

// helpLines counts the lines of the help text that lines begin with: all that
// are indented at least as its first one.
func helpLines(lines []string) int {
	first, n := 0, 0
	for i, line := range lines {
		if strings.TrimSpace(line) == "" {
			continue
		}
		indent := indentation(line)
		if first == 0 {
			first = indent
		}
		if indent == 0 || indent < first {
			break
		}
		n = i + 1
	}
	return n
}

func indentation(line string) int {
	n := 0
	for _, ch := range []byte(line) {
		switch ch {
		case ' ':
			n++
		case '\t':
			n = n/8*8 + 8
		default:
			return n
		}
	}
	return n
}

// unknown notes a line that means nothing to us.
func (p *parser) unknown(format string, args ...any) {
	if len(p.tree.Unknown) < maxUnknown {
		p.tree.Unknown = append(p.tree.Unknown, p.pos.String()+": "+fmt.Sprintf(format, args...))
	}
}

// statement does what a line says; help tells that a help text follows it.
func (p *parser) statement(line string) (help bool, err error) {
	trimmed := strings.TrimSpace(line)
	if trimmed == "" || trimmed[0] == '#' {
		return false, nil
	}
	if name, op, text, ok := assignment(trimmed); ok {
		p.macros.assign(name, op, text)
		return false, nil
	}
	tokens, lexErr := p.macros.lex(line)
	if len(tokens) == 0 || strings.HasPrefix(trimmed, "$(") {
		if lexErr != nil {
			p.unknown("%v", lexErr)
		}
		return false, nil // $(error-if,...)
	}
	if tokens[0].is("help") || tokens[0].text == "---help---" {
		return true, nil
	}
	if lexErr == nil {
		lexErr = p.keyword(tokens[0].text, tokens[1:])
	}
	if fatal, ok := lexErr.(*sourceError); ok { //nolint:errorlint // made just below
		return false, fatal.err
	}
	if lexErr != nil {
		p.unknown("%.120s: %v", trimmed, lexErr)
	}
	return false, nil
}

// assignment splits NAME = text; keywords are never followed by a sign.
func assignment(line string) (name, op, text string, ok bool) {
	i := 0
	for i < len(line) && wordByte(line[i]) {
		i++
	}
	rest := strings.TrimLeft(line[i:], " \t")
	for _, op := range []string{":=", "+=", "="} {
		if text, found := strings.CutPrefix(rest, op); found && i > 0 {
			return line[:i], op, strings.TrimSpace(text), true
		}
	}
	return "", "", "", false
}

// sourceError is an error of an included file: it ends the parse.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }

// include does source and its relatives: r is relative to this file, o allows
// that nothing is there.
func (p *parser) include(word string, args []token) error {
	if len(args) != 1 || args[0].kind == unknownToken {
		return fmt.Errorf("%s: what it names is not known", word)
	}
	name := args[0].text
	if strings.Contains(word, "r") && strings.HasPrefix(strings.TrimPrefix(word, "o"), "r") {
		name = path.Join(path.Dir(p.pos.File), name)
	}
	name = path.Clean(name)
	optional := word[0] == 'o'
	if !fs.ValidPath(name) {
		return fmt.Errorf("%s %q leaves the source", word, name)
	}
	if _, err := fs.Stat(p.source, name); err != nil {
		if optional {
			return nil
		}
		return fmt.Errorf("%s: %w", word, err)
	}
	p.end()
	if err := p.file(name); err != nil {
		return &sourceError{err}
	}
	p.end()
	return nil
}

// end closes the entry whose attributes were read.
func (p *parser) end() { p.sym, p.def, p.group = nil, nil, nil }
