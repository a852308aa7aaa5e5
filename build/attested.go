package build

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hooksmith/build/images"
)

// Bounds of what an image's own SBOM may say.
const (
	maxAttestedPackages = 50_000
	maxAttestedText     = 1_000
)

// attestedPackages is what the SPDX documents say that are attested for an
// image: an Input of the kind "image package" for each package, sorted, none
// twice. LinuxKit takes them into its SBOM too.
func attestedPackages(ctx context.Context, ref string, img v1.Image) ([]Input, error) {
	docs, err := images.SPDX(ctx, img)
	if err != nil {
		return nil, err
	}
	var all []Input
	for _, doc := range docs {
		more, err := readSPDX(ref, doc)
		if err != nil {
			return nil, err
		}
		if all = append(all, more...); len(all) > maxAttestedPackages {
			return nil, fmt.Errorf("its SBOM names more than %d packages", maxAttestedPackages)
		}
	}
	slices.SortFunc(all, func(a, b Input) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.PURL, b.PURL))
	})
	return slices.CompactFunc(all, func(a, b Input) bool { return a.Name == b.Name && a.Version == b.Version && a.PURL == b.PURL }), nil
}

// readSPDX reads the packages of one document.
func readSPDX(ref string, doc json.RawMessage) ([]Input, error) {
	var spdx struct {
		Packages []struct {
			Name            string `json:"name"`
			VersionInfo     string `json:"versionInfo"`
			LicenseDeclared string `json:"licenseDeclared"`
			ExternalRefs    []struct {
				Type    string `json:"referenceType"`
				Locator string `json:"referenceLocator"`
			} `json:"externalRefs"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(doc, &spdx); err != nil {
		return nil, fmt.Errorf("its SBOM is not SPDX's JSON: %w", err)
	}
	var out []Input
	for _, p := range spdx.Packages {
		in := Input{Kind: "image package", Name: p.Name, Version: p.VersionInfo, Source: ref}
		for _, r := range p.ExternalRefs {
			if r.Type == "purl" && in.PURL == "" {
				in.PURL = r.Locator
			}
		}
		if p.LicenseDeclared != "" && p.LicenseDeclared != "NOASSERTION" {
			in.License = []string{p.LicenseDeclared}
		}
		if len(in.Name)+len(in.Version)+len(in.PURL)+len(p.LicenseDeclared) > maxAttestedText {
			return nil, fmt.Errorf("its SBOM has a package with more than %d bytes of text: %.60q", maxAttestedText, in.Name)
		}
		if strings.TrimSpace(in.Name) != "" {
			out = append(out, in)
		}
	}
	return out, nil
}
