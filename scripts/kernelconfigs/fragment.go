package main

import (
	"bufio"
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// A fragment is a piece of a kernel configuration: paragraphs, separated by
// empty lines, each of comments that say why and of the symbols that it asks
// for. Lines that begin with "#:" are conditions on the paragraph; all must
// hold:
//
//	#: since 5.17     the symbols do not exist in older kernels
//	#: until 6.11     nor in newer ones
//	#: arch x86_64    nor on other architectures
//
// The kernel's own tools see comments in them, so a fragment is good for
// merge_config.sh as it is.
type fragment []paragraph

type paragraph struct {
	line       int // of its first line
	why        string
	since      version // zero: always
	until      version
	arch       string
	conditions []string // as written
	asks       []ask
}

// ask is a symbol with the value that a fragment wants, as .config writes it; "n" for "is not set".
type ask struct {
	line          int
	symbol, value string
}

// version is major and minor of a kernel.
type version struct{ major, minor int }

var (
	askLine = regexp.MustCompile(`^(CONFIG_[A-Za-z0-9_]+)=([ynm]|-?[0-9]+|0x[0-9a-fA-F]+|"[^"\\]*")$`)
	notLine = regexp.MustCompile(`^# (CONFIG_[A-Za-z0-9_]+) is not set$`)
)

// parseFragment reads a fragment strictly: a line that is neither empty, nor a comment, nor a symbol is an error, and so
// is a paragraph of symbols that does not say why.
func parseFragment(text []byte) (fragment, error) {
	var all fragment
	var p paragraph
	scanner := bufio.NewScanner(bytes.NewReader(text))
	number := 0
	for scanner.Scan() {
		number++
		line := scanner.Text()
		if line == "" {
			all, p = append(all, p), paragraph{}
			continue
		}
		if p.line == 0 {
			p.line = number
		}
		if err := p.add(number, line); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, err
	}
	all = append(all, p)
	for _, p := range all {
		if len(p.asks) > 0 && p.why == "" {
			return nil, fmt.Errorf("line %d: no comment says why these symbols are set", p.line)
		}
		if len(p.asks) == 0 && len(p.conditions) > 0 {
			return nil, fmt.Errorf("line %d: condition %q is followed by no symbol before the next empty line", p.line, p.conditions[0])
		}
	}
	return all, nil
}

func (p *paragraph) add(number int, line string) error {
	if condition, ok := strings.CutPrefix(line, "#: "); ok {
		p.conditions = append(p.conditions, condition)
		return p.addCondition(condition)
	}
	if m := notLine.FindStringSubmatch(line); m != nil {
		p.asks = append(p.asks, ask{number, m[1], "n"})
		return nil
	}
	if text, ok := strings.CutPrefix(line, "#"); ok {
		if strings.Contains(text, "CONFIG_") {
			return fmt.Errorf("%q: merge_config.sh takes a symbol in a comment for one that is set; leave out CONFIG_", line)
		}
		p.why += text
		return nil
	}
	m := askLine.FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf(`%q is not CONFIG_X=VALUE, "# CONFIG_X is not set" or a comment`, line)
	}
	if m[2] == "n" {
		return fmt.Errorf("%q: write # %s is not set", line, m[1])
	}
	p.asks = append(p.asks, ask{number, m[1], m[2]})
	return nil
}

func (p *paragraph) addCondition(condition string) error {
	key, value, _ := strings.Cut(condition, " ")
	var err error
	switch key {
	case "since":
		p.since, err = parseVersion(value)
	case "until":
		p.until, err = parseVersion(value)
	case "arch":
		if p.arch = value; value != "x86_64" && value != "aarch64" {
			err = fmt.Errorf("architecture %q is neither x86_64 nor aarch64", value)
		}
	default:
		err = fmt.Errorf("condition %q is none of since, until, arch", condition)
	}
	return err
}

// in says whether the paragraph counts for a kernel.
func (p paragraph) in(v version, arch string) bool {
	return !v.less(p.since) && (p.until == version{} || !p.until.less(v)) && (p.arch == "" || p.arch == arch)
}

// asks are what the fragment asks for of a kernel, in order.
func (f fragment) asks(v version, arch string) []ask {
	var all []ask
	for _, p := range f {
		if p.in(v, arch) {
			all = append(all, p.asks...)
		}
	}
	return all
}

// String is the line of .config.
func (a ask) String() string {
	if a.value == "n" {
		return "# " + a.symbol + " is not set"
	}
	return a.symbol + "=" + a.value
}

func parseVersion(s string) (version, error) {
	major, minor, ok := strings.Cut(s, ".")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	if !ok || errA != nil || errB != nil || a < 1 || b < 0 {
		return version{}, fmt.Errorf("version %q is not MAJOR.MINOR", s)
	}
	return version{a, b}, nil
}

func (v version) less(w version) bool {
	return v.major < w.major || v.major == w.major && v.minor < w.minor
}

func (v version) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

// parseConfig reads what Kconfig writes: .config, or the output of savedefconfig.
func parseConfig(text []byte) map[string]string {
	set := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if m := notLine.FindStringSubmatch(line); m != nil {
			set[m[1]] = "n"
		} else if name, value, ok := strings.Cut(line, "="); ok && strings.HasPrefix(name, "CONFIG_") {
			set[name] = value
		}
	}
	return set
}
