package debian

import (
	"bytes"
	"fmt"
	"strings"
)

// Package returns the newest version of a package over all suites.
func (x *Index) Package(name string) (*Package, error) {
	if list := x.packages[name]; len(list) > 0 {
		return list[0], nil
	}
	if x.has(name) {
		return nil, fmt.Errorf("package %q is in %s but the index was not read for it", name, x.source)
	}
	return nil, fmt.Errorf("package %q is not in %s%s", name, x.source, x.hint(name))
}

// Version returns a given version of a package.
func (x *Index) Version(name, version string) (*Package, error) {
	var have []string
	for _, p := range x.packages[name] {
		if p.Version == version {
			return p, nil
		}
		have = append(have, p.Version)
	}
	if len(have) == 0 {
		return x.Package(name)
	}
	return nil, fmt.Errorf("package %s is in %s as %s, not as %s", name, x.source, strings.Join(have, ", "), version)
}

// ResolveMeta follows a meta package to what it stands for: linux-image-amd64
// to the package with the kernel that it depends on now. A package that is not
// a meta package is returned as it is. The index must have been read for both
// ("linux-image-*").
func (x *Index) ResolveMeta(name string) (*Package, error) {
	p, err := x.Package(name)
	for hops := 0; err == nil && hops < 4; hops++ {
		next, ver, ok := p.successor()
		if !ok {
			return p, nil
		}
		meta := p
		if ver != "" {
			p, err = x.Version(next, ver)
		} else {
			p, err = x.Package(next)
		}
		if err != nil {
			return nil, fmt.Errorf("resolving meta package %s: %w", meta, err)
		}
	}
	if err == nil {
		err = fmt.Errorf("resolving meta package %s: it leads to a chain of meta packages", name)
	}
	return nil, err
}

// has reports whether the repository has a package of this name, kept or not.
func (x *Index) has(name string) bool {
	return name != "" && !strings.Contains(name, "\n") && bytes.Contains(x.names, []byte("\n"+name+"\n"))
}

// startingWith returns up to limit names of the repository that start so.
func (x *Index) startingWith(prefix string, limit int) []string {
	var out []string
	seen := map[string]bool{}
	rest := x.names
	for len(out) < limit {
		i := bytes.Index(rest, []byte("\n"+prefix))
		if i < 0 {
			break
		}
		rest = rest[i+1:]
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		if name := string(line); name != "" && !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}

// hint helps with a name that is not there.
func (x *Index) hint(name string) string {
	if strings.HasPrefix(name, "firmware-") || strings.HasSuffix(name, "-microcode") {
		return "; firmware is in the component non-free-firmware"
	}
	if len(name) < 3 || strings.ContainsAny(name, "\n*") {
		return ""
	}
	for n := len(name); n >= 3; n-- {
		if near := x.startingWith(name[:n], 3); len(near) > 0 {
			return "; did you mean " + strings.Join(near, " or ") + "?"
		}
	}
	return ""
}
