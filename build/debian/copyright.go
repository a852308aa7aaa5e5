package debian

import (
	"bufio"
	"io"
	"slices"
	"strings"
)

// maxCopyright bounds a copyright file; that of the kernel is 100 KB.
const maxCopyright = 4 << 20

// CopyrightPath is where the package's licence lies in its layer. Some
// packages have a link to another package's documentation instead.
func (p *Package) CopyrightPath() string {
	return "usr/share/doc/" + p.Name + "/copyright"
}

// Licenses returns the short names of the licences ("Apache-2.0", "GPL-2+")
// that a copyright file names, sorted, each once. They are Debian's names
// (DEP 5), not SPDX's. A file that is not machine-readable gives none, which
// is no error: say NOASSERTION then.
func Licenses(copyright io.Reader) ([]string, error) {
	sc := bufio.NewScanner(io.LimitReader(copyright, maxCopyright))
	sc.Buffer(nil, 1<<20)
	var out []string
	readable := false
	for sc.Scan() {
		field, value, ok := strings.Cut(sc.Text(), ":")
		if !ok {
			continue
		}
		switch strings.ToLower(field) {
		case "format", "format-specification":
			readable = readable || isDEP5(value)
		case "license":
			out = append(out, splitLicenses(value)...)
		}
	}
	if err := sc.Err(); err != nil || !readable {
		return nil, err
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func isDEP5(format string) bool {
	f := strings.ToLower(format)
	return strings.Contains(f, "copyright-format") || strings.Contains(f, "dep5") || strings.Contains(f, "dep-5")
}

// splitLicenses takes "A and B, or C" apart.
func splitLicenses(value string) []string {
	for _, word := range []string{" and/or ", " and ", " or ", " AND ", " OR "} {
		value = strings.ReplaceAll(value, word, ",")
	}
	var out []string
	for name := range strings.SplitSeq(value, ",") {
		name = strings.Trim(name, " \t()")
		if name != "" && len(name) <= 100 {
			out = append(out, name)
		}
	}
	return out
}
