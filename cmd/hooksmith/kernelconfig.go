package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"hooksmith/build/fetch"
	"hooksmith/cmd/hooksmith/internal/kernelconfig"
	"hooksmith/kernel/compile"
	"hooksmith/kernel/kconfig"
)

// kernelConfigCommand has the flags of `hooksmith kernel-config` alone.
type kernelConfigCommand struct {
	kernelFlags
	sets, fragments, drivers []string
	output                   string
	shell, dryRun            bool
}

func newKernelConfig(a *app) *cobra.Command {
	var o kernelConfigCommand
	cmd := &cobra.Command{
		Use:     "kernel-config FLAVOR [NAME=VALUE...]",
		Aliases: []string{"config", "config-kernel", "kernel-config-shell", "config-shell-kernel"},
		Short:   "Change a kernel's configuration: menuconfig, or flags",
		Long: `Change the configuration of a flavor's kernel with the kernel's own tools, which run in
a container: menuconfig at this terminal, or, without a terminal, what the flags say.
Nothing changes before it ends: then the file is written as savedefconfig makes it, if
there is a difference, which is printed by symbols as the kernel's diffconfig does it.

The file is configs/kernel/NAME-VERSION.y-ARCH in this folder, or --kconfig FILE. If it
is not there, hooksmith's own configuration is the beginning, and the file is made.
hooksmith kernel takes it from the same place. A file that was changed meanwhile is left
alone, and yours is saved beside it.

Each symbol that a flag names is checked: one that has not its value afterwards is an
error, which says what dependency is not met and where that is written. Then nothing is
written. --driver finds the symbols that build a module in the kernel's Makefiles and
turns on what they need; if either of two would do, it says so, and --set decides.

The name kernel-config-shell means --shell.`,
		Example: `  hooksmith kernel-config hook-generic-amd64             # menuconfig
  hooksmith kernel-config hook-generic-amd64 --driver be2net --driver mpi3mr
  hooksmith kernel-config hook-generic-amd64 --set NR_CPUS=1024 --set CONFIG_INFINIBAND=m --dry-run
  hooksmith kernel-config hook-generic-arm64 --fragment board.config
  hooksmith kernel hook-generic-amd64                    # compile it`,
		Args:              oneFlavor,
		ValidArgsFunction: completeKernelFlavors,
		PreRunE:           func(cmd *cobra.Command, _ []string) error { return refuseEmpty(cmd) },
		RunE: func(cmd *cobra.Command, args []string) error {
			o.shell = o.shell || strings.Contains(cmd.CalledAs(), "shell")
			return o.run(cmd.Context(), a, args)
		},
	}
	o.add(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&o.sets, "set", nil, "give a symbol a value, `CONFIG_X=y|m|n|VALUE` (repeatable)")
	f.StringArrayVar(&o.fragments, "fragment", nil, "merge this `FILE` of CONFIG_X=VALUE lines (repeatable)")
	f.StringArrayVar(&o.drivers, "driver", nil, "turn on what builds the module `NAME`, as be2net (repeatable)")
	f.BoolVar(&o.shell, "shell", false, "a shell in the kernel's source instead of menuconfig")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the difference only, and write nothing")
	f.StringVarP(&o.output, "output", "o", "", "write to this `FILE` instead")
	return cmd
}

// oneFlavor wants a flavor among the arguments: those that are built by default
// have a kernel of Debian's. target sees to the rest of them.
func oneFlavor(cmd *cobra.Command, args []string) error {
	words, _, err := splitVariables(args)
	if err != nil || len(words) > 0 {
		return err
	}
	config, err := cmd.Flags().GetString("config")
	if err != nil {
		return err
	}
	flavors, err := loadFlavors(config)
	if err != nil {
		return err
	}
	var ids []string
	for _, f := range kernelFlavors(flavors) {
		ids = append(ids, f.ID)
	}
	return fmt.Errorf("which flavor's kernel? One of %s", strings.Join(ids, ", "))
}

func (o *kernelConfigCommand) run(ctx context.Context, a *app, args []string) error {
	// 1. what to do, as far as it can be told without Docker
	edit, err := o.edit(a)
	if err != nil {
		return err
	}
	tty, err := o.terminal(a, edit)
	if err != nil {
		return err
	}
	t, err := o.target(ctx, a, args)
	if err != nil {
		return err
	}
	file, err := o.file(t)
	if err == nil && !o.dryRun {
		err = file.Writable()
	}
	if err != nil {
		return withHint(err, "--output FILE writes the configuration elsewhere")
	}
	// 2. a copy in a container
	b := o.builder(a)
	if edit.Empty() {
		b.Stage = compile.Configurator
	}
	if !o.shell && len(t.Spec.Patches) == 0 {
		t.Spec.Source = kernelconfig.Trim(t.Spec.Source, o.downloads(a).Derive)
		t.Spec.External = nil
	}
	work, err := b.Open(ctx, t.Spec)
	if err != nil {
		return err
	}
	defer work.Close()
	session, err := kernelconfig.Start(ctx, work, string(t.Spec.Arch))
	if err != nil {
		return err
	}
	// 3. the change
	if err := o.change(ctx, a, session, edit, tty); err != nil {
		return err
	}
	changes, err := session.Changes(ctx)
	if err != nil {
		return err
	}
	// 4. back
	return o.finish(ctx, a, session, file, changes)
}

// downloads is the cache, which also has sources cut down to what is configured.
func (o *kernelConfigCommand) downloads(a *app) *fetch.Cache {
	return &fetch.Cache{Dir: o.cache(), Offline: o.offline, Observer: a.progress, Log: a.log}
}

// edit reads what --fragment, --set and --driver ask for.
func (o *kernelConfigCommand) edit(a *app) (kernelconfig.Edit, error) {
	e := kernelconfig.Edit{Drivers: o.drivers}
	for _, s := range o.sets {
		assignment, err := kconfig.ParseAssignment(s)
		if err != nil {
			return e, &usageError{fmt.Errorf("--set: %w", err)}
		}
		e.Set = append(e.Set, assignment)
	}
	for _, path := range o.fragments {
		data, err := readFile(a, path)
		if err != nil {
			return e, fmt.Errorf("--fragment: %w", err)
		}
		f, err := kernelconfig.ParseFragment(path, data)
		if err != nil {
			return e, err
		}
		e.Fragments = append(e.Fragments, f)
	}
	if !e.Empty() && o.shell {
		return e, usagef("--shell is for people: it goes with none of --set, --fragment and --driver")
	}
	return e, nil
}

// terminal is the user's terminal, where one is needed; nil where not.
func (o *kernelConfigCommand) terminal(a *app, e kernelconfig.Edit) (*terminal, error) {
	if !e.Empty() {
		return nil, nil
	}
	t := findTerminal(a)
	if t == nil {
		what := "menuconfig"
		if o.shell {
			what = "a shell"
		}
		return nil, withHint(fmt.Errorf("%s needs a terminal on standard input and output", what),
			"without one, say what to change: --set CONFIG_X=y, --driver NAME or --fragment FILE")
	}
	return t, nil
}

// file is where the result goes. The rule is readConfig's: what was read is
// what is written; hooksmith's own becomes a file where it is looked for.
func (o *kernelConfigCommand) file(t *kernelTarget) (*kernelconfig.File, error) {
	if o.output != "" {
		return kernelconfig.OpenOutput(o.output)
	}
	path := cmp.Or(t.File, filepath.Join("configs", kernelConfigs, t.Name))
	return &kernelconfig.File{Path: path, Data: t.Spec.Config, New: t.File == ""}, nil
}

// change does the change in the copy.
func (o *kernelConfigCommand) change(ctx context.Context, a *app, s *kernelconfig.Session, e kernelconfig.Edit, tty *terminal) error {
	if tty == nil {
		notes, err := s.Apply(ctx, e)
		if err != nil {
			return err
		}
		for _, n := range notes {
			fmt.Fprintln(a.stderr, n)
		}
		return nil
	}
	what := "menuconfig"
	if o.shell {
		what = "the shell"
		fmt.Fprintln(a.stderr, "this is the kernel's source: what .config has when the shell ends (exit) is the new configuration")
	} else if err := s.PrepareMenu(ctx); err != nil {
		return err
	}
	a.progress.Close() // nothing else draws on the terminal from here on
	err := tty.use(func(t compile.Terminal) error {
		if o.shell {
			return s.Shell(ctx, t)
		}
		return s.Menu(ctx, t)
	})
	var exit *compile.ExitError
	if errors.As(err, &exit) {
		return withHint(fmt.Errorf("%s ended with status %d, so nothing was written", what, exit.Status), "menuconfig needs a terminal of at least 80 columns and 19 lines")
	}
	if err != nil {
		return fmt.Errorf("%s was cut off, so nothing was written: %w", what, err)
	}
	return nil
}

// finish prints the difference and writes the file. That of --output is written
// without a difference too: whoever named it wants a configuration there.
func (o *kernelConfigCommand) finish(ctx context.Context, a *app, s *kernelconfig.Session, file *kernelconfig.File, changes []kconfig.Change) error {
	switch {
	case len(changes) == 0 && o.dryRun:
		fmt.Fprintf(a.stderr, "nothing would change; nothing is written to %s\n", file.Path)
		return nil
	case len(changes) == 0 && o.output == "": // another file gets the whole configuration, whatever changed
		fmt.Fprintf(a.stderr, "nothing changed: %s stays as it is\n", file.Path)
		return nil
	}
	for _, c := range changes {
		fmt.Fprintln(a.stdout, c)
	}
	if o.dryRun {
		fmt.Fprintf(a.stderr, "%d symbols would change; nothing is written to %s\n", len(changes), file.Path)
		return nil
	}
	saved, err := s.Saved(ctx)
	if err != nil {
		return err
	}
	if bytes.Equal(saved, file.Data) && !file.New {
		fmt.Fprintf(a.stderr, "%s says so already\n", file.Path)
		return nil
	}
	if err := file.Replace(saved); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "%d symbols changed; written to %s\n", len(changes), file.Path)
	return nil
}
