package kernelsource_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/spf13/pflag"

	"hooksmith/build/fetch"
	"hooksmith/cmd/hooksmith/internal/kernelsource"
	"hooksmith/configs"
	"hooksmith/kernel/source"
)

// kernelTar is the smallest tar that is a kernel.
func kernelTar(t testing.TB, version string) []byte {
	t.Helper()
	v := strings.SplitN(version, ".", 3)
	makefile := fmt.Sprintf("VERSION = %s\nPATCHLEVEL = %s\nSUBLEVEL = %s\nEXTRAVERSION =\n", v[0], v[1], v[2])
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []*tar.Header{
		{Name: "linux-" + version + "/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "linux-" + version + "/Makefile", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(makefile))},
	} {
		must(t, w.WriteHeader(h))
		if h.Size > 0 {
			_, err := io.WriteString(w, makefile)
			must(t, err)
		}
	}
	must(t, w.Close())
	return b.Bytes()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// site is a kernel.org with one release, and the key that has signed it.
type site struct {
	url, keyring string
	hits         atomic.Int32
}

func newSite(t *testing.T, version string) *site {
	t.Helper()
	key, err := openpgp.NewEntity("test", "", "test@test", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	must(t, err)
	plain := kernelTar(t, version)
	var packed, signature, sums, public bytes.Buffer
	z := gzip.NewWriter(&packed) // whatever the name says, the magic counts
	_, err = z.Write(plain)
	must(t, err)
	must(t, z.Close())
	must(t, openpgp.ArmoredDetachSign(&signature, key, bytes.NewReader(plain), nil))
	w, err := clearsign.Encode(&sums, key.PrivateKey, nil)
	must(t, err)
	_, err = fmt.Fprintf(w, "%s  linux-%s.tar.xz\n", sum(packed.Bytes()), version)
	must(t, err)
	must(t, w.Close())
	must(t, key.Serialize(&public))

	s := &site{keyring: filepath.Join(t.TempDir(), "keys.gpg")}
	must(t, os.WriteFile(s.keyring, public.Bytes(), 0o644))
	dir := "/pub/linux/kernel/v" + version[:1] + ".x/"
	files := map[string][]byte{
		"/releases.json":                        []byte(`{"releases": [{"version": "` + version + `"}]}`),
		dir + "sha256sums.asc":                  sums.Bytes(),
		dir + "linux-" + version + ".tar.xz":    packed.Bytes(),
		dir + "linux-" + version + ".tar.sign":  signature.Bytes(),
		dir + "linux-" + version + "-x.tar.xz":  packed.Bytes(),
		"/elsewhere/linux-" + version + ".tgz":  packed.Bytes(),
		"/elsewhere/linux-" + version + ".html": []byte("<html>"),
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		if b, ok := files[r.URL.Path]; ok {
			_, _ = w.Write(b)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func TestFlags(t *testing.T) {
	s := newSite(t, "6.6.107")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write(kernelTar(t, "6.6.107"))
	must(t, err)
	must(t, z.Close())
	local := filepath.Join(t.TempDir(), "linux.tar.gz")
	must(t, os.WriteFile(local, packed.Bytes(), 0o644))
	elsewhere := s.url + "/elsewhere/linux-6.6.107.tgz"
	for _, tt := range []struct {
		name, series, point string
		args                []string
		env                 string
		want                []string // of the error
	}{
		{name: "kernel.org is the default", series: "6.6"},
		{name: "by the environment", series: "6.6", env: s.url},
		{name: "pinned by number", series: "6.6", point: "107"},
		{name: "pinned", series: "6.6", point: "6.6.107"},
		{name: "pinned to another", series: "6.6", point: "6.6.9", want: []string{"linux-6.6.9.tar.xz"}},
		{name: "pinned to another series", series: "6.6", point: "5.10.9", want: []string{"KERNEL_POINT_RELEASE=5.10.9", "6.6"}},
		{name: "a release", series: "6.6", args: []string{"--source", "6.6.107"}},
		{name: "a release of another series", series: "6.12", args: []string{"--source", "6.6.107"}, want: []string{"6.6.107", "6.12"}},
		{name: "kernel.org without a series", args: []string{"--source", "kernel.org"}, want: []string{"--source 6.6.107"}},
		{name: "Debian without a series", args: []string{"--source", "debian"}, want: []string{"which kernel"}},
		{name: "tar", series: "6.6", args: []string{"--source", local}},
		{name: "tar with its hash", series: "6.6", args: []string{"--source", local, "--source-sha256", "sha256:" + strings.ToUpper(sum(packed.Bytes()))}},
		{name: "tar with another hash", series: "6.6", args: []string{"--source", local, "--source-sha256", sum(nil)}, want: []string{"linux.tar.gz", sum(nil)}},
		{name: "hash of a folder", series: "6.6", args: []string{"--source", filepath.Dir(local), "--source-sha256", sum(nil)}, want: []string{"--source-sha256"}},
		{name: "tar of another series", series: "6.12", args: []string{"--source", local}, want: []string{"linux.tar.gz", "6.6.107", "6.12"}},
		{name: "tar, and pinned to another", series: "6.6", point: "9", args: []string{"--source", local}, want: []string{"6.6.9", "6.6.107"}},
		{name: "URL with its hash", series: "6.6", args: []string{"--source", elsewhere, "--source-sha256", sum(packed.Bytes())}},
		{name: "URL with another hash", series: "6.6", args: []string{"--source", elsewhere, "--source-sha256", sum([]byte("x"))}, want: []string{"another file", "linux-6.6.107.tgz"}},
		{name: "URL of a page", series: "6.6", args: []string{"--source", s.url + "/elsewhere/linux-6.6.107.html", "--source-sha256", sum([]byte("<html>"))}, want: []string{"web page"}},
		{name: "URL without proof", series: "6.6", args: []string{"--source", elsewhere}, want: []string{"--source-sha256"}},
		{name: "URL like kernel.org's", series: "6.6", args: []string{"--source", s.url + "/pub/linux/kernel/v6.x/linux-6.6.107.tar.xz"}},
		{name: "nothing there", series: "6.6", args: []string{"--source", "/nonexistent"}, want: []string{"/nonexistent"}},
		{name: "no keyring", series: "6.6", args: []string{"--keyring", "/nonexistent"}, want: []string{"--keyring", "/nonexistent"}},
		{name: "bad mirror", series: "6.6", args: []string{"--kernel-org", "mirror"}, want: []string{"mirror", "URL"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var f kernelsource.Flags
			flags := pflag.NewFlagSet("x", pflag.ContinueOnError)
			f.Add(flags)
			args := append([]string{"--keyring", s.keyring}, tt.args...)
			if tt.env == "" {
				args = append([]string{"--kernel-org", s.url}, args...)
			}
			must(t, flags.Parse(args))
			env := kernelsource.Env{
				Series: tt.series, Point: tt.point, Configs: configs.FS,
				Cache:  &fetch.Cache{Dir: t.TempDir(), Retries: 1, Backoff: time.Millisecond},
				Getenv: func(name string) string { return map[string]string{kernelsource.EnvKernelOrg: tt.env}[name] },
			}
			asked := s.hits.Load()
			src, err := f.Open(t.Context(), env)
			if tt.name == "a release of another series" && s.hits.Load() != asked {
				t.Error("kernel.org was asked for what is wrong anyway")
			}
			if tt.want != nil {
				for _, want := range tt.want {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("error %v lacks %q", err, want)
					}
				}
				return
			}
			must(t, err)
			readAll(t, src)
			if src.Version() != "6.6.107" || src.Hash() != sum(packed.Bytes()) {
				t.Errorf("%s %s %s", src, src.Version(), src.Hash())
			}
			// Offline, all comes from the cache.
			before := s.hits.Load()
			env.Cache = &fetch.Cache{Dir: env.Cache.Dir, Offline: true}
			src, err = f.Open(t.Context(), env)
			must(t, err)
			readAll(t, src)
			if s.hits.Load() != before {
				t.Error("offline, and the network was used")
			}
		})
	}
}

func readAll(t *testing.T, s source.Source) {
	t.Helper()
	r, err := s.Tar(t.Context())
	must(t, err)
	defer r.Close()
	if n, err := io.Copy(io.Discard, r); err != nil || n < 1024 {
		t.Fatalf("%d bytes, %v", n, err)
	}
}

// Without --keyring only the shipped keys count.
func TestUnknownKey(t *testing.T) {
	s := newSite(t, "6.6.107")
	f := kernelsource.Flags{KernelOrg: s.url}
	_, err := f.Open(t.Context(), kernelsource.Env{Series: "6.6", Configs: configs.FS, Cache: &fetch.Cache{Dir: t.TempDir(), Retries: 1}})
	if err == nil || !strings.Contains(err.Error(), "--keyring") || !strings.Contains(err.Error(), "not among those that are trusted") {
		t.Errorf("%v", err)
	}
}

func TestPatchesAndModules(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	const diff = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"
	f := kernelsource.Flags{Patches: []string{write("2.patch", diff), write("1.patch", diff)}, Externals: []string{filepath.Dir(write("ice-2.4.5/src/Makefile", "x"))}}
	patches, err := f.OpenPatches()
	if err != nil || len(patches) != 2 || filepath.Base(patches[0].Name) != "2.patch" {
		t.Errorf("%v, %v", patches, err)
	}
	modules, err := f.OpenExternals(t.Context())
	if err != nil || len(modules) != 1 || modules[0].Name != "ice" || modules[0].Version != "2.4.5" || modules[0].Dir != "." {
		t.Errorf("%+v, %v", modules, err)
	}
	f.Externals = append(f.Externals, filepath.Dir(write("b/ice-9/Makefile", "x")))
	if _, err := f.OpenExternals(t.Context()); err == nil || !strings.Contains(err.Error(), "another one called ice") {
		t.Errorf("two of a name: %v", err)
	}
	f.Patches = append(f.Patches, write("3.patch", "rubbish"), "/nonexistent")
	if _, err := f.OpenPatches(); err == nil || !strings.Contains(err.Error(), "3.patch") {
		t.Errorf("rubbish: %v", err)
	}
}
