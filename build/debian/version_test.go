package debian

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
)

// TestVersions guards the caches: layers are kept under names that know
// nothing of the code that made them but its version. If this fails on
// purpose, raise transformVersion or topVersion and put the new hash here.
func TestVersions(t *testing.T) {
	deb := debOf(t, "foo", "1", "amd64",
		entry{name: "./bin/"}, entry{name: "./bin/a", body: "a", mode: 0o755}, entry{name: "./sbin/b", link: "../usr/lib/b"},
		entry{name: "./usr/share/doc/foo/copyright", body: "free"}, entry{name: "./usr/c", kind: '1', link: "./bin/a"})
	layer, err := layerOf(packageOf("foo", "1", "amd64", deb), deb).DiffID()
	if err != nil {
		t.Fatal(err)
	}
	img, err := planOf(t, testImage).Image(second(testPackages(t)))
	if err != nil {
		t.Fatal(err)
	}
	top, err := img.layers[len(img.layers)-1].DiffID()
	if err != nil {
		t.Fatal(err)
	}
	for version, content := range map[string]string{
		"transform 1 efea51029d52": strings.Join(trims, "\n") + layer.Hex,
		"top 1 f5be3952aec6":       top.Hex,
	} {
		f := strings.Fields(version)
		now := map[string]string{"transform": transformVersion, "top": topVersion}[f[0]]
		if got := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))[:12]; got != f[2] || now != f[1] {
			t.Errorf("%s %s makes %s, version %s made %s", f[0], now, got, f[1], f[2])
		}
	}
}

func second[A, B any](_ A, b B) B { return b }
