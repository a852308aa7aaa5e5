package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"hooksmith/build"
)

func newList(a *app) *cobra.Command {
	var config string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the flavors that can be built",
		Long: `List the flavors: the built-in ones, and those of hooksmith.yaml (or --config), which
add to them or override them. A flavor that cannot be built says why and what to do.`,
		Example: `  hooksmith list
  hooksmith list --json | jq -r '.[] | select(.unavailable == null) | .id'`,
		RunE: func(*cobra.Command, []string) error {
			flavors, err := loadFlavors(config)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(flavors.All)
			}
			return a.printFlavors(flavors.All)
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "`FILE` with flavors of your own (default hooksmith.yaml, if it is there)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the flavors as JSON")
	return cmd
}

func (a *app) printFlavors(all []build.Flavor) error {
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tARCH\tKERNEL\tTEMPLATE\tOUTPUT ID\tTAGS")
	for _, f := range all {
		note := ""
		if f.IsDefault() {
			note = " (default on " + strings.Join(f.DefaultFor, ", ") + ")"
		}
		if f.Unavailable != "" {
			note = " (not available)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s%s\n", f.ID, f.Arch, f.Kernel, f.Template, f.OutputID, strings.Join(f.Tags, ","), note)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, f := range all {
		if f.Unavailable != "" {
			fmt.Fprintf(a.stderr, "%s: %s\n", f.ID, strings.TrimSpace(f.Unavailable))
		}
	}
	return nil
}

// completeFlavors completes the id of a flavor that can be built.
func completeFlavors(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var ids []string
	if flavors, err := loadFlavors(""); err == nil && len(args) == 0 {
		for _, f := range flavors.All {
			if f.Unavailable == "" {
				ids = append(ids, cobra.CompletionWithDesc(f.ID, f.Description))
			}
		}
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
