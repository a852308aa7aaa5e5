package debian

import (
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

// maxIndex bounds a compressed Packages file, and an unpacked one whose size
// the release file does not tell; trixie's main is 57 MB.
const maxIndex = 512 << 20

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
	jobs, err := r.jobs(arch)
	if err != nil {
		return nil, err
	}
	found := make([]scanned, len(jobs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4) // a few connections, and as many xz dictionaries of 8 MB
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

// jobs returns all files to read, the suite's before its updates'.
func (r *Repository) jobs(arch string) ([]indexJob, error) {
	var all []indexJob
	for _, c := range r.components {
		before := len(all)
		for _, s := range r.suites {
			all = append(all, s.jobs(c, arch)...)
		}
		if len(all) == before {
			return nil, fmt.Errorf("%s has no package index of component %q for %s", r.describe(), c, arch)
		}
	}
	return all, nil
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
