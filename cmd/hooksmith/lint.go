package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"hooksmith/build"
	"hooksmith/build/linuxkit"
)

// lintFinding is a finding as --json prints it.
type lintFinding struct {
	linuxkit.Finding
	Level string `json:"level"` // error or warning
}

func newLint(a *app) *cobra.Command {
	var in inputFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "lint FILE...",
		Short: "Say what is doubtful in a LinuxKit file",
		Long: `Look for what LinuxKit would do otherwise than its documentation says, what is
ambiguous, and what gives a container more than it needs. Several files are merged
as 'hooksmith build --file' merges them; without a file, the template of the default
flavor is checked. The images are fetched, because their labels and folders count.

A finding is an error if the container would not start or not be what the file
says; then the exit code is 1. All others are warnings. 'hooksmith build' tells the
same on stderr.`,
		Example: `  hooksmith lint linuxkit.yml
  hooksmith lint linuxkit.yml --json | jq -r '.[].rule'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			in.files = append(in.files, args...)
			opt, err := in.options(cmd.Context(), a, nil)
			if err != nil {
				return err
			}
			found, err := build.Lint(cmd.Context(), opt)
			if err != nil {
				return err
			}
			return a.printFindings(found, asJSON)
		},
	}
	in.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	return cmd
}

func (a *app) printFindings(found []linuxkit.Finding, asJSON bool) error {
	list := make([]lintFinding, len(found))
	failures := 0
	for i, f := range found {
		list[i] = lintFinding{f, "warning"}
		if build.Serious(f) {
			list[i].Level = "error"
			failures++
		}
	}
	if asJSON {
		if err := a.printJSON(list); err != nil {
			return err
		}
	} else {
		for _, f := range list {
			fmt.Fprintf(a.stdout, "%s: %s: %s (%s); %s\n", f.Pos, f.Level, f.Message, f.Rule, f.Fix)
		}
	}
	if failures > 0 {
		return fmt.Errorf("%d of %d findings are errors", failures, len(found))
	}
	return nil
}
