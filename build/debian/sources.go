package debian

import (
	"bufio"
	"bytes"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"

	"pault.ag/go/debian/control"
)

// maxSources bounds one file of APT sources.
const maxSources = 1 << 20

// aptSource is one line of sources.list, or one stanza of a .sources file.
type aptSource struct {
	types      []string
	uris       []string
	components []string
	signedBy   string
	disabled   bool
}

// HostMirrors returns the Debian mirrors that the APT sources of a host name,
// in their order, and after them ftp.debian.org: a mirror of this site may not
// carry the release that is asked for. A host with a mirror of the main archive
// alone, as debootstrap leaves it, may have that of the security archive beside
// it. fsys is the host's root (os.DirFS("/")). Sources of other archives,
// disabled ones, and transports other than http and https are ignored, and so
// is what cannot be parsed: a host without usable sources gives the zero
// Mirrors, which is ftp.debian.org.
func HostMirrors(fsys fs.FS) Mirrors {
	names := []string{"etc/apt/sources.list"}
	for _, pattern := range []string{"etc/apt/sources.list.d/*.list", "etc/apt/sources.list.d/*.sources"} {
		found, _ := fs.Glob(fsys, pattern)
		names = append(names, found...)
	}
	var m Mirrors
	for _, name := range names {
		data, err := readBounded(fsys, name, maxSources)
		if err != nil {
			continue
		}
		var sources []aptSource
		if strings.HasSuffix(name, ".sources") {
			sources = parseDeb822Sources(data)
		} else {
			sources = parseListSources(data)
		}
		for _, s := range sources {
			m.add(s)
		}
	}
	m.complete()
	return m
}

// complete adds where else to look, after what the host names.
func (m *Mirrors) complete() {
	if len(m.Security) == 0 {
		for _, base := range m.Main {
			if dir, ok := strings.CutSuffix(base, "/"+string(MainArchive)); ok {
				m.Security = append(m.Security, dir+"/"+string(SecurityArchive))
			}
		}
	}
	for archive, list := range map[Archive]*[]string{MainArchive: &m.Main, SecurityArchive: &m.Security} {
		last := defaultMirror + string(archive)
		if len(*list) > 0 && !slices.Contains(*list, last) {
			*list = append(*list, last)
		}
	}
}

// add takes over the URIs of a source that looks like Debian's own archive.
func (m *Mirrors) add(s aptSource) {
	if s.disabled || !slices.Contains(s.types, "deb") || !slices.Contains(s.components, "main") {
		return
	}
	// A third party's repository may also end in /debian and have a main
	// component, but then it names its own key.
	if strings.HasPrefix(s.signedBy, "/") && !strings.Contains(path.Base(s.signedBy), "debian-archive") {
		return
	}
	for _, uri := range s.uris {
		base, archive, ok := debianArchive(uri)
		if !ok {
			continue
		}
		list := &m.Main
		if archive == SecurityArchive {
			list = &m.Security
		}
		if !slices.Contains(*list, base) {
			*list = append(*list, base)
		}
	}
}

// debianArchive decides by the last part of the path which archive a URI is,
// so mirrors, proxies (http://proxy:3142/host/debian) and the security host
// are all recognised.
func debianArchive(uri string) (base string, archive Archive, ok bool) {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.Fragment != "" {
		return "", "", false
	}
	base = strings.TrimRight(uri, "/")
	switch last := path.Base(u.Path); {
	case last == string(SecurityArchive), u.Hostname() == "security.debian.org":
		return base, SecurityArchive, true
	case last == string(MainArchive):
		return base, MainArchive, true
	}
	return "", "", false
}

// parseListSources parses the one-line format of sources.list(5).
func parseListSources(data []byte) []aptSource {
	var out []aptSource
	sc := bufio.NewScanner(bytes.NewReader(data))
	for sc.Scan() {
		line, _, _ := strings.Cut(sc.Text(), "#")
		line = strings.TrimSpace(strings.ReplaceAll(line, "\t", " "))
		kind, rest, _ := strings.Cut(line, " ")
		s := aptSource{types: []string{kind}}
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			options, after, found := strings.Cut(rest[1:], "]")
			if !found {
				continue
			}
			rest = after
			for _, o := range strings.Fields(options) {
				if v, ok := strings.CutPrefix(o, "signed-by="); ok {
					s.signedBy = v
				}
			}
		}
		if f := strings.Fields(rest); len(f) >= 3 {
			s.uris, s.components = f[:1], f[2:] // f[1] is the suite
			out = append(out, s)
		}
	}
	return out
}

// parseDeb822Sources parses the stanza format of sources.list(5).
func parseDeb822Sources(data []byte) []aptSource {
	stanzas, err := parseControl(data)
	if err != nil {
		return nil
	}
	var out []aptSource
	for _, f := range stanzas {
		out = append(out, aptSource{
			types:      strings.Fields(f["types"]),
			uris:       strings.Fields(f["uris"]),
			components: strings.Fields(f["components"]),
			signedBy:   strings.TrimSpace(f["signed-by"]),
			disabled:   slices.Contains([]string{"no", "false", "without", "off", "disable", "0"}, strings.ToLower(f["enabled"])),
		})
	}
	return out
}

// parseControl parses stanzas of control data; field names become lower case,
// since they are compared without case (deb822(5)).
func parseControl(data []byte) ([]map[string]string, error) {
	r, err := control.NewParagraphReader(bytes.NewReader(data), nil)
	if err != nil {
		return nil, err
	}
	paragraphs, err := r.All()
	if err != nil {
		return nil, err
	}
	out := make([]map[string]string, len(paragraphs))
	for i, p := range paragraphs {
		out[i] = make(map[string]string, len(p.Values))
		for k, v := range p.Values {
			out[i][strings.ToLower(k)] = v
		}
	}
	return out, nil
}
