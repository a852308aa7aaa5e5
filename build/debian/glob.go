package debian

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// globs is a list of path patterns: as path.Match, and ** stands for any
// number of folders. A pattern that ends in /** also matches the folder
// itself, so that it goes as a whole.
type globs []string

// match reports whether a path matches one of the patterns.
func (g globs) match(name string) bool {
	for _, pattern := range g {
		if matchGlob(strings.Split(pattern, "/"), strings.Split(name, "/")) {
			return true
		}
	}
	return false
}

func matchGlob(pattern, name []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			for i := 0; i <= len(name); i++ {
				if matchGlob(pattern[1:], name[i:]) {
					return true
				}
			}
			return false
		}
		if len(name) == 0 {
			return false
		}
		if ok, _ := path.Match(pattern[0], name[0]); !ok {
			return false
		}
		pattern, name = pattern[1:], name[1:]
	}
	return len(name) == 0
}

// isLiteral reports whether a pattern names one path (or a folder and all in
// it) and returns that path.
func isLiteral(pattern string) (name string, ok bool) {
	name = strings.TrimSuffix(pattern, "/**")
	return name, !strings.ContainsAny(name, `*?[\`)
}

// validateGlob refuses patterns that can match nothing or take too long.
func validateGlob(pattern string) error {
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Errorf("pattern %q: %w", pattern, err)
	}
	if !fs.ValidPath(pattern) || pattern == "." || strings.HasPrefix(pattern, "**") {
		return fmt.Errorf("pattern %q is not a path from the root without leading slash, such as usr/share/doc/**", pattern)
	}
	if strings.Count(pattern, "**") > 2 {
		return fmt.Errorf("pattern %q has more than two **", pattern)
	}
	return nil
}
