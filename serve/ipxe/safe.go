package ipxe

import (
	"errors"
	"fmt"
	"strings"
)

// What iPXE's script parser gives a meaning: ${...} is expanded anywhere in a
// line; a word that is ||, && or ; ends a command; a word that begins with #
// begins a comment. There is no quoting: a space always separates words. So
// values from outside are checked, not escaped.

// checkText accepts a value that may have spaces: printable ASCII that iPXE
// takes as it is.
func checkText(s string) error {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return fmt.Errorf("%q has a control or non-ASCII character", cut(s))
		}
	}
	if strings.Contains(s, "${") {
		return fmt.Errorf("%q has ${, which iPXE would expand", cut(s))
	}
	for word := range strings.FieldsSeq(s) {
		if err := checkToken(word); err != nil {
			return err
		}
	}
	return nil
}

// checkToken refuses the words that are more than words.
func checkToken(word string) error {
	switch {
	case word == "||" || word == "&&" || word == ";":
		return fmt.Errorf("%q ends a command in an iPXE script", word)
	case strings.HasPrefix(word, "#"):
		return fmt.Errorf("%q begins a comment in an iPXE script", cut(word))
	}
	return nil
}

// checkWord accepts a value without spaces: a host name, a URL, a file name.
func checkWord(s string) error {
	if strings.ContainsAny(s, " ") {
		return fmt.Errorf("%q has a space", cut(s))
	}
	return checkText(s)
}

func cut(s string) string {
	const most = 240
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// show makes any text fit for echo: what iPXE would act on is replaced.
func show(s string) string {
	var b strings.Builder
	for _, r := range cut(s) {
		if r < ' ' || r > '~' {
			r = '?'
		}
		b.WriteRune(r)
	}
	words := strings.Fields(strings.ReplaceAll(b.String(), "${", "$ {"))
	for i, word := range words {
		if checkToken(word) != nil {
			words[i] = "'" + word + "'"
		}
	}
	return strings.Join(words, " ")
}

// script writes lines of an iPXE script. Values in them have been checked.
type script struct{ strings.Builder }

func newScript() *script {
	s := &script{}
	s.line("#!ipxe")
	return s
}

func (s *script) line(format string, args ...any) {
	fmt.Fprintf(s, format, args...)
	s.WriteByte('\n')
}

// say echoes text as it is, whoever wrote it.
func (s *script) say(format string, args ...any) {
	s.line("echo hooksmith: %s", show(fmt.Sprintf(format, args...)))
}

// comment cannot end its line.
func (s *script) comment(format string, args ...any) {
	s.line("# %s", show(fmt.Sprintf(format, args...)))
}

// MessageScript shows lines on a machine's screen, keeps them there for half a
// minute and lets the machine go on to its next boot device. It is the answer
// to a request that cannot be answered: the firmware's own message is a number.
func MessageScript(lines ...string) string {
	s := newScript()
	s.line("echo")
	for _, l := range lines {
		s.say("%s", l)
	}
	s.pause()
	s.line("exit 1")
	return s.String()
}

// pause gives people time to read, and a shell to who asks for it.
func (s *script) pause() {
	s.line("prompt --key s --timeout 30000 hooksmith: press s for an iPXE shell; in 30 s the next boot device follows && shell ||")
}

var errBothURLs = errors.New("neither a hook URL in the hardware record nor a default one is configured")
