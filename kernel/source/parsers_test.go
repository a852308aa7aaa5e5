package source

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestSums(t *testing.T) {
	a, b := strings.Repeat("a", 64), strings.Repeat("b", 64)
	sums, err := parseSums([]byte(a + "  linux-6.6.9.tar.xz\n" + b + " *linux-6.6.10.tar.xz\r\n\n" + b + "  linux-6.6.11.tar.gz\n" + b + "  linux-6.6.8-rc1.tar.xz\n"))
	if err != nil || len(sums) != 4 || sums["linux-6.6.9.tar.xz"] != a || sums["linux-6.6.10.tar.xz"] != b {
		t.Errorf("%v, %v", sums, err)
	}
	if r, ok := newestOf(sums, "6.6"); !ok || r.String() != "6.6.10" {
		t.Errorf("newest: %s", r)
	}
	for _, text := range []string{"x", a + "  a/b", a, a + "  x\n" + b + "  x", strings.ToUpper(a) + "  x", strings.Repeat("x", 1<<17)} {
		if _, err := parseSums([]byte(text)); err == nil {
			t.Errorf("%.80q: no error", text)
		}
	}
}

func FuzzSums(f *testing.F) {
	f.Add([]byte(strings.Repeat("a", 64) + "  linux-6.6.9.tar.xz\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		sums, err := parseSums(text)
		if err != nil {
			return
		}
		for name, sum := range sums {
			if !validSHA256(sum) || strings.Contains(name, "/") {
				t.Errorf("%q: %q", name, sum)
			}
		}
		newestOf(sums, "6.6")
	})
}

// FuzzClearText: what is taken for clear-signed is bounded text, and never
// believed without a key.
func FuzzClearText(f *testing.F) {
	f.Add([]byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nx\n-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, signer, err := (&Keyring{}).clearText(data, time.Unix(1e9, 0))
		if signer != "" || (err == nil && len(text) > 2*len(data)) {
			t.Errorf("%q by %q", text, signer)
		}
		if _, err := NewProof(&Keyring{}, data, time.Unix(1e9, 0)); err == nil {
			t.Error("a proof without keys")
		}
	})
}

func FuzzReleases(f *testing.F) {
	f.Add([]byte(`{"releases": [{"version": "6.6.9"}, {"version": "6.6.117"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, ok, err := newestRelease(data, "6.6"); ok && (err != nil || r.series() != "6.6" || !bytes.Contains(data, []byte("6"))) {
			t.Errorf("%v, %v", r, err)
		}
	})
}

func TestMakefileVersion(t *testing.T) {
	for text, want := range map[string]string{
		"VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 48\nEXTRAVERSION =\n":      "6.12.48",
		"VERSION = 6\nPATCHLEVEL = 18\nSUBLEVEL = 0\nEXTRAVERSION = -rc6\n":  "6.18.0-rc6",
		"VERSION=6\nPATCHLEVEL=1\n":                                          "6.1.0",
		"VERSION = 6\n":                                                      "",
		"VERSION = 6\nPATCHLEVEL = x\n":                                      "",
		"VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 2\nEXTRAVERSION = -a b/../": "",
	} {
		if got, err := makefileVersion([]byte(text)); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}
