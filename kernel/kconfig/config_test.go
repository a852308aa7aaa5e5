package kconfig

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const text = `#
# Automatically generated file; DO NOT EDIT.
#
CONFIG_64BIT=y
CONFIG_EXT4_FS=m
# CONFIG_BE2NET is not set
CONFIG_NR_CPUS=64
CONFIG_PHYS_START=0x1000000
CONFIG_CMDLINE="console=\"a\" b\\c"
# CONFIG_OF this is not set
CONFIG_EXT4_FS=y
`
	want := Config{
		"64BIT": "y", "EXT4_FS": "y", "BE2NET": "n", "NR_CPUS": "64", "PHYS_START": "0x1000000",
		"CMDLINE": `"console=\"a\" b\\c"`,
	}
	got, err := Parse(strings.NewReader(text))
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	again, err := Parse(bytes.NewReader(got.Format()))
	if err != nil || !maps.Equal(again, want) {
		t.Errorf("written and read: %v, %v", again, err)
	}
	if s, err := Unquote(got["CMDLINE"]); err != nil || s != `console="a" b\c` || Quote(s) != got["CMDLINE"] {
		t.Errorf("unquoted %q, %v", s, err)
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"CONFIG_A=y\nhello\n":        `line 2: "hello" is no CONFIG_SYMBOL=value`,
		"CONFIG_A":                   "line 1: ",
		"CONFIG_A-B=y":               "line 1: ",
		"CONFIG_A=\"x":               "CONFIG_A: \"x has no closing quote",
		"CONFIG_A=\"x\"y":            "something follows the closing quote",
		strings.Repeat("#\n", 9<<20): "larger than",
	} {
		if _, err := Parse(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func TestParseAssignment(t *testing.T) {
	for in, want := range map[string]Assignment{
		"CONFIG_A=y": {"A", "y"}, "A=n": {"A", "n"}, "A=": {"A", ""}, `A="b c"`: {"A", `"b c"`}, "A=b=c": {"A", "b=c"},
	} {
		if got, err := ParseAssignment(in); err != nil || got != want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "A", "=y", "A B=y", "A=x\ny", `A="`, `A="\`} {
		if got, err := ParseAssignment(in); err == nil {
			t.Errorf("%q: %v, no error", in, got)
		}
	}
}

func TestDiff(t *testing.T) {
	before := Config{"A": "y", "B": "m", "C": "n", "D": "64", "E": `"x"`}
	after := Config{"A": "y", "B": "y", "D": "128", "F": "m", "G": "n"}
	var got []string
	for _, c := range Diff(before, after) {
		got = append(got, c.String())
	}
	if want := []string{" B m -> y", " D 64 -> 128", `-E "x"`, "+F m"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"a\\\"b\"\n")
	f.Add("# CONFIG_ is not set\nCONFIG_X=\"")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		again, err := Parse(bytes.NewReader(c.Format()))
		if err != nil || !maps.Equal(again, c) {
			t.Fatalf("%q, then %q, %v", c, again, err)
		}
	})
}
