package modules

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hooksmith/guest/cmdline"
	"hooksmith/guest/modalias"
)

// Policy is what an administrator says about modules: in modprobe.d(5) files and on the kernel command line. The zero
// value has no opinion.
type Policy struct {
	blacklist map[string]bool     // not to be loaded because a device asks for it
	never     map[string]bool     // not to be loaded at all
	options   map[string][]string // parameters, in order
	before    map[string][]string // softdep pre:
	after     map[string][]string // softdep post:
	aliases   strings.Builder     // "alias PATTERN MODULE" lines
}

// Read adds the rules of a file of modprobe.d(5), or of modules.softdep, which has the same form. Commands other than
// alias, blacklist, options, softdep and `install NAME /bin/false` (or true) are passed over.
func (p *Policy) Read(text string) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || strings.HasPrefix(words[0], "#") {
			continue
		}
		p.rule(words[0], modalias.ModuleName(words[1]), words[1], words[2:])
	}
}

func (p *Policy) rule(command, name, raw string, rest []string) {
	switch command {
	case "blacklist":
		set(&p.blacklist, name)
	case "options":
		p.option(name, rest...)
	case "softdep":
		p.softdep(name, rest)
	case "install":
		if len(rest) > 0 && (filepath.Base(rest[0]) == "false" || filepath.Base(rest[0]) == "true") {
			set(&p.never, name)
		}
	case "alias":
		if len(rest) == 1 {
			p.aliases.WriteString("alias " + raw + " " + rest[0] + "\n")
		}
	}
}

func (p *Policy) option(name string, values ...string) {
	if p.options == nil {
		p.options = map[string][]string{}
	}
	p.options[name] = append(p.options[name], values...)
}

// softdep reads "pre: a b post: c".
func (p *Policy) softdep(name string, words []string) {
	var list *map[string][]string
	for _, word := range words {
		switch word {
		case "pre:":
			list = &p.before
		case "post:":
			list = &p.after
		default:
			if list == nil {
				continue
			}
			if *list == nil {
				*list = map[string][]string{}
			}
			(*list)[name] = append((*list)[name], modalias.ModuleName(word))
		}
	}
}

// ReadDirs adds the *.conf files of folders such as /etc/modprobe.d, in name order; what is not there has no rules.
func (p *Policy) ReadDirs(dirs ...string) {
	for _, dir := range dirs {
		files, _ := filepath.Glob(filepath.Join(dir, "*.conf"))
		for _, file := range files {
			if text, err := readText(file); err == nil {
				p.Read(text)
			}
		}
	}
}

// CommandLine adds what the kernel command line says: modprobe.blacklist=A,B module_blacklist=A,B and parameters of
// modules, NAME.PARAM=VALUE. The line itself is needed for the names of the parameters, params for their values.
func (p *Policy) CommandLine(line string, params cmdline.Params) {
	for _, key := range []string{"modprobe.blacklist", "module_blacklist"} {
		for _, list := range params.All(key) {
			for _, name := range splitList(list) {
				set(&p.blacklist, name)
				if key == "module_blacklist" { // the kernel refuses these, so asking is of no use
					set(&p.never, name)
				}
			}
		}
	}
	for _, key := range parameterKeys(line) {
		module, param, _ := strings.Cut(key, ".")
		for _, value := range params.All(key) {
			p.option(modalias.ModuleName(module), option(param, value))
		}
	}
}

// parameterKeys are the keys with a dot in front of any "=", each once.
func parameterKeys(line string) []string {
	var keys []string
	for word := range strings.FieldsSeq(line) {
		key, _, _ := strings.Cut(strings.TrimPrefix(word, `"`), "=")
		module, param, ok := strings.Cut(key, ".")
		if ok && module != "" && param != "" && module != "modprobe" && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// option writes a parameter as finit_module wants it: spaces are protected by quotes.
func option(param, value string) string {
	switch {
	case value == "":
		return param
	case strings.ContainsAny(value, " \t"):
		return param + `="` + value + `"`
	}
	return param + "=" + value
}

// List reads the names of modules-load.d(5) files, the *.conf of dirs: one a line, # and ; begin comments.
func List(dirs ...string) []string {
	var names []string
	for _, dir := range dirs {
		files, _ := filepath.Glob(filepath.Join(dir, "*.conf"))
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				continue
			}
			for line := range strings.Lines(string(text)) {
				line = strings.TrimSpace(line)
				if line != "" && line[0] != '#' && line[0] != ';' {
					names = append(names, line)
				}
			}
		}
	}
	return names
}

// Requested are the modules of modules=A,B on the command line, as Tinkerbell's Smee passes it.
func Requested(params cmdline.Params) []string {
	var names []string
	for _, list := range params.All("modules") {
		names = append(names, splitList(list)...)
	}
	return names
}

func splitList(list string) []string {
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, modalias.ModuleName(name))
		}
	}
	return names
}

func set(m *map[string]bool, name string) {
	if *m == nil {
		*m = map[string]bool{}
	}
	(*m)[name] = true
}
