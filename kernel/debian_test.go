package kernel

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/renameio/v2"
	"github.com/therootcompany/xz"
	"pault.ag/go/debian/version"
)

// The tests here run over Debian's real packages. They come from the mirror in
// the host's APT sources, are checked against the hash in its index, and stay
// unpacked below os.UserCacheDir()/hooksmith-test. The signature of the index
// is not checked: that is the business of build/debian.

const testSuite = "trixie"

// debianTree returns the unpacked tree of a package, of the newest version in
// the suite and its security updates. A meta package stands for what it
// depends on. The test is skipped when the mirror cannot be reached.
func debianTree(t testing.TB, arch, component, name string) fs.FS {
	t.Helper()
	p := debianPackage(t, arch, component, name)
	if dep, ok := strings.CutPrefix(p["Depends"], "linux-image-"); ok {
		real, _, _ := strings.Cut("linux-image-"+dep, " ")
		p = debianPackage(t, arch, component, real)
	}
	return os.DirFS(unpacked(t, p))
}

// debianPackage looks a package up; skip or failure as for debianTree.
func debianPackage(t testing.TB, arch, component, name string) map[string]string {
	t.Helper()
	var best map[string]string
	for _, source := range []string{"debian/" + testSuite, "debian-security/" + testSuite + "-security"} {
		archive, suite, _ := strings.Cut(source, "/")
		index := packages(t, archive, suite, component, arch)
		p, ok := index[name]
		if !ok || (best != nil && !newer(t, p["Version"], best["Version"])) {
			continue
		}
		best = maps.Clone(p)
		best["archive"] = archive
	}
	if best == nil {
		t.Fatalf("no package %s in %s %s for %s", name, testSuite, component, arch)
	}
	return best
}

func newer(t testing.TB, a, b string) bool {
	t.Helper()
	va, errA := version.Parse(a)
	vb, errB := version.Parse(b)
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	return version.Compare(va, vb) > 0
}

var packagesCache sync.Map

// packages reads one Packages index, reduced to what the tests ask for: name
// -> fields.
func packages(t testing.TB, archive, suite, component, arch string) map[string]map[string]string {
	t.Helper()
	rel := fmt.Sprintf("dists/%s/%s/binary-%s/Packages.xz", suite, component, arch)
	if cached, ok := packagesCache.Load(archive + rel); ok {
		return cached.(map[string]map[string]string)
	}
	b, err := recent(t, archive, rel)
	if err != nil {
		t.Skipf("Debian mirror cannot be reached: %v", err)
	}
	index := map[string]map[string]string{}
	for stanza := range strings.SplitSeq(string(b), "\n\n") {
		fields := map[string]string{}
		for line := range strings.Lines(stanza) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && line[0] != ' ' {
				fields[key] = value
			}
		}
		index[fields["Package"]] = fields
	}
	packagesCache.Store(archive+rel, index)
	return index
}

// recent returns the stanzas of an index, downloaded at most once in an hour.
func recent(t testing.TB, archive, rel string) ([]byte, error) {
	file := filepath.Join(cacheDir(t), strings.ReplaceAll(strings.TrimSuffix(archive+"/"+rel, ".xz"), "/", "_"))
	if st, err := os.Stat(file); err == nil && time.Since(st.ModTime()) < time.Hour {
		return os.ReadFile(file)
	}
	b, err := download(archive, rel)
	if err != nil {
		if old, readErr := os.ReadFile(file); readErr == nil {
			return old, nil // offline with an older index is better than nothing
		}
		return nil, err
	}
	if b, err = reduce(b); err != nil {
		return nil, err
	}
	return b, renameio.WriteFile(file, b, 0o644)
}

// reduce keeps the stanzas of kernels and firmware, a thousandth of the index.
func reduce(packed []byte) ([]byte, error) {
	r, err := xz.NewReader(bytes.NewReader(packed), 0)
	if err != nil {
		return nil, err
	}
	all, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var kept []byte
	for stanza := range bytes.SplitSeq(all, []byte("\n\n")) {
		for _, prefix := range []string{"linux-image-", "firmware-", "amd64-microcode", "intel-microcode"} {
			if bytes.HasPrefix(stanza, []byte("Package: "+prefix)) {
				kept = append(append(kept, stanza...), "\n\n"...)
			}
		}
	}
	return kept, nil
}

func cacheDir(t testing.TB) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("no cache folder: %v", err)
	}
	dir = filepath.Join(dir, "hooksmith-test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// unpacked returns the folder with the unpacked package.
func unpacked(t testing.TB, p map[string]string) string {
	t.Helper()
	dir := filepath.Join(cacheDir(t), p["SHA256"])
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	b, err := download(p["archive"], p["Filename"])
	if err != nil {
		t.Skipf("Debian mirror cannot be reached: %v", err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != p["SHA256"] {
		t.Fatalf("%s: wrong SHA256", p["Filename"])
	}
	work, err := os.MkdirTemp(cacheDir(t), "unpack-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(work)
	if err := unpackDeb(b, work); err != nil {
		t.Fatalf("%s: %v", p["Filename"], err)
	}
	// Another test process may have been faster.
	if err := os.Rename(work, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		if _, statErr := os.Stat(dir); statErr != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// unpackDeb writes the data archive of a package below dir.
func unpackDeb(deb []byte, dir string) error {
	const header = 60
	for deb = deb[min(8, len(deb)):]; len(deb) >= header; {
		size, err := strconv.Atoi(strings.TrimSpace(string(deb[48:58])))
		if err != nil || header+size > len(deb) {
			return fmt.Errorf("damaged archive: %v", err)
		}
		if strings.HasPrefix(string(deb), "data.tar.xz") {
			r, err := xz.NewReader(bytes.NewReader(deb[header:header+size]), 0)
			if err != nil {
				return err
			}
			return untar(r, dir)
		}
		deb = deb[min(len(deb), header+size+size%2):]
	}
	return errors.New("no data.tar.xz")
}

func untar(r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeSymlink:
			err = root.Symlink(h.Linkname, name)
		case tar.TypeLink:
			err = root.Link(filepath.Clean(h.Linkname), name)
		case tar.TypeReg:
			err = untarFile(root, name, tr)
		}
		if err != nil {
			return err
		}
	}
}

func untarFile(root *os.Root, name string, r io.Reader) error {
	f, err := root.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// download gets a file of the archive ("debian" or "debian-security") from the
// first mirror that has it.
func download(archive, rel string) ([]byte, error) {
	var errs []error
	for _, base := range mirrors() {
		b, err := get(base + "/" + archive + "/" + rel)
		if err == nil {
			return b, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func get(url string) ([]byte, error) {
	client := http.Client{Timeout: 10 * time.Minute, Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: time.Minute,
	}}
	resp, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// mirrors returns the roots of the Debian mirrors in the host's APT sources,
// and the one that everybody knows.
func mirrors() []string {
	var list []string
	files, _ := filepath.Glob("/etc/apt/sources.list.d/*")
	for _, file := range append(files, "/etc/apt/sources.list") {
		b, _ := os.ReadFile(file)
		for _, word := range strings.Fields(string(b)) {
			base, ok := strings.CutSuffix(strings.TrimSuffix(word, "/"), "/debian")
			if ok && strings.HasPrefix(base, "http") && !slices.Contains(list, base) {
				list = append(list, base)
			}
		}
	}
	return append(list, "http://ftp.debian.org")
}
