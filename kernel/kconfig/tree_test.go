package kconfig

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var linux = os.DirFS("testdata/linux")

func smallTree(t *testing.T, arch string) *Tree {
	t.Helper()
	tree, err := ParseTree(linux, arch)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range tree.Unknown {
		t.Errorf("unknown: %s", u)
	}
	return tree
}

func TestParseTree(t *testing.T) {
	tree := smallTree(t, "x86")
	if tree.Symbols["NOT_A_SYMBOL"] != nil || tree.Symbols["ARM64"] != nil {
		t.Error("a help text or another architecture was read")
	}
	for name, want := range map[string]struct {
		typ Type
		at  string
	}{
		"MODULES": {Bool, "Kconfig:6"}, "BE2NET": {Tristate, "drivers/net/emulex/benet/Kconfig:2"},
		"LOCALVERSION": {String, "Kconfig:41"}, "PHYS_START": {Hex, "Kconfig:45"}, "LOG_SHIFT": {Int, "Kconfig:50"},
		"HP_ILO": {Tristate, "drivers/misc/Kconfig:1"},
	} {
		if s := tree.Symbols[name]; s == nil || s.Type != want.typ || s.Pos().String() != want.at {
			t.Errorf("%s: %+v, want %v", name, s, want)
		}
	}
	var got []string
	for _, d := range tree.Symbols["BE2NET"].Defs[0].Conditions() {
		got = append(got, d.Expr.String()+" "+d.Pos.String())
	}
	want := []string{
		"NET drivers/net/Kconfig:7", "NET_VENDOR_EMULEX drivers/net/Kconfig:12", "PCI drivers/net/emulex/benet/Kconfig:4",
	}
	if !slices.Equal(got, want) {
		t.Errorf("conditions of BE2NET: %q", got)
	}
	if c := tree.Choices; len(c) != 1 || c[0].Prompt != "Kernel compression mode" || len(c[0].Members) != 2 {
		t.Errorf("choices: %+v", c)
	}
	if s := tree.Symbols["HAVE_KERNEL_GZIP"].Selected; len(s) != 1 || s[0].By != "X86" {
		t.Errorf("selected: %+v", s)
	}
}

func TestExpr(t *testing.T) {
	tree := smallTree(t, "x86")
	c := Config{"MODULES": "y", "NET": "y", "MDIO": "m", "LOG_SHIFT": "18", "LOCALVERSION": `"-x"`, "PHYS_START": "0x10"}
	for text, want := range map[string]string{
		"NET": "y", "!NET": "n", "MDIO": "m", "!MDIO": "m", "NET && MDIO": "m", "NET || MDIO": "y", "PCI": "n",
		"MDIO=m": "y", "MDIO!=m": "n", "PCI=n": "y", "m": "m", "m && !NET": "n", "NOSUCH": "n", "NOSUCH=NOSUCH": "y",
		"LOG_SHIFT > 9": "y", "LOG_SHIFT <= 17": "n", `LOCALVERSION="-x"`: "y", `LOCALVERSION != ""`: "y", "PHYS_START = 16": "y",
		"(NET || PCI) && !(NET && PCI)": "y", "'y'": "y", `LOG_SHIFT < 100`: "y", "LOG_SHIFT>=18": "y",
		"$(cc-option,-f)": "?", "NET || $(cc-option,-f)": "y", "PCI && $(cc-option,-f)": "n", "!$(cc-option,-f)": "?",
		"$(always)": "y", "$(nowhere)=1": "?",
	} {
		m := macros{values: map[string]string{"always": "y", "cc-option": "$(shell,x $(1))"}}
		tokens, err := m.lex(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		e, err := parseExpr(tokens)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		v := tree.eval(e, c)
		got := "?"
		if v.lo == v.hi {
			got = v.lo.String()
		}
		if got != want {
			t.Errorf("%q (%s): %s, want %s", text, e, got, want)
		}
		again, _ := m.lex(e.String())
		if e2, err := parseExpr(again); err != nil || e2.String() != e.String() {
			t.Errorf("%q is written as %q, which is read as %v, %v", text, e, e2, err)
		}
	}
	for _, text := range []string{"", "A &&", "(A", "A B", "A = (B)", "! ", "A ? B", `"x`, strings.Repeat("!", 100) + "A", "= A"} {
		m := macros{}
		tokens, err := m.lex(text)
		if err == nil {
			_, err = parseExpr(tokens)
		}
		if err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

// Lines that are not of the language are noted and passed over.
func TestUnknownLines(t *testing.T) {
	const text = `config A
	bool "a"
	frobnicate x
	depends A
	depends on (
	select
	range 1
	prompt a b
	depends on ?
config A B
endmenu
bool "y"
source "/etc/passwd"
source "../x"
source "nowhere"
source "$(nowhere)/x"
menu "open"
config B
	bool "b"
`
	tree, err := ParseTree(fstest.MapFS{"Kconfig": {Data: []byte(text)}}, "x86")
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Unknown) != 15 {
		t.Errorf("%d unknown:\n%s", len(tree.Unknown), strings.Join(tree.Unknown, "\n"))
	}
	if tree.Symbols["A"].Type != Bool || tree.Symbols["B"].Type != Bool {
		t.Error("what is between them was not read")
	}
}

func TestParseTreeErrors(t *testing.T) {
	for text, want := range map[string]string{
		"source \"Kconfig\"\n":                        "include each other",
		strings.Repeat("if A\n", 1000):                "menus inside each other",
		strings.Repeat("menu \"a\"\n", 1000):          "menus inside each other",
		strings.Repeat("source \"empty\"\n", 25_000):  "more than 20000 files",
		strings.Repeat("# nothing\n", maxFile/10+100): "larger than",
	} {
		_, err := ParseTree(fstest.MapFS{"Kconfig": {Data: []byte(text)}, "empty": {}}, "x86")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", text, err, want)
		}
	}
	if _, err := ParseTree(fstest.MapFS{}, "x86"); err == nil {
		t.Error("no Kconfig at all: no error")
	}
}

// A macro that doubles at every step ends, as something unknown.
func TestMacroBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("m0 = xx\n")
	for i := range 30 {
		b.WriteString("m" + string(rune('a'+i)) + " = $(m" + string(rune('a'+i+1)) + ")$(m" + string(rune('a'+i+1)) + ")\n")
	}
	b.WriteString("self = $(self)\nconfig A\n\tbool \"a\"\n\tdepends on $(ma) && $(self)\n")
	tree, err := ParseTree(fstest.MapFS{"Kconfig": {Data: []byte(b.String())}}, "x86")
	if err != nil {
		t.Fatal(err)
	}
	if e := tree.Symbols["A"].Defs[0].Depends; len(e) != 1 || tree.eval(e[0].Expr, Config{}) != anything {
		t.Errorf("it is %v", e)
	}
}

// A tar of the whole source, with a folder around it, is as good as the folder.
func TestReadTar(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := fs.WalkDir(linux, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(linux, name)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: "linux-6.12/" + name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"linux-6.12/../../etc/Kconfig", "Kconfig", "linux-6.12/a.c"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	source, err := ReadTar(&b, 1)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := ParseTree(source, "x86")
	if err != nil {
		t.Fatal(err)
	}
	want := smallTree(t, "x86")
	if !maps.EqualFunc(tree.Symbols, want.Symbols, func(a, b *Symbol) bool { return a.Type == b.Type && a.Pos() == b.Pos() }) {
		t.Error("the tree differs")
	}
	m, err := ParseMakefiles(source, "x86")
	if err != nil {
		t.Fatal(err)
	}
	if found, err := m.Find("be2net"); err != nil || len(found) != 1 {
		t.Errorf("be2net: %v, %v", found, err)
	}
	if _, err := ReadTar(strings.NewReader("no tar, and long enough"), 0); err == nil {
		t.Error("what is no tar: no error")
	}
}

func FuzzParseTree(f *testing.F) {
	for _, name := range []string{"Kconfig", "drivers/net/Kconfig", "scripts/Kconfig.include"} {
		text, err := fs.ReadFile(linux, name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("config A\n bool\n default $(a,$(b),\"c\") if !(A && B=m)\n help\n  x\nchoice\nendchoice\n")
	f.Fuzz(func(t *testing.T, text string) {
		source := fstest.MapFS{"Kconfig": {Data: []byte(text)}, "arch/x86/Kconfig": {Data: []byte("config X\n\tbool\n")}}
		tree, err := ParseTree(source, "x86")
		if err != nil {
			return
		}
		for name := range tree.Symbols {
			if r := tree.Why(Config{}, Assignment{name, "y"}); r != nil {
				_ = r.Error()
			}
			_, _ = tree.Enable(Config{}, name, Yes)
		}
	})
}
