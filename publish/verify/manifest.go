package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"hooksmith/build"
)

const (
	// MaxManifest bounds hook.json and the other descriptions of a set.
	MaxManifest = 64 << 20
	maxFiles    = 4096
	schema      = 1
)

// File is what a set's hook.json says about one name. Aliases are files of
// their own here.
type File struct {
	Name           string
	Size           int64
	SHA256, SHA512 string // hex; SHA512 may be ""
	Role, Arch     string
}

// ParseManifest reads the content of hook.json, which may come from anybody.
func ParseManifest(data []byte) (*build.Manifest, error) {
	var m build.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("reading %s: %w", build.ManifestName, err)
	}
	if m.Schema != schema {
		return nil, fmt.Errorf("reading %s: schema %d, this hooksmith knows %d", build.ManifestName, m.Schema, schema)
	}
	if _, err := Files(&m); err != nil {
		return nil, fmt.Errorf("reading %s: %w", build.ManifestName, err)
	}
	return &m, nil
}

// Files lists all files of a set, sorted by name. It refuses names that are
// not plain file names, names given twice, and hashes that are none.
func Files(m *build.Manifest) ([]File, error) {
	var all []File
	seen := map[string]bool{}
	for _, b := range m.Builds {
		for _, f := range b.Files {
			for _, name := range append([]string{f.Name}, f.Aliases...) {
				if err := checkFile(name, f); err != nil {
					return nil, err
				}
				if seen[name] {
					return nil, fmt.Errorf("%q is named twice", name)
				}
				seen[name] = true
				all = append(all, File{Name: name, Size: f.Size, SHA256: f.SHA256, SHA512: f.SHA512, Role: f.Role, Arch: f.Arch})
			}
		}
	}
	if len(all) == 0 {
		return nil, errors.New("it names no artifacts")
	}
	if len(all) > maxFiles {
		return nil, fmt.Errorf("it names %d files, over %d", len(all), maxFiles)
	}
	slices.SortFunc(all, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Documents are the names of the files that describe a set, besides hook.json
// and its signature.
func Documents() []string { return []string{build.ChecksumName, build.LockName, build.SBOMName} }

func checkFile(name string, f build.File) error {
	if !PlainName(name) || name == build.ManifestName || slices.Contains(Documents(), name) {
		return fmt.Errorf("%q cannot be the name of an artifact", name)
	}
	if b, err := hex.DecodeString(f.SHA256); err != nil || len(b) != sha256.Size || strings.ToLower(f.SHA256) != f.SHA256 {
		return fmt.Errorf("%q has no SHA-256", name)
	}
	if f.Size < 0 {
		return fmt.Errorf("%q has the size %d", name, f.Size)
	}
	return nil
}

// PlainName tells whether name is one visible element of a path, safe on every
// store and in every URL.
func PlainName(name string) bool {
	if name == "" || len(name) > 200 || name[0] == '.' || path.Base(name) != name {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r < '!' || r > '~' || strings.ContainsRune(`/\:*?"<>|%#&`, r)
	})
}

// ID names a set: the first 16 hex digits of the SHA-256 of its hook.json,
// which has the build id of every build (a hash of its inputs) and the hash of
// every artifact. Equal builds have equal ids, different bytes never.
func ID(manifest []byte) string {
	sum := sha256.Sum256(manifest)
	return hex.EncodeToString(sum[:8])
}
