package source

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Hosts of kernel.org: tars are to be had from the first, releases.json from
// the second only.
const (
	filesBase    = "https://cdn.kernel.org"
	releasesBase = "https://www.kernel.org"
)

// KernelOrgOptions say where kernel.org is and whom to believe. Fetch and Keys
// are required.
type KernelOrgOptions struct {
	Base  string // of a mirror, with /releases.json and /pub/linux/kernel; "": kernel.org
	Fetch Fetcher
	Keys  *Keyring
	Now   func() time.Time // nil: time.Now
	Log   *slog.Logger     // nil: silent
}

func (o *KernelOrgOptions) setDefaults() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// KernelOrg is a kernel of kernel.org: version is a release (6.6.107), or a
// series (6.6) for the newest release of it.
//
// The proof is the signature linux-M.m.p.tar.sign over the uncompressed tar,
// by one of the keys; it is checked whenever the tar is read. sha256sums.asc
// says what to download. It is signed by a machine of kernel.org; if its key
// is among the keys, that signature must be right too, else the file is no
// more than a promise that the tar's signature has to redeem.
func KernelOrg(ctx context.Context, version string, opt KernelOrgOptions) (Source, error) {
	opt.setDefaults()
	r, ok := parseRelease(strings.TrimSuffix(version, ".y"))
	if !ok {
		return nil, fmt.Errorf("kernel %q: want a release such as 6.6.107, or a series such as 6.6", version)
	}
	if err := checkBase(opt.Base); err != nil {
		return nil, err
	}
	dir := fmt.Sprintf("%s/pub/linux/kernel/v%d.x", strings.TrimRight(cmp.Or(opt.Base, filesBase), "/"), r.major)
	if pinned := strings.Count(version, ".") == 2 && !strings.HasSuffix(version, ".y"); !pinned {
		var err error
		if r, err = newest(ctx, dir, r.series(), opt); err != nil {
			return nil, err
		}
	}
	return openRelease(ctx, dir, r, "tar.xz", opt)
}

func checkBase(base string) error {
	if base == "" {
		return nil
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("kernel.org mirror %q: want an http or https URL such as https://mirrors.edge.kernel.org", base)
	}
	return nil
}

var releaseFile = regexp.MustCompile(`^linux-([0-9.]+)\.(tar\.(?:xz|gz|bz2))$`)

// SignedURL is a tar of a kernel at any URL, verified as those of kernel.org
// are: sha256sums.asc and linux-M.m.p.tar.sign stand beside it.
func SignedURL(ctx context.Context, address string, opt KernelOrgOptions) (Source, error) {
	opt.setDefaults()
	dir, name, _ := cutLast(address, "/")
	m := releaseFile.FindStringSubmatch(name)
	if m == nil {
		return nil, fmt.Errorf("kernel source %s: nothing proves that it is the right one: give its hash (--source-sha256 HEX), or a URL that ends in linux-M.m.p.tar.xz, with sha256sums.asc and linux-M.m.p.tar.sign beside it", address)
	}
	r, ok := parseRelease(m[1])
	if !ok || r.file() != m[1] {
		return nil, fmt.Errorf("kernel source %s: %q is no release of a kernel", address, m[1])
	}
	return openRelease(ctx, dir, r, m[2], opt)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// newest is the newest release of a series: as releases.json says, and for
// series that ended, the highest that there is a tar of.
func newest(ctx context.Context, dir, series string, opt KernelOrgOptions) (release, error) {
	address := strings.TrimRight(cmp.Or(opt.Base, releasesBase), "/") + "/releases.json"
	data, err := opt.Fetch.Latest(ctx, []string{address}, maxReleases)
	if err != nil {
		return release{}, fmt.Errorf("newest kernel %s: %w (KERNEL_POINT_RELEASE names one)", series, err)
	}
	r, ok, err := newestRelease(data, series)
	if err != nil {
		return r, fmt.Errorf("newest kernel %s: %s: %w", series, address, err)
	}
	if ok {
		return r, nil
	}
	sums, _, err := readSums(ctx, dir, opt)
	if err != nil {
		return r, err
	}
	if r, ok = newestOf(sums, series); !ok {
		return r, fmt.Errorf("kernel.org has no kernel %s (asked: %s, %s/sha256sums.asc)", series, address, dir)
	}
	opt.Log.Warn("kernel.org maintains this series no more", "series", series, "last", r.String())
	return r, nil
}

// readSums reads what a folder of kernel.org says of its files. signer is "" if
// nobody whom we know has signed it.
func readSums(ctx context.Context, dir string, opt KernelOrgOptions) (sums map[string]string, signer string, err error) {
	address := dir + "/sha256sums.asc"
	data, err := opt.Fetch.Latest(ctx, []string{address}, maxSums)
	if err != nil {
		return nil, "", err
	}
	text, signer, err := opt.Keys.clearText(data, opt.Now())
	if err == nil {
		sums, err = parseSums(text)
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", address, err)
	}
	return sums, signer, nil
}

// openRelease is one release in a folder like those of kernel.org.
func openRelease(ctx context.Context, dir string, r release, ext string, opt KernelOrgOptions) (Source, error) {
	base := "linux-" + r.file()
	name, address := base+"."+ext, dir+"/"+base+"."+ext
	// 1. What to download.
	sums, signer, err := readSums(ctx, dir, opt)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", r, err)
	}
	sum := sums[name]
	if sum == "" {
		return nil, fmt.Errorf("kernel %s: %s/sha256sums.asc has no %s", r, dir, name)
	}
	if signer == "" {
		opt.Log.Info("nobody whom we know has signed sha256sums.asc; the signature of the tar decides", "url", dir)
	}
	// 2. Who has signed it: before 140 MB are downloaded in vain.
	signURL := dir + "/" + base + ".tar.sign"
	signature, err := opt.Fetch.Latest(ctx, []string{signURL}, maxSignature)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: its signature: %w", r, err)
	}
	proof, err := NewProof(opt.Keys, signature, opt.Now())
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %s: %w", r, signURL, err)
	}
	// 3. The tar, when it is wanted.
	open := func(ctx context.Context) (io.ReadCloser, error) {
		return opt.Fetch.Fetch(ctx, []string{address}, sum, maxPacked)
	}
	return NewArchive(ctx, Archive{Name: address, Release: r.String(), ID: sum, SHA256: sum, Open: open, Signed: proof})
}
