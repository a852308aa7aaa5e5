// Command kernelconfigs makes the kernel configurations of configs/kernel from
// their recipes and fragments, with the merge script and the Kconfig of a
// kernel source tree, and checks that every symbol that a fragment asks for
// stuck. Used by scripts/kernel-configs.sh, which fetches the trees.
//
// Open merge.go first: make is the whole story; then fragment.go for the form
// of a fragment and recipe.go for that of recipes.yaml.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kernelconfigs:", err)
		os.Exit(1)
	}
}

// run makes all configurations for which a tree was given, or with -check
// compares them with the files that are there.
func run(ctx context.Context, args []string, log io.Writer) error {
	flags := flag.NewFlagSet("kernelconfigs", flag.ContinueOnError)
	dir := flags.String("dir", "configs/kernel", "`folder` of recipes.yaml, fragments and the configurations")
	only := flags.String("only", "", "make only the configuration of this `name`, such as generic-6.12.y-x86_64")
	work := flags.String("work", "", "`folder` to build in; by default a temporary one")
	check := flags.Bool("check", false, "write nothing; fail if a file is not what its recipe gives")
	var trees []string
	flags.Func("source", "a kernel source `tree`; repeatable, its Makefile says which version it is", func(s string) error {
		trees = append(trees, s)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}

	recipes, err := readRecipes(os.DirFS(*dir))
	if err != nil {
		return err
	}
	sources, err := openSources(trees)
	if err != nil {
		return err
	}
	if *work == "" {
		tmp, err := os.MkdirTemp("", "kernelconfigs-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		*work = tmp
	}
	made := 0
	for _, r := range recipes {
		source, ok := sources[r.Kconfig]
		if !ok || *only != "" && *only != r.file() {
			continue
		}
		text, err := makeConfig(ctx, r, os.DirFS(*dir), source, *work)
		if err != nil {
			return fmt.Errorf("%s: %w", r.file(), err)
		}
		if err := store(filepath.Join(*dir, r.file()), text, *check, log); err != nil {
			return err
		}
		made++
	}
	if made == 0 {
		return fmt.Errorf("nothing made: no recipe of %s fits the -source trees (%s) and -only %q", *dir, strings.Join(trees, ", "), *only)
	}
	return nil
}

// store writes a configuration, or compares it with the one that is there.
func store(path string, text []byte, check bool, log io.Writer) error {
	old, err := os.ReadFile(path)
	same := err == nil && bytes.Equal(old, text)
	switch {
	case same:
		fmt.Fprintf(log, "%s: unchanged\n", path)
	case check:
		return fmt.Errorf("%s is not what its recipe gives: run scripts/kernel-configs.sh and commit the result\n%s", path, firstDifference(old, text))
	default:
		fmt.Fprintf(log, "%s: written, %d bytes\n", path, len(text))
		return os.WriteFile(path, text, 0o644)
	}
	return nil
}

// firstDifference shows the first line in which two texts differ.
func firstDifference(have, want []byte) string {
	a, b := strings.Split(string(have), "\n"), strings.Split(string(want), "\n")
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d: the file has %q, the recipe gives %q", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("the file has %d lines, the recipe gives %d", len(a), len(b))
}
