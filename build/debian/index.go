package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/therootcompany/xz"
	"golang.org/x/sync/errgroup"
	"pault.ag/go/debian/version"
)

const (
	// maxIndex bounds a compressed Packages file, and an unpacked one whose
	// size the release file does not tell; trixie's main is 57 MB.
	maxIndex = 512 << 20
	// maxStanza bounds one stanza; the largest of trixie is 76 KB.
	maxStanza = 1 << 20
)

// Index is the part of a repository that was asked for, for one architecture.
type Index struct {
	Arch string

	packages map[string][]*Package // newest first
	names    []byte                // all names of the repository: "\nname\nname\n"
	source   string                // for error messages
}

// Index reads the package indices of all suites and keeps the packages that
// names asks for; a name that ends in * is a prefix. The indices of trixie
// are 57 MB of text, so nothing else is kept but the names.
func (r *Repository) Index(ctx context.Context, arch string, names ...string) (*Index, error) {
	if strings.Trim(arch, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || arch == "" {
		return nil, fmt.Errorf("architecture %q is not a Debian architecture such as amd64", arch)
	}
	want := newNameSet(names)
	var jobs []indexJob
	for _, s := range r.suites {
		for _, c := range r.components {
			jobs = append(jobs, s.jobs(c, arch)...)
		}
	}
	found := make([]scanned, len(jobs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, j := range jobs {
		g.Go(func() error {
			var err error
			if found[i], err = j.read(ctx, r.fetch, want); err != nil {
				return fmt.Errorf("reading package index %s of %s: %w", j.name, j.suite.release.Suite, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return newIndex(arch, r.describe()+" for "+arch, jobs, found)
}

func newIndex(arch, source string, jobs []indexJob, found []scanned) (*Index, error) {
	x := &Index{Arch: arch, packages: map[string][]*Package{}, names: []byte("\n"), source: source}
	for i, f := range found {
		x.names = append(x.names, f.names...)
		for _, stanza := range f.stanzas {
			p, err := parseStanza(stanza)
			if err != nil {
				return nil, fmt.Errorf("package index %s of %s: %w", jobs[i].name, jobs[i].suite.release.Suite, err)
			}
			if p.Architecture != arch && p.Architecture != "all" {
				continue
			}
			p.Archive, p.Suite = jobs[i].suite.archive, jobs[i].suite.release.Suite
			x.packages[p.Name] = append(x.packages[p.Name], p)
		}
	}
	for _, list := range x.packages {
		// Stable: of equal versions, that of the earlier suite stays first.
		slices.SortStableFunc(list, func(a, b *Package) int { return version.Compare(b.parsed, a.parsed) })
	}
	return x, nil
}

func parseStanza(stanza []byte) (*Package, error) {
	f, err := parseControl(stanza)
	if err != nil {
		return nil, err
	}
	if len(f) != 1 {
		return nil, errors.New("damaged stanza")
	}
	return newPackage(f[0])
}

// indexJob is one Packages file to read.
type indexJob struct {
	suite    *suite
	name     string // main/binary-amd64/Packages.gz
	file     indexFile
	unpacked int64 // bound of the unpacked size
}

// jobs returns the Packages files of a component. Debian lists packages for
// all architectures in each architecture's index; other repositories may keep
// them apart. A component or architecture that a suite lacks has no files.
func (s *suite) jobs(component, arch string) []indexJob {
	arches := []string{arch}
	if s.release.allArch {
		arches = append(arches, "all")
	}
	var out []indexJob
	for _, a := range arches {
		name, f, ok := s.release.index(component, a)
		if !ok {
			continue
		}
		j := indexJob{suite: s, name: name, file: f, unpacked: maxIndex}
		if plain, ok := s.release.files[strings.TrimSuffix(name, path.Ext(name))]; ok && plain.size < maxIndex {
			j.unpacked = plain.size
		}
		out = append(out, j)
	}
	return out
}

// urls returns the file's addresses: by hash first, which stays right while
// the mirror is being updated.
func (j indexJob) urls() []string {
	var out []string
	for _, base := range j.suite.bases {
		dist := base + "/dists/" + j.suite.release.Suite + "/"
		if j.suite.release.byHash {
			out = append(out, dist+path.Dir(j.name)+"/by-hash/SHA256/"+j.file.sha256)
		}
		out = append(out, dist+j.name)
	}
	return out
}

func (j indexJob) read(ctx context.Context, fetch Fetcher, want nameSet) (scanned, error) {
	if j.file.size > maxIndex {
		return scanned{}, fmt.Errorf("%d bytes are more than allowed", j.file.size)
	}
	f, err := fetch.Blob(ctx, j.urls(), j.file.sha256, j.file.size)
	if err != nil {
		return scanned{}, err
	}
	defer f.Close()
	return j.scan(f, want)
}

func (j indexJob) scan(f *os.File, want nameSet) (scanned, error) {
	checked := newCheckedReader(f, j.file.sha256, j.file.size)
	text, err := decompress(checked, path.Ext(j.name))
	if err != nil {
		return scanned{}, err
	}
	found, err := scanPackages(&boundedReader{r: text, left: j.unpacked, what: "unpacked package index"}, want)
	if err != nil {
		return scanned{}, err
	}
	return found, checked.drain()
}

// decompress undoes the compression that a file extension names.
func decompress(r io.Reader, ext string) (io.Reader, error) {
	switch ext {
	case ".gz":
		return gzip.NewReader(r)
	case ".xz":
		return xz.NewReader(r, xz.DefaultDictMax)
	case ".zst":
		return newZstdReader(r)
	case "":
		return r, nil
	}
	return nil, fmt.Errorf("unknown compression %q", ext)
}

// nameSet is what an Index is asked to keep.
type nameSet struct {
	exact    map[string]bool
	prefixes []string
}

func newNameSet(names []string) nameSet {
	s := nameSet{exact: map[string]bool{}}
	for _, n := range names {
		if prefix, ok := strings.CutSuffix(n, "*"); ok {
			s.prefixes = append(s.prefixes, prefix)
		} else {
			s.exact[n] = true
		}
	}
	return s
}

func (s nameSet) has(name []byte) bool {
	if s.exact[string(name)] {
		return true
	}
	for _, p := range s.prefixes {
		if bytes.HasPrefix(name, []byte(p)) {
			return true
		}
	}
	return false
}

// scanned is what scanPackages finds.
type scanned struct {
	stanzas [][]byte // of the wanted packages
	names   []byte   // all names, each followed by a newline
}

// scanPackages runs over a Packages file without parsing it: stanzas end with
// an empty line and name their package in the first field. Only stanzas of
// wanted packages are copied; parsing all 70,000 would take seconds.
func scanPackages(r io.Reader, want nameSet) (scanned, error) {
	var out scanned
	take := func(stanza []byte) {
		name := stanzaName(stanza)
		if len(name) == 0 {
			return
		}
		out.names = append(append(out.names, name...), '\n')
		if want.has(name) {
			out.stanzas = append(out.stanzas, bytes.Clone(stanza))
		}
	}
	buf := make([]byte, 0, 256<<10)
	for {
		if len(buf) == cap(buf) {
			if cap(buf) > maxStanza {
				return out, fmt.Errorf("a stanza is longer than %d bytes", maxStanza)
			}
			buf = slices.Grow(buf, cap(buf))
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		rest := buf
		for {
			stanza, after, found := bytes.Cut(rest, []byte("\n\n"))
			if !found {
				break
			}
			take(stanza)
			rest = after
		}
		buf = buf[:copy(buf[:cap(buf)], rest)]
		if err == io.EOF {
			take(buf)
			return out, nil
		}
		if err != nil {
			return out, err
		}
	}
}

// stanzaName returns the value of the Package field.
func stanzaName(stanza []byte) []byte {
	const field = "Package:"
	stanza = bytes.TrimLeft(stanza, "\n")
	if !bytes.HasPrefix(stanza, []byte(field)) {
		i := bytes.Index(stanza, []byte("\n"+field))
		if i < 0 {
			return nil
		}
		stanza = stanza[i+1:]
	}
	line, _, _ := bytes.Cut(stanza[len(field):], []byte("\n"))
	return bytes.TrimSpace(line)
}
