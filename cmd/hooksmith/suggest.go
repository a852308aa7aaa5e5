package main

import (
	"fmt"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// suggest adds the nearest of names to err if word looks like a slip of it.
func suggest(err error, names []string, prefix, word string) error {
	best, distance := "", 3 // more than two slips is another word
	for _, name := range names {
		if d := levenshtein.ComputeDistance(word, name); d < distance && d < len(name) {
			best, distance = name, d
		}
	}
	if best == "" {
		return err
	}
	return fmt.Errorf("%w (did you mean %s%s?)", err, prefix, best)
}

// flagNames lists the long flags that cmd understands.
func flagNames(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return names
}

// commandNames lists the names and aliases of the commands below parent.
func commandNames(parent *cobra.Command) []string {
	var names []string
	for _, c := range parent.Commands() {
		if c.IsAvailableCommand() {
			names = append(append(names, c.Name()), c.Aliases...)
		}
	}
	return names
}
