package debian

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/klauspost/compress/zstd"
)

// testNow is the time of all tests: the clock is an option of Open.
var testNow = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// httpFetcher is the simplest Fetcher: no cache, no retries.
type httpFetcher struct {
	mu   sync.Mutex
	urls []string // that were asked for
}

func (f *httpFetcher) get(ctx context.Context, url string, limit int64) ([]byte, error) {
	f.mu.Lock()
	f.urls = append(f.urls, url)
	f.mu.Unlock()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	return readAllBounded(resp.Body, limit, url)
}

func (f *httpFetcher) Latest(ctx context.Context, urls []string, limit int64) ([]byte, error) {
	var errs []error
	for _, u := range urls {
		b, err := f.get(ctx, u, limit)
		if err == nil {
			return b, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (f *httpFetcher) Blob(ctx context.Context, urls []string, sum string, size int64) (*os.File, error) {
	var errs []error
	for _, u := range urls {
		b, err := f.get(ctx, u, size)
		if got := sha256.Sum256(b); err == nil && hex.EncodeToString(got[:]) != sum {
			err = fmt.Errorf("%s has another hash", u)
		}
		if err == nil {
			return tempFile(b)
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func tempFile(b []byte) (*os.File, error) {
	f, err := os.CreateTemp("", "hooksmith-test")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	if _, err := f.Write(b); err != nil {
		return nil, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, err
}

// testRepo is a Debian archive in the making, served over HTTP.
type testRepo struct {
	t      *testing.T
	key    *openpgp.Entity
	signer []*openpgp.Entity // who signs; key by default
	url    string
	files  map[string][]byte     // URL path -> content
	suites map[string]*testSuite // by codename
}

type testSuite struct {
	release map[string]string // fields of Release, over the defaults
	stanzas map[string][]string
	noGzip  bool
}

func newTestKey(t *testing.T, name string) *openpgp.Entity {
	t.Helper()
	key, err := openpgp.NewEntity(name, "", name+"@example.org", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA,
		Time:      func() time.Time { return testNow.AddDate(-1, 0, 0) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newTestRepo(t *testing.T) *testRepo {
	t.Helper()
	r := &testRepo{t: t, key: newTestKey(t, "archive"), files: map[string][]byte{}, suites: map[string]*testSuite{}}
	r.signer = []*openpgp.Entity{r.key}
	for _, s := range []string{"trixie", "trixie-updates", "trixie-security"} {
		r.suites[s] = &testSuite{release: map[string]string{}, stanzas: map[string][]string{"main/binary-amd64": nil, "main/binary-arm64": nil}}
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, ok := r.files[req.URL.Path]
		if !ok {
			http.NotFound(w, req)
			return
		}
		w.Write(b)
	}))
	t.Cleanup(srv.Close)
	r.url = srv.URL
	return r
}

func (r *testRepo) mirrors() Mirrors {
	return Mirrors{Main: []string{r.url + "/debian"}, Security: []string{r.url + "/debian-security"}}
}

func (r *testRepo) keyring() *Keyring { return &Keyring{keys: openpgp.EntityList{r.key}} }

func (r *testRepo) options() Options {
	return Options{Mirrors: r.mirrors(), Keys: r.keyring(), Now: func() time.Time { return testNow }}
}

// add puts a .deb into a suite and returns its package.
func (r *testRepo) add(suite, name, version, arch string, deb []byte, extra ...string) {
	r.t.Helper()
	file := "pool/main/" + name[:1] + "/" + name + "/" + name + "_" + strings.ReplaceAll(version, ":", "%3a") + "_" + arch + ".deb"
	sum := sha256.Sum256(deb)
	stanza := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nFilename: %s\nSize: %d\nSHA256: %x\n%sDescription: test\n",
		name, version, arch, file, len(deb), sum, strings.Join(extra, ""))
	dirs := []string{"main/binary-" + arch}
	if arch == "all" {
		dirs = []string{"main/binary-amd64", "main/binary-arm64"}
	}
	s := r.suites[suite]
	for _, d := range dirs {
		s.stanzas[d] = append(s.stanzas[d], stanza)
	}
	r.files["/"+string(archiveOf(suite))+"/"+file] = deb
}

func archiveOf(suite string) Archive {
	if strings.HasSuffix(suite, "-security") {
		return SecurityArchive
	}
	return MainArchive
}

// publish writes the indices and signs the releases.
func (r *testRepo) publish() {
	r.t.Helper()
	for name, s := range r.suites {
		dist := "/" + string(archiveOf(name)) + "/dists/" + name + "/"
		var list strings.Builder
		for dir, stanzas := range s.stanzas {
			text := []byte(strings.Join(stanzas, "\n"))
			packed := gzipped(text)
			fmt.Fprintf(&list, " %x %d %s/Packages\n", sha256.Sum256(text), len(text), dir)
			if s.noGzip {
				r.files[dist+dir+"/Packages"] = text
				continue
			}
			sum := sha256.Sum256(packed)
			fmt.Fprintf(&list, " %x %d %s/Packages.gz\n", sum, len(packed), dir)
			r.files[dist+dir+"/Packages.gz"] = packed
			r.files[dist+dir+"/by-hash/SHA256/"+hex.EncodeToString(sum[:])] = packed
		}
		r.files[dist+"InRelease"] = clearSign(r.t, s.text(name, list.String()), r.signer...)
	}
}

func (s *testSuite) text(name, list string) string {
	fields := map[string]string{
		"Origin": "Debian", "Suite": strings.Replace(name, "trixie", "stable", 1), "Codename": name, "Acquire-By-Hash": "yes",
		"Date": testNow.Add(-time.Hour).Format(time.RFC1123), "Architectures": "all amd64 arm64",
		"No-Support-for-Architecture-all": "Packages", "Components": "main",
	}
	if name != "trixie" {
		fields["Valid-Until"] = testNow.Add(7 * 24 * time.Hour).Format(time.RFC1123)
	}
	for k, v := range s.release {
		fields[k] = v
	}
	var out strings.Builder
	for k, v := range fields {
		fmt.Fprintf(&out, "%s: %s\n", k, v)
	}
	return out.String() + "SHA256:\n" + list
}

func clearSign(t *testing.T, text string, keys ...*openpgp.Entity) []byte {
	t.Helper()
	var private []*packet.PrivateKey
	for _, k := range keys {
		private = append(private, k.PrivateKey)
	}
	var out bytes.Buffer
	w, err := clearsign.EncodeMulti(&out, private, &packet.Config{Time: func() time.Time { return testNow.Add(-time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func zstded(b []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	return w.EncodeAll(b, nil)
}

// entry is a tar entry of a test package: "path", "path/" or "path -> target".
type entry struct {
	name string
	body string
	kind byte // 0: by the name
	link string
	mode int64
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: e.mode, Uname: "root", Gname: "root", ModTime: testNow, Format: tar.FormatGNU}
		switch {
		case e.kind != 0:
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
		case e.link != "":
			h.Typeflag = tar.TypeSymlink
		default:
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		h.Size = int64(len(e.body))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, e.body)
	}
	w.Close()
	return out.Bytes()
}

type member struct {
	name string
	data []byte
}

func arOf(members ...member) []byte {
	out := bytes.NewBufferString(arMagic)
	for _, m := range members {
		fmt.Fprintf(out, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", m.name, 0, 0, 0, 0o100644, len(m.data))
		out.Write(m.data)
		if len(m.data)%2 == 1 {
			out.WriteByte('\n')
		}
	}
	return out.Bytes()
}

// debOf is a package with gzip archives.
func debOf(t testing.TB, name, version, arch string, entries ...entry) []byte {
	return arOf(
		member{"debian-binary", []byte("2.0\n")},
		member{"control.tar.gz", gzipped(controlOf(t, name, version, arch))},
		member{"data.tar.gz", gzipped(tarOf(t, entries...))},
	)
}

func controlOf(t testing.TB, name, version, arch string) []byte {
	text := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nDescription: test\n", name, version, arch)
	return tarOf(t, entry{name: "./"}, entry{name: "./control", body: text}, entry{name: "./md5sums"})
}

// packageOf describes a .deb as its repository would.
func packageOf(name, version, arch string, deb []byte) *Package {
	sum := sha256.Sum256(deb)
	return &Package{Name: name, Version: version, Architecture: arch, Archive: MainArchive,
		Filename: path.Join("pool", name+".deb"), Size: int64(len(deb)), SHA256: hex.EncodeToString(sum[:])}
}

// listTar returns the entries of a tar as lines: "mode uid:gid path[ -> target|=content]".
func listTar(t *testing.T, r io.Reader) []string {
	t.Helper()
	lines, err := tarLines(r)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func tarLines(r io.Reader) ([]string, error) {
	var out []string
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			rest, err := io.ReadAll(r)
			if err == nil && len(bytes.Trim(rest, "\x00")) > 0 {
				err = errors.New("data after the archive")
			}
			return out, err
		}
		if err != nil {
			return nil, err
		}
		line := fmt.Sprintf("%04o %d:%d %s", h.Mode, h.Uid, h.Gid, h.Name)
		switch h.Typeflag {
		case tar.TypeSymlink:
			line += " -> " + h.Linkname
		case tar.TypeLink:
			line += " == " + h.Linkname
		case tar.TypeReg:
			b, err := io.ReadAll(tr)
			if err != nil {
				return nil, err
			}
			line += " = " + string(b)
		}
		if h.Uname != "" || h.Gname != "" {
			line += " NAMED OWNER"
		}
		out = append(out, line)
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

func wantLines(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}
