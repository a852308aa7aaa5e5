package inspect

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
)

// maxPackages bounds what one database can claim.
const maxPackages = 20000

// packages reads the package databases of the tree: of the root and of every
// container's root.
func (t *tree) packages() []Package {
	out := []Package{}
	for _, p := range t.paths {
		b := t.content(p)
		if b == nil {
			continue
		}
		switch {
		case strings.HasSuffix(p, "var/lib/dpkg/status"):
			out = append(out, inPart(parseDpkg(b), strings.TrimSuffix(p, "var/lib/dpkg/status"))...)
		case strings.Contains(p, "var/lib/dpkg/status.d/"):
			part, _, _ := strings.Cut(p, "var/lib/dpkg/")
			out = append(out, inPart(parseDpkg(b), part)...)
		case strings.HasSuffix(p, "lib/apk/db/installed"):
			part := strings.TrimSuffix(strings.TrimSuffix(p, "lib/apk/db/installed"), "usr/")
			out = append(out, inPart(parseAPK(b), part)...)
		case path.Dir(p) == "." && strings.HasPrefix(p, "sbom."):
			found, err := parseSPDX(b)
			if err != nil {
				t.warnings = append(t.warnings, fmt.Sprintf("%s: %v", p, err))
			}
			out = append(out, inPart(found, p)...)
		}
	}
	return sortPackages(out)
}

func inPart(packages []Package, part string) []Package {
	for i := range packages {
		packages[i].In = strings.TrimSuffix(part, "/")
	}
	return packages
}

func sortPackages(p []Package) []Package {
	slices.SortFunc(p, func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.In, b.In))
	})
	return slices.Compact(p)
}

// parseDpkg reads installed packages of a status file (deb822).
func parseDpkg(b []byte) (out []Package) {
	for stanza := range bytes.SplitSeq(b, []byte("\n\n")) {
		p := Package{Kind: "deb"}
		installed := true
		for line := range bytes.SplitSeq(stanza, []byte("\n")) {
			key, value, ok := strings.Cut(string(line[:min(len(line), 512)]), ":")
			if !ok || key == "" || key[0] == ' ' || key[0] == '\t' {
				continue
			}
			value = strings.TrimSpace(value)
			switch key {
			case "Package":
				p.Name = value
			case "Version":
				p.Version = value
			case "Architecture":
				p.Arch = value
			case "Status":
				installed = strings.HasSuffix(value, " installed")
			}
		}
		if p.Name != "" && installed && len(out) < maxPackages {
			out = append(out, p)
		}
	}
	return out
}

// parseAPK reads Alpine's database: letters, colons, a blank line after each
// package; all but the first lines of a package are its files.
func parseAPK(b []byte) (out []Package) {
	p := Package{Kind: "apk"}
	flush := func() {
		if p.Name != "" && len(out) < maxPackages {
			out = append(out, p)
		}
		p = Package{Kind: "apk"}
	}
	for line := range bytes.SplitSeq(b, []byte("\n")) {
		key, value, ok := strings.Cut(string(line[:min(len(line), 512)]), ":")
		switch {
		case len(line) == 0:
			flush()
		case !ok:
		case key == "P":
			p.Name = value
		case key == "V":
			p.Version = value
		case key == "A":
			p.Arch = value
		}
	}
	flush()
	return out
}

// parseSPDX reads the packages of a bill of materials in SPDX's JSON. Those
// that stand for the whole, or for an image, are left out.
func parseSPDX(b []byte) (out []Package, err error) {
	var doc struct {
		Packages []struct {
			Name, VersionInfo     string
			PrimaryPackagePurpose string `json:"primaryPackagePurpose"`
			ExternalRefs          []struct {
				ReferenceLocator string `json:"referenceLocator"`
			} `json:"externalRefs"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	for _, p := range doc.Packages {
		if p.PrimaryPackagePurpose == "OPERATING-SYSTEM" || len(p.ExternalRefs) == 0 || len(out) >= maxPackages {
			continue
		}
		found := Package{Name: p.Name, Version: p.VersionInfo, Kind: "spdx"}
		for _, ref := range p.ExternalRefs {
			if purl, ok := strings.CutPrefix(ref.ReferenceLocator, "pkg:"); ok {
				found.Kind, _, _ = strings.Cut(purl, "/")
				if _, after, ok := strings.Cut(purl, "arch="); ok {
					found.Arch, _, _ = strings.Cut(after, "&")
				}
			}
		}
		out = append(out, found)
	}
	return out, nil
}
