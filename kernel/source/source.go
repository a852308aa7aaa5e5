package source

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// Top is the folder that all members of a kernel's tar are in.
const Top = "linux"

// Source is a kernel's source.
type Source interface {
	// Version is what the source calls itself: 6.12.48, or 6.13.0-rc2.
	Version() string
	// Hash is the SHA-256, in hexadecimal, of what the source is: of an
	// archive's bytes, or of a folder's names, modes, links and contents.
	Hash() string
	// Tar is the source as an uncompressed tar, all members below the folder
	// Top. It is verified inside Read: only io.EOF says that all was right. The
	// caller closes it, at any time. ctx must live until then.
	Tar(ctx context.Context) (io.ReadCloser, error)
	// String says where it is from, for people.
	String() string
}

// Fetcher gets files from the first of several URLs that has them.
type Fetcher interface {
	// Fetch returns a file with this SHA-256, verified, of at most limit bytes,
	// at offset 0. The caller closes it.
	Fetch(ctx context.Context, urls []string, sha256hex string, limit int64) (*os.File, error)
	// Latest returns the present content of a file that changes, at most limit
	// bytes. Nothing about it is verified.
	Latest(ctx context.Context, urls []string, limit int64) ([]byte, error)
}

// Open opens a tar (plain, gzip, xz, zstd or bzip2) or a folder (unpacked, or
// a git checkout) of this machine. It reads all of it once, for the hash.
func Open(ctx context.Context, path string) (Source, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("kernel source: %w", err)
	}
	if st.IsDir() {
		return openFolder(ctx, path)
	}
	return openFile(ctx, path)
}

// openFile hashes the archive now and checks it against that again whenever it
// is read.
func openFile(ctx context.Context, path string) (Source, error) {
	open := func(context.Context) (io.ReadCloser, error) { return os.Open(path) }
	sum, err := hashFile(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("kernel source: %w", err)
	}
	return NewArchive(ctx, Archive{Name: path, ID: sum, SHA256: sum, Open: open})
}

// Download is an archive from a URL, of which the SHA-256 is known.
func Download(ctx context.Context, fetch Fetcher, url, sha256hex string) (Source, error) {
	if !validSHA256(sha256hex) {
		return nil, fmt.Errorf("kernel source %s: %q is no SHA-256: want 64 hexadecimal digits", url, sha256hex)
	}
	open := func(ctx context.Context) (io.ReadCloser, error) {
		return fetch.Fetch(ctx, []string{url}, sha256hex, maxPacked)
	}
	return NewArchive(ctx, Archive{Name: url, ID: sha256hex, SHA256: sha256hex, Open: open})
}

var hexSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`)

func validSHA256(s string) bool { return hexSHA256.MatchString(s) }

// CheckSeries makes sure that a source is of the series (6.12) that a
// configuration was written for.
func CheckSeries(s Source, series string) error {
	if Series(s.Version()) == series {
		return nil
	}
	return fmt.Errorf("kernel source %s is Linux %s, and the configuration is for %s: give source of %s, or a flavor whose kernel version is %s",
		s, s.Version(), series, series, cmp.Or(Series(s.Version()), s.Version()))
}

// Series is the first two numbers of a version: 6.12 of 6.12.48.
func Series(version string) string {
	m := versionForm.FindStringSubmatch(version)
	if m == nil {
		return ""
	}
	return m[1] + "." + m[2]
}

// versionForm is M.m, M.m.p and either with an end such as -rc1.
var versionForm = regexp.MustCompile(`^([1-9][0-9]{0,2})\.([0-9]{1,3})(?:\.([0-9]{1,5}))?(-[A-Za-z0-9._-]{1,32})?$`)

// release is a version as numbers.
type release struct{ major, minor, point int }

// parseRelease reads M.m.p, or M.m as M.m.0. Nothing may follow.
func parseRelease(s string) (release, bool) {
	m := versionForm.FindStringSubmatch(s)
	if m == nil || m[4] != "" {
		return release{}, false
	}
	n := func(s string) int { v, _ := strconv.Atoi(s); return v }
	return release{n(m[1]), n(m[2]), n(m[3])}, true
}

func (r release) series() string { return fmt.Sprintf("%d.%d", r.major, r.minor) }

func (r release) String() string { return fmt.Sprintf("%d.%d.%d", r.major, r.minor, r.point) }

// file is the release as kernel.org names its files: the first of a series has
// two numbers.
func (r release) file() string {
	if r.point == 0 {
		return r.series()
	}
	return r.String()
}

// PointRelease is the version that KERNEL_POINT_RELEASE pins a series to: the
// variable holds all of it (6.6.107) or the last number (107).
func PointRelease(series, value string) (string, error) {
	version := value
	if !strings.Contains(value, ".") {
		version = series + "." + value
	}
	r, ok := parseRelease(version)
	if !ok || r.series() != series {
		return "", fmt.Errorf("KERNEL_POINT_RELEASE=%s: want a release of %s, such as %s.1, or its last number", value, series, series)
	}
	return r.String(), nil
}
