package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"hooksmith/publish/inspect"
)

// inspectFlags are those of inspect.
type inspectFlags struct {
	id     string
	html   string
	json   bool
	files  bool
	all    bool
	colour string
}

func newInspect(a *app) *cobra.Command {
	f := inspectFlags{colour: "auto"}
	cmd := &cobra.Command{
		Use:   "inspect FILE|FOLDER|URL",
		Short: "Show what a HookOS holds and what takes its space",
		Long: `Look into a kernel, an initramfs, an output folder, or the URL of one (which is
downloaded): the kernel's version, segments, services with what they may do, embedded
images, packages, modules, firmware, and how much memory it takes. Nothing has to be
ours: the initramfs of LinuxKit, of Hook and of distributions is read too.

A folder with several builds shows the one for x86_64, unless --id chooses another.
--html writes a page that needs nothing else, with a map of what takes the space.`,
		Example: `  hooksmith inspect out/hook
  hooksmith inspect out/hook/initramfs-x86_64 --all
  hooksmith inspect http://192.168.2.1/hook --html report.html
  hooksmith inspect out/hook --json | jq -r '.services[] | .name + ": " + (.privileges | join("; "))'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.inspect(cmd, args[0], f) },
	}
	cmd.Flags().StringVar(&f.id, "id", "", "output `ID` of the build: what follows vmlinuz- and initramfs-")
	cmd.Flags().StringVar(&f.html, "html", "", "write a page to this `FILE`")
	cmd.Flags().BoolVar(&f.json, "json", false, "print the report as JSON")
	cmd.Flags().BoolVar(&f.files, "files", false, "with --json: every file of the root file system too")
	cmd.Flags().BoolVar(&f.all, "all", false, "list every package, module and firmware file")
	addColour(cmd, &f.colour)
	return cmd
}

// addColour adds --color, which inspect, diff and check have.
func addColour(cmd *cobra.Command, value *string) {
	cmd.Flags().Var(&choice{value, []string{"auto", "always", "never"}}, "color", "colours: auto is on a terminal only")
}

func (a *app) inspect(cmd *cobra.Command, ref string, f inspectFlags) (err error) {
	if err := refuseEmpty(cmd); err != nil {
		return err
	}
	set, err := inspect.Open(cmd.Context(), ref, a.chosen(f.id))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	report, err := inspect.Inspect(cmd.Context(), set, inspect.Options{})
	if err != nil {
		return err
	}
	if f.html != "" {
		if err := saveFile(f.html, report.WriteHTML); err != nil {
			return fmt.Errorf("writing --html %s: %w", f.html, err)
		}
		a.log.Info("wrote", "page", f.html)
	}
	switch {
	case f.json:
		if !f.files {
			report.Files = nil
		}
		return a.printJSON(report)
	case f.html != "":
		return nil
	}
	return report.WriteText(a.stdout, a.style(f.colour, f.all))
}

// chosen is the choice of a build, with downloads shown on stderr.
func (a *app) chosen(id string) inspect.Choice {
	return inspect.Choice{ID: id, Begin: a.download}
}

// style is how wide stdout is and whether it has colours.
func (a *app) style(colour string, all bool) inspect.Style {
	s := inspect.Style{All: all, Colour: colour == "always"}
	if !a.isTerminal(a.stdout) {
		return s
	}
	if f, ok := a.stdout.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			s.Width = width
		}
	}
	if colour == "auto" {
		dumb, _ := a.lookupEnv("TERM")
		_, no := a.lookupEnv("NO_COLOR")
		s.Colour = dumb != "dumb" && !no
	}
	return s
}

// saveFile writes a file beside and renames it.
func saveFile(path string, write func(io.Writer) error) (err error) {
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Cleanup()) }()
	if err := write(f); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}
