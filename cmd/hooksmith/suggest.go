package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// suggest adds the nearest of names to err if word looks like a slip of it.
func suggest(err error, names []string, prefix, word string) error {
	best, distance := "", 3 // more than two slips is another word
	for _, name := range names {
		if d := editDistance(word, name); d < distance && d < len(name) {
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

// editDistance is Levenshtein's, by bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
