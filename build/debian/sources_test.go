package debian

import (
	"bytes"
	"encoding/hex"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
)

func TestHostMirrors(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  Mirrors
	}{
		{"none", nil, Mirrors{}},
		{"one-line", map[string]string{"sources.list": `# comment
deb http://mirror.example/debian bookworm main contrib
deb-src http://src.example/debian bookworm main
deb	[arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]	http://two.example/pub/debian/  trixie main # why
deb http://security.debian.org/ bookworm/updates main
deb http://sec.example/debian-security bookworm-security main
deb http://mirror.example/debian bookworm-updates main
# deb http://off.example/debian bookworm main
deb [broken http://bad.example/debian bookworm main
deb http://short.example/debian bookworm
`}, Mirrors{
			Main:     []string{"http://mirror.example/debian", "http://two.example/pub/debian", "http://ftp.debian.org/debian"},
			Security: []string{"http://security.debian.org", "http://sec.example/debian-security", "http://ftp.debian.org/debian-security"},
		}},
		{"deb822", map[string]string{"sources.list.d/debian.sources": `Types: deb deb-src
# http://snapshot.debian.org/archive/debian/20250520T000000Z
URIs: http://a.example/debian
  https://b.example/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

types: deb
uris: http://proxy.example:3142/sec.example/debian-security
suites: bookworm-security
components: main non-free-firmware

Types: deb
URIs: http://off.example/debian
Suites: x
Components: main
Enabled: no
`}, Mirrors{
			Main:     []string{"http://a.example/debian", "https://b.example/debian", "http://ftp.debian.org/debian"},
			Security: []string{"http://proxy.example:3142/sec.example/debian-security", "http://ftp.debian.org/debian-security"},
		}},
		{"others", map[string]string{
			"sources.list.d/docker.list":    "deb [arch=amd64] https://download.docker.example/linux/debian bookworm stable\n",
			"sources.list.d/vpn.list":       "deb [signed-by=/usr/share/keyrings/vpn-archive-keyring.gpg] https://pkgs.vpn.example/stable/debian bookworm main\n",
			"sources.list.d/ubuntu.list":    "deb http://archive.ubuntu.example/ubuntu noble main\n",
			"sources.list.d/schemes.list":   "deb cdrom:[Debian]/ bookworm main\ndeb file:///srv/debian bookworm main\ndeb mirror+file:/etc/apt/mirrors/debian.list bookworm main\ndeb tor+http://x.onion/debian bookworm main\n",
			"sources.list.d/snapshot.list":  "deb http://snapshot.example/archive/debian/20250520T000000Z bookworm main\n",
			"sources.list.d/broken.sources": "Types deb\n",
			"sources.list.d/ignored.txt":    "deb http://ignored.example/debian bookworm main\n",
		}, Mirrors{}},
		{"inline key", map[string]string{"sources.list.d/d.sources": "Types: deb\nURIs: http://a.example/debian\nSuites: x\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n x\n"},
			Mirrors{
				Main:     []string{"http://a.example/debian", "http://ftp.debian.org/debian"},
				Security: []string{"http://a.example/debian-security", "http://ftp.debian.org/debian-security"},
			}},
		{"debootstrap", map[string]string{"sources.list": "deb http://ftp.debian.org/debian trixie main\n"},
			Mirrors{Main: []string{"http://ftp.debian.org/debian"}, Security: []string{"http://ftp.debian.org/debian-security"}}},
		{"security alone", map[string]string{"sources.list": "deb http://security.debian.org/debian-security trixie-security main\n"},
			Mirrors{Security: []string{"http://security.debian.org/debian-security", "http://ftp.debian.org/debian-security"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fsys := fstest.MapFS{}
			for name, text := range tt.files {
				fsys["etc/apt/"+name] = &fstest.MapFile{Data: []byte(text)}
			}
			got := HostMirrors(fsys)
			wantLines(t, got.Main, tt.want.Main)
			wantLines(t, got.Security, tt.want.Security)
		})
	}
	if got := (Mirrors{}).Base(SecurityArchive); !slices.Equal(got, []string{"http://ftp.debian.org/debian-security"}) {
		t.Errorf("default is %v", got)
	}
}

func TestParseMirror(t *testing.T) {
	for in, want := range map[string]string{
		"http://m.example/debian/":   "http://m.example/debian http://m.example/debian-security http://ftp.debian.org/debian-security",
		"https://m.example/a/debian": "https://m.example/a/debian https://m.example/a/debian-security http://ftp.debian.org/debian-security",
		"http://m.example/trixie":    "http://m.example/trixie http://ftp.debian.org/debian-security",
	} {
		m, err := ParseMirror(in)
		if got := strings.Join(append(m.Main, m.Security...), " "); err != nil || got != want {
			t.Errorf("%s gives %s, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "mirror.example/debian", "ftp://m.example/debian", "/srv/debian", "http://"} {
		if _, err := ParseMirror(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// TestArchiveKeys compares the keys that hooksmith ships with the table in
// their README.
func TestArchiveKeys(t *testing.T) {
	dir := os.DirFS("../../configs/keyrings")
	ring, err := ReadKeyring(dir)
	if err != nil {
		t.Fatal(err)
	}
	readme, err := fs.ReadFile(dir, "README.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range ring.keys {
		got = append(got, strings.ToUpper(hex.EncodeToString(e.PrimaryKey.Fingerprint)))
		for _, sub := range e.Subkeys {
			got = append(got, strings.ToUpper(hex.EncodeToString(sub.PublicKey.Fingerprint)))
		}
		if _, ok := e.SigningKey(testNow); !ok {
			t.Errorf("key %v cannot sign on %s", e.PrimaryKey.KeyIdString(), testNow)
		}
	}
	want := regexp.MustCompile("[0-9A-F]{40}").FindAllString(string(readme), -1)
	slices.Sort(got)
	slices.Sort(want)
	wantLines(t, got, want)
}

func TestReadKeyring(t *testing.T) {
	key := newTestKey(t, "k")
	var raw, armored bytes.Buffer
	if err := key.Serialize(&raw); err != nil {
		t.Fatal(err)
	}
	w, _ := armor.Encode(&armored, openpgp.PublicKeyType, nil)
	key.Serialize(w)
	w.Close()
	for name, data := range map[string][]byte{"a.gpg": raw.Bytes(), "a.asc": armored.Bytes()} {
		ring, err := ReadKeyring(fstest.MapFS{name: {Data: data}, "README": {Data: []byte("x")}})
		if err != nil || len(ring.Fingerprints()) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := ReadKeyring(fstest.MapFS{"README": {}})
	wantError(t, err, "no archive keys")
	_, err = ReadKeyring(fstest.MapFS{"bad.asc": {Data: []byte("x")}})
	wantError(t, err, "bad.asc")
}

// TestVerifyExpiredKey: a key whose time is over vouches for nothing.
func TestVerifyExpiredKey(t *testing.T) {
	ring, err := ReadKeyring(os.DirFS("../../configs/keyrings"))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := os.ReadFile("testdata/InRelease.trixie-updates")
	if err != nil {
		t.Fatal(err)
	}
	if _, signers, err := ring.verify(signed, testNow); err != nil || len(signers) != 2 {
		t.Errorf("genuine release file: signed by %v, %v", signers, err)
	}
	_, _, err = ring.verify(signed, time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC))
	wantError(t, err, "expired")
	_, _, err = ring.verify(signed, time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	wantError(t, err, "in the future", "clock")
}
