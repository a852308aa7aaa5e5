package debian

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"pault.ag/go/debian/dependency"
	"pault.ag/go/debian/version"
)

// maxPackage bounds the size of a .deb.
const maxPackage = 2 << 30

// Package is one binary package of a repository. It is a value: a lock file
// may store it and give it back.
type Package struct {
	Name          string  `json:"name"`
	Version       string  `json:"version"`
	Architecture  string  `json:"architecture"` // "amd64", "arm64" or "all"
	Source        string  `json:"source"`
	SourceVersion string  `json:"source_version"`
	Section       string  `json:"section,omitempty"`
	Depends       string  `json:"depends,omitempty"` // as written, Pre-Depends first
	InstalledKiB  int64   `json:"installed_kib,omitempty"`
	Archive       Archive `json:"archive"`
	Suite         string  `json:"suite"` // where this version was found
	Filename      string  `json:"filename"`
	Size          int64   `json:"size"`
	SHA256        string  `json:"sha256"`

	parsed version.Version
}

// String is the package as apt writes it: name:arch=version.
func (p *Package) String() string {
	return p.Name + ":" + p.Architecture + "=" + p.Version
}

// URLs returns where the .deb may be had, the preferred mirror first.
func (p *Package) URLs(m Mirrors) []string {
	var out []string
	for _, base := range m.Base(p.Archive) {
		out = append(out, base+"/"+escapePath(p.Filename))
	}
	return out
}

// Open fetches the .deb, or finds it in the cache. The caller closes it.
func (p *Package) Open(ctx context.Context, fetch Fetcher, m Mirrors) (*os.File, error) {
	f, err := fetch.Blob(ctx, p.URLs(m), p.SHA256, p.Size)
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", p, err)
	}
	return f, nil
}

// newPackage reads a stanza of a Packages file.
func newPackage(f map[string]string) (*Package, error) {
	p := &Package{
		Name: f["package"], Version: f["version"], Architecture: f["architecture"],
		Section: f["section"], Filename: f["filename"], SHA256: f["sha256"],
	}
	p.Depends = strings.Trim(f["pre-depends"]+", "+f["depends"], ", ")
	p.Source, p.SourceVersion = splitSource(f["source"], p)
	var err error
	if p.Size, err = strconv.ParseInt(f["size"], 10, 64); err != nil {
		return nil, fmt.Errorf("package %s: bad Size %q", p.Name, f["size"])
	}
	if s := f["installed-size"]; s != "" {
		if p.InstalledKiB, err = strconv.ParseInt(s, 10, 64); err != nil {
			return nil, fmt.Errorf("package %s: bad Installed-Size %q", p.Name, s)
		}
	}
	return p, p.Validate()
}

// Validate checks what a repository or a lock file says about a package.
func (p *Package) Validate() error {
	switch {
	case !validName(p.Name):
		return fmt.Errorf("package name %q is not allowed", p.Name)
	case p.Size <= 0 || p.Size > maxPackage:
		return fmt.Errorf("package %s: size %d is out of bounds", p.Name, p.Size)
	case !validSHA256(p.SHA256):
		return fmt.Errorf("package %s: bad SHA256 %q", p.Name, p.SHA256)
	case !fs.ValidPath(p.Filename) || p.Filename == ".":
		return fmt.Errorf("package %s: file name %q leaves the archive", p.Name, p.Filename)
	case p.Architecture == "" || strings.Trim(p.Architecture, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return fmt.Errorf("package %s: architecture %q is not allowed", p.Name, p.Architecture)
	}
	var err error
	if p.parsed, err = version.Parse(p.Version); err != nil {
		return fmt.Errorf("package %s: version %q: %w", p.Name, p.Version, err)
	}
	return nil
}

// validName reports whether s is a package name (Debian Policy 5.6.1).
func validName(s string) bool {
	return len(s) > 1 && s[0] != '+' && s[0] != '-' && s[0] != '.' &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789+-.") == ""
}

// splitSource reads the Source field: absent means the package's own name,
// and the version is given only where it is another one.
func splitSource(field string, p *Package) (name, ver string) {
	name, ver, found := strings.Cut(field, " (")
	if name == "" {
		name = p.Name
	}
	if !found {
		return name, p.Version
	}
	return name, strings.TrimSuffix(ver, ")")
}

// successor returns the package that a meta package stands for: the first
// dependency whose name starts with the same two words, as
// linux-image-amd64 depends on linux-image-6.12.107+deb13-amd64. ok is false
// if there is none, so p is not a meta package.
func (p *Package) successor() (name, ver string, ok bool) {
	words := strings.SplitN(p.Name, "-", 3)
	if len(words) < 3 || p.Depends == "" {
		return "", "", false
	}
	deps, err := dependency.Parse(p.Depends)
	if err != nil {
		return "", "", false
	}
	for _, rel := range deps.Relations {
		first := rel.Possibilities[0]
		if !strings.HasPrefix(first.Name, words[0]+"-"+words[1]+"-") || first.Name == p.Name {
			continue
		}
		if first.Version != nil && first.Version.Operator == "=" {
			ver = first.Version.Number
		}
		return first.Name, ver, true
	}
	return "", "", false
}
