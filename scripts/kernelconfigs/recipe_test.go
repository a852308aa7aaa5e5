package main

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestRecipeErrors(t *testing.T) {
	const one = "configurations:\n  - {name: a, version: \"6.12\", arch: x86_64, base: b, fragments: [x, y]}\n"
	fragment := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for name, test := range map[string]struct {
		dir  fstest.MapFS
		want string
	}{
		"contradiction": {fstest.MapFS{"recipes.yaml": fragment(one), "fragments/x.config": fragment("# Why.\nCONFIG_A=y\n"),
			"fragments/y.config": fragment("# Why.\n# CONFIG_A is not set\n")}, "fragments/y.config:2: CONFIG_A already stands in fragments/x.config:2"},
		"twice in one": {fstest.MapFS{"recipes.yaml": fragment(one), "fragments/x.config": fragment("# Why.\nCONFIG_A=y\nCONFIG_A=y\n")}, "x.config:3"},
		"no fragment":  {fstest.MapFS{"recipes.yaml": fragment(one)}, "fragments/x.config"},
		"unknown key":  {fstest.MapFS{"recipes.yaml": fragment(one + "more: 1\n")}, "more"},
		"twice":        {fstest.MapFS{"recipes.yaml": fragment(one + strings.SplitAfterN(one, "\n", 2)[1])}, "stands there twice"},
		"version":      {fstest.MapFS{"recipes.yaml": fragment(strings.Replace(one, "6.12", "6", 1))}, "not MAJOR.MINOR"},
		"architecture": {fstest.MapFS{"recipes.yaml": fragment(strings.Replace(one, "x86_64", "amd64", 1))}, "neither x86_64 nor aarch64"},
	} {
		recipes, err := readRecipes(test.dir)
		if err == nil {
			_, err = recipes[0].asks(test.dir)
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// TestStuck is the checker: what Kconfig made something else of is named with its place.
func TestStuck(t *testing.T) {
	r := recipe{Name: "a", Version: "6.12", Kconfig: "6.12", Arch: "x86_64", Fragments: []string{"x"}}
	known := map[string]bool{"CONFIG_A": true, "CONFIG_B": true, "CONFIG_C": true}
	asks := [][]ask{{{3, "CONFIG_A", "y"}, {4, "CONFIG_B", "m"}, {5, "CONFIG_C", "n"}}}
	if err := stuck(r, asks, map[string]string{"CONFIG_A": "y", "CONFIG_B": "m"}, known); err != nil {
		t.Errorf("all stuck, and yet: %v", err)
	}
	err := stuck(r, asks, map[string]string{"CONFIG_B": "y", "CONFIG_C": "y"}, known)
	for _, want := range []string{
		"x.config:3: CONFIG_A=y did not stick: something that it depends on",
		"x.config:4: CONFIG_B=m did not stick: Kconfig made it y",
		"x.config:5: # CONFIG_C is not set did not stick: Kconfig made it y",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	asks = [][]ask{{{6, "CONFIG_NEW", "y"}}}
	if err := stuck(r, asks, nil, known); err == nil || !strings.Contains(err.Error(), "CONFIG_NEW does not exist in Linux 6.12") {
		t.Errorf("unknown symbol: %v", err)
	}
	if r.Kconfig = "6.1"; stuck(r, asks, nil, known) != nil {
		t.Error("a neighbour need not know every symbol")
	}
}
