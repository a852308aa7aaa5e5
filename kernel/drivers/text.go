package drivers

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// WriteText prints the report as a table and a last line that sums up. With
// all false, devices that need no driver are only counted.
func (r *Report) WriteText(w io.Writer, all bool) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "DEVICE\tCLASS\tNAME\tMODULE\tFIRMWARE\tSTATE\tWHAT TO DO")
	hidden := 0
	for i := range r.Devices {
		d := &r.Devices[i]
		if !all && d.State == NotNeeded && len(d.Todo) == 0 {
			hidden++
			continue
		}
		todo := slices.Concat(d.Todo, d.Notes)
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", clip(d.ID, 44), cmp.Or(d.Class, "-"), cmp.Or(clip(d.label(), 40), "-"), cmp.Or(d.modules(), "-"), d.firmware(), d.State, strings.Join(todo[:min(1, len(todo))], ""))
		for _, more := range todo[min(1, len(todo)):] {
			fmt.Fprintf(t, "\t\t\t\t\t\t%s\n", more)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
	rest := ""
	if hidden > 0 {
		rest = fmt.Sprintf(" %d devices that need no driver are not shown (--all).", hidden)
	}
	_, err := fmt.Fprintf(w, "kernel %s, %s: %d of %d network and storage devices covered.%s\n", r.Artifact.Release, r.Artifact.Arch, r.Required-r.Uncovered, r.Required, rest)
	return err
}

// label is the name, with the slot before it.
func (d *Result) label() string { return strings.TrimSpace(d.Slot + " " + d.Name) }

func (d *Result) modules() string {
	var names []string
	for _, u := range d.Modules {
		name := u.Name
		if len(u.Maybe) > 0 {
			name += "?"
		}
		names = append(names, name)
	}
	return strings.Join(names, ",")
}

// firmware is "-" for drivers that ask for none, "in", or how much is not.
func (d *Result) firmware() string {
	files, missing := 0, 0
	for _, u := range d.Modules {
		files += u.Firmware
		missing += len(u.FirmwareMissing)
	}
	switch {
	case files == 0:
		return "-"
	case missing == 0:
		return "in"
	}
	return fmt.Sprintf("%d of %d missing", missing, files)
}

// clip shortens a text for a column. What is from a listing may hold anything.
func clip(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-2]) + ".."
}

// WriteText prints the drivers as a table.
func (inv *Inventory) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "KIND\tDRIVER\tDEVICES\tBUSES\tFIRMWARE\tNOTE")
	for _, d := range inv.Drivers {
		firmware, note := "-", d.Problem
		if len(d.Firmware) > 0 {
			firmware = "in"
		}
		if n := len(d.FirmwareMissing); n > 0 {
			firmware = fmt.Sprintf("%d of %d missing", n, len(d.Firmware))
		}
		if d.BuiltIn {
			note = "built in"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\n", d.Kind, d.Name, d.Devices, strings.Join(d.Buses, ","), firmware, note)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, warning := range inv.Artifact.Warnings {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
	_, err := fmt.Fprintf(w, "kernel %s, %s: %d modules, %d drivers of devices.\n", inv.Artifact.Release, inv.Artifact.Arch, inv.Modules, len(inv.Drivers))
	return err
}
