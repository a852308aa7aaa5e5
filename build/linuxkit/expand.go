package linuxkit

import (
	"bytes"
	"regexp"
)

var variable = regexp.MustCompile(`\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))`)

// Expand replaces ${NAME} and $NAME of the given variables, as envsubst does
// with an explicit list: every other $ stays as it is, so that shell scripts
// inside `contents` survive. Values are not expanded again.
//
// The second and later lines of a value are indented like the line that the
// variable stands on, so that several lines fit into a YAML block scalar.
//
// Line and column of an error of Parse refer to the result.
func Expand(data []byte, vars map[string]string) []byte {
	out := make([]byte, 0, len(data))
	last := 0
	for _, at := range variable.FindAllSubmatchIndex(data, -1) {
		name := at[2:4]
		if name[0] < 0 {
			name = at[4:6]
		}
		value, ok := vars[string(data[name[0]:name[1]])]
		if !ok {
			continue
		}
		out = append(out, data[last:at[0]]...)
		newline := append([]byte{'\n'}, indentation(data[:at[0]])...)
		out = append(out, bytes.ReplaceAll([]byte(value), []byte{'\n'}, newline)...)
		last = at[1]
	}
	return append(out, data[last:]...)
}

// Variables are the names in data that Expand would replace if they were given a
// value, in order of appearance, some more than once.
func Variables(data []byte) []string {
	var names []string
	for _, m := range variable.FindAllSubmatch(data, -1) {
		names = append(names, string(m[1])+string(m[2]))
	}
	return names
}

// indentation returns the spaces that the last line begins with.
func indentation(data []byte) []byte {
	line := data[bytes.LastIndexByte(data, '\n')+1:]
	return line[:len(line)-len(bytes.TrimLeft(line, " "))]
}
