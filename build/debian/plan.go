package debian

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
)

// Plan is an image whose content is settled, but of which nothing has been
// unpacked or even fetched: enough to name it.
type Plan struct {
	Definition *Definition
	Arch       string
	Packages   []*Package // in the order of the definition
	// Ref is the image's reference, hooksmith/NAME:HASH-ARCH. The hash covers
	// all that goes into the image, so equal references are equal images.
	Ref string

	content  *expanded
	binaries []program
	guest    fs.FS
	digest   string // the whole hash of which Ref has 12 digits
}

// program is one of hooksmith's own programs at its place in an image.
type program struct {
	Path   string `json:"path"`
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Plan settles the image for an architecture. lookup finds the packages, in an
// Index (its method Package) or in a lock file; guest holds the programs that
// the definition's binaries name, built for that architecture.
func (d *Definition) Plan(arch string, lookup func(name string) (*Package, error), guest fs.FS) (*Plan, error) {
	content, err := d.expand(arch)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", d.Name, err)
	}
	p := &Plan{Definition: d, Arch: arch, content: content, guest: guest}
	for _, name := range d.PackageNames(arch) {
		pkg, err := lookup(name)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", d.Name, err)
		}
		if pkg.Architecture != arch && pkg.Architecture != "all" {
			return nil, fmt.Errorf("image %s for %s: package %s is for another architecture", d.Name, arch, pkg)
		}
		p.Packages = append(p.Packages, pkg)
	}
	for _, at := range slices.Sorted(maps.Keys(content.binaries)) {
		b, err := hashBinary(guest, at, content.binaries[at])
		if err != nil {
			return nil, fmt.Errorf("image %s: program for %s: %w", d.Name, arch, err)
		}
		p.binaries = append(p.binaries, b)
	}
	if p.digest, err = p.hash(); err != nil {
		return nil, fmt.Errorf("image %s: %w", d.Name, err)
	}
	p.Ref = fmt.Sprintf("hooksmith/%s:%s-%s", d.Name, p.digest[:12], arch)
	return p, nil
}

func hashBinary(guest fs.FS, at, name string) (program, error) {
	f, err := guest.Open(name)
	if err != nil {
		return program{}, err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	if err != nil {
		return program{}, fmt.Errorf("reading %s: %w", name, err)
	}
	return program{Path: at, Name: name, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// hash covers the definition, the packages, the programs, and the version of
// the code that puts them together. JSON sorts map keys.
func (p *Plan) hash() (string, error) {
	type pkg struct{ Name, Version, Architecture, SHA256 string }
	in := struct {
		Transform  string
		Arch       string
		Definition *Definition
		Packages   []pkg
		Binaries   []program
	}{Transform: transformVersion + "." + topVersion, Arch: p.Arch, Definition: p.Definition, Binaries: p.binaries}
	for _, q := range p.Packages {
		in.Packages = append(in.Packages, pkg{q.Name, q.Version, q.Architecture, q.SHA256})
	}
	b, err := json.Marshal(in)
	if err != nil {
		return "", fmt.Errorf("label: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// has reports whether a package is part of the image.
func (p *Plan) has(name string) bool { return p.find(name) >= 0 }

// find returns the position of a package, -1 if it is not part of the image.
func (p *Plan) find(name string) int {
	return slices.IndexFunc(p.Packages, func(q *Package) bool { return q.Name == name })
}
