package build

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"

	"hooksmith/build/debian"
	"hooksmith/build/images"
)

// lockVersion is the version of the lock file's shape.
const lockVersion = 1

// Lock is hooksmith.lock: the exact inputs of one or more flavors.
type Lock struct {
	Version int                      `json:"version"`
	Flavors map[string]*LockedFlavor `json:"flavors"` // by id
}

// LockedFlavor is all that a flavor's bytes are made of: with these inputs, a
// build gives the same files.
type LockedFlavor struct {
	ID       string            `json:"-"`
	Releases []LockedRelease   `json:"releases"`           // of Debian, that vouched for the packages
	Kernel   string            `json:"kernel,omitempty"`   // name of the kernel's package
	Firmware map[string]string `json:"firmware,omitempty"` // name asked for -> package
	Packages []*debian.Package `json:"packages"`           // sorted by name
	Images   []images.Pin      `json:"images,omitempty"`   // what references stood for
	Inputs   []Input           `json:"inputs"`             // everything that is no package
}

// LockedRelease says which state of the archive the packages were taken from.
type LockedRelease struct {
	Suite  string `json:"suite"`
	Date   string `json:"date"`
	SHA256 string `json:"sha256"` // of InRelease
}

// ParseLock reads a lock file; file names it in errors.
func ParseLock(file string, data []byte) (*Lock, error) {
	var l Lock
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, fmt.Errorf("reading lock file %s: %w", file, err)
	}
	if l.Version != lockVersion {
		return nil, fmt.Errorf("lock file %s has version %d, this hooksmith knows %d: renew it with hooksmith update", file, l.Version, lockVersion)
	}
	for id, f := range l.Flavors {
		if f == nil {
			return nil, fmt.Errorf("lock file %s: flavor %s is empty", file, id)
		}
		f.ID = id
		for _, p := range f.Packages {
			if err := p.Validate(); err != nil {
				return nil, fmt.Errorf("lock file %s: flavor %s: %w", file, id, err)
			}
		}
	}
	return &l, nil
}

// Marshal is the lock file's text, the same for the same lock.
func (l *Lock) Marshal() ([]byte, error) {
	l.Version = lockVersion
	b, err := json.MarshalIndent(l, "", "  ")
	return append(b, '\n'), err
}

// Put sets the inputs of a flavor and returns what that changes, in words.
func (l *Lock) Put(f *LockedFlavor) []string {
	if l.Flavors == nil {
		l.Flavors = map[string]*LockedFlavor{}
	}
	old := l.Flavors[f.ID]
	l.Flavors[f.ID] = f
	if old == nil {
		return []string{fmt.Sprintf("%s: locked, %d packages", f.ID, len(f.Packages))}
	}
	return old.diff(f)
}

// find returns the package of that name.
func (f *LockedFlavor) find(name string) (*debian.Package, error) {
	for _, p := range f.Packages {
		if p.Name == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("package %s is not in the lock file: renew it with hooksmith update", name)
}

// Pins are the digests of a flavor's images, for images.Sources.
func (l *Lock) Pins(flavor string) []images.Pin {
	if l == nil || l.Flavors[flavor] == nil {
		return nil
	}
	return l.Flavors[flavor].Images
}

func (f *LockedFlavor) inputs() []Input {
	if f == nil {
		return nil
	}
	return f.Inputs
}

// diff says in words how now differs from f, sorted; none if it does not.
func (f *LockedFlavor) diff(now *LockedFlavor) []string {
	var out []string
	was, is := f.entries(), now.entries()
	for name, v := range was {
		switch w, ok := is[name]; {
		case !ok:
			out = append(out, fmt.Sprintf("- %s %s", name, v.text))
		case v != w && v.text == w.text:
			out = append(out, fmt.Sprintf("~ %s: other content", name))
		case v != w:
			out = append(out, fmt.Sprintf("~ %s: %s -> %s", name, v.text, w.text))
		}
	}
	for name, v := range is {
		if _, ok := was[name]; !ok {
			out = append(out, strings.TrimSpace(fmt.Sprintf("+ %s %s", name, v.text)))
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i][2:] < out[j][2:] })
	return out
}

type lockEntry struct{ text, sum string }

func (f *LockedFlavor) entries() map[string]lockEntry {
	m := map[string]lockEntry{"kernel package": {f.Kernel, ""}}
	for _, p := range f.Packages {
		m["package "+p.Name] = lockEntry{p.Version, p.SHA256}
	}
	for _, in := range f.Inputs {
		m[in.Kind+" "+in.Name] = lockEntry{in.Version, in.SHA256}
	}
	for name, pkg := range f.Firmware {
		m["firmware "+name] = lockEntry{pkg, ""}
	}
	return m
}

func sortPackages(ps []*debian.Package) []*debian.Package {
	slices.SortFunc(ps, func(a, b *debian.Package) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(ps, func(a, b *debian.Package) bool { return a.Name == b.Name })
}
