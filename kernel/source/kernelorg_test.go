package source_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"

	"hooksmith/configs"
	"hooksmith/kernel/source"
)

const releasesJSON = `{"latest_stable": {"version": "6.17.8"}, "releases": [
  {"iseol": false, "version": "6.18-rc6", "moniker": "mainline"}, {"iseol": false, "version": "6.17.8", "moniker": "stable"},
  {"iseol": false, "version": "6.6.9", "moniker": "longterm"}, {"iseol": false, "version": "6.6.117", "moniker": "longterm"},
  {"version": "next-20261120", "moniker": "linux-next"}]}`

// site is a kernel.org with keys of its own.
type site struct {
	developer, autosigner *openpgp.Entity
	files                 map[string][]byte
	tar                   []byte // uncompressed, 6.6.117
}

func newSite(t testing.TB) *site {
	s := &site{developer: newKey(t, "developer", now.AddDate(-5, 0, 0), 0), autosigner: newKey(t, "autosigner", now.AddDate(-5, 0, 0), 0)}
	s.tar = makeTar(t, tree("linux-6.6.117", "6.6.117"))
	packed := by(t, "xz", s.tar)
	old := makeTar(t, tree("linux-6.1", "6.1.0"))
	oldPacked := by(t, "xz", old)
	sums := fmt.Sprintf("%s  linux-6.6.117.tar.xz\n%s  linux-6.1.tar.xz\n%s  linux-6.6.9.tar.xz\n%s  patch-6.6.117.xz\n", sha(packed), sha(oldPacked), sha(nil), sha(nil))
	s.files = map[string][]byte{
		"/releases.json": []byte(releasesJSON),
		"/pub/linux/kernel/v6.x/linux-6.6.117.tar.xz":       packed,
		"/pub/linux/kernel/v6.x/linux-6.6.117.tar.sign":     sign(t, s.developer, s.tar, now.AddDate(0, 0, -3)),
		"/pub/linux/kernel/v6.x/linux-6.1.tar.xz":           oldPacked,
		"/pub/linux/kernel/v6.x/linux-6.1.tar.sign":         sign(t, s.developer, old, now.AddDate(-2, 0, 0)),
		"/pub/linux/kernel/v6.x/sha256sums.asc":             clearSign(t, s.autosigner, []byte(sums)),
		"/pub/linux/kernel/v6.x/linux-6.6.9.tar.sign":       sign(t, s.developer, s.tar, now),
		"/pub/linux/kernel/v6.x/empty/nothing-of-interest":  nil,
		"/pub/linux/kernel/v6.x/linux-6.6.117.tar.xz.other": nil,
	}
	return s
}

const dir6 = "/pub/linux/kernel/v6.x/"

func (s *site) open(t testing.TB, version string, keys *source.Keyring) ([]string, source.Source, error) {
	t.Helper()
	opt := source.KernelOrgOptions{Base: kernelOrg(t, s.files), Fetch: &fetcher{}, Keys: keys, Now: func() time.Time { return now }}
	src, err := source.KernelOrg(t.Context(), version, opt)
	if err != nil {
		return nil, nil, err
	}
	got, err := read(t, src.Tar)
	return got, src, err
}

func TestKernelOrg(t *testing.T) {
	s := newSite(t)
	keys := keyring(t, public(t, s.developer))
	all := keyring(t, public(t, s.developer), public(t, s.autosigner))
	for _, tt := range []struct{ version, want string }{
		{"6.6", "6.6.117"}, {"6.6.y", "6.6.117"}, {"6.6.117", "6.6.117"}, {"6.1.0", "6.1.0"},
		{"6.1", "6.1.0"}, // not in releases.json any more
	} {
		for _, k := range []*source.Keyring{keys, all} {
			got, src, err := s.open(t, tt.version, k)
			if err != nil {
				t.Errorf("%s: %v", tt.version, err)
				continue
			}
			if src.Version() != tt.want || len(src.Hash()) != 64 || !strings.HasSuffix(src.String(), ".tar.xz") {
				t.Errorf("%s: %s %s", tt.version, src, src.Version())
			}
			if want := strings.ReplaceAll(strings.Join(wantTree, "|"), makefile("6.12.48"), makefile(tt.want)); strings.Join(got, "|") != want {
				t.Errorf("%s: %q", tt.version, got)
			}
		}
	}
}

func TestKernelOrgRefuses(t *testing.T) {
	good := newSite(t)
	stranger := newKey(t, "stranger", now.AddDate(-5, 0, 0), 0)
	expired := newKey(t, "expired", now.AddDate(-3, 0, 0), 365*24*time.Hour)
	evil := makeTar(t, append(tree("linux-6.6.117", "6.6.117"), member{name: "linux-6.6.117/evil", body: "x"}))
	evilPacked := by(t, "xz", evil)
	replace := func(name string, content []byte) func(*site) {
		return func(s *site) { s.files[dir6+name] = content }
	}
	evilSums := []byte(sha(evilPacked) + "  linux-6.6.117.tar.xz\n")
	both := keyring(t, public(t, good.developer), public(t, good.autosigner))
	for _, tt := range []struct {
		name, version string
		change        func(*site)
		keys          *source.Keyring
		want          []string
	}{
		{"unknown key", "6.6.117", func(*site) {}, keyring(t, public(t, stranger)), []string{"not among those that are trusted", "--keyring", fmt.Sprintf("%X", good.developer.PrimaryKey.KeyId)}},
		{"signed by a stranger", "6.6.117", replace("linux-6.6.117.tar.sign", sign(t, stranger, good.tar, now)), nil, []string{"not among those that are trusted"}},
		{"signature of another tar", "6.6.117", replace("linux-6.6.117.tar.sign", sign(t, good.developer, evil, now)), nil, []string{"linux-6.6.117.tar.xz", "signature"}},
		{"expired key", "6.6.117", replace("linux-6.6.117.tar.sign", sign(t, expired, good.tar, now.AddDate(-2, -6, 0))), keyring(t, public(t, expired)), []string{"has expired"}},
		{"signed in the future", "6.6.117", replace("linux-6.6.117.tar.sign", sign(t, good.developer, good.tar, now.AddDate(1, 0, 0))), nil, []string{"future", "clock"}},
		{"page for a signature", "6.6.117", replace("linux-6.6.117.tar.sign", []byte("<html>")), nil, []string{"web page"}},
		{"rubbish for a signature", "6.6.117", replace("linux-6.6.117.tar.sign", []byte("-----BEGIN PGP SIGNATURE-----\n\nxxxx")), nil, []string{"signature"}},
		{"no signature", "6.6.117", func(s *site) { delete(s.files, dir6+"linux-6.6.117.tar.sign") }, nil, []string{"404", "its signature"}},
		{"another tar", "6.6.117", replace("linux-6.6.117.tar.xz", evilPacked), nil, []string{"another file"}},
		{"another tar, and sums by nobody", "6.6.117", func(s *site) {
			s.files[dir6+"linux-6.6.117.tar.xz"] = evilPacked
			s.files[dir6+"sha256sums.asc"] = clearSign(t, stranger, evilSums)
		}, nil, []string{"signature", "linux-6.6.117"}},
		{"sums changed after they were signed", "6.6.117", func(s *site) {
			s.files[dir6+"sha256sums.asc"] = bytes.Replace(s.files[dir6+"sha256sums.asc"], []byte(sha(nil)), []byte(sha([]byte("x"))), 1)
		}, both, []string{"sha256sums.asc", "does not fit"}},
		{"page for sums", "6.6.117", replace("sha256sums.asc", []byte("<html>")), nil, []string{"not a clear-signed file"}},
		{"text after the sums", "6.6.117", func(s *site) { s.files[dir6+"sha256sums.asc"] = append(s.files[dir6+"sha256sums.asc"], "more"...) }, nil, []string{"not a clear-signed file"}},
		{"page for releases", "6.6", func(s *site) { s.files["/releases.json"] = []byte("<html>") }, nil, []string{"releases.json", "web page"}},
		{"empty releases", "6.6", func(s *site) { s.files["/releases.json"] = []byte("{}") }, nil, []string{"no releases"}},
		{"no releases", "6.6", func(s *site) { delete(s.files, "/releases.json") }, nil, []string{"404", "KERNEL_POINT_RELEASE"}},
		{"no such series", "6.99", func(*site) {}, nil, []string{"no kernel 6.99"}},
		{"no such release", "6.6.999", func(*site) {}, nil, []string{"has no linux-6.6.999.tar.xz"}},
		{"no version", "six", func(*site) {}, nil, []string{"want a release"}},
		{"another version inside", "6.6.9", func(s *site) {
			packed := s.files[dir6+"linux-6.6.117.tar.xz"]
			s.files[dir6+"linux-6.6.9.tar.xz"] = packed
			s.files[dir6+"sha256sums.asc"] = clearSign(t, s.autosigner, []byte(sha(packed)+"  linux-6.6.9.tar.xz\n"))
		}, nil, []string{"Linux 6.6.117", "should be 6.6.9"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &site{developer: good.developer, autosigner: good.autosigner, files: maps.Clone(good.files), tar: good.tar}
			tt.change(s)
			keys := tt.keys
			if keys == nil {
				keys = keyring(t, public(t, s.developer))
			}
			_, _, err := s.open(t, tt.version, keys)
			wantError(t, err, tt.want...)
		})
	}
}

func TestSignedURL(t *testing.T) {
	s := newSite(t)
	base := kernelOrg(t, s.files)
	opt := source.KernelOrgOptions{Fetch: &fetcher{}, Keys: keyring(t, public(t, s.developer)), Now: func() time.Time { return now }}
	src, err := source.SignedURL(t.Context(), base+dir6+"linux-6.6.117.tar.xz", opt)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, src.Tar); err != nil || src.Version() != "6.6.117" {
		t.Errorf("%s: %v", src.Version(), err)
	}
	for _, name := range []string{"linux.tar.gz", "v6.6.117.tar.gz", "linux-6.6.117.zip", "linux-6.1.0.tar.xz"} {
		_, err := source.SignedURL(t.Context(), base+dir6+name, opt)
		wantError(t, err, name)
	}
}

// TestShippedKeys reads the README's table of keys against the file.
func TestShippedKeys(t *testing.T) {
	data, err := fs.ReadFile(configs.FS, "keyrings/kernel/kernel.org-developers.asc")
	must(t, err)
	readme, err := os.ReadFile("../../configs/keyrings/kernel/README.md")
	must(t, err)
	var listed []string
	for _, m := range regexp.MustCompile("`([0-9A-F]{40})`").FindAllSubmatch(readme, -1) {
		listed = append(listed, string(m[1]))
	}
	got := keyring(t, data).Fingerprints()
	if !slices.Equal(got, listed) {
		t.Errorf("keys %v, README %v", got, listed)
	}
	block, err := armor.Decode(bytes.NewReader(data))
	must(t, err)
	entities, err := openpgp.ReadKeyRing(block.Body)
	must(t, err)
	for _, e := range entities {
		if _, ok := e.SigningKey(now); !ok {
			t.Errorf("%X cannot sign", e.PrimaryKey.Fingerprint)
		}
	}
}

func TestKeyringRefuses(t *testing.T) {
	for name, data := range map[string][]byte{"empty": nil, "text": []byte("hello"), "page": []byte("<html>"), "armor": []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxxxx\n")} {
		if err := (&source.Keyring{}).Add(name, data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestPointRelease(t *testing.T) {
	for value, want := range map[string]string{"107": "6.6.107", "6.6.107": "6.6.107", "6.6": "6.6.0", "5.10.3": "", "x": "", "6.6.107-rc1": "", "": ""} {
		if got, err := source.PointRelease("6.6", value); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", value, got, err)
		}
	}
}
