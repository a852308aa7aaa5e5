package hardware

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxProblems bounds what one file can say: a file of the wrong kind has one
// problem per line.
const maxProblems = 50

// Problem is one thing that is wrong in a file.
type Problem struct {
	File    string
	Line    int    // from 1; 0: the file as a whole
	Column  int    // byte in the line, from 1
	Field   string // column of a CSV file or path of keys: "netboot.args"
	Message string
}

// Error puts the place first, as compilers do: file:line:column: field: message.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Problems is the error of a file with one or more problems, in their order
// in the file.
type Problems struct {
	List []*Problem // at most 50
	More int        // that were left out
}

// Error is one problem per line.
func (p *Problems) Error() string {
	lines := make([]string, 0, len(p.List)+1)
	for _, each := range p.List {
		lines = append(lines, each.Error())
	}
	if p.More > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", p.More))
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.As its way to a *Problem.
func (p *Problems) Unwrap() []error {
	list := make([]error, len(p.List))
	for i, each := range p.List {
		list[i] = each
	}
	return list
}

// place is where in a file something stands.
type place struct{ line, column int }

// report collects what is wrong (problems) and what is only odd (notes).
type report struct {
	file     string
	problems Problems
	notes    []string
}

func (r *report) fail(at place, field, format string, args ...any) {
	if len(r.problems.List) == maxProblems {
		r.problems.More++
		return
	}
	r.problems.List = append(r.problems.List, &Problem{r.file, at.line, at.column, field, fmt.Sprintf(format, args...)})
}

func (r *report) note(at place, field, format string, args ...any) {
	if len(r.notes) < maxProblems {
		p := Problem{r.file, at.line, at.column, field, fmt.Sprintf(format, args...)}
		r.notes = append(r.notes, p.Error())
	}
}

// err is nil if nothing was wrong.
func (r *report) err() error {
	if len(r.problems.List) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems.List, func(a, b *Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &r.problems
}

// quote shows a value of a file in a message, bounded and without control
// characters.
func quote(s string) string {
	const most = 60
	if len(s) > most {
		s = s[:most] + "..."
	}
	return fmt.Sprintf("%q", s)
}
