package kernel

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// Pattern selects modules. One with a slash is matched with a module's path,
// without "kernel/" and suffix ("drivers/net/ethernet/**"), "**" standing for
// any number of folders; one without, with the module's name ("hid_*"), where
// '-' and '_' are the same.
type Pattern struct {
	text     string
	segments []string // of a path pattern
	name     string   // of a name pattern
}

// maxDeep bounds the "**" in a pattern: the time to match grows with a power of it.
const maxDeep = 3

// ParsePattern reads a pattern; the error says how to write it.
func ParsePattern(text string) (Pattern, error) {
	p := Pattern{text: text}
	if text == "" || strings.HasPrefix(text, "/") || strings.HasSuffix(text, "/") || strings.Contains(text, "//") {
		return p, errors.New(`write "folder/**", "folder/name" or "name", relative to the kernel's modules`)
	}
	if _, ok := moduleStem(text); ok || strings.HasPrefix(text, "kernel/") {
		return p, errors.New(`leave out the leading "kernel/" and the suffix ".ko"`)
	}
	if _, err := path.Match(text, ""); err != nil {
		return p, err
	}
	if !strings.Contains(text, "/") {
		if strings.Contains(text, "**") {
			return p, errors.New(`"**" stands for folders: write "folder/**", or "*" for names`)
		}
		p.name = normalName(text)
		return p, nil
	}
	p.segments = strings.Split(text, "/")
	deep := 0
	for _, s := range p.segments {
		if s == "**" {
			deep++
		} else if strings.Contains(s, "**") {
			return p, errors.New(`"**" must stand alone between slashes`)
		}
	}
	if deep > maxDeep {
		return p, fmt.Errorf(`more than %d "**"`, maxDeep)
	}
	return p, nil
}

// match reports whether the pattern selects the module at a path.
// String is the pattern as it was written.
func (p Pattern) String() string { return p.text }

// UnmarshalYAML reads a pattern; errors carry its line and column.
func (p *Pattern) UnmarshalYAML(node ast.Node) error {
	text, ok := node.(ast.ScalarNode)
	if !ok {
		return &yaml.SyntaxError{Message: "is no module pattern", Token: node.GetToken()}
	}
	parsed, err := ParsePattern(fmt.Sprint(text.GetValue()))
	if err != nil {
		return &yaml.SyntaxError{Message: fmt.Sprintf("module pattern %q: %v", text.GetValue(), err), Token: node.GetToken()}
	}
	*p = parsed
	return nil
}

func (p Pattern) match(t target) bool {
	if p.segments == nil {
		ok, _ := path.Match(p.name, t.name)
		return ok
	}
	return matchSegments(p.segments, t.segments)
}

func matchSegments(pattern, segments []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			for i := range len(segments) + 1 {
				if matchSegments(pattern[1:], segments[i:]) {
					return true
				}
			}
			return false
		}
		if len(segments) == 0 {
			return false
		}
		if ok, _ := path.Match(pattern[0], segments[0]); !ok {
			return false
		}
		pattern, segments = pattern[1:], segments[1:]
	}
	return len(segments) == 0
}

// target is a module's place as patterns see it.
type target struct {
	name     string
	segments []string
}

func newTarget(modulePath, name string) target {
	stem, _ := moduleStem(modulePath)
	return target{name, strings.Split(strings.TrimPrefix(stem, "kernel/"), "/")}
}

func matchAny(list []Pattern, t target) bool {
	return slices.ContainsFunc(list, func(p Pattern) bool { return p.match(t) })
}
