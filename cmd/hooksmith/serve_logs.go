package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hooksmith/serve/hardware"
	"hooksmith/serve/timeline"
)

// logFlags pick lines of a machine's log.
type logFlags struct {
	client         clientFlags
	grep, since    string
	severity       string
	tail           int
	follow, asJSON bool
}

// severities of RFC 5424, by number.
var severities = []string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

func newServeLogs(a *app) *cobra.Command {
	var o logFlags
	cmd := &cobra.Command{
		Use:   "logs MAC",
		Short: "Print what a machine logged while it booted",
		Long: `Print the syslog lines that a machine sent to the boot server: iPXE's own, HookOS's
and its containers'.`,
		Example: `  hooksmith serve logs 52:54:00:12:34:56
  hooksmith serve logs 52:54:00:12:34:56 --follow
  hooksmith serve logs 52:54:00:12:34:56 --since 10m --grep tink-worker --severity warning`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := refuseEmpty(cmd); err != nil {
				return err
			}
			mac, err := hardware.NormalizeMAC(args[0])
			if err != nil {
				return &usageError{err}
			}
			q, err := o.query(time.Now())
			if err != nil {
				return err
			}
			c, err := o.client.client(a)
			if err != nil {
				return err
			}
			err = c.Logs(cmd.Context(), mac, q, o.follow, func(l timeline.Line) error { return a.printLine(l, o.asJSON) })
			if o.follow && cmd.Context().Err() != nil {
				return nil // Ctrl-C is how following ends
			}
			return unreachable(c, err)
		},
	}
	f := cmd.Flags()
	o.client.add(cmd)
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with what comes")
	f.StringVar(&o.grep, "grep", "", "only lines with this `TEXT`, in any case")
	f.StringVar(&o.since, "since", "", "only lines of the last `TIME` (10m), or since one (2026-11-21T17:00:00Z)")
	f.IntVarP(&o.tail, "tail", "n", 0, "only the last `N` lines")
	f.BoolVar(&o.asJSON, "json", false, "print a JSON object for each line")
	addChoice(cmd, &o.severity, "severity", "only lines at least as severe", severities...)
	return cmd
}

func (o *logFlags) query(now time.Time) (q timeline.Query, err error) {
	q = timeline.Query{Text: o.grep, Tail: o.tail}
	if o.tail < 0 {
		return q, usagef("--tail %d: want a number of lines", o.tail)
	}
	for n, name := range severities {
		if name == o.severity {
			q.Severity = &n
		}
	}
	if o.since == "" {
		return q, nil
	}
	if d, err := time.ParseDuration(o.since); err == nil {
		q.Since = now.Add(-d)
		return q, nil
	}
	if q.Since, err = time.Parse(time.RFC3339, o.since); err != nil {
		return q, usagef("--since %s: want a duration such as 10m or a time such as %s", o.since, now.UTC().Format(time.RFC3339))
	}
	return q, nil
}

// printLine prints a line as syslog files have it. A machine may put anything
// into its lines: nothing of it may steer the terminal.
func (a *app) printLine(l timeline.Line, asJSON bool) error {
	if asJSON {
		return a.printJSONLine(l)
	}
	app := ""
	if l.App != "" {
		app = l.App + ": "
	}
	_, err := fmt.Fprintf(a.stdout, "%s %-7s %s%s\n", l.Time.Local().Format(time.StampMilli), severityName(l.Severity), printable(app), printable(l.Text))
	return err
}

func severityName(n int) string {
	if n < 0 || n >= len(severities) {
		return "?"
	}
	return severities[n]
}

// printable replaces control characters.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '\ufffd'
		}
		return r
	}, s)
}
