package main

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/spf13/cobra"

	"hooksmith/publish/inspect"
)

func newDiff(a *app) *cobra.Command {
	var id string
	var asJSON, all bool
	colour := "auto"
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Say what differs between two builds",
		Long: `Compare two of what 'hooksmith inspect' looks into, in words: kernel, packages, embedded
images, what services may do, modules, firmware, every other file, the kernel's configuration
and exported symbols where both builds have them, and sizes. Dates of files do not count.

The exit code is 0 if both hold the same and 1 if they differ. An error is 1 too, with
nothing on stdout.`,
		Example: `  hooksmith diff out/hook http://192.168.2.1/hook
  hooksmith diff old/initramfs-x86_64 out/hook/initramfs-x86_64 --all
  hooksmith diff old out/hook --json | jq -r '.packages[] | .what + " " + .from + " -> " + .to'`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := refuseEmpty(cmd); err != nil {
				return err
			}
			d, err := a.diff(cmd.Context(), args, id)
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(d)
			} else {
				err = d.WriteText(a.stdout, a.style(colour, all))
			}
			if err == nil && !d.Same {
				err = fmt.Errorf("%s and %s differ", args[0], args[1])
			}
			return err
		},
	}
	cmd.Flags().StringVar(&id, "id", "", "output `ID` of the build in both")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the differences as JSON")
	cmd.Flags().BoolVar(&all, "all", false, "list every difference")
	addColour(cmd, &colour)
	return cmd
}

// diff looks into both, one after the other: each keeps all processors busy.
func (a *app) diff(ctx context.Context, refs []string, id string) (*inspect.Diff, error) {
	opt := inspect.Options{Contents: true, Seed: maphash.MakeSeed()}
	var reports [2]*inspect.Report
	for i, ref := range refs {
		set, err := inspect.Open(ctx, ref, a.chosen(id))
		if err != nil {
			return nil, err
		}
		reports[i], err = inspect.Inspect(ctx, set, opt)
		if err = errors.Join(err, set.Close()); err != nil {
			return nil, err
		}
	}
	return inspect.Compare(reports[0], reports[1]), nil
}
