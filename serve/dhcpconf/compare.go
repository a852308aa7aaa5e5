package dhcpconf

import (
	"fmt"
	"net/netip"
	"strings"
)

// Comparison is a text for two boot servers, one after the other: EKS
// Anywhere's bootstrap cluster, then the management cluster that it becomes.
type Comparison struct {
	Before, After *Result
	Diff          string // from one to the other, as diff -u has it
}

// Compare writes the text for c with each of two boot servers. What changes
// are addresses in lines, so that line meets line.
func Compare(target string, c Config, before, after netip.Addr) (*Comparison, error) {
	both := make([]*Result, 2)
	c.servers = []netip.Addr{before, after} // nobody gets the address that the server moves to
	for i, server := range []netip.Addr{before, after} {
		c.Server = server
		var err error
		if both[i], err = Generate(target, c); err != nil {
			return nil, err
		}
	}
	return &Comparison{both[0], both[1], diff("before", "after", both[0].Text, both[1].Text)}, nil
}

// diff compares texts line by line. Of texts with different numbers of lines
// all between the first and the last difference is one change.
func diff(oldName, newName, before, after string) string {
	a, b := strings.SplitAfter(before, "\n"), strings.SplitAfter(after, "\n")
	a, b = a[:len(a)-1], b[:len(b)-1] // texts end with a line break
	var out strings.Builder
	for _, h := range hunks(a, b) {
		if out.Len() == 0 {
			fmt.Fprintf(&out, "--- %s\n+++ %s\n", oldName, newName)
		}
		h.write(&out, a, b)
	}
	return out.String()
}

// change is a range of lines of each text.
type change struct{ a, a2, b, b2 int }

// context is how many equal lines stand around a change.
const context = 3

// hunk is changes with the lines around them.
type hunk []change

func hunks(a, b []string) (all []hunk) {
	for _, c := range changes(a, b) {
		if last := len(all) - 1; last >= 0 && c.a-all[last][len(all[last])-1].a2 <= 2*context {
			all[last] = append(all[last], c)
			continue
		}
		all = append(all, hunk{c})
	}
	return all
}

func changes(a, b []string) (all []change) {
	if len(a) != len(b) {
		return []change{around(a, b)}
	}
	for i := range a {
		if a[i] == b[i] {
			continue
		}
		if last := len(all) - 1; last >= 0 && all[last].a2 == i {
			all[last].a2, all[last].b2 = i+1, i+1
			continue
		}
		all = append(all, change{i, i + 1, i, i + 1})
	}
	return all
}

// around is what is left between equal begins and ends.
func around(a, b []string) change {
	first := 0
	for first < min(len(a), len(b)) && a[first] == b[first] {
		first++
	}
	end := 0
	for end < min(len(a), len(b))-first && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	return change{first, len(a) - end, first, len(b) - end}
}

func (h hunk) write(out *strings.Builder, a, b []string) {
	first, last := h[0], h[len(h)-1]
	from, to := max(first.a-context, 0), min(last.a2+context, len(a))
	fromB, toB := first.b-(first.a-from), last.b2+(to-last.a2)
	fmt.Fprintf(out, "@@ -%d,%d +%d,%d @@\n", from+1, to-from, fromB+1, toB-fromB)
	at := from
	for _, c := range h {
		lines(out, " ", a[at:c.a])
		lines(out, "-", a[c.a:c.a2])
		lines(out, "+", b[c.b:c.b2])
		at = c.a2
	}
	lines(out, " ", a[at:to])
}

func lines(out *strings.Builder, mark string, all []string) {
	for _, l := range all {
		out.WriteString(mark + l)
	}
}
