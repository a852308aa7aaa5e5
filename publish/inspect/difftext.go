package inspect

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// WriteText prints the differences in words.
func (d *Diff) WriteText(w io.Writer, style Style) error {
	p := newPrinter(w, style)
	if d.Same {
		fmt.Fprintf(p.w, "%s and %s hold the same.\n", Clean(d.A), Clean(d.B))
		return p.w.Flush()
	}
	var all []branch
	for _, section := range []struct {
		name    string
		changes []Change
	}{
		{"kernel", d.Kernel}, {"packages", d.Packages}, {"embedded images", d.Images}, {"services", d.Services},
		{"modules", d.Modules}, {"firmware", d.Firmware}, {"files", d.Files}, {"kernel configuration", d.Config}, {"exported symbols", d.Symbols},
	} {
		if len(section.changes) > 0 {
			top := branch{label: section.name + ": " + counts(section.changes), colour: bold}
			for _, c := range largestFirst(section.changes) {
				top.below = append(top.below, c.text())
			}
			all = append(all, folded(top, style, "--all lists them")...)
		}
	}
	fmt.Fprintln(p.w, p.paint(bold, Cut(Clean(d.A+" -> "+d.B), p.style.Width)))
	p.tree("", append(all, some(d.sizesText())...))
	return p.w.Flush()
}

// largestFirst puts what costs or frees the most at the top.
func largestFirst(changes []Change) []Change {
	sorted := slices.Clone(changes)
	slices.SortStableFunc(sorted, func(a, b Change) int {
		return cmp.Compare(max(b.Bytes, -b.Bytes), max(a.Bytes, -a.Bytes))
	})
	return sorted
}

// counts says how many of which kind.
func counts(changes []Change) string {
	n := map[string]int{}
	for _, c := range changes {
		n[c.Kind]++
	}
	var words []string
	for _, kind := range []string{Added, Removed, Changed} {
		if n[kind] > 0 {
			words = append(words, fmt.Sprintf("%d %s", n[kind], kind))
		}
	}
	return strings.Join(words, ", ")
}

// text is one line of a change.
func (c Change) text() branch {
	b := branch{}
	switch c.Kind {
	case Added:
		b.label, b.colour = "added "+c.What+when(c.To != "", ": "+c.To), green
	case Removed:
		b.label, b.colour = "removed "+c.What+when(c.From != "", ": "+c.From), red
	default:
		b.label, b.colour = "changed "+c.What, yellow
		switch {
		case c.From != "":
			b.label += ": " + c.From + " -> " + c.To
		case c.To != "":
			b.label += ": " + c.To
		}
	}
	if c.Bytes != 0 {
		b.right = signed(c.Bytes)
	}
	return b
}

func signed(n int64) string {
	if n < 0 {
		return Bytes(n)
	}
	return "+" + Bytes(n)
}

func (d *Diff) sizesText() branch {
	top := branch{label: "sizes", colour: bold}
	for _, s := range d.Sizes {
		if s.A != s.B {
			top.below = append(top.below, branch{label: fmt.Sprintf("%s: %s -> %s", s.What, Bytes(s.A), Bytes(s.B)), right: signed(s.B - s.A)})
		}
	}
	return top
}
