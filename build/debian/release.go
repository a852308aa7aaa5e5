package debian

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Release is what a suite's InRelease says about itself, once its signature
// has been verified.
type Release struct {
	Suite      string    `json:"suite"`             // as asked for: "trixie-security"
	Codename   string    `json:"codename"`          // "trixie-security"
	Version    string    `json:"version,omitempty"` // "13.7"
	Date       time.Time `json:"date"`
	ValidUntil time.Time `json:"valid_until,omitzero"` // zero: does not expire
	URL        string    `json:"url"`                  // where InRelease was found
	SHA256     string    `json:"sha256"`               // of InRelease
	SignedBy   []string  `json:"signed_by"`            // fingerprints of primary keys

	alias   string // Suite field: "stable-security"
	byHash  bool
	allArch bool // architecture-independent packages have their own index
	files   map[string]indexFile
}

// indexFile is an entry of Release's SHA256 field.
type indexFile struct {
	sha256 string
	size   int64
}

// futureTolerance is how far a release may be dated ahead of this machine's
// clock before the clock is blamed.
const futureTolerance = 24 * time.Hour

// parseRelease reads the signed text of an InRelease.
func parseRelease(text []byte) (*Release, error) {
	fields, sums := splitRelease(text)
	stanzas, err := parseControl(fields)
	if err != nil {
		return nil, err
	}
	if len(stanzas) != 1 {
		return nil, fmt.Errorf("release file has %d stanzas instead of one", len(stanzas))
	}
	f := stanzas[0]
	r := &Release{Codename: f["codename"], Version: f["version"], alias: f["suite"], byHash: f["acquire-by-hash"] == "yes"}
	if r.Date, err = parseDate(f["date"]); err != nil {
		return nil, fmt.Errorf("release file: field Date: %w", err)
	}
	if v := f["valid-until"]; v != "" {
		if r.ValidUntil, err = parseDate(v); err != nil {
			return nil, fmt.Errorf("release file: field Valid-Until: %w", err)
		}
	}
	r.allArch = slices.Contains(strings.Fields(f["architectures"]), "all") &&
		!slices.Contains(strings.Fields(f["no-support-for-architecture-all"]), "Packages")
	r.files, err = parseFileList(sums)
	return r, err
}

// splitRelease parts the lines of the SHA256 field from the short fields. The
// lists of files are 1500 lines long, which the control parser, made for short
// fields, joins one by one; the lists by other hashes are left out.
func splitRelease(text []byte) (fields []byte, sums []string) {
	field := ""
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			if field == "sha256" {
				sums = append(sums, line)
			}
			continue
		}
		name, _, _ := strings.Cut(line, ":")
		field = strings.ToLower(name)
		fields = append(fields, line...)
	}
	return fields, sums
}

func parseFileList(lines []string) (map[string]indexFile, error) {
	files := map[string]indexFile{}
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 || !validSHA256(f[0]) || !fs.ValidPath(f[2]) {
			return nil, fmt.Errorf("release file: bad SHA256 line %q", strings.TrimSpace(line))
		}
		size, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil || size < 0 {
			return nil, fmt.Errorf("release file: bad size of %s: %q", f[2], f[1])
		}
		files[f[2]] = indexFile{sha256: f[0], size: size}
	}
	return files, nil
}

// parseDate reads the RFC 5322 date of a release file. Debian writes UTC as a
// zone name; a numeric offset is allowed by repository tools.
func parseDate(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC1123, "Mon, 2 Jan 2006 15:04:05 MST", "Mon, 2 Jan 2006 15:04:05 -0700"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("bad date %q", s)
}

// check refuses a release that is not the one asked for or not of this time.
func (r *Release) check(suite string, now time.Time) error {
	if suite != r.Codename && suite != r.alias {
		return fmt.Errorf("it is the release file of %s (%s), not of %s: the mirror serves the wrong archive", r.Codename, r.alias, suite)
	}
	if r.Date.After(now.Add(futureTolerance)) {
		return fmt.Errorf("it is dated %s, which is in the future: check the clock of this machine (%s)", day(r.Date), day(now))
	}
	return nil
}

// checkExpiry refuses a release whose time is over. An attacker who can only
// replay old files must not keep security updates away.
func (r *Release) checkExpiry(now time.Time) error {
	if r.ValidUntil.IsZero() || !now.After(r.ValidUntil) {
		return nil
	}
	return fmt.Errorf("it expired on %s and now is %s: the mirror is out of date, the cached copy is too old to go on offline, or the clock is wrong; "+
		"try another mirror or go online, or, to build from the past on purpose, name a snapshot (such as %s)",
		day(r.ValidUntil), day(now), r.Date.Format("20060102T150405Z"))
}

// index returns the name of the Packages file to read for a component and an
// architecture. gzip comes first: its file is a third larger than the xz one
// but read four times as fast, and it is read on every build.
func (r *Release) index(component, arch string) (name string, f indexFile, ok bool) {
	base := component + "/binary-" + arch + "/Packages"
	for _, ext := range []string{".gz", ".xz", ""} {
		if f, ok := r.files[base+ext]; ok {
			return base + ext, f, true
		}
	}
	return "", indexFile{}, false
}
