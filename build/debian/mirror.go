package debian

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Archive says which of Debian's two archives a suite or package is in; they
// live on different mirrors.
type Archive string

// The archives, named as their folder on a mirror usually is.
const (
	MainArchive     Archive = "debian"
	SecurityArchive Archive = "debian-security"
)

const defaultMirror = "http://ftp.debian.org/"

// Mirrors are base URLs of the archives (the URL that ends in /debian, without
// a slash after it), the preferred one first. An empty list means
// ftp.debian.org.
type Mirrors struct {
	Main     []string
	Security []string
}

// Base returns the base URLs of an archive.
func (m Mirrors) Base(a Archive) []string {
	list := m.Main
	if a == SecurityArchive {
		list = m.Security
	}
	if len(list) == 0 {
		return []string{defaultMirror + string(a)}
	}
	return list
}

// ParseMirror turns what a user gives as a mirror, the base URL of the main
// archive, into Mirrors. The security archive is looked for beside it, then on
// ftp.debian.org, because many mirrors do not carry it.
func ParseMirror(base string) (Mirrors, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return Mirrors{}, fmt.Errorf("mirror %q is not an http or https URL such as http://ftp.debian.org/debian", base)
	}
	base = strings.TrimRight(base, "/")
	dir, last := base[:strings.LastIndex(base, "/")+1], base[strings.LastIndex(base, "/")+1:]
	m := Mirrors{Main: []string{base}}
	if last == string(MainArchive) {
		m.Security = append(m.Security, dir+string(SecurityArchive))
	}
	m.Security = append(m.Security, defaultMirror+string(SecurityArchive))
	return m, nil
}

// snapshotTime is the form of snapshot.debian.org's folders.
var snapshotTime = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z$`)

// SnapshotMirrors returns the archives as snapshot.debian.org saw them at
// timestamp, such as 20260912T083000Z; it serves the last state before it.
func SnapshotMirrors(timestamp string) (Mirrors, error) {
	if !snapshotTime.MatchString(timestamp) {
		return Mirrors{}, fmt.Errorf("snapshot %q is not a UTC time such as 20260912T083000Z", timestamp)
	}
	base := func(a Archive) []string {
		return []string{"https://snapshot.debian.org/archive/" + string(a) + "/" + timestamp}
	}
	return Mirrors{Main: base(MainArchive), Security: base(SecurityArchive)}, nil
}

// escapePath escapes a path of the archive for a URL. "+" is legal there, but
// servers in front of object stores take it for a space; apt sends %2b too.
func escapePath(p string) string {
	return strings.ReplaceAll((&url.URL{Path: p}).EscapedPath(), "+", "%2B")
}
