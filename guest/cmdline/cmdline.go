// Package cmdline reads the kernel command line the way the kernel itself does.
//
// In goes the text of /proc/cmdline, out comes a Params: every parameter in its order, with quotes taken off. All of
// HookOS is configured by it (grpc_authority=, ipam=, syslog_host= ...), so the rules are those of next_arg() in the
// kernel's lib/cmdline.c: a double quote protects spaces, in a value (a="b c") or round the whole parameter ("a=b c"),
// and only the first = separates. Text after the kernel's "--" separator counts too, as it did for upstream's readers.
package cmdline

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// Path is where the kernel shows its command line.
const Path = "/proc/cmdline"

// maxBytes bounds what Load reads. COMMAND_LINE_SIZE is 2048 on x86 and arm64, 4096 in Hook's own kernels; a bootconfig
// appended to the initrd can show up to 32 KiB more.
const maxBytes = 64 << 10

// Params is a parsed command line. The zero value is an empty one.
type Params struct {
	params []param
}

type param struct {
	key, value string
}

// Load parses the command line in the file at path, usually Path.
func Load(path string) (Params, error) {
	f, err := os.Open(path)
	if err != nil {
		return Params{}, fmt.Errorf("reading the kernel command line: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxBytes))
	if err != nil {
		return Params{}, fmt.Errorf("reading the kernel command line from %s: %w", path, err)
	}
	return Parse(string(text)), nil
}

// Parse splits a command line into its parameters. It accepts any text: an unclosed quote reaches to the end.
func Parse(line string) Params {
	var p Params
	for {
		line = strings.TrimLeft(line, space)
		if line == "" {
			return p
		}
		var next param
		next, line = nextArg(line)
		p.params = append(p.params, next)
	}
}

// Get returns the value of key and whether the parameter is there at all. The last one wins, as for the kernel. A
// parameter without "=" is there with an empty value.
func (p Params) Get(key string) (value string, ok bool) {
	for i := len(p.params) - 1; i >= 0; i-- {
		if p.params[i].key == key {
			return p.params[i].value, true
		}
	}
	return "", false
}

// Has reports whether key is there, with or without a value.
func (p Params) Has(key string) bool {
	_, ok := p.Get(key)
	return ok
}

// All returns the values of every parameter named key in their order; console= is given more than once, for example.
func (p Params) All(key string) []string {
	var values []string
	for _, each := range p.params {
		if each.key == key {
			values = append(values, each.value)
		}
	}
	return values
}

// space is what isspace() of the C locale holds.
const space = " \t\n\v\f\r"

// nextArg takes one parameter off a line that is neither empty nor begins with a space. It follows next_arg() in
// lib/cmdline.c byte for byte, whose two oddities are kept: a "=" in front is part of the name, and quotes inside a
// word stay while they still protect its spaces.
func nextArg(line string) (param, string) {
	quoted := line[0] == '"'
	if quoted {
		line = line[1:]
	}
	inQuote, equals, end := quoted, 0, 0
	for ; end < len(line); end++ {
		c := line[end]
		if !inQuote && strings.IndexByte(space, c) >= 0 {
			break
		}
		if equals == 0 && c == '=' {
			equals = end
		}
		if c == '"' {
			inQuote = !inQuote
		}
	}
	word, rest := line[:end], line[end:]
	if quoted {
		word = strings.TrimSuffix(word, `"`)
	}
	if equals == 0 || equals >= len(word) {
		return param{key: word}, rest
	}
	key, value := word[:equals], word[equals+1:]
	if unquoted, ok := strings.CutPrefix(value, `"`); ok {
		value = unquoted
		if !quoted {
			value = strings.TrimSuffix(value, `"`)
		}
	}
	return param{key: key, value: value}, rest
}
