package verify_test

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"hooksmith/build"
	"hooksmith/publish/sign"
	"hooksmith/publish/verify"
)

func newKey(t testing.TB) *sign.PrivateKey {
	t.Helper()
	_, private, err := sign.Generate(rand.Reader, "")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, private, 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := sign.ReadPrivateKey(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sums(b string) (string, string) {
	s256, s512 := sha256.Sum256([]byte(b)), sha512.Sum512([]byte(b))
	return hex.EncodeToString(s256[:]), hex.EncodeToString(s512[:])
}

// signedSet is a set of two files with documents.
func signedSet(t testing.TB, key *sign.PrivateKey) fstest.MapFS {
	t.Helper()
	set := map[string]string{"vmlinuz-x86_64": "kernel", "initramfs-x86_64": "initrd", build.SBOMName: "{}"}
	k256, k512 := sums("kernel")
	i256, i512 := sums("initrd")
	m := build.Manifest{Schema: 1, Builds: []build.Artifacts{{Arch: "x86_64", Files: []build.File{
		{Name: "initramfs-x86_64", Role: "initramfs", Size: 6, SHA256: i256, SHA512: i512}, {Name: "vmlinuz-x86_64", Role: "kernel", Size: 6, SHA256: k256, SHA512: k512}}}}}
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	set[build.ManifestName], set[build.ChecksumName] = string(data), i512+"  initramfs-x86_64\n"+k512+"  vmlinuz-x86_64\n"
	sbom, _ := sums("{}")
	signature, err := sign.Sign(key, data, map[string]string{build.SBOMName: sbom}, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	set[sign.Name] = string(signature)
	files := fstest.MapFS{}
	for name, content := range set {
		files[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return files
}

// TestSet: tampered, truncated and swapped files are named, behind a URL too.
func TestSet(t *testing.T) {
	key := newKey(t)
	good := signedSet(t, key)
	for _, c := range []struct {
		name   string
		change func(f fstest.MapFS)
		want   string
	}{
		{"as it is", func(fstest.MapFS) {}, ""},
		{"tampered", func(f fstest.MapFS) { f["vmlinuz-x86_64"] = &fstest.MapFile{Data: []byte("kerneL")} }, "vmlinuz-x86_64 has the SHA-256"},
		{"truncated", func(f fstest.MapFS) { f["initramfs-x86_64"] = &fstest.MapFile{Data: []byte("init")} }, "initramfs-x86_64 has 4 of 6 bytes"},
		{"longer", func(f fstest.MapFS) { f["initramfs-x86_64"] = &fstest.MapFile{Data: []byte("initrd2")} }, "initramfs-x86_64 is longer"},
		{"swapped", func(f fstest.MapFS) {
			f["initramfs-x86_64"], f["vmlinuz-x86_64"] = f["vmlinuz-x86_64"], f["initramfs-x86_64"]
		}, "initramfs-x86_64 has the SHA-256"},
		{"missing", func(f fstest.MapFS) { delete(f, "vmlinuz-x86_64") }, "vmlinuz-x86_64"},
		{"another SBOM", func(f fstest.MapFS) { f[build.SBOMName] = &fstest.MapFile{Data: []byte("[]")} }, "as signed"},
		{"no SBOM", func(f fstest.MapFS) { delete(f, build.SBOMName) }, build.SBOMName},
		{"another checksum.txt", func(f fstest.MapFS) { f[build.ChecksumName] = &fstest.MapFile{Data: []byte("00  vmlinuz-x86_64\n")} }, "does not agree"},
		{"not signed", func(f fstest.MapFS) { delete(f, sign.Name) }, "is not signed"},
		{"signed by another", func(f fstest.MapFS) { maps.Copy(f, fstest.MapFS{sign.Name: signedSet(t, newKey(t))[sign.Name]}) }, "made by key"},
		{"another hook.json", func(f fstest.MapFS) {
			f[build.ManifestName] = &fstest.MapFile{Data: append([]byte(" "), f[build.ManifestName].Data...)}
		}, "signature of this content"},
	} {
		files := maps.Clone(good)
		c.change(files)
		server := httptest.NewServer(http.FileServerFS(files))
		for _, src := range []verify.Source{verify.FS(files), verify.URL(nil, server.URL)} {
			report, err := verify.Set(t.Context(), src, verify.Options{Key: key.Public()})
			if err == nil {
				err = report.Err()
			}
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
		}
		server.Close()
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add(signedSet(f, newKey(f))[build.ManifestName].Data)
	f.Add([]byte(`{"schema":1,"builds":[{"artifacts":[{"name":"../x","size":1}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := verify.ParseManifest(data)
		if err != nil {
			return
		}
		files, err := verify.Files(m)
		if err != nil || len(files) == 0 {
			t.Fatalf("accepted, then %v", err)
		}
		for _, file := range files {
			if !verify.PlainName(file.Name) || strings.ContainsAny(file.Name, `/\`) || file.Size < 0 {
				t.Errorf("%+v", file)
			}
		}
	})
}
