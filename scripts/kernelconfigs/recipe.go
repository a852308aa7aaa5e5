package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/goccy/go-yaml"
)

// recipe is an entry of recipes.yaml, which documents the keys.
type recipe struct {
	Name      string   `yaml:"name"`
	Version   string   `yaml:"version"`
	Arch      string   `yaml:"arch"`
	Kconfig   string   `yaml:"kconfig"`
	Base      string   `yaml:"base"`
	Fragments []string `yaml:"fragments"`

	version version
}

// architecture is how the kernel's build system names an architecture.
type architecture struct{ arch, folder, cross string }

var architectures = map[string]architecture{
	"x86_64":  {"x86_64", "x86", "x86_64-linux-gnu-"},
	"aarch64": {"arm64", "arm64", "aarch64-linux-gnu-"},
}

// file is the name of the configuration: generic-6.12.y-x86_64.
func (r recipe) file() string { return r.Name + "-" + r.Version + ".y-" + r.Arch }

// neighbour says that the configuration was merged with the Kconfig of another version than its own.
func (r recipe) neighbour() bool { return r.Kconfig != r.Version }

// readRecipes reads and checks recipes.yaml of dir.
func readRecipes(dir fs.FS) ([]recipe, error) {
	file, err := dir.Open("recipes.yaml")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var doc struct {
		Configurations []recipe `yaml:"configurations"`
	}
	decoder := yaml.NewDecoder(file, yaml.Strict())
	if err := decoder.Decode(&doc); err != nil {
		return nil, fmt.Errorf("recipes.yaml: %w", err)
	}
	seen := make(map[string]bool)
	for i := range doc.Configurations {
		r := &doc.Configurations[i]
		if err := r.validate(); err != nil {
			return nil, fmt.Errorf("recipes.yaml: configuration %d (%s): %w", i+1, r.file(), err)
		}
		if seen[r.file()] {
			return nil, fmt.Errorf("recipes.yaml: %s stands there twice", r.file())
		}
		seen[r.file()] = true
	}
	return doc.Configurations, nil
}

func (r *recipe) validate() error {
	var err error
	if r.version, err = parseVersion(r.Version); err != nil {
		return err
	}
	if r.Kconfig == "" {
		r.Kconfig = r.Version
	}
	if _, err := parseVersion(r.Kconfig); err != nil {
		return err
	}
	if _, ok := architectures[r.Arch]; !ok {
		return fmt.Errorf("arch %q is neither x86_64 nor aarch64", r.Arch)
	}
	if r.Name == "" || r.Base == "" || len(r.Fragments) == 0 {
		return errors.New("name, base and fragments are required")
	}
	return nil
}

// asks are what the fragments of a recipe ask for, by fragment. A symbol that two fragments ask for, with the same value
// or another one, is an error: a reader must find it in one place.
func (r recipe) asks(dir fs.FS) ([][]ask, error) {
	from := make(map[string]string) // symbol -> fragment:line
	var all [][]ask
	for _, name := range r.Fragments {
		text, err := fs.ReadFile(dir, path.Join("fragments", name+".config"))
		if err != nil {
			return nil, err
		}
		f, err := parseFragment(text)
		if err != nil {
			return nil, fmt.Errorf("fragments/%s.config: %w", name, err)
		}
		asks := f.asks(r.version, r.Arch)
		for _, a := range asks {
			where := fmt.Sprintf("fragments/%s.config:%d", name, a.line)
			if other, ok := from[a.symbol]; ok {
				return nil, fmt.Errorf("%s: %s already stands in %s", where, a.symbol, other)
			}
			from[a.symbol] = where
		}
		all = append(all, asks)
	}
	return all, nil
}
