package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// choice is a flag value out of a fixed list. Its Type shows the list in --help.
type choice struct {
	value   *string
	allowed []string
}

// addChoice defines flag name on cmd, which stores one of allowed in value;
// the value that is already there is the default. The shell completes it.
func addChoice(cmd *cobra.Command, value *string, name, usage string, allowed ...string) {
	cmd.Flags().Var(&choice{value, allowed}, name, usage)
	// Fails only for a flag that is not there or has one already.
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(allowed, cobra.ShellCompDirectiveNoFileComp))
}

func (c *choice) String() string { return *c.value }
func (c *choice) Type() string   { return strings.Join(c.allowed, "|") }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("must be one of %s", strings.Join(c.allowed, ", "))
	}
	*c.value = s
	return nil
}

// refuseEmpty refuses flags with nothing in them: what was asked for would be
// left out, after an hour or without a word.
func refuseEmpty(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		empty := f.Value.String() == ""
		if list, ok := f.Value.(pflag.SliceValue); ok {
			empty = slices.Contains(list.GetSlice(), "")
		}
		if empty && err == nil {
			err = usagef("--%s is empty: is a shell variable unset? Give a value, or leave --%s out", f.Name, f.Name)
		}
	})
	return err
}
