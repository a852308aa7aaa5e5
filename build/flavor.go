package build

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"

	"hooksmith/kernel"
)

// FlavorsFile is where the built-in flavors are among the configs.
const FlavorsFile = "flavors.yaml"

// Flavor is one HookOS that can be built: a kernel, a template of services and
// what goes beside them. The YAML keys are documented in configs/flavors.yaml.
type Flavor struct {
	ID          string     `yaml:"id" json:"id"`
	Description string     `yaml:"description" json:"description"`
	Arch        string     `yaml:"arch" json:"arch"` // x86_64 or aarch64
	Kernel      KernelSpec `yaml:"kernel" json:"kernel"`
	Template    string     `yaml:"template" json:"template"` // configs/TEMPLATE.yaml
	OutputID    string     `yaml:"output_id" json:"output_id"`
	Tags        []string   `yaml:"tags" json:"tags"`
	Modules     []string   `yaml:"modules" json:"modules,omitempty"`   // groups of configs/modules.yaml
	Firmware    []string   `yaml:"firmware" json:"firmware,omitempty"` // names of modules.yaml, or Debian packages
	DefaultFor  []string   `yaml:"default_for" json:"default_for,omitempty"`
	Unavailable string     `yaml:"unavailable" json:"unavailable,omitempty"` // why it cannot be built, and what to do

	Variables map[string]string `yaml:"variables" json:"variables,omitempty"` // of the template; the user's win
}

// KernelSpec says where a kernel comes from: a Debian package, or a kernel
// image that `hooksmith kernel` makes or a registry has.
type KernelSpec struct {
	Debian  string `yaml:"debian" json:"debian,omitempty"`   // package, may be a meta package
	Version string `yaml:"version" json:"version,omitempty"` // major.minor of kernel.org
	Config  string `yaml:"config" json:"config,omitempty"`   // name of the configuration, "generic"
	Armbian string `yaml:"armbian" json:"armbian,omitempty"` // artifact of Armbian's OCI repository
	Flavor  string `yaml:"flavor" json:"flavor,omitempty"`   // the kernel of that flavor

	// ConfigSHA256 is the hash of the configuration as it is now, which tells
	// its kernel from those of older ones; "": nobody knows. No file has it.
	ConfigSHA256 string `yaml:"-" json:"-"`
}

// String is the kernel in a few words, for a table.
func (k KernelSpec) String() string {
	switch {
	case k.Debian != "":
		return k.Debian
	case k.Armbian != "":
		return "armbian " + k.Armbian
	case k.Flavor != "":
		return "of " + k.Flavor
	case k.Version != "":
		return strings.TrimSpace(k.Version + " " + k.Config)
	}
	return "-"
}

// IsDefault reports whether some host builds the flavor when none is named.
func (f Flavor) IsDefault() bool { return len(f.DefaultFor) > 0 }

// DebianArch is the flavor's architecture as Debian, Go and OCI name it. One
// that there is not stays what it is.
func (f Flavor) DebianArch() string {
	arch, err := kernel.ParseArch(f.Arch)
	if err != nil {
		return f.Arch
	}
	return arch.Debian()
}

// KernelConfigName is the name of the configuration of a kernel that is
// compiled: generic-6.12.y-x86_64.
func (f Flavor) KernelConfigName() string {
	return fmt.Sprintf("%s-%s.y-%s", cmp.Or(f.Kernel.Config, "generic"), f.Kernel.Version, f.Arch)
}

// Flavors is a list of flavors with unique ids, the built-in ones first.
type Flavors struct{ All []Flavor }

// LoadFlavors reads the built-in flavors.
func LoadFlavors(configs fs.FS) (*Flavors, error) {
	b, err := fs.ReadFile(configs, FlavorsFile)
	if err != nil {
		return nil, err
	}
	all := &Flavors{}
	return all, all.Override(FlavorsFile, b)
}

// Override adds the flavors of a file, in place of those of the same id. A
// flavor that is there already keeps the values of keys that the file leaves
// out. file names it in errors, which carry line and column.
func (l *Flavors) Override(file string, data []byte) error {
	var raw struct {
		Flavors []yaml.MapSlice `yaml:"flavors"`
	}
	if err := strictYAML(file, data, &raw); err != nil {
		return err
	}
	ids := make([]Flavor, len(raw.Flavors))
	for i, m := range raw.Flavors { // the id decides what the entry starts from
		for _, kv := range m {
			if kv.Key == "id" {
				ids[i].ID, _ = kv.Value.(string)
			}
		}
		if old, err := l.Find(ids[i].ID); err == nil {
			ids[i] = old
		}
	}
	merged := struct {
		Flavors []Flavor `yaml:"flavors"`
	}{}
	if err := strictYAML(file, data, &merged); err != nil {
		return err
	}
	for i := range merged.Flavors {
		b, err := yaml.Marshal(raw.Flavors[i])
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := yaml.Unmarshal(b, &ids[i]); err != nil {
			return fmt.Errorf("%s: flavor %q: %w", file, ids[i].ID, err)
		}
		if err := ids[i].validate(); err != nil {
			return fmt.Errorf("%s: flavors[%d] %q: %w", file, i, ids[i].ID, err)
		}
		l.put(ids[i])
	}
	return nil
}

func (l *Flavors) put(f Flavor) {
	if i := slices.IndexFunc(l.All, func(x Flavor) bool { return x.ID == f.ID }); i >= 0 {
		l.All[i] = f
		return
	}
	l.All = append(l.All, f)
}

// Find returns the flavor with this id.
func (l *Flavors) Find(id string) (Flavor, error) {
	for _, f := range l.All {
		if f.ID == id {
			return f, nil
		}
	}
	return Flavor{}, fmt.Errorf("there is no flavor %q", id)
}

// Buildable returns the flavor with this id, with the kernel of another flavor
// in place of its name.
func (l *Flavors) Buildable(id string) (Flavor, error) {
	f, err := l.Find(id)
	if err != nil || f.Kernel.Flavor == "" {
		return f, err
	}
	other, err := l.Find(f.Kernel.Flavor)
	if err != nil {
		return f, fmt.Errorf("kernel of flavor %s: %w", id, err)
	}
	if other.Kernel.Flavor != "" {
		return f, fmt.Errorf("kernel of flavor %s: flavor %s has none of its own", id, other.ID)
	}
	if other.Arch != f.Arch {
		return f, fmt.Errorf("kernel of flavor %s: that of %s is for %s", id, other.ID, other.Arch)
	}
	f.Kernel = other.Kernel
	return f, nil
}

// Default returns the flavor for hosts of an architecture as Go names it.
func (l *Flavors) Default(goarch string) (Flavor, error) {
	for _, f := range l.All {
		if slices.Contains(f.DefaultFor, goarch) {
			return f, nil
		}
	}
	return Flavor{}, fmt.Errorf("no flavor is the default on %s: name one", goarch)
}

var idForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)

func (f Flavor) validate() error {
	switch {
	case !idForm.MatchString(f.ID):
		return errors.New("id: use small letters, digits, '.', '_' and '-'")
	case f.Arch != "x86_64" && f.Arch != "aarch64":
		return fmt.Errorf("arch: %q is neither x86_64 nor aarch64", f.Arch)
	case f.OutputID == "" || strings.ContainsAny(f.OutputID, "/ ") || strings.ContainsFunc(f.OutputID, unicode.IsControl):
		return fmt.Errorf("output_id: %q is no part of a file name", f.OutputID)
	case f.Template == "":
		return errors.New("template: missing")
	case f.Kernel == KernelSpec{}:
		return errors.New("kernel: missing")
	}
	return nil
}

// strictYAML decodes one document; unknown and repeated keys are errors with
// file, line and column.
func strictYAML(file string, data []byte, v any) (err error) {
	defer func() { // goccy/go-yaml 1.19.2 panics on some input, such as "a: !0 #"
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: not YAML: %v", file, r)
		}
	}()
	err = yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(v)
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil && at.GetToken().Position != nil {
		p := at.GetToken().Position
		return fmt.Errorf("%s:%d:%d: %s", file, p.Line, p.Column, at.GetMessage())
	}
	return fmt.Errorf("%s: %w", file, err)
}
