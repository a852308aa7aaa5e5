package doctor

import (
	"fmt"
	"io"
	"strings"
)

// Style says how a Report is drawn.
type Style struct {
	Color bool
}

// The marks of a step.
var marks = map[State]struct{ mark, color string }{
	OK: {"ok", "\x1b[32m"}, Bad: {"XX", "\x1b[1;31m"}, Doubt: {"!!", "\x1b[33m"}, Skipped: {"--", "\x1b[2m"},
}

const colorOff = "\x1b[0m"

// Picture draws the way from the firmware to the kernel for every kind of machine, then says what is wrong and what to
// change.
func (r *Report) Picture(w io.Writer, style Style) error {
	var b strings.Builder
	r.heading(&b)
	r.chain(&b, style)
	for i, f := range r.Findings {
		fmt.Fprintf(&b, "\n%d. %s %s: %s\n", i+1, style.severity(f.Severity), f.Code, f.Text)
		if len(f.Clients) > 0 {
			fmt.Fprintf(&b, "   concerns: %s\n", strings.Join(f.Clients, "; "))
		}
		fmt.Fprintf(&b, "   do: %s\n", f.Do)
		for _, l := range f.Lines {
			fmt.Fprintf(&b, "   %-10s %s\n", l.For+":", l.Text)
		}
	}
	if len(r.Notes) > 0 {
		fmt.Fprintln(&b)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	fmt.Fprintf(&b, "\n%s\n", r.verdict())
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) verdict() string {
	problems, warnings := 0, 0
	for _, f := range r.Findings {
		if f.Severity == Problem {
			problems++
		} else {
			warnings++
		}
	}
	if problems+warnings == 0 {
		return "healthy: every machine that gets an answer can boot"
	}
	var parts []string
	for _, each := range []struct {
		count int
		what  string
	}{{problems, "problem"}, {warnings, "warning"}} {
		switch each.count {
		case 0:
		case 1:
			parts = append(parts, "1 "+each.what)
		default:
			parts = append(parts, fmt.Sprintf("%d %ss", each.count, each.what))
		}
	}
	return strings.Join(parts, ", ")
}

func (r *Report) heading(b *strings.Builder) {
	fmt.Fprintf(b, "%s (%s), as machine %s\n", r.Interface, orNone(r.Address, "no address"), r.MAC)
	for _, s := range r.Servers {
		does := []string{}
		if s.GivesAddresses {
			does = append(does, "gives addresses")
		}
		if s.GivesBoot {
			does = append(does, "names boot files")
		}
		fmt.Fprintf(b, "server %s %s: %s; answers after %d ms\n", s.Address, s.MAC, strings.Join(does, ", "), s.FirstMillis)
	}
	fmt.Fprintln(b)
}

// columns are the stages with their headings; between them stand arrows.
var columns = []struct {
	stage Stage
	name  string
}{{DHCP, "DHCP"}, {Proxy, "proxy"}, {Fetch, "TFTP/HTTP"}, {IPXE, "iPXE"}, {Script, "script"}, {Kernel, "kernel"}, {Initramfs, "initramfs"}}

func (r *Report) chain(b *strings.Builder, style Style) {
	width := len("firmware")
	for _, c := range r.Clients {
		width = max(width, len(c.Name))
	}
	fmt.Fprintf(b, "%-*s", width, "firmware")
	for _, c := range columns {
		fmt.Fprintf(b, " -> %s", c.name)
	}
	fmt.Fprintln(b)
	for _, c := range r.Clients {
		var row strings.Builder
		fmt.Fprintf(&row, "%-*s", width, c.Name)
		for _, col := range columns[:lastStage(c.Steps)+1] {
			fmt.Fprint(&row, " -> ", style.mark(c.Steps, col.stage, len(col.name)))
		}
		fmt.Fprintln(b, strings.TrimRight(row.String(), " "))
	}
}

// lastStage is the column that a client came to.
func lastStage(steps []Step) int {
	last := -1
	for i, col := range columns {
		for _, s := range steps {
			if s.Stage == col.stage && s.State != Skipped {
				last = i
			}
		}
	}
	return last
}

// mark is a step's mark in a column of a width.
func (style Style) mark(steps []Step, stage Stage, width int) string {
	state := Skipped
	for _, s := range steps {
		if s.Stage == stage {
			state = s.State
		}
	}
	m := marks[state]
	text := m.mark
	if style.Color {
		text = m.color + text + colorOff
	}
	return text + strings.Repeat(" ", max(0, width-len(m.mark)))
}

func (style Style) severity(s Severity) string {
	if !style.Color {
		return string(s)
	}
	if s == Problem {
		return marks[Bad].color + string(s) + colorOff
	}
	return marks[Doubt].color + string(s) + colorOff
}

func orNone(s, none string) string {
	if s == "" {
		return none
	}
	return s
}
