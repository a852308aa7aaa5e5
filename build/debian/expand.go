package debian

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// triplets are the names of Debian's architectures in library paths.
var triplets = map[string]string{
	"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu", "armhf": "arm-linux-gnueabihf",
	"i386": "i386-linux-gnu", "ppc64el": "powerpc64le-linux-gnu", "riscv64": "riscv64-linux-gnu", "s390x": "s390x-linux-gnu",
}

// Architectures returns the Debian architectures that images can be made for.
func Architectures() []string { return slices.Sorted(maps.Keys(triplets)) }

// expanded is what a definition adds to its packages, for one architecture:
// variables replaced, paths clean and in the merged /usr.
type expanded struct {
	keep     globs
	drop     globs
	binaries map[string]string
	files    []File // links and applets too, sorted by path
}

// expand settles the paths of a definition. A path given twice is an error.
func (d *Definition) expand(arch string) (*expanded, error) {
	triplet, ok := triplets[arch]
	if !ok {
		return nil, fmt.Errorf("architecture %q is not one of %s", arch, strings.Join(Architectures(), ", "))
	}
	x := &expander{vars: strings.NewReplacer("${triplet}", triplet, "${arch}", arch), taken: map[string]string{}}
	out := &expanded{binaries: map[string]string{}}
	out.keep = x.globs("keep", d.Keep)
	out.drop = x.globs("drop", d.Drop)
	for _, at := range slices.Sorted(maps.Keys(d.Binaries)) {
		name := x.vary("binaries", d.Binaries[at])
		if !fs.ValidPath(name) {
			x.fail("binaries: %s: %q is not the name of a program", at, name)
		}
		out.binaries[x.path("binaries", at)] = name
	}
	for _, at := range slices.Sorted(maps.Keys(d.Links)) {
		out.files = append(out.files, File{Path: x.path("links", at), Symlink: x.target("links", at, d.Links[at])})
	}
	for _, dir := range slices.Sorted(maps.Keys(d.Busybox)) {
		for _, applet := range d.Busybox[dir] {
			at := x.path("busybox", path.Join(dir, applet))
			out.files = append(out.files, File{Path: at, Symlink: relative(path.Dir(at), busyboxPath)})
		}
	}
	for _, f := range d.Files {
		if f.Symlink != "" {
			f.Symlink = x.target("files", f.Path, f.Symlink)
		}
		f.Path = x.path("files", f.Path)
		out.files = append(out.files, f)
	}
	slices.SortFunc(out.files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return out, x.err
}

// expander replaces variables and keeps the first error.
type expander struct {
	vars  *strings.Replacer
	taken map[string]string // path -> key that gives it
	err   error
}

func (x *expander) fail(format string, args ...any) {
	if x.err == nil {
		x.err = fmt.Errorf(format, args...)
	}
}

// vary replaces the variables in s.
func (x *expander) vary(key, s string) string {
	out := x.vars.Replace(s)
	if strings.Contains(out, "${") {
		x.fail("%s: %q: the variables are ${triplet} and ${arch}", key, s)
	}
	return out
}

// path cleans a path that the definition creates.
func (x *expander) path(key, s string) string {
	p := strings.TrimPrefix(x.vary(key, s), "/")
	if !fs.ValidPath(p) || p == "." || strings.ContainsAny(p, "\x00\n") || strings.HasPrefix(path.Base(p), ".wh.") {
		x.fail("%s: path %q is not allowed", key, s)
		return p
	}
	p = usrMerge(p)
	if other, ok := x.taken[p]; ok {
		x.fail("%s: %s is given by %s already", key, s, other)
	}
	x.taken[p] = key
	return p
}

func (x *expander) target(key, at, s string) string {
	s = x.vary(key, s)
	if err := checkTarget(at, s); err != nil {
		x.fail("%s: %w", key, err)
	}
	return s
}

func (x *expander) globs(key string, patterns []string) globs {
	var out globs
	for _, s := range patterns {
		p := usrMerge(strings.TrimPrefix(x.vary(key, s), "/"))
		if err := validateGlob(p); err != nil {
			x.fail("%s: %w", key, err)
		}
		out = append(out, p)
	}
	return out
}
