package kconfig

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// maxConfig bounds a configuration file; a full one has 300 KiB.
const maxConfig = 16 << 20

// Config is a kernel configuration: symbols without CONFIG_, and their values
// as the file spells them: y, m, 64, 0x1000, "text" with its quotes. A symbol
// that "is not set" has the value n; one that is not in the file is absent.
type Config map[string]string

// Parse reads a .config, a defconfig or a fragment of one. Of two lines for
// one symbol the later counts, as it does for the kernel.
func Parse(r io.Reader) (Config, error) {
	c := Config{}
	limited := &io.LimitedReader{R: r, N: maxConfig + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, 1<<20)
	n := 0
	for lines.Scan() {
		n++
		name, value, err := parseLine(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if name != "" {
			c[name] = value
		}
	}
	if limited.N <= 0 {
		return nil, fmt.Errorf("larger than %d bytes: this is no kernel configuration", maxConfig)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	return c, nil
}

// parseLine returns an empty name for lines that set nothing.
func parseLine(line string) (name, value string, err error) {
	line = strings.TrimSpace(line)
	if off, ok := strings.CutSuffix(line, " is not set"); ok && strings.HasPrefix(off, "# CONFIG_") {
		if name = strings.TrimPrefix(off, "# CONFIG_"); validName(name) {
			return name, "n", nil
		}
		return "", "", nil // a sentence, by chance
	}
	if line == "" || line[0] == '#' {
		return "", "", nil
	}
	if !strings.HasPrefix(line, "CONFIG_") {
		return "", "", fmt.Errorf("%.80q is no CONFIG_SYMBOL=value", line)
	}
	a, err := ParseAssignment(line)
	if err != nil {
		return "", "", err
	}
	return a.Name, a.Value, nil
}

// Assignment gives a symbol a value, both as Config has them.
type Assignment struct{ Name, Value string }

// ParseAssignment reads CONFIG_X=value or X=value. A value in quotes has to
// be one string of Kconfig; for others, Tree.Normalize knows what the symbol takes.
func ParseAssignment(s string) (Assignment, error) {
	name, value, ok := strings.Cut(s, "=")
	name = strings.TrimPrefix(name, "CONFIG_")
	if !ok || !validName(name) {
		return Assignment{}, fmt.Errorf("%.80q is no CONFIG_SYMBOL=value", s)
	}
	if strings.ContainsAny(value, "\n\r\x00") {
		return Assignment{}, fmt.Errorf("CONFIG_%s: a value is one line of text", name)
	}
	if strings.HasPrefix(value, `"`) {
		if _, err := Unquote(value); err != nil {
			return Assignment{}, fmt.Errorf("CONFIG_%s: %w", name, err)
		}
	}
	return Assignment{name, value}, nil
}

// String is the line of a configuration file.
func (a Assignment) String() string {
	if a.Value == "n" {
		return "# CONFIG_" + a.Name + " is not set"
	}
	return "CONFIG_" + a.Name + "=" + a.Value
}

func validName(s string) bool {
	for _, r := range []byte(s) {
		if r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return false
		}
	}
	return s != ""
}

// Quote makes a string value of s.
func Quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// Unquote takes the text out of a string value.
func Unquote(value string) (string, error) {
	if len(value) < 2 || value[0] != '"' {
		return "", fmt.Errorf("%.80s is no string in quotes", value)
	}
	var b strings.Builder
	for i := 1; i < len(value); i++ {
		switch value[i] {
		case '"':
			if i != len(value)-1 {
				return "", fmt.Errorf("%.80s: something follows the closing quote", value)
			}
			return b.String(), nil
		case '\\':
			if i++; i == len(value) {
				return "", fmt.Errorf("%.80s has no closing quote", value)
			}
		}
		b.WriteByte(value[i])
	}
	return "", fmt.Errorf("%.80s has no closing quote", value)
}

// Format writes the configuration as a file, sorted by symbol.
func (c Config) Format() []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintln(&b, Assignment{name, c[name]})
	}
	return b.Bytes()
}

// Clone is a copy that can be changed.
func (c Config) Clone() Config { return maps.Clone(c) }

// Change is a symbol that differs; From is empty if it was added, To if it
// was removed.
type Change struct {
	Name string `json:"symbol"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// String is as the kernel's scripts/diffconfig prints it.
func (c Change) String() string {
	switch {
	case c.From == "":
		return "+" + c.Name + " " + c.To
	case c.To == "":
		return "-" + c.Name + " " + c.From
	}
	return " " + c.Name + " " + c.From + " -> " + c.To
}

// Diff lists what changed, sorted by symbol. A symbol that is not set and one
// that is not there are both off: that is no difference.
func Diff(before, after Config) []Change {
	names := slices.Collect(maps.Keys(before))
	for name := range after {
		if _, ok := before[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var changes []Change
	for _, name := range names {
		from, to := before[name], after[name]
		if from == to || off(from) && off(to) {
			continue
		}
		changes = append(changes, Change{name, from, to})
	}
	return changes
}

func off(value string) bool { return value == "" || value == "n" }
