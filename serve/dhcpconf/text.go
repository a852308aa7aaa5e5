package dhcpconf

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// text writes lines of a configuration. Values come quoted.
type text struct {
	strings.Builder
	mark   string // that begins a comment: "#" or "//"
	indent string
}

func (t *text) line(format string, args ...any) {
	t.WriteString(t.indent)
	fmt.Fprintf(t, format, args...)
	t.WriteByte('\n')
}

// say writes a comment. No value can end it.
func (t *text) say(format string, args ...any) {
	for l := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		t.line("%s", strings.TrimSpace(t.mark+" "+oneLine(l)))
	}
}

func (t *text) gap() { t.WriteByte('\n') }

// wrapped is a text of several lines, indented as far as this one is.
func (t *text) wrapped(s string) string { return strings.ReplaceAll(s, "\n", "\n"+t.indent) }

// in indents what f writes.
func (t *text) in(f func()) {
	before := t.indent
	t.indent += "  "
	f()
	t.indent = before
}

// oneLine makes any text fit for a comment or a message.
func oneLine(s string) string {
	const most = 200
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s[:min(len(s), most)])
}

// plain reports whether a value is a word in every language here.
func plain(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._:/@%+-", r)
	})
}

// dnsmasqQuote makes a value of a comma-separated line: in quotes, commas and
// number signs are characters as others (man dnsmasq, CONFIG FILE).
func dnsmasqQuote(s string) string {
	if plain(s) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// jsonQuote makes a JSON string, with < and & left as they are.
func jsonQuote(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string can always be encoded
	return strings.TrimSpace(b.String())
}

// iscQuote makes a string of dhcpd.conf(5).
func iscQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// psQuote makes a PowerShell string in which nothing is expanded.
func psQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// shQuote makes a word of a POSIX shell; GRUB's shell takes the same.
func shQuote(s string) string {
	if plain(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// counted is a class with its length byte, as RFC 3004 has it.
func counted(class string) string { return string(rune(len(class))) + class }

// each maps a list.
func each[T, U any](list []T, f func(T) U) []U {
	out := make([]U, len(list))
	for i, v := range list {
		out[i] = f(v)
	}
	return out
}

// list writes values with commas between.
func list[T any](values []T) string {
	return strings.Join(each(values, func(v T) string { return fmt.Sprint(v) }), ", ")
}

// without returns all that are not in other.
func without(all, other []uint16) (rest []uint16) {
	for _, a := range all {
		if !slices.Contains(other, a) {
			rest = append(rest, a)
		}
	}
	return rest
}

// byArch names a choice for comments: x64 UEFI (option 93 is 7, 9 or 16).
func (c *choice) byArch() string {
	return fmt.Sprintf("%s (option 93: %s)", c.what, list(c.archs))
}
