package serve

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
)

// YAML is the configuration as a serve.yaml, every setting with a comment that
// says where its value came from. What is not set has the default in force.
func (l *Loaded) YAML(effective Config) (string, error) {
	var b strings.Builder
	heading := ""
	for _, s := range effective.Settings() {
		if s.Section != heading {
			if heading != "" {
				b.WriteByte('\n')
			}
			heading = s.Section
			fmt.Fprintf(&b, "# %s\n", heading)
		}
		value, err := yaml.MarshalWithOptions(s.Get(), yaml.Flow(true), yaml.JSON())
		if err != nil {
			return "", fmt.Errorf("%s: %w", s.Name, err)
		}
		text := strings.TrimSpace(string(value))
		if text == "null" {
			text = "[]"
		}
		fmt.Fprintf(&b, "%s: %s # %s\n", s.Name, text, l.origin(s))
	}
	if len(effective.Templates) > 0 {
		fmt.Fprintf(&b, "\n# %s\n", l.Origin["templates"])
		templates, err := yaml.Marshal(map[string]any{"templates": effective.Templates})
		if err != nil {
			return "", err
		}
		b.Write(templates)
	}
	return b.String(), nil
}

func (l *Loaded) origin(s *Setting) string {
	if from := l.Origin[s.Name]; from != "" {
		return from
	}
	before := map[string]any{}
	for _, mine := range l.Settings() {
		before[mine.Name] = mine.Get()
	}
	if fmt.Sprint(before[s.Name]) != fmt.Sprint(s.Get()) {
		if fixed := (Config{}).withDefaults(); fmt.Sprint(fixed.value(s.Name)) != fmt.Sprint(s.Get()) {
			return "found out from this host"
		}
	}
	return "default"
}

// value is the value of a setting by name.
func (c *Config) value(name string) any {
	for _, s := range c.Settings() {
		if s.Name == name {
			return s.Get()
		}
	}
	return nil
}
