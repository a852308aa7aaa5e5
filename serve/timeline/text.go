package timeline

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// WriteTable prints machines as `hooksmith serve status` does: a line each, and
// below it what is wrong and what to do.
func WriteTable(w io.Writer, machines []Machine, now time.Time) error {
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "MACHINE\tNAME\tADDRESS\tSTATE\tSTAGE\tBOOT\tSEEN")
	for i := range machines {
		m := &machines[i]
		took, seen := "-", "-"
		if m.Boot != nil {
			took = Duration(m.Boot.Took())
		}
		if !m.Last.IsZero() {
			seen = Duration(now.Sub(m.Last)) + " ago"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", m.MAC, dash(m.Hostname), dash(m.IP), m.State, m.Stage.Title(), took, seen)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for i := range machines {
		for _, p := range machines[i].Problems {
			fmt.Fprintf(&b, "\n%s %s: %s\n  %s\n", machines[i].MAC, p.Severity, plain(p.Text), p.Do)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteDetail prints one machine with the steps of its last boot and a line for
// each earlier one.
func WriteDetail(w io.Writer, d Detail, now time.Time) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  %s  %s\n", d.MAC, dash(d.Hostname), dash(d.IP), d.State)
	if d.Arch != "" || d.Client != "" {
		fmt.Fprintf(&b, "%s  %s\n", plain(d.Arch), plain(d.Client))
	}
	for _, p := range d.Problems {
		fmt.Fprintf(&b, "\n%s: %s\n  %s\n", p.Severity, plain(p.Text), p.Do)
		for _, c := range p.Copy {
			fmt.Fprintf(&b, "  %s:\n    %s\n", c.Label, strings.ReplaceAll(strings.TrimRight(c.Text, "\n"), "\n", "\n    "))
		}
	}
	if d.Boot != nil {
		fmt.Fprintf(&b, "\nboot of %s, %s ago\n", d.Boot.Start.Format(time.DateTime), Duration(now.Sub(d.Boot.Start)))
		writeSteps(&b, d.Boot)
	}
	for _, h := range d.History {
		fmt.Fprintf(&b, "\nbefore: %s, came to %s after %s\n", h.Start.Format(time.DateTime), h.Stage.Title(), Duration(h.Took()))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeSteps(w io.Writer, boot *Boot) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := range boot.Steps {
		s := &boot.Steps[i]
		fmt.Fprintf(tw, "  +%s\t%s\t%s\t%s\n", Duration(s.Start.Sub(boot.Start)), s.Stage.Title(), s.Phase, plain(s.Words()))
	}
	_ = tw.Flush() // into a strings.Builder
}

// Words tells what there is to tell of a step beside its stage.
func (s *Step) Words() string {
	var words []string
	add := func(ok bool, format string, args ...any) {
		if ok {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(s.File != "", "%s", name(s.File))
	add(s.Running && s.Size > 0, "%d%% of %s", min(100, s.Bytes*100/max(s.Size, 1)), Bytes(s.Size))
	add(!s.Running && s.Bytes > 0, "%s", Bytes(s.Bytes))
	add(s.Took > 0 && s.Bytes > 0, "in %s", Duration(s.Took))
	add(s.Rate > 0 && s.Bytes > 0, "%s/s", Bytes(s.Rate))
	add(s.Retransmits > 0, "%d sent again", s.Retransmits)
	lines := s.Stage == StageSyslog || s.Stage == StageWorker
	add(s.Count > 1 && lines, "%d lines", s.Count)
	add(s.Count > 1 && !lines, "%s", times(s.Count))
	add(s.Aborted, "cut off%s", portion(s))
	add(s.Peer != "", "%s", s.Peer)
	add(s.Detail != "", "%s", s.Detail)
	return strings.Join(words, ", ")
}

// WriteLine prints a log line.
func WriteLine(w io.Writer, l Line) error {
	_, err := fmt.Fprintf(w, "%s %-7s %s: %s\n", l.Time.Format("2006-01-02 15:04:05.000"), SeverityName(l.Severity), dash(cmp.Or(l.App, l.Host)), plain(l.Text))
	return err
}

// SeverityName is the word for a severity of RFC 5424.
func SeverityName(n int) string {
	names := [...]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}
	return names[min(max(n, 0), len(names)-1)]
}

func dash(s string) string { return plain(cmp.Or(s, "-")) }

// plain makes text of a machine harmless for a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}
