package kernel

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Config is a kernel's configuration: symbols with their CONFIG_ prefix, and
// the values as the .config file spells them ("y", "m", "0x1000", with the
// quotes of strings removed). A symbol that "is not set" is absent.
type Config map[string]string

// ParseConfig reads a .config file.
func ParseConfig(r io.Reader) (Config, error) {
	c := Config{}
	lines := bufio.NewScanner(io.LimitReader(r, maxList))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		symbol, value, ok := strings.Cut(line, "=")
		if !ok || !strings.HasPrefix(symbol, "CONFIG_") {
			return nil, fmt.Errorf("line %d: %q is no CONFIG_SYMBOL=value", n, line)
		}
		if unquoted, ok := strings.CutPrefix(value, `"`); ok {
			value = strings.TrimSuffix(unquoted, `"`)
		}
		c[symbol] = value
	}
	return c, lines.Err()
}

// Enabled reports whether the symbol is built in or a module.
func (c Config) Enabled(symbol string) bool { return c[symbol] == "y" || c[symbol] == "m" }

// BuiltIn reports whether the symbol is built in.
func (c Config) BuiltIn(symbol string) bool { return c[symbol] == "y" }
