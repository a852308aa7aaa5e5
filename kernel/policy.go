package kernel

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// Policy says which modules of a kernel an initramfs carries
// (configs/modules.yaml, which documents the format).
type Policy struct {
	Never    []Rule        `yaml:"never"`
	Groups   []Group       `yaml:"groups"`
	Firmware []FirmwareSet `yaml:"firmware"`
}

// Rule names modules that no group may select. What a selected module depends
// on is carried nevertheless.
type Rule struct {
	Why     string    `yaml:"why"`
	Modules []Pattern `yaml:"modules"`
}

// Group is a named set of modules for one purpose.
type Group struct {
	Name    string    `yaml:"name"`
	Why     string    `yaml:"why"`
	Arch    []string  `yaml:"arch"` // x86_64, aarch64; none: all
	Modules []Pattern `yaml:"modules"`
	Except  []Pattern `yaml:"except"`
}

// FirmwareSet maps a short name that users say to the Debian package that has
// the files.
type FirmwareSet struct {
	Name    string   `yaml:"name"`    // "bnx2x", "amd-ucode"
	Why     string   `yaml:"why"`     // what runs without, and what does not
	Package string   `yaml:"package"` // "firmware-bnx2x"
	Arch    []string `yaml:"arch"`    // the package exists on these only; none: all
	Files   []string `yaml:"files"`   // globs below /lib/firmware that belong to it
}

// maxPolicy bounds a policy file.
const maxPolicy = 1 << 20

// ParsePolicy reads a policy. file is its name in error messages, which carry
// line and column. Unknown keys, doubled names and malformed patterns are
// errors.
func ParsePolicy(file string, data []byte) (*Policy, error) {
	if len(data) > maxPolicy {
		return nil, fmt.Errorf("%s: more than %d bytes", file, maxPolicy)
	}
	var p Policy
	if err := unmarshalYAML(data, &p); err != nil {
		return nil, yamlError(file, err)
	}
	if err := p.validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &p, nil
}

// unmarshalYAML decodes strictly. The decoder panics on some malformed
// documents ("groups: !0 #": a tag without a value), found by fuzzing; to the
// caller that is a malformed document like any other.
func unmarshalYAML(data []byte, v any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("malformed YAML: %v", r)
		}
	}()
	return yaml.UnmarshalWithOptions(data, v, yaml.Strict())
}

// yamlError puts an error into one line: file, line, column, message.
func yamlError(file string, err error) error {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil && at.GetToken().Position != nil {
		p := at.GetToken().Position
		return fmt.Errorf("%s:%d:%d: %s", file, p.Line, p.Column, at.GetMessage())
	}
	return fmt.Errorf("%s: %w", file, err)
}

func (p *Policy) validate() error {
	if len(p.Groups) == 0 {
		return errors.New("no groups")
	}
	for i, r := range p.Never {
		if r.Why == "" || len(r.Modules) == 0 {
			return fmt.Errorf("never[%d]: needs why and modules", i)
		}
	}
	seen := map[string]bool{AllGroups: true}
	for i := range p.Groups {
		g := &p.Groups[i]
		if err := checkName(g.Name, seen); err != nil {
			return fmt.Errorf("groups[%d]: %w", i, err)
		}
		if err := g.validate(); err != nil {
			return fmt.Errorf("group %s: %w", g.Name, err)
		}
	}
	clear(seen)
	for i := range p.Firmware {
		f := &p.Firmware[i]
		if err := checkName(f.Name, seen); err != nil {
			return fmt.Errorf("firmware[%d]: %w", i, err)
		}
		if err := f.validate(); err != nil {
			return fmt.Errorf("firmware %s: %w", f.Name, err)
		}
	}
	return nil
}

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)

func checkName(name string, seen map[string]bool) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("name %q: use small letters, digits, '-' and '_'", name)
	}
	if seen[name] {
		return fmt.Errorf("name %q is taken", name)
	}
	seen[name] = true
	return nil
}

func (g *Group) validate() error {
	if g.Why == "" || len(g.Modules) == 0 {
		return errors.New("needs why and modules")
	}
	return checkArchs(g.Arch)
}

func (f *FirmwareSet) validate() error {
	if f.Package == "" || len(f.Files) == 0 {
		return errors.New("needs package and files")
	}
	for _, file := range f.Files {
		if _, err := path.Match(file, ""); err != nil || strings.HasPrefix(file, "/") {
			return fmt.Errorf("file %q: write a glob relative to /lib/firmware", file)
		}
	}
	return checkArchs(f.Arch)
}

func checkArchs(list []string) error {
	for _, s := range list {
		if a, err := ParseArch(s); err != nil || string(a) != s {
			return fmt.Errorf("arch %q: known are %s and %s", s, X86_64, AArch64)
		}
	}
	return nil
}

func forArch(list []string, arch Arch) bool {
	return len(list) == 0 || slices.Contains(list, string(arch))
}

// AllGroups, as the name of a group, stands for all of them.
const AllGroups = "all"

// groups looks names up; AllGroups gives every group for the architecture,
// and a name that was given explicitly must fit the architecture.
func (p *Policy) groups(names []string, arch Arch) ([]*Group, error) {
	var list []*Group
	for i := range p.Groups {
		g := &p.Groups[i]
		named := slices.Contains(names, g.Name)
		if named && !forArch(g.Arch, arch) {
			return nil, fmt.Errorf("module group %s is for %s, not for %s", g.Name, strings.Join(g.Arch, ", "), arch)
		}
		if named || (slices.Contains(names, AllGroups) && forArch(g.Arch, arch)) {
			list = append(list, g)
		}
	}
	for _, name := range names {
		known := func(g Group) bool { return g.Name == name }
		if name != AllGroups && !slices.ContainsFunc(p.Groups, known) {
			return nil, fmt.Errorf("unknown module group %q (known: %s, %s)", name, strings.Join(p.GroupNames(), ", "), AllGroups)
		}
	}
	return list, nil
}

// GroupNames lists the groups in the order of the policy.
func (p *Policy) GroupNames() []string {
	var names []string
	for _, g := range p.Groups {
		names = append(names, g.Name)
	}
	return names
}
