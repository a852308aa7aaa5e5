package check_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hooksmith/build"
	"hooksmith/publish/check"
	"hooksmith/publish/sign"
)

func TestTLS(t *testing.T) {
	server := httptest.NewTLSServer(handler(files(t)))
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	_, port, _ := strings.Cut(strings.TrimPrefix(server.URL, "https://"), ":")
	for _, tt := range []struct {
		name, target, fail, says string
		opt                      check.Options
	}{
		{name: "good", target: server.URL, opt: check.Options{Roots: roots}},
		{name: "unknown", target: server.URL, opt: check.Options{Roots: x509.NewCertPool()}, fail: "tls.certificate", says: "--cacert"},
		{name: "expired", target: server.URL, opt: check.Options{Roots: roots, Now: server.Certificate().NotAfter.Add(time.Hour)}, fail: "tls.certificate", says: "renew it"},
		{name: "another name", target: "https://localhost:" + port, opt: check.Options{Roots: roots}, fail: "tls.certificate", says: "not for localhost"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := run(t, tt.target+"/hook", tt.opt)
			got := strings.Join(of(r, check.Fail), " ")
			if got != tt.fail || !strings.Contains(text(r), tt.says) || !slices.Contains(of(r, check.Pass), "initramfs") {
				t.Errorf("failed %q\n%s", got, text(r))
			}
		})
	}
	soon := run(t, server.URL+"/hook", check.Options{Roots: roots, Now: server.Certificate().NotAfter.Add(-time.Hour)})
	if !slices.Contains(of(soon, check.Warn), "tls.certificate") {
		t.Errorf("%s", text(soon))
	}
}

func TestSignature(t *testing.T) {
	public, private, err := sign.Generate(rand.Reader, "")
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := sign.Generate(rand.Reader, "")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "key")
	if err := os.WriteFile(keyFile, private, 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := sign.ReadPrivateKey(keyFile, nil)
	if err != nil {
		t.Fatal(err)
	}
	set := files(t)
	if set[sign.Name], err = sign.Sign(key, set[build.ManifestName], nil, time.Unix(1700000000, 0)); err != nil {
		t.Fatal(err)
	}
	unsigned := files(t)
	forged := files(t)
	forged[sign.Name] = set[sign.Name]
	forged[build.ManifestName] = append(slices.Clone(forged[build.ManifestName]), '\n')
	for _, tt := range []struct {
		name string
		set  map[string][]byte
		key  []byte
		fail string
	}{
		{"good", set, public, ""}, {"other key", set, other, "hashes"}, {"not signed", unsigned, public, "hashes"}, {"forged", forged, public, "hashes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(handler(tt.set))
			defer server.Close()
			pub, err := sign.ParsePublicKey(tt.key)
			if err != nil {
				t.Fatal(err)
			}
			local := t.TempDir()
			for name, b := range tt.set {
				if err := os.WriteFile(filepath.Join(local, name), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for _, target := range []string{server.URL + "/hook", local} {
				r := run(t, target, check.Options{Key: pub})
				if got := strings.Join(of(r, check.Fail), " "); got != tt.fail || slices.Contains(of(r, check.Pass), "signature") != (tt.fail == "") {
					t.Errorf("%s: failed %q\n%s", target, got, text(r))
				}
			}
		})
	}
}

func TestISO(t *testing.T) {
	image := make([]byte, 64<<10)
	copy(image[16*2048:], "\x01CD001")
	copy(image[17*2048:], "\x00CD001\x01EL TORITO SPECIFICATION")
	copy(image[50000:], "464vn90e7rbj08xbwdjejmdf4it17c5z")
	broken := func(at int) []byte {
		b := bytes.Clone(image)
		b[at] ^= 0xff
		return b
	}
	for _, tt := range []struct {
		name  string
		image []byte
		serve func(http.HandlerFunc) http.HandlerFunc
		fail  string
	}{
		{name: "good", image: image},
		{name: "no volume", image: broken(16*2048 + 1), fail: "iso.format"},
		{name: "no boot record", image: broken(17*2048 + 9), fail: "iso.format"},
		{name: "no placeholder", image: broken(50001), fail: "iso.arguments"},
		{name: "no ranges", image: image, fail: "iso.range", serve: func(good http.HandlerFunc) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) { r.Header.Del("Range"); good(w, r) }
		}},
		{name: "redirect", image: image, fail: "iso.redirect", serve: func(good http.HandlerFunc) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if !strings.Contains(r.URL.Path, "/real-") {
					http.Redirect(w, r, "/hook/real-hook.iso", http.StatusMovedPermanently)
					return
				}
				r.URL.Path = "/hook/hook.iso"
				good(w, r)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := handler(map[string][]byte{"hook.iso": tt.image})
			if tt.serve != nil {
				h = tt.serve(h)
			}
			server := httptest.NewServer(h)
			defer server.Close()
			r := run(t, server.URL+"/hook/hook.iso", check.Options{})
			if got := strings.Join(of(r, check.Fail), " "); got != tt.fail {
				t.Errorf("failed %q\n%s", got, text(r))
			}
		})
	}
}
