package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"
)

// newRoot makes the whole command tree. A new command is one file with one
// constructor, and one line here.
func newRoot(a *app) *cobra.Command {
	logLevel := "info"
	root := &cobra.Command{
		Use:   "hooksmith",
		Short: "Build, publish and serve HookOS",
		Long: `hooksmith builds HookOS, the operating system in memory that Tinkerbell boots on a
machine to provision it, from signed Debian packages: without Docker and without
being root. The result is a kernel and an initramfs that boot from the network.

Results are printed on stdout, everything else on stderr.
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.`,
		Example: `  # build the default HookOS for this machine's architecture into out/hook
  hooksmith build

  # boot it in QEMU
  hooksmith qemu

  # boot machines with it
  sudo hooksmith serve --interface eth0 --artifacts out/hook --hardware hardware.csv

  # what else can be built
  hooksmith list`,
		// No Args: cobra's own check finds unknown commands before it parses flags.
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return a.level.UnmarshalText([]byte(logLevel))
		},
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors:              true,
		SilenceUsage:               true,
		DisableSuggestions:         true, // explain has its own, for flags too
		SuggestionsMinimumDistance: 2,
		CompletionOptions:          cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	a.level.Set(slog.LevelInfo)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.PersistentFlags().Var(&choice{&logLevel, []string{"debug", "info", "warn", "error"}}, "log-level", "least important messages to show on stderr")
	root.AddCommand(
		newBuild(a),
		newEmbed(a),
		newLint(a),
		newPublish(a),
		newFetch(a),
		newKeygen(a),
		newSign(a),
		newCheck(a),
		newInspect(a),
		newDiff(a),
		newList(a),
		newDrivers(a),
		newUpdate(a),
		newCache(a),
		newKernel(a),
		newKernelConfig(a),
		newQemu(a),
		newServe(a),
		newDoctor(a),
		newDHCPConfig(a),
		newVersion(a),
		newCompletion(a),
	)
	finish(root)
	return root
}

// finish gives the tree what every command has to have: no arguments unless
// it says otherwise, an error for an unknown command below a group, examples
// for cobra's own help command.
func finish(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, c := range tree(root) {
		switch {
		case c == root:
		case c.Name() == "help":
			c.Example = "  hooksmith help qemu"
			c.Args = knownTopic
		case !c.Runnable():
			c.Args = unknownBelow
			c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		case c.Args == nil:
			c.Args = noArgs
		}
	}
}

// knownTopic makes `help` of an unknown command an error, which it is not in cobra.
func knownTopic(cmd *cobra.Command, args []string) error {
	_, _, err := cmd.Root().Find(args)
	return err
}

// unknownBelow refuses the word after a group of commands that no command has.
func unknownBelow(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath()) // as cobra words it
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("unexpected argument %q", args[0])
}
