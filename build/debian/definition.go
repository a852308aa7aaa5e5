package debian

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

// maxDefinition bounds one image definition.
const maxDefinition = 1 << 20

// Definition says what an image is made of. In YAML the keys are the field
// names in lower case. Paths may start with a slash; ${triplet} (such as
// x86_64-linux-gnu) and ${arch} (amd64) are replaced in paths, patterns, link
// targets and names of programs.
type Definition struct {
	Name       string              `yaml:"name" json:"name"`
	Suite      string              `yaml:"suite" json:"suite"`           // default trixie
	Packages   []string            `yaml:"packages" json:"packages"`     // "runc", or "libfoo1 [amd64 arm64]" for some architectures only
	Keep       []string            `yaml:"keep" json:"keep"`             // patterns of what every image loses otherwise (documentation, locales, ...)
	Drop       []string            `yaml:"drop" json:"drop"`             // patterns of what this image does without
	Binaries   map[string]string   `yaml:"binaries" json:"binaries"`     // path -> name of one of hooksmith's own programs
	Links      map[string]string   `yaml:"links" json:"links"`           // path -> target of a symbolic link
	Busybox    map[string][]string `yaml:"busybox" json:"busybox"`       // folder -> names of applets, links to busybox
	Files      []File              `yaml:"files" json:"files"`           // generated files
	Entrypoint []string            `yaml:"entrypoint" json:"entrypoint"` // argv, first part
	Cmd        []string            `yaml:"cmd" json:"cmd"`               // argv, second part
	Env        []string            `yaml:"env" json:"env"`               // NAME=value
	Cwd        string              `yaml:"cwd" json:"cwd"`
	Label      map[string]any      `yaml:"label" json:"label"` // LinuxKit's org.mobyproject.config
}

// File is a generated file, folder or symbolic link.
type File struct {
	Path      string `yaml:"path" json:"path"`
	Contents  string `yaml:"contents" json:"contents"`
	Symlink   string `yaml:"symlink" json:"symlink"`
	Directory bool   `yaml:"directory" json:"directory"`
	Mode      Octal  `yaml:"mode" json:"mode"` // default 0644, folders 0755
	UID       int    `yaml:"uid" json:"uid"`
	GID       int    `yaml:"gid" json:"gid"`
}

// Octal is a number in octal digits, with or without quotes in YAML: 0755 would
// be decimal 493 once YAML has made a number of it.
type Octal string

// UnmarshalYAML takes the digits as they are written.
func (o *Octal) UnmarshalYAML(text []byte) error {
	*o = Octal(strings.Trim(strings.TrimSpace(string(text)), `"'`))
	return nil
}

// ReadDefinitions reads all *.yaml files in the root of fsys, in the order of
// their names. Two images of one name are an error.
func ReadDefinitions(fsys fs.FS) ([]*Definition, error) {
	names, err := fs.Glob(fsys, "*.yaml")
	if err != nil {
		return nil, err
	}
	var out []*Definition
	from := map[string]string{}
	for _, name := range names {
		data, err := readBounded(fsys, name, maxDefinition)
		if err != nil {
			return nil, err
		}
		d, err := ParseDefinition(name, data)
		if err != nil {
			return nil, err
		}
		if other, ok := from[d.Name]; ok {
			return nil, fmt.Errorf("%s: image %s is defined in %s already", name, d.Name, other)
		}
		from[d.Name] = name
		out = append(out, d)
	}
	return out, nil
}

// ParseDefinition reads one image definition. Errors start with file, line
// and column; unknown and repeated keys are errors.
func ParseDefinition(file string, data []byte) (d *Definition, err error) {
	defer func() { // goccy/go-yaml 1.19.2 panics on some input, such as "a: !0 #"
		if r := recover(); r != nil {
			d, err = nil, fmt.Errorf("%s: not YAML: %v", file, r)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict())
	d = &Definition{}
	if err := dec.Decode(d); err == io.EOF {
		return nil, fmt.Errorf("%s: no image definition in it", file)
	} else if err != nil {
		return nil, yamlError(file, err)
	}
	if err := dec.Decode(&Definition{}); err != io.EOF {
		return nil, fmt.Errorf("%s: more than one document; give each image its own file", file)
	}
	if d.Suite == "" {
		d.Suite = DefaultSuite
	}
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return d, nil
}

// yamlError puts file:line:column before what goccy/go-yaml complains about.
func yamlError(file string, err error) error {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil && at.GetToken().Position != nil {
		pos := at.GetToken().Position
		return fmt.Errorf("%s:%d:%d: %s", file, pos.Line, pos.Column, at.GetMessage())
	}
	return fmt.Errorf("%s: %w", file, err)
}

// Validate checks everything that does not depend on an architecture.
func (d *Definition) Validate() error {
	if !validName(d.Name) {
		return fmt.Errorf("name: %q is not an image name such as hook-docker", d.Name)
	}
	for _, p := range d.Packages {
		if _, _, err := splitPackage(p); err != nil {
			return err
		}
	}
	for _, e := range d.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return fmt.Errorf("env: %q is not NAME=value", e)
		}
	}
	if d.Cwd != "" && !path.IsAbs(d.Cwd) {
		return fmt.Errorf("cwd: %q does not start with /", d.Cwd)
	}
	for _, key := range []string{"name", "image"} {
		if _, ok := d.Label[key]; ok {
			return fmt.Errorf("label: %s belongs to the template that uses the image, not into its label", key)
		}
	}
	for i, f := range d.Files {
		if err := f.validate(); err != nil {
			return fmt.Errorf("files[%d]: %w", i, err)
		}
	}
	if len(d.Busybox) > 0 && !slices.Contains(d.Packages, "busybox-static") {
		return errors.New("busybox: its applets need busybox-static among the packages")
	}
	_, err := d.expand("amd64") // the paths, as any architecture has them
	return err
}

func (f File) validate() error {
	if f.Path == "" {
		return errors.New("it has no path")
	}
	if f.Directory && (f.Contents != "" || f.Symlink != "") || f.Symlink != "" && f.Contents != "" {
		return fmt.Errorf("%s: only one of contents, symlink and directory can be", f.Path)
	}
	if f.UID < 0 || f.GID < 0 {
		return fmt.Errorf("%s: negative owner", f.Path)
	}
	_, err := f.mode()
	return err
}

// mode returns the permission bits.
func (f File) mode() (int64, error) {
	switch {
	case f.Mode != "":
		m, err := strconv.ParseUint(string(f.Mode), 8, 12)
		if err != nil {
			return 0, fmt.Errorf("%s: mode %q is not an octal number up to 7777", f.Path, f.Mode)
		}
		return int64(m), nil
	case f.Directory:
		return 0o755, nil
	}
	return 0o644, nil
}

// splitPackage splits "name [amd64 arm64]" as in a Build-Depends field.
func splitPackage(s string) (name string, arches []string, err error) {
	name, rest, restricted := strings.Cut(s, " ")
	if !validName(name) {
		return "", nil, fmt.Errorf("packages: %q is not a package name", s)
	}
	if !restricted {
		return name, nil, nil
	}
	rest = strings.TrimSpace(rest)
	if len(rest) < 3 || rest[0] != '[' || rest[len(rest)-1] != ']' {
		return "", nil, fmt.Errorf("packages: %q is not written as name or as name [amd64 arm64]; versions come from the lock file", s)
	}
	return name, strings.Fields(rest[1 : len(rest)-1]), nil
}

// PackageNames returns the packages of the image for an architecture, in the
// order of the definition.
func (d *Definition) PackageNames(arch string) []string {
	var out []string
	for _, s := range d.Packages {
		name, arches, err := splitPackage(s)
		if err == nil && (arches == nil || slices.Contains(arches, arch)) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}
