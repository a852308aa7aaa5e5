package inspect

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Style is how text is laid out for a terminal; the zero value is 100 columns
// without colour.
type Style struct {
	Width  int  // columns
	Colour bool // ANSI colours
	All    bool // every package, module and firmware file, instead of how many
}

const (
	bold, dim, red, green, yellow = "1", "2", "31", "32", "33"
)

// printer writes a tree and keeps the first error.
type printer struct {
	w     *bufio.Writer
	style Style
}

func newPrinter(w io.Writer, s Style) *printer {
	s.Width = max(40, cmp.Or(s.Width, 100))
	return &printer{bufio.NewWriter(w), s}
}

func (p *printer) paint(code, s string) string {
	if !p.style.Colour || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// branch is a line with what hangs below it.
type branch struct {
	label  string // may be painted
	right  string // set at the right edge: a size
	colour string
	below  []branch
	wrap   bool // a label that is too long goes on in the next line instead of being cut

	goesOn, last bool // set by wrapped
}

// tree prints branches with lines that show what hangs where.
func (p *printer) tree(prefix string, all []branch) {
	for _, b := range p.wrapped(prefix, all) {
		joint, next := "├─ ", "│  "
		switch {
		case b.goesOn:
			joint = "│    "
		case b.last:
			joint, next = "└─ ", "   "
		}
		if b.goesOn && b.last {
			joint = "     "
		}
		p.line(prefix+joint, b)
		p.tree(prefix+next, b.below)
	}
}

// wrapped makes several lines of a long label that must not be cut.
func (p *printer) wrapped(prefix string, all []branch) []branch {
	out := make([]branch, 0, len(all))
	for i, b := range all {
		b.last = i == len(all)-1
		if b.wrap {
			lines := Wrap(b.label, max(20, p.style.Width-utf8.RuneCountInString(prefix)-len("     ")-1))
			for _, line := range lines[:len(lines)-1] {
				b.label = line
				out = append(out, b)
				b.goesOn = true
			}
			b.label = lines[len(lines)-1]
		}
		out = append(out, b)
	}
	return out
}

func (p *printer) line(prefix string, b branch) {
	room := p.style.Width - utf8.RuneCountInString(prefix) - 1
	if b.right != "" {
		room -= utf8.RuneCountInString(b.right) + 1
	}
	label := Cut(Clean(b.label), room)
	out := p.paint(dim, prefix) + p.paint(b.colour, label)
	if b.right != "" {
		out += strings.Repeat(" ", max(1, room-utf8.RuneCountInString(label)+1)) + b.right
	}
	fmt.Fprintln(p.w, out)
}

// Cut shortens s to width columns.
func Cut(s string, width int) string {
	if width < 1 || utf8.RuneCountInString(s) <= width {
		return s
	}
	r := []rune(s)
	return string(r[:width-1]) + "…"
}

// Clean keeps names of a hostile file from steering the terminal.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '?'
		}
		return r
	}, s)
}

// Wrap breaks s at blanks into lines of at most width columns, as far as its
// words allow.
func Wrap(s string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// Bytes prints a size for people.
func Bytes(n int64) string {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	if n < 1024 {
		return fmt.Sprintf("%s%d B", sign, n)
	}
	v, units := float64(n)/1024, []string{"KiB", "MiB", "GiB", "TiB"}
	for len(units) > 1 && v >= 1024 {
		v, units = v/1024, units[1:]
	}
	return fmt.Sprintf("%s%.1f %s", sign, v, units[0])
}

// WriteText prints the report as a tree.
func (r *Report) WriteText(w io.Writer, style Style) error {
	p := newPrinter(w, style)
	title := r.Source
	if r.Build != nil {
		title += "  " + r.Build.Flavor + "  build " + Cut(r.Build.ID, 13)
	}
	fmt.Fprintln(p.w, p.paint(bold, Cut(Clean(title), p.style.Width)))
	var all []branch
	for _, section := range []func(Style) []branch{
		r.kernelText, r.initramfsText, r.servicesText, r.imagesText, r.packagesText, r.modulesText, r.firmwareText, r.largestText, r.warningsText,
	} {
		all = append(all, section(style)...)
	}
	p.tree("", all)
	return p.w.Flush()
}

func (r *Report) kernelText(Style) []branch {
	k := r.Kernel
	if k == nil {
		return nil
	}
	below := []branch{{label: fmt.Sprintf("%s, %s%s%s", k.Format, k.Arch, when(k.EFI, ", EFI"), when(k.Signed, ", signed for Secure Boot"))}, {label: k.Version}}
	if k.Cmdline != "" {
		below = append(below, branch{label: "command line: " + k.Cmdline})
	}
	return []branch{{label: "kernel " + k.Release, right: Bytes(k.Size), colour: bold, below: below}}
}

func when(is bool, s string) string {
	if is {
		return s
	}
	return ""
}

func (r *Report) initramfsText(Style) []branch {
	i := r.Initramfs
	if i == nil {
		return nil
	}
	segments := branch{label: fmt.Sprintf("segments: %d", len(i.Segments))}
	for n, s := range i.Segments {
		name := cmp.Or(s.Name, fmt.Sprint(n))
		segments.below = append(segments.below, branch{
			label: fmt.Sprintf("%s: %s at %d, %d entries, %s unpacked", name, s.Compression, s.Offset, s.Entries, Bytes(s.Unpacked)), right: Bytes(s.Size)})
	}
	return []branch{{label: "initramfs, layout " + i.Layout, right: Bytes(i.Size), colour: bold, below: []branch{
		{label: fmt.Sprintf("unpacked, %d entries", i.Entries), right: Bytes(i.Unpacked)},
		{label: "memory after boot", right: Bytes(i.Memory)},
		{label: "smallest machine (" + i.RAMFrom + ")", right: fmt.Sprintf("%d MiB", i.RAMMiB)},
		segments,
	}}}
}

func (r *Report) servicesText(Style) []branch {
	top := branch{label: fmt.Sprintf("services: %d", len(r.Services)), colour: bold}
	for _, s := range r.Services {
		b := branch{label: s.Name + when(s.Kind != "service", " ("+s.Kind+")"), right: Bytes(s.Size)}
		if len(s.Command) > 0 {
			b.below = append(b.below, branch{label: "runs " + strings.Join(s.Command, " ")})
		}
		may := strings.Join(s.Privileges, "; ")
		colour := yellow
		if may == "" {
			may, colour = "nothing beyond a plain container", green
		}
		b.below = append(b.below, branch{label: "may: " + may, colour: colour, wrap: true})
		if len(s.Binds) > 0 {
			b.below = append(b.below, branch{label: "sees: " + strings.Join(s.Binds, " "), wrap: true})
		}
		top.below = append(top.below, b)
	}
	return some(top)
}

func (r *Report) imagesText(Style) []branch {
	top := branch{label: fmt.Sprintf("embedded images: %d", len(r.Images)), colour: bold}
	for _, img := range r.Images {
		name := strings.Join(img.Names, ", ")
		b := branch{label: cmp.Or(name, "(no name)"), right: Bytes(img.Size)}
		b.below = append(b.below, branch{label: fmt.Sprintf("%s, %s, %d layers", Cut(img.ID, 19), img.Arch, img.Layers)})
		for _, d := range img.Digests {
			b.below = append(b.below, branch{label: d})
		}
		top.below = append(top.below, b)
	}
	return some(top)
}

// some leaves out a branch with nothing below.
func some(b branch) []branch {
	if len(b.below) == 0 {
		return nil
	}
	return []branch{b}
}

func (r *Report) packagesText(s Style) []branch {
	top := branch{label: fmt.Sprintf("packages: %d", len(r.Packages)), colour: bold}
	for _, pkg := range r.Packages {
		top.below = append(top.below, branch{label: pkg.Name + " " + pkg.Version + when(pkg.In != "", "  ("+pkg.In+")")})
	}
	return folded(top, s, "--all lists them")
}

// folded keeps of a long list how many there are.
func folded(b branch, s Style, hint string) []branch {
	const short = 8
	if rest := len(b.below) - short; !s.All && rest > 1 {
		b.below = append(b.below[:short:short], branch{label: fmt.Sprintf("and %d more (%s)", rest, hint), colour: dim})
	}
	return some(b)
}

func (r *Report) modulesText(s Style) []branch {
	if r.Modules == nil {
		return nil
	}
	top := branch{label: fmt.Sprintf("modules: %d for %s", len(r.Modules.List), strings.Join(r.Modules.Releases, ", ")), right: Bytes(r.Modules.Bytes), colour: bold}
	magic := map[string]int{}
	for _, m := range r.Modules.List {
		magic[m.Vermagic]++
	}
	for _, v := range slices.Sorted(maps.Keys(magic)) {
		top.below = append(top.below, branch{label: fmt.Sprintf("version magic %q: %d", v, magic[v])})
	}
	if s.All {
		for _, m := range r.Modules.List {
			top.below = append(top.below, branch{label: m.Name + "  " + m.Path, right: Bytes(m.Size)})
		}
	}
	return []branch{top}
}

func (r *Report) firmwareText(s Style) []branch {
	top := branch{label: fmt.Sprintf("firmware: %d files", len(r.Firmware)), colour: bold}
	var sum int64
	for _, f := range r.Firmware {
		sum += f.Size
		top.below = append(top.below, branch{label: f.Name, right: Bytes(f.Size)})
	}
	top.right = Bytes(sum)
	return folded(top, s, "--all lists them")
}

// largestText lists the files that take the most memory.
func (r *Report) largestText(Style) []branch {
	const most = 8
	top := branch{label: "largest files", colour: bold}
	files := slices.DeleteFunc(slices.Clone(r.Files), func(f File) bool { return f.Memory == 0 })
	slices.SortFunc(files, func(a, b File) int {
		return cmp.Or(cmp.Compare(b.Memory, a.Memory), cmp.Compare(a.Path, b.Path))
	})
	for _, f := range files[:min(most, len(files))] {
		top.below = append(top.below, branch{label: f.Path, right: Bytes(f.Size)})
	}
	return some(top)
}

func (r *Report) warningsText(Style) []branch {
	top := branch{label: fmt.Sprintf("warnings: %d", len(r.Warnings)), colour: red}
	for _, s := range r.Warnings {
		top.below = append(top.below, branch{label: s, colour: yellow, wrap: true})
	}
	return some(top)
}
