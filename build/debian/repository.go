package debian

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Fetcher gets files from the first of several URLs that has them.
type Fetcher interface {
	// Blob returns a file with exactly these contents, verified, at offset 0.
	// The caller closes it.
	Blob(ctx context.Context, urls []string, sha256hex string, size int64) (*os.File, error)
	// Latest returns the present content of a file that changes, at most
	// limit bytes. Nothing about it is verified.
	Latest(ctx context.Context, urls []string, limit int64) ([]byte, error)
}

// DefaultSuite is the release that image definitions are written for.
const DefaultSuite = "trixie"

// maxRelease bounds an InRelease file; trixie's is 140 KB.
const maxRelease = 8 << 20

// Options says which repository to open. Only Keys is required.
type Options struct {
	Suite      string   // codename; "" is DefaultSuite
	Components []string // none is main; firmware is in non-free-firmware
	Mirrors    Mirrors  // ignored with Snapshot
	Snapshot   string   // a time such as 20260912T083000Z: the archive as it was then
	Keys       *Keyring
	Now        func() time.Time // nil is time.Now
}

// Repository is a set of verified suites that are searched together: a
// release, its updates and its security updates.
type Repository struct {
	fetch      Fetcher
	components []string
	mirrors    Mirrors
	suites     []*suite
}

// suite is one verified release file and the mirrors of its archive, the one
// that served it first.
type suite struct {
	release *Release
	archive Archive
	bases   []string
}

// Open fetches and verifies the release files of a suite, its -updates and
// its -security. Each mirror is tried in turn, so a broken one, or one that
// serves something else, is passed over; the error lists what was wrong with
// all of them.
func Open(ctx context.Context, fetch Fetcher, opt Options) (*Repository, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Repository{fetch: fetch, components: opt.Components, mirrors: opt.Mirrors}
	names := suiteNames(opt.Suite)
	r.suites = make([]*suite, len(names))
	g, ctx := errgroup.WithContext(ctx)
	for i, name := range names {
		g.Go(func() error {
			var err error
			r.suites[i], err = openSuite(ctx, fetch, name, opt)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, s := range r.suites {
		if s.archive == SecurityArchive {
			r.mirrors.Security = s.bases
		} else if s.release.Suite == opt.Suite {
			r.mirrors.Main = s.bases
		}
	}
	return r, nil
}

func (o Options) withDefaults() (Options, error) {
	if o.Suite == "" {
		o.Suite = DefaultSuite
	}
	if strings.Trim(o.Suite, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return o, fmt.Errorf("suite %q is not a name such as %s", o.Suite, DefaultSuite)
	}
	if len(o.Components) == 0 {
		o.Components = []string{"main"}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Keys == nil {
		return o, errors.New("no archive keys given to verify the repository with")
	}
	if o.Snapshot == "" {
		return o, nil
	}
	var err error
	o.Mirrors, err = SnapshotMirrors(o.Snapshot)
	return o, err
}

// suiteNames returns what belongs to a release; unstable has no updates.
func suiteNames(name string) []string {
	if name == "sid" || name == "unstable" || name == "experimental" {
		return []string{name}
	}
	return []string{name, name + "-updates", name + "-security"}
}

func openSuite(ctx context.Context, fetch Fetcher, name string, opt Options) (*suite, error) {
	s := &suite{archive: MainArchive}
	if strings.HasSuffix(name, "-security") {
		s.archive = SecurityArchive
	}
	bases := opt.Mirrors.Base(s.archive)
	var problems []error
	for i, base := range bases {
		url := base + "/dists/" + name + "/InRelease"
		data, err := fetch.Latest(ctx, []string{url}, maxRelease)
		if err == nil {
			s.release, err = readRelease(data, name, opt)
		}
		if err == nil {
			s.release.URL = url
			s.bases = slices.Concat(bases[i:i+1], bases[:i], bases[i+1:])
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		problems = append(problems, fmt.Errorf("opening Debian suite %s: %s: %w", name, url, err))
		if file := (*fs.PathError)(nil); errors.As(err, &file) {
			break // a file of the cache: no other mirror will help
		}
	}
	return nil, errors.Join(problems...)
}

// readRelease verifies an InRelease: signature, then identity, then time.
func readRelease(data []byte, name string, opt Options) (*Release, error) {
	now := opt.Now()
	text, signers, err := opt.Keys.verify(data, now)
	if err != nil {
		return nil, err
	}
	r, err := parseRelease(text)
	if err != nil {
		return nil, err
	}
	if err := r.check(name, now); err != nil {
		return nil, err
	}
	if opt.Snapshot == "" {
		if err := r.checkExpiry(now); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(data)
	r.Suite, r.SignedBy, r.SHA256 = name, signers, hex.EncodeToString(sum[:])
	return r, nil
}

// Releases returns the verified releases: the suite, its updates, its
// security updates.
func (r *Repository) Releases() []Release {
	out := make([]Release, len(r.suites))
	for i, s := range r.suites {
		out[i] = *s.release
	}
	return out
}

// Mirrors returns the mirrors with those that work first.
func (r *Repository) Mirrors() Mirrors { return r.mirrors }

// describe names the suites and components for error messages.
func (r *Repository) describe() string {
	names := make([]string, len(r.suites))
	for i, s := range r.suites {
		names[i] = s.release.Suite
	}
	return strings.Join(names, ", ") + " (" + strings.Join(r.components, ", ") + ")"
}
