package check

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"hooksmith/publish/inspect"
)

// WriteText prints the report as a table, a fix below what needs one.
func (r *Report) WriteText(w io.Writer, style inspect.Style) error {
	out := bufio.NewWriter(w)
	width := max(60, cmp.Or(style.Width, 100))
	column := 0
	for _, res := range r.Results {
		column = max(column, utf8.RuneCountInString(inspect.Clean(res.Title)))
	}
	column = min(column, width*2/5)
	for _, res := range r.Results {
		indent := strings.Repeat(" ", 6+column+2)
		text := inspect.Wrap(inspect.Clean(res.Detail), width-len(indent))
		title := inspect.Cut(inspect.Clean(res.Title), column)
		pad := strings.Repeat(" ", column-utf8.RuneCountInString(title))
		fmt.Fprintf(out, "%s  %s%s  %s\n", paint(style, res.Status, string(res.Status)), title, pad, strings.Join(text, "\n"+indent))
		if res.Fix != "" {
			fmt.Fprintf(out, "%s%s\n", indent, strings.Join(inspect.Wrap("fix: "+res.Fix, width-len(indent)), "\n"+indent+"     "))
		}
	}
	fmt.Fprintf(out, "%s\n", r.Summary())
	return out.Flush()
}

// Summary is one line: how many of which.
func (r *Report) Summary() string {
	n := map[Status]int{}
	for _, res := range r.Results {
		n[res.Status]++
	}
	return fmt.Sprintf("%d passed, %d warnings, %d failed, %d not tried", n[Pass], n[Warn], n[Fail], n[Skip])
}

func paint(style inspect.Style, s Status, text string) string {
	if !style.Colour {
		return text
	}
	return "\x1b[" + map[Status]string{Pass: "32", Warn: "33", Fail: "31", Skip: "2"}[s] + "m" + text + "\x1b[0m"
}
