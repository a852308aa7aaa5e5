package source

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// MaxPatch bounds one patch; a point release of the kernel has 1 to 5 MB.
const MaxPatch = 64 << 20

// Patch is a change of the source, to be applied with patch -p1.
type Patch struct {
	Name string // for people
	Data []byte
	// Files are what it changes, below the source's top, in its order.
	Files []string
}

// Hash is the SHA-256 of the patch in hexadecimal.
func (p Patch) Hash() string {
	sum := sha256.Sum256(p.Data)
	return hex.EncodeToString(sum[:])
}

// ParsePatch reads a unified diff, with or without git's headers and whatever
// a mail has around it. It refuses what patch(1) would misunderstand: no
// change in it, a hunk that is cut, binary changes, files outside of the
// source.
func ParsePatch(name string, data []byte) (Patch, error) {
	p := patchParser{patch: Patch{Name: name, Data: data}}
	if err := p.parse(data); err != nil {
		return Patch{}, fmt.Errorf("patch %s: %w", name, err)
	}
	return p.patch, nil
}

type patchParser struct {
	patch    Patch
	line     int
	old      string // of the last --- line
	oldLine  int    // its number
	headers  int    // git's: rename, mode, new and deleted empty files
	hunks    int
	inFile   bool // +++ was seen
	minus    int  // lines that are left of the hunk
	plus     int
	expected bool // a hunk must follow
}

func (p *patchParser) parse(data []byte) error {
	switch {
	case len(data) > MaxPatch:
		return fmt.Errorf("larger than %d bytes", MaxPatch)
	case bytes.HasPrefix(bytes.ToLower(bytes.TrimSpace(data[:min(len(data), 512)])), []byte("<")):
		return errors.New("it is a web page, not a patch")
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.line++
		if err := p.next(lines.Text()); err != nil {
			return fmt.Errorf("line %d: %w", p.line, err)
		}
	}
	switch {
	case lines.Err() != nil:
		return fmt.Errorf("line %d: %w", p.line+1, lines.Err())
	case p.minus > 0 || p.plus > 0 || p.expected:
		return errors.New("it is cut: its last hunk is not whole")
	case p.hunks == 0 && p.headers == 0:
		return errors.New("it changes nothing: want a unified diff (diff -u, git diff, git format-patch)")
	}
	return nil
}

var hunkHeader = regexp.MustCompile(`^@@ -[0-9]{1,9}(?:,([0-9]{1,9}))? \+[0-9]{1,9}(?:,([0-9]{1,9}))? @@`)

func (p *patchParser) next(line string) error {
	switch {
	case p.minus > 0 || p.plus > 0:
		return p.hunkLine(line)
	case strings.HasPrefix(line, "@@ "):
		return p.hunk(line)
	case p.expected && p.line == p.oldLine+2:
		return errors.New("want a hunk (@@ -1,2 +1,3 @@) after the names of a file")
	case strings.HasPrefix(line, "--- "):
		p.old, p.oldLine, p.inFile = line[4:], p.line, false
	case strings.HasPrefix(line, "+++ ") && p.oldLine == p.line-1 && p.line > 1:
		return p.file(line[4:])
	case strings.HasPrefix(line, "GIT binary patch"), strings.HasPrefix(line, "Binary files "):
		return errors.New("a change of a binary file, which patch cannot make: put the file into the source instead (--source FOLDER)")
	case strings.HasPrefix(line, "diff --git "):
		p.inFile, p.expected = false, false
	default:
		return p.header(line)
	}
	return nil
}

// header reads those of git's extended headers that are changes themselves.
func (p *patchParser) header(line string) error {
	for _, prefix := range []string{"rename from ", "rename to ", "copy from ", "copy to "} {
		if name, ok := strings.CutPrefix(line, prefix); ok {
			p.headers++
			return p.add("a/" + name)
		}
	}
	for _, prefix := range []string{"new mode ", "new file mode ", "deleted file mode "} {
		if strings.HasPrefix(line, prefix) {
			p.headers++
		}
	}
	return nil
}

// file reads the names of a file, after --- and +++.
func (p *patchParser) file(added string) error {
	p.inFile, p.expected = true, true
	p.oldLine = p.line - 1
	for _, name := range []string{p.old, added} {
		name, _, _ = strings.Cut(name, "\t") // diff -u writes a time there
		if name = strings.TrimRight(name, " \r"); name == "/dev/null" {
			continue
		}
		if err := p.add(name); err != nil {
			return err
		}
	}
	return nil
}

// add notes a file that is changed; patch -p1 drops the first folder.
func (p *patchParser) add(name string) error {
	if strings.HasPrefix(name, `"`) {
		unquoted, err := strconv.Unquote(name)
		if err != nil {
			return fmt.Errorf("file name %.200s cannot be read", name)
		}
		name = unquoted
	}
	top, rest, nested := strings.Cut(name, "/")
	if !nested || top == "" || rest == "" || strings.HasPrefix(rest, "/") {
		return fmt.Errorf("file %.200q: want names with one folder before them, as a/Makefile and b/Makefile (patch -p1)", name)
	}
	if top == ".." {
		return fmt.Errorf("file %.200q: it leaves the source", name)
	}
	for _, element := range strings.Split(rest, "/") {
		if element == ".." || element == ".git" {
			return fmt.Errorf("file %.200q: it leaves the source", name)
		}
	}
	if n := len(p.patch.Files); n == 0 || p.patch.Files[n-1] != rest {
		p.patch.Files = append(p.patch.Files, rest)
	}
	return nil
}

// hunk reads how many lines follow.
func (p *patchParser) hunk(line string) error {
	m := hunkHeader.FindStringSubmatch(line)
	switch {
	case m == nil && !p.inFile:
		return nil // of a mail's text
	case m == nil:
		return fmt.Errorf("%.80q: want @@ -1,2 +1,3 @@", line)
	case !p.inFile:
		return errors.New("a hunk without the names of its file (--- a/FILE, +++ b/FILE) before it")
	}
	count := func(s string) int {
		if s == "" {
			return 1
		}
		n, _ := strconv.Atoi(s)
		return n
	}
	p.minus, p.plus, p.expected = count(m[1]), count(m[2]), false
	if p.minus == 0 && p.plus == 0 {
		return errors.New("a hunk of no lines")
	}
	p.hunks++
	return nil
}

// hunkLine counts a line of a hunk.
func (p *patchParser) hunkLine(line string) error {
	kind := byte(' ') // editors drop the blank of an empty line, and patch knows
	if line != "" && line != "\r" {
		kind = line[0]
	}
	switch kind {
	case ' ':
		p.minus, p.plus = p.minus-1, p.plus-1
	case '-':
		p.minus--
	case '+':
		p.plus--
	case '\\':
		return nil
	default:
		return fmt.Errorf("%.80q: want a line of the hunk, starting with blank, + or -", line)
	}
	if p.minus < 0 || p.plus < 0 {
		return errors.New("the hunk has other lines than its header says")
	}
	return nil
}
