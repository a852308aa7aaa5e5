package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"hooksmith/serve"
	"hooksmith/serve/hardware"
)

func newServePreview(a *app) *cobra.Command {
	var o serveFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "preview MAC",
		Short: "Print what a machine would boot, and why",
		Long: `Print what the boot server would give to a machine with this configuration: the file
for each kind of client that the machine can be, with the reason, and its script. No
server needs to run, and no interface to be there.`,
		Example: `  hooksmith serve preview 52:54:00:12:34:56 --hardware hardware.csv
  hooksmith serve preview 52-54-00-12-34-56 --config serve.yaml --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := refuseEmpty(cmd); err != nil {
				return err
			}
			mac, err := hardware.NormalizeMAC(args[0])
			if err != nil {
				return &usageError{err}
			}
			loaded, err := o.load(a)
			if err != nil {
				return err
			}
			opt := o.options(a, &loaded.Config)
			opt.Anywhere = true
			plan, err := serve.NewPlan(cmd.Context(), loaded.Config, opt)
			if err != nil {
				return servable(err)
			}
			p, err := plan.Preview(mac)
			if unknown := (*serve.UnknownError)(nil); errors.As(err, &unknown) {
				return withHint(err, "name the file that has the machine with --hardware, or see with --unknown auto what unknown machines would get")
			}
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(p)
			}
			_, err = fmt.Fprint(a.stdout, p.String())
			return err
		},
	}
	o.addSettings(cmd)
	o.addSources(a, cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return cmd
}
