package build

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Names of the files that describe an output folder.
const (
	ManifestName = "hook.json"
	ChecksumName = "checksum.txt"
	SBOMName     = "sbom.spdx.json"
	LockName     = "hooksmith.lock"
)

// manifestSchema is the version of hook.json's shape.
const manifestSchema = 1

// Manifest is hook.json: what lies in an output folder, one Artifacts for
// every build that lives there, sorted by output id.
type Manifest struct {
	Schema int         `json:"schema"`
	Builds []Artifacts `json:"builds"`
}

// Artifacts is the result of one build: the files and all that went into them.
type Artifacts struct {
	BuildID         string            `json:"build_id"` // sha256 over the inputs and options, hex
	Flavor          string            `json:"flavor"`
	OutputID        string            `json:"output_id"`
	Arch            string            `json:"arch"`      // x86_64 or aarch64
	Generator       string            `json:"generator"` // hooksmith and its version
	Kernel          KernelInfo        `json:"kernel"`
	RAMNeededMiB    int64             `json:"ram_needed_mib"`   // smallest machine that boots it
	UnpackedBytes   int64             `json:"unpacked_bytes"`   // RAM the root file system takes
	Files           []File            `json:"artifacts"`        // sorted by name
	Segments        []Segment         `json:"segments"`         // of the initramfs, in order
	Inputs          []Input           `json:"inputs"`           // sorted by kind, name
	FirmwareMissing []MissingFirmware `json:"firmware_missing"` // modules without their firmware
	Embedded        []EmbeddedImage   `json:"embedded,omitempty"`
}

// KernelInfo says which kernel an artifact set boots.
type KernelInfo struct {
	Version string `json:"version"` // uname -r
	Source  string `json:"source"`  // package and version, or image reference
	Signed  bool   `json:"signed"`  // carries a Secure Boot signature
	Cmdline string `json:"cmdline"` // what the template suggests
	Modules int    `json:"modules"` // in the initramfs
}

// File is one artifact. Aliases are hard links with the same content.
type File struct {
	Name    string   `json:"name"`
	Aliases []string `json:"aliases,omitempty"`
	Role    string   `json:"role"` // kernel, initramfs, cmdline or tar
	Arch    string   `json:"arch"`
	Size    int64    `json:"size"`
	SHA256  string   `json:"sha256"`
	SHA512  string   `json:"sha512"`
}

// Segment is one archive of the initramfs.
type Segment struct {
	Name     string `json:"name"`
	Offset   int64  `json:"offset"`   // bytes from the start of the file
	Size     int64  `json:"size"`     // bytes as compressed
	Unpacked int64  `json:"unpacked"` // bytes of the archive
	Entries  int    `json:"entries"`
	SHA256   string `json:"sha256"` // of the Size bytes at Offset

	Holds []string `json:"holds,omitempty"` // the items of the template that it is made of
}

// Input is one thing that a build consumed.
type Input struct {
	Kind    string   `json:"kind"` // package, image, image package, template, policy, guest, file
	Name    string   `json:"name"`
	Version string   `json:"version,omitempty"`
	Arch    string   `json:"arch,omitempty"`
	SHA256  string   `json:"sha256,omitempty"`
	Source  string   `json:"source,omitempty"` // Debian source package (version), or an image's reference
	License []string `json:"license,omitempty"`
	UsedBy  []string `json:"used_by,omitempty"` // image definitions that hold it
	PURL    string   `json:"purl,omitempty"`    // of an image package, as its image's SBOM has it
}

// MissingFirmware is a module whose device will not work for want of a file.
type MissingFirmware struct {
	Module string   `json:"module"`
	Files  []string `json:"files"`
}

// ReadManifest reads the hook.json of an output folder. An error that is
// fs.ErrNotExist means that there is none.
func ReadManifest(dir string) (*Manifest, error) {
	path := filepath.Join(dir, ManifestName)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if m.Schema != manifestSchema {
		return nil, fmt.Errorf("reading %s: schema %d, this hooksmith knows %d", path, m.Schema, manifestSchema)
	}
	return &m, nil
}

// merge puts a in the place of an older build of the same output id, and
// takes from the others the aliases that now belong to a. Builds whose files
// are gone from dir are dropped.
func (m *Manifest) merge(dir string, a Artifacts) {
	owned := map[string]bool{}
	for _, f := range a.Files {
		owned[f.Name] = true
		for _, alias := range f.Aliases {
			owned[alias] = true
		}
	}
	kept := []Artifacts{a}
	for _, b := range m.Builds {
		if b.OutputID == a.OutputID || !b.stands(dir) {
			continue
		}
		for i := range b.Files {
			b.Files[i].Aliases = slices.DeleteFunc(b.Files[i].Aliases, func(s string) bool { return owned[s] })
		}
		kept = append(kept, b)
	}
	slices.SortFunc(kept, func(x, y Artifacts) int { return strings.Compare(x.OutputID, y.OutputID) })
	m.Schema, m.Builds = manifestSchema, kept
}

func (a *Artifacts) stands(dir string) bool {
	for _, f := range a.Files {
		if st, err := os.Stat(filepath.Join(dir, f.Name)); err != nil || st.Size() != f.Size {
			return false
		}
	}
	return true
}

// outdated are the files of earlier builds that a newer one of the same output
// id has left without a place in the manifest: the kernel of a template that has
// none any more. Files that someone else has put there since are not among them,
// and a folder may hold both formats of a build.
func (m *Manifest) outdated(dir string, before []Artifacts) []string {
	var names []string
	for _, was := range before {
		i := slices.IndexFunc(m.Builds, func(a Artifacts) bool { return a.OutputID == was.OutputID })
		if i < 0 || m.Builds[i].isTar() != was.isTar() {
			continue
		}
		for _, f := range was.Files {
			for _, name := range append([]string{f.Name}, f.Aliases...) {
				st, err := os.Lstat(filepath.Join(dir, name))
				ours := err == nil && st.Mode().IsRegular() && st.Size() == f.Size
				if ours && name == filepath.Base(name) && !m.has(name) {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

func (a *Artifacts) isTar() bool {
	return slices.ContainsFunc(a.Files, func(f File) bool { return f.Role == roleTar })
}

// has reports whether a file of this name belongs to the folder.
func (m *Manifest) has(name string) bool {
	if slices.Contains([]string{ManifestName, ChecksumName, SBOMName, LockName}, name) {
		return true
	}
	return slices.ContainsFunc(m.Builds, func(a Artifacts) bool {
		return slices.ContainsFunc(a.Files, func(f File) bool { return f.Name == name || slices.Contains(f.Aliases, name) })
	})
}

// checksums is checksum.txt: what `sha512sum --check` reads.
func (m *Manifest) checksums() []byte {
	lines := []string{}
	for _, b := range m.Builds {
		for _, f := range b.Files {
			for _, name := range append([]string{f.Name}, f.Aliases...) {
				lines = append(lines, f.SHA512+"  "+name+"\n")
			}
		}
	}
	slices.SortFunc(lines, func(x, y string) int { return strings.Compare(x[128:], y[128:]) })
	return []byte(strings.Join(lines, ""))
}

// buildID names a build by all that its bytes depend on.
func buildID(parts ...any) (string, error) {
	b, err := json.Marshal(parts)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

func readManifestOrEmpty(dir string) (*Manifest, error) {
	m, err := ReadManifest(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return &Manifest{}, nil
	}
	return m, err
}
