package main

import (
	"fmt"
	"os"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"hooksmith/build"
)

func newUpdate(a *app) *cobra.Command {
	var in inputFlags
	var path string
	cmd := &cobra.Command{
		Use:   "update [FLAVOR] [NAME=VALUE...]",
		Short: "Renew the lock file: the exact inputs of a flavor",
		Long: `Look up the newest inputs of a flavor and write them to the lock file, which
'hooksmith build --locked' builds from. Other flavors in the file stay as they are.
What changed is printed; nothing is built.`,
		Example: `  # pin the default flavor in ./hooksmith.lock, to be checked in
  hooksmith update

  # then, anywhere and at any time, the same bytes
  hooksmith build --locked`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeFlavors,
		RunE: func(cmd *cobra.Command, args []string) error {
			opt, err := in.options(cmd.Context(), a, args)
			if err != nil {
				return err
			}
			lock := &build.Lock{}
			if b, err := os.ReadFile(path); err == nil {
				if lock, err = build.ParseLock(path, b); err != nil {
					return err
				}
			} else if !os.IsNotExist(err) {
				return err
			}
			plan, err := build.NewPlan(cmd.Context(), opt)
			if err != nil {
				return err
			}
			changes := lock.Put(plan.Locked())
			for _, line := range changes {
				fmt.Fprintln(a.stdout, line)
			}
			if len(changes) == 0 {
				fmt.Fprintf(a.stderr, "%s is up to date for %s\n", path, opt.Flavor.ID)
				return nil
			}
			b, err := lock.Marshal()
			if err != nil {
				return err
			}
			return renameio.WriteFile(path, b, 0o644)
		},
	}
	in.add(cmd)
	cmd.Flags().StringVar(&path, "lock", build.LockName, "lock `FILE`")
	return cmd
}
