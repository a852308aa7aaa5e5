package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hooksmith/serve/admin"
	"hooksmith/serve/hardware"
	"hooksmith/serve/timeline"
)

func newServeStatus(a *app) *cobra.Command {
	var o clientFlags
	var watch, asJSON bool
	cmd := &cobra.Command{
		Use:   "status [MAC]",
		Short: "Show how far machines have come, and what is wrong",
		Long: `Show what the running boot server knows: every machine with the stage that it has
reached and what is wrong with it, or one machine's boot step by step.`,
		Example: `  hooksmith serve status
  hooksmith serve status --watch
  hooksmith serve status 52:54:00:12:34:56
  hooksmith serve status --json | jq -r '.machines[] | select(.state == "stuck") | .mac'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := refuseEmpty(cmd); err != nil {
				return err
			}
			mac, err := optionalMAC(args)
			if err != nil {
				return err
			}
			c, err := o.client(a)
			if err != nil {
				return err
			}
			switch {
			case watch:
				return a.watch(cmd.Context(), c, mac, asJSON)
			case mac != "":
				err = a.printMachine(cmd.Context(), c, mac, asJSON)
			default:
				err = a.printStatus(cmd.Context(), c, asJSON)
			}
			return unreachable(c, err)
		},
	}
	o.add(cmd)
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on showing what changes")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return cmd
}

func optionalMAC(args []string) (string, error) {
	if len(args) == 0 {
		return "", nil
	}
	mac, err := hardware.NormalizeMAC(args[0])
	if err != nil {
		return "", &usageError{err}
	}
	return mac, nil
}

// printStatus prints the server in a line and a table of machines.
func (a *app) printStatus(ctx context.Context, c *admin.Client, asJSON bool) error {
	status, err := c.Status(ctx)
	if err != nil {
		return err
	}
	machines, err := c.Machines(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(struct {
			Server   admin.Server       `json:"server"`
			Machines []timeline.Machine `json:"machines"`
		}{status, machines})
	}
	if status.Ready {
		fmt.Fprintf(a.stderr, "%s: ready since %s\n", cmp.Or(status.Title, "the server"), status.Started.Local().Format(time.DateTime))
	}
	for _, reason := range status.NotReady {
		fmt.Fprintf(a.stderr, "not ready: %s\n", reason)
	}
	return printMachines(a.stdout, machines, time.Now())
}

// printMachines prints a row for each machine, and its problems below it.
func printMachines(w io.Writer, machines []timeline.Machine, now time.Time) error {
	if len(machines) == 0 {
		_, err := fmt.Fprintln(w, "no machine has been heard of")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "MAC\tHOST\tADDRESS\tSTATE\tSTAGE\tLAST")
	for _, m := range machines {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", m.MAC, dash(m.Hostname), dash(m.IP), m.State, dash(stageOf(m)), ago(m.Last, now))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, m := range machines {
		for _, p := range m.Problems {
			fmt.Fprintf(w, "\n%s: %s: %s\n  %s\n", m.MAC, p.Severity, printable(p.Text), printable(p.Do))
			for _, s := range p.Copy {
				fmt.Fprintf(w, "  %s:%s\n", strings.TrimSuffix(s.Label, ":"), copyable(s.Text))
			}
		}
	}
	return nil
}

// copyable is a text behind its label: several lines below it, to be copied as they are.
func copyable(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) == 1 {
		return " " + printable(lines[0])
	}
	var b strings.Builder
	for _, line := range lines {
		b.WriteString("\n    " + printable(line))
	}
	return b.String()
}

// stageOf is the stage with how much of a running download is done.
func stageOf(m timeline.Machine) string {
	text := string(m.Stage)
	if m.Boot == nil || len(m.Boot.Steps) == 0 {
		return text
	}
	last := m.Boot.Steps[len(m.Boot.Steps)-1]
	if last.Running && last.Size > 0 {
		return fmt.Sprintf("%s %d%%", last.Stage, 100*last.Bytes/last.Size)
	}
	return text
}

func dash(s string) string { return cmp.Or(s, "-") }

func ago(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return now.Sub(t).Round(time.Second).String() + " ago"
}

// printMachine prints one machine's last boot, step by step.
func (a *app) printMachine(ctx context.Context, c *admin.Client, mac string, asJSON bool) error {
	d, err := c.Machine(ctx, mac)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(d)
	}
	if err := printMachines(a.stdout, []timeline.Machine{d.Machine}, time.Now()); err != nil {
		return err
	}
	if d.Boot != nil {
		fmt.Fprintln(a.stdout)
		if err := printSteps(a.stdout, d.Boot); err != nil {
			return err
		}
	}
	if n := d.Count; n > 1 {
		fmt.Fprintf(a.stderr, "%d boots in all\n", n)
	}
	return nil
}

func printSteps(w io.Writer, b *timeline.Boot) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "AFTER\tSTAGE\tWHAT")
	for _, s := range b.Steps {
		fmt.Fprintf(t, "%.1f s\t%s\t%s\n", s.Start.Sub(b.Start).Seconds(), s.Stage, printable(whatOf(s)))
	}
	return t.Flush()
}

// whatOf is a step in words.
func whatOf(s timeline.Step) string {
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if s.File != "" {
		add("%s", s.File)
	}
	if s.Bytes > 0 {
		add("%s by %s", byteCount(s.Bytes), cmp.Or(s.Protocol, "?"))
	}
	if s.Rate > 0 {
		add("%s/s", byteCount(s.Rate))
	}
	if s.Retransmits > 0 {
		add("%d retransmits", s.Retransmits)
	}
	if s.Aborted {
		add("aborted")
	}
	if s.Count > 1 {
		add("%d times", s.Count)
	}
	if s.Detail != "" {
		add("%s", s.Detail)
	}
	return strings.Join(words, ", ")
}

// watch prints the table again at every change; on a terminal in its place.
func (a *app) watch(ctx context.Context, c *admin.Client, mac string, asJSON bool) error {
	terminal := a.isTerminal(a.stdout)
	err := c.Watch(ctx, mac, func(machines []timeline.Machine) error {
		if asJSON {
			return a.printJSON(machines)
		}
		if terminal {
			fmt.Fprint(a.stdout, "\x1b[H\x1b[2J") // home, clear
		} else {
			fmt.Fprintf(a.stdout, "\n%s\n", time.Now().Format(time.TimeOnly))
		}
		return printMachines(a.stdout, machines, time.Now())
	})
	if ctx.Err() != nil {
		return nil // Ctrl-C is how watching ends
	}
	return unreachable(c, err)
}
