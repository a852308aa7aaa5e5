package doctor

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// outcome is what an iPXE script does if everything that it fetches is there.
type outcome struct {
	kernel  string   // URL
	initrds []string // URLs
	args    string   // of the kernel
	chain   string   // URL of what takes over
	asks    bool     // stops to ask somebody, or gives a shell
	other   string   // boots something else: sanboot
	err     string   // why it ends badly
	says    string   // what it printed before it gave up
}

// Limits of a script.
const (
	maxScript      = 1 << 20
	maxSteps       = 5000 // lines that are run: a script may go round
	maxValue       = 4096 // octets of an expanded word
	maxExpansions  = 64
	maxScriptFiles = 16
	maxSaid        = 200 // octets of what a script says
)

// beginsScript is how iPXE knows a script (image/script.c): the first line, which may end in either way.
var beginsScript = regexp.MustCompile(`\A#!ipxe[ \t\r]*(\n|\z)`)

// interpreter runs one script.
type interpreter struct {
	lines    []string
	labels   map[string]int
	settings map[string]string
	items    []string // of the menu that is being made
	said     []string // the last lines that it printed
	base     *url.URL
	at       int
	out      outcome
	over     bool
}

// runScript runs a script as iPXE would. Settings are what iPXE knows, without prefixes of interfaces; base is the
// script's own URL, to which relative names belong.
func runScript(text string, base *url.URL, settings map[string]string) outcome {
	in := &interpreter{labels: map[string]int{}, settings: settings, base: base}
	text = strings.ReplaceAll(text[:min(len(text), maxScript)], "\r", "")
	text = strings.ReplaceAll(text, "\\\n", "")
	in.lines = strings.Split(text, "\n")
	for i, line := range in.lines {
		if label, ok := strings.CutPrefix(strings.TrimSpace(line), ":"); ok {
			if name, _, _ := strings.Cut(label, " "); in.labels[name] == 0 {
				in.labels[name] = i + 1
			}
		}
	}
	for steps := 0; in.at < len(in.lines) && !in.over; steps++ {
		if steps == maxSteps {
			in.out.err = "it goes round and round"
			break
		}
		line := strings.TrimSpace(in.lines[in.at])
		in.at++
		if line == "" || line[0] == '#' || line[0] == ':' {
			continue
		}
		if !in.line(line) && !in.over {
			in.stop("line " + strconv.Itoa(in.at) + " fails: " + clean(line, 120))
		}
	}
	return in.out
}

func (in *interpreter) stop(why string) {
	in.over = true
	in.out.err = why
}

// line runs commands that are joined by && and ||. A command that is skipped leaves the result as it was.
func (in *interpreter) line(line string) (ok bool) {
	var command []string
	run, ok := true, true
	for _, word := range append(words(line), ";") {
		if word != "||" && word != "&&" && word != ";" {
			command = append(command, word)
			continue
		}
		if run && !in.over {
			ok = in.command(command)
		}
		run = word == ";" || (word == "&&") == ok
		command = nil
	}
	return ok
}

// words splits a line at blanks outside of quotes. (iPXE expands each word afterwards: values are not split.)
func words(line string) (all []string) {
	var b strings.Builder
	var quote rune
	has := false
	flush := func() {
		if has {
			all = append(all, b.String())
		}
		b.Reset()
		has = false
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, has = r, true
		case quote == 0 && (r == ' ' || r == '\t'):
			flush()
		default:
			b.WriteRune(r)
			has = true
		}
	}
	flush()
	return all
}

// expand replaces ${setting}, the innermost first.
func (in *interpreter) expand(s string) string {
	for range maxExpansions {
		end := strings.Index(s, "}")
		if end < 0 {
			break
		}
		start := strings.LastIndex(s[:end], "${")
		if start < 0 {
			next := strings.Index(s[end+1:], "${") // a } of its own
			if next < 0 {
				break
			}
			return s[:end+1] + in.expand(s[end+1:])
		}
		s = s[:start] + in.value(s[start+2:end]) + s[end+1:]
		if len(s) > maxValue {
			return s[:maxValue]
		}
	}
	return s
}

// value is a setting as text: net0/mac:hexhyp is the setting mac in the form hexhyp.
func (in *interpreter) value(name string) string {
	name, form, _ := strings.Cut(name, ":")
	v := in.settings[settingName(name)]
	switch form {
	case "hexhyp":
		return strings.ReplaceAll(v, ":", "-")
	case "hexraw":
		return strings.ReplaceAll(v, ":", "")
	case "uristring":
		return url.QueryEscape(v)
	}
	return v
}

func settingName(name string) string {
	name, _, _ = strings.Cut(name, ":")
	if i := strings.LastIndex(name, "/"); i >= 0 {
		name = name[i+1:]
	}
	return name
}

// arguments leaves options out: --name VALUE and the like.
func arguments(args []string) (rest []string) {
	for i := 0; i < len(args); i++ {
		switch {
		case slices.Contains([]string{"--name", "-n", "--timeout", "-t"}, args[i]):
			i++
		case strings.HasPrefix(args[i], "--"), slices.Contains([]string{"-a", "-r"}, args[i]):
		default:
			return args[i:]
		}
	}
	return nil
}

// command runs one, and tells whether it went well. Commands that only prepare something do.
func (in *interpreter) command(args []string) bool {
	for i := range args {
		args[i] = in.expand(args[i])
	}
	if len(args) == 0 {
		return true
	}
	rest := arguments(args[1:])
	switch args[0] {
	case "set", "inc", "clear", "isset", "iseq", "nslookup":
		return in.setting(args[0], args[1:])
	case "item", "choose", "prompt", "read", "login", "config", "shell", "menu":
		return in.dialog(args)
	case "goto":
		return in.jump(rest)
	case "kernel", "imgload", "imgselect":
		in.out.kernel, in.out.args = in.url(rest), strings.Join(rest[min(1, len(rest)):], " ")
		return in.out.kernel != ""
	case "initrd", "module", "imgfetch":
		if u := in.url(rest); u != "" && len(in.out.initrds) < maxScriptFiles {
			in.out.initrds = append(in.out.initrds, u)
		}
	case "imgfree":
		in.out.kernel, in.out.initrds = "", nil
	case "chain", "imgexec", "boot":
		return in.boot(args[0], rest)
	case "sanboot", "reboot", "poweroff":
		in.out.other, in.over = strings.Join(args, " "), true
	case "exit":
		in.over = true
		if len(rest) > 0 && rest[0] != "0" {
			in.out.err = "it gives up (exit " + clean(rest[0], 20) + ")"
			in.out.says = clean(strings.Join(in.said, "; "), maxSaid)
		}
	case "echo":
		in.echo(args[1:])
	case "iperror", "false":
		return false
	}
	return true
}

// echo keeps the last lines: a script that gives up says why.
func (in *interpreter) echo(args []string) {
	const most = 8
	if len(args) > 0 && args[0] == "-n" { // no line break
		args = args[1:]
	}
	if line := strings.Join(args, " "); line != "" {
		in.said = append(in.said[max(0, len(in.said)-most+1):], line)
	}
}

// boot ends the script: with what was fetched, or another file.
func (in *interpreter) boot(command string, rest []string) bool {
	in.over = true
	if u := in.url(rest); u != "" && (command == "chain" || strings.Contains(rest[0], "/")) {
		in.out.chain = u
	}
	return true
}

func (in *interpreter) jump(rest []string) bool {
	if len(rest) == 0 {
		return false
	}
	at, ok := in.labels[rest[0]]
	if !ok {
		in.stop("there is no label " + clean(rest[0], 60))
		return false
	}
	in.at = at
	return true
}

// setting runs a command about settings.
func (in *interpreter) setting(command string, args []string) bool {
	switch {
	case command == "isset":
		return len(args) > 0 && args[0] != ""
	case command == "iseq":
		return len(args) == 2 && args[0] == args[1]
	case len(args) == 0 || len(in.settings) > 1000:
		return false
	}
	name := settingName(args[0])
	switch command {
	case "clear":
		delete(in.settings, name)
	case "inc":
		n, _ := strconv.Atoi(in.settings[name]) // what is no number counts as 0
		by := 1
		if len(args) > 1 {
			by, _ = strconv.Atoi(args[1])
		}
		in.settings[name] = strconv.Itoa(n + by)
	default:
		v := strings.Join(args[1:], " ")
		in.settings[name] = v[:min(len(v), maxValue)]
	}
	return true
}

// dialog answers what a script asks as nobody at the screen does: the default, if there is one.
func (in *interpreter) dialog(args []string) bool {
	switch args[0] {
	case "menu":
		in.items = nil
		return true
	case "item":
		if rest := arguments(args[1:]); len(rest) > 0 && len(in.items) < maxSteps {
			in.items = append(in.items, rest[0])
		}
		return true
	case "prompt":
		return false // no key is pressed
	case "choose":
		return in.choose(args[1:])
	}
	in.out.asks, in.over = true, true
	return true
}

func (in *interpreter) choose(args []string) bool {
	chosen, timeout, name := "", false, ""
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "--default", "-d":
			if i++; i < len(args) {
				chosen = args[i]
			}
		case "--timeout", "-t":
			timeout = true
			i++
		default:
			name = args[i]
		}
	}
	if chosen == "" && len(in.items) > 0 {
		chosen = in.items[0]
	}
	if !timeout || name == "" {
		in.out.asks, in.over = true, true
		return true
	}
	return in.setting("set", []string{name, chosen})
}

// url is the first argument as a URL, "" if it is none.
func (in *interpreter) url(rest []string) string {
	if len(rest) == 0 || rest[0] == "" {
		return ""
	}
	u, err := url.Parse(rest[0])
	if err != nil {
		in.stop("not a URL: " + clean(rest[0], 200))
		return ""
	}
	return in.base.ResolveReference(u).String()
}
