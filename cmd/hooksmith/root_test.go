package main

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/cobra"
)

func testRoot() *cobra.Command {
	return newRoot(newApp(strings.NewReader(""), io.Discard, io.Discard, os.LookupEnv))
}

// Every command explains itself, and its examples are commands that exist with
// flags that exist.
func TestHelp(t *testing.T) {
	for _, c := range tree(testRoot()) {
		t.Run(c.CommandPath(), func(t *testing.T) {
			if c.Short == "" || strings.HasSuffix(c.Short, ".") {
				t.Errorf("Short is %q: want a line without a full stop", c.Short)
			}
			if c.Long == "" {
				t.Error("no Long")
			}
			if !strings.HasPrefix(c.Example, "  ") || !strings.Contains(c.Example, "hooksmith") {
				t.Errorf("Example is %q: want indented command lines", c.Example)
			}
			for _, line := range exampleCommands(c.Example) {
				checkExample(t, line)
			}
		})
	}
}

// exampleCommands takes the calls of hooksmith out of shell examples.
func exampleCommands(example string) [][]string {
	var calls [][]string
	joined := strings.ReplaceAll(example, "\\\n", " ")
	for line := range strings.Lines(joined) {
		line, _, _ = strings.Cut(line, " #")
		line, _, _ = strings.Cut(line, " | ")
		line, _, _ = strings.Cut(line, " > ")
		if words := strings.Fields(line); len(words) > 0 && words[0] == "hooksmith" {
			calls = append(calls, words[1:])
		}
	}
	return calls
}

func checkExample(t *testing.T, words []string) {
	t.Helper()
	cmd, rest, err := testRoot().Find(words)
	if err == nil {
		cmd.InitDefaultHelpFlag()
		err = cmd.ParseFlags(rest)
	}
	if err == nil {
		err = cmd.ValidateArgs(cmd.Flags().Args())
	}
	if err != nil {
		t.Errorf("example %q: %v", "hooksmith "+strings.Join(words, " "), err)
	}
}

func TestSuggest(t *testing.T) {
	names := []string{"build", "list", "update", "completion"}
	for word, want := range map[string]string{
		"biuld": "build", "lst": "list", "updates": "update", "complete": "", "xyz": "", "ls": "list",
	} {
		err := suggest(io.EOF, names, "", word)
		got := ""
		if s := err.Error(); s != "EOF" {
			got = strings.TrimSuffix(strings.TrimPrefix(s, "EOF (did you mean "), "?)")
		}
		if got != want {
			t.Errorf("%q: suggested %q, want %q", word, got, want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"abc", "", 3}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"memry", "memory", 1}, {"biuld", "build", 2},
	} {
		if got := levenshtein.ComputeDistance(tt.a, tt.b); got != tt.want {
			t.Errorf("%q, %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
