package build

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/spdx/tools-golang/spdx/v2/common"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// sbomTime stands in documents that must not depend on when they were made.
var sbomTime = time.Date(2017, 4, 18, 16, 30, 0, 0, time.UTC)

// sbom is sbom.spdx.json (SPDX 2.3) for all builds of a folder. It is a
// function of the manifest alone, so the same inputs give the same bytes; the
// namespace is the manifest's content, not a random number.
func (m *Manifest) sbom() ([]byte, error) {
	id, err := buildID(m)
	if err != nil {
		return nil, err
	}
	doc := &spdx.Document{
		SPDXVersion:       spdx.Version,
		DataLicense:       spdx.DataLicense,
		SPDXIdentifier:    "DOCUMENT",
		DocumentName:      "HookOS",
		DocumentNamespace: "https://spdx.org/spdxdocs/hooksmith-" + id,
		CreationInfo: &spdx.CreationInfo{
			Created:  sbomTime.Format(time.RFC3339),
			Creators: []common.Creator{{CreatorType: "Tool", Creator: "hooksmith"}},
		},
	}
	known := map[common.ElementID]bool{}
	for _, b := range m.Builds {
		root := common.ElementID("HookOS-" + idString(b.OutputID))
		doc.Packages = append(doc.Packages, rootPackage(root, b))
		doc.Relationships = append(doc.Relationships, relate("DOCUMENT", "DESCRIBES", root))
		holders := map[string]common.ElementID{}
		for _, in := range b.Inputs {
			if in.Kind == "image" {
				holders[in.Name] = inputID(in)
			}
		}
		for _, in := range b.Inputs {
			holder := root
			switch in.Kind {
			case "package", "image":
			case "image package":
				holder = cmp.Or(holders[in.Source], root)
			default:
				continue
			}
			p := inputPackage(in)
			if !known[p.PackageSPDXIdentifier] {
				known[p.PackageSPDXIdentifier] = true
				doc.Packages = append(doc.Packages, p)
			}
			doc.Relationships = append(doc.Relationships, relate(holder, "CONTAINS", p.PackageSPDXIdentifier))
		}
	}
	doc.OtherLicenses = licenseRefs(doc.Packages)
	b, err := json.MarshalIndent(doc, "", "  ")
	return append(b, '\n'), err
}

func rootPackage(id common.ElementID, a Artifacts) *spdx.Package {
	p := &spdx.Package{
		PackageName:             "HookOS " + a.OutputID,
		PackageSPDXIdentifier:   id,
		PackageVersion:          a.BuildID[:min(len(a.BuildID), 16)],
		PackageDownloadLocation: "NOASSERTION",
		PackageLicenseConcluded: "NOASSERTION",
		PackageLicenseDeclared:  "NOASSERTION",
		PackageCopyrightText:    "NOASSERTION",
		PrimaryPackagePurpose:   "OPERATING-SYSTEM",
	}
	for _, f := range a.Files {
		p.PackageComment += fmt.Sprintf("%s sha256:%s\n", f.Name, f.SHA256)
	}
	return p
}

func inputID(in Input) common.ElementID {
	return common.ElementID(idString(in.Kind + "-" + in.Name + "-" + in.Version + "-" + in.Arch + in.PURL))
}

func inputPackage(in Input) *spdx.Package {
	p := &spdx.Package{
		PackageName:             in.Name,
		PackageSPDXIdentifier:   inputID(in),
		PackageVersion:          in.Version,
		PackageDownloadLocation: "NOASSERTION",
		PackageLicenseConcluded: "NOASSERTION",
		PackageLicenseDeclared:  licenseExpression(in.License),
		PackageCopyrightText:    "NOASSERTION",
	}
	if in.SHA256 != "" {
		p.PackageChecksums = []common.Checksum{{Algorithm: common.SHA256, Value: in.SHA256}}
	}
	if in.Kind == "image package" && len(in.License) > 0 {
		p.PackageLicenseDeclared = in.License[0] // an expression already
	}
	if in.PURL != "" {
		p.PackageExternalReferences = []*spdx.PackageExternalReference{{Category: "PACKAGE-MANAGER", RefType: "purl", Locator: in.PURL}}
	}
	if in.Kind == "package" {
		p.PackageSupplier = &common.Supplier{SupplierType: "Organization", Supplier: "Debian"}
		p.PackageSourceInfo = "built from Debian source package " + in.Source
		p.PackageExternalReferences = []*spdx.PackageExternalReference{{
			Category: "PACKAGE-MANAGER",
			RefType:  "purl",
			Locator: "pkg:deb/debian/" + url.PathEscape(in.Name) + "@" + url.QueryEscape(in.Version) +
				"?arch=" + in.Arch + "&distro=debian-13",
		}}
	}
	return p
}

func relate(from common.ElementID, kind string, to common.ElementID) *spdx.Relationship {
	return &spdx.Relationship{
		RefA:         common.MakeDocElementID("", string(from)),
		Relationship: kind,
		RefB:         common.MakeDocElementID("", string(to)),
	}
}

var (
	notID   = regexp.MustCompile(`[^A-Za-z0-9.-]+`)
	refName = regexp.MustCompile(`LicenseRef-[A-Za-z0-9.-]+`)
)

// idString makes s fit an SPDX identifier; what it replaces is told apart by
// the letters' code, so that different names stay different.
func idString(s string) string {
	return notID.ReplaceAllStringFunc(s, func(x string) string { return "-" + fmt.Sprintf("%x", x) + "-" })
}

// spdxNames maps the short names of Debian's copyright format to SPDX's where
// they differ; those not here that SPDX does not know become LicenseRef-*.
var spdxNames = map[string]string{
	"Expat": "MIT", "MIT": "MIT", "ISC": "ISC", "Apache-2.0": "Apache-2.0", "Apache-2": "Apache-2.0",
	"BSD-2-clause": "BSD-2-Clause", "BSD-2-Clause": "BSD-2-Clause", "BSD-3-clause": "BSD-3-Clause", "BSD-3-Clause": "BSD-3-Clause",
	"GPL-1": "GPL-1.0-only", "GPL-1+": "GPL-1.0-or-later", "GPL-2": "GPL-2.0-only", "GPL-2+": "GPL-2.0-or-later",
	"GPL-2.0": "GPL-2.0-only", "GPL-2.0+": "GPL-2.0-or-later", "GPL-3": "GPL-3.0-only", "GPL-3+": "GPL-3.0-or-later",
	"LGPL-2": "LGPL-2.0-only", "LGPL-2+": "LGPL-2.0-or-later", "LGPL-2.1": "LGPL-2.1-only", "LGPL-2.1+": "LGPL-2.1-or-later",
	"LGPL-3": "LGPL-3.0-only", "LGPL-3+": "LGPL-3.0-or-later", "MPL-2.0": "MPL-2.0", "CC0-1.0": "CC0-1.0",
	"CC0": "CC0-1.0", "Zlib": "Zlib", "0BSD": "0BSD", "Artistic-2.0": "Artistic-2.0", "BSL-1.0": "BSL-1.0",
}

// licenseExpression joins the licences that a copyright file names. Debian's
// file lists what applies to some file of the source, hence AND.
func licenseExpression(names []string) string {
	if len(names) == 0 {
		return "NOASSERTION"
	}
	terms, seen := []string{}, map[string]bool{}
	for _, n := range names {
		t, ok := spdxNames[n]
		if !ok {
			t = "LicenseRef-" + strings.Trim(notID.ReplaceAllString(n, "-"), "-")
		}
		if !seen[t] {
			seen[t] = true
			terms = append(terms, t)
		}
	}
	return strings.Join(terms, " AND ")
}

// licenseRefs declares every LicenseRef that the packages use, as SPDX asks.
func licenseRefs(packages []*spdx.Package) []*spdx.OtherLicense {
	var out []*spdx.OtherLicense
	seen := map[string]bool{}
	for _, p := range packages {
		for _, ref := range refName.FindAllString(p.PackageLicenseDeclared, -1) {
			if seen[ref] {
				continue
			}
			seen[ref] = true
			out = append(out, &spdx.OtherLicense{
				LicenseIdentifier: ref,
				LicenseName:       strings.TrimPrefix(ref, "LicenseRef-"),
				ExtractedText:     "See usr/share/doc/*/copyright of the Debian packages that declare it.",
			})
		}
	}
	return out
}
