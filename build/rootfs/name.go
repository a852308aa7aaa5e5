package rootfs

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of Linux, which a path of a tree must meet to be created at all.
// The kernel's unpacker skips a longer name without a word.
const (
	maxPath = 4095 // PATH_MAX without its NUL
	maxName = 255  // NAME_MAX
)

// cleanPath returns the path inside the root that a tar or a caller names,
// "." for the root itself. Names that leave the root or that Linux could not
// create are errors; what is redundant ("./", "//", a final "/") goes.
func cleanPath(name string) (string, error) {
	switch {
	case name == "":
		return "", errors.New("the name is empty")
	case strings.IndexByte(name, 0) >= 0:
		return "", errors.New("the name contains a NUL byte")
	}
	if strings.Trim(name, "/") == "" {
		return ".", nil
	}
	if name[0] == '/' {
		return "", errors.New("the name is absolute; names in a layer are relative to its root")
	}
	p := strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
	p, err := cleanParts(p)
	if err != nil {
		return "", err
	}
	if len(p) > maxPath {
		return "", fmt.Errorf("the name has %d bytes, more than the %d that Linux allows", len(p), maxPath)
	}
	return p, nil
}

// cleanParts checks each component, and joins anew only if one is redundant:
// nearly all names come clean, and a hundred thousand need no copy.
func cleanParts(p string) (string, error) {
	redundant := p == "" || p == "."
	for part := range strings.SplitSeq(p, "/") {
		switch {
		case part == "..":
			return "", errors.New(`the name contains ".."`)
		case part == "" || part == ".":
			redundant = true
		case len(part) > maxName:
			return "", fmt.Errorf("a component of the name has %d bytes, more than the %d that Linux allows", len(part), maxName)
		}
	}
	if !redundant {
		return p, nil
	}
	var parts []string
	for part := range strings.SplitSeq(p, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return ".", nil
	}
	return strings.Join(parts, "/"), nil
}

// splitPath cuts a clean path into its directory ("." at the top) and name.
func splitPath(p string) (dir, name string) {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i], p[i+1:]
	}
	return ".", p
}
