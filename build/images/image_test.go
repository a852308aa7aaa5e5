package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func platform(s string) *v1.Platform {
	if s == "" {
		return nil
	}
	p, err := v1.ParsePlatform(s)
	if err != nil {
		panic(err)
	}
	return p
}

// child is an image of an index with the platform that the index gives it.
func child(t *testing.T, declared, real string) mutate.IndexAddendum {
	return mutate.IndexAddendum{Add: imageOf(t, real, gzLayer(t, uint64(len(declared)+7*len(real)), 300)), Descriptor: v1.Descriptor{Platform: platform(declared)}}
}

func indexWith(children ...mutate.IndexAddendum) v1.ImageIndex {
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), children...)
}

func TestPlatforms(t *testing.T) {
	attestation := child(t, "unknown/unknown", "")
	marked := child(t, "linux/amd64", "amd64")
	marked.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
	usual := indexWith(attestation, marked, child(t, "linux/amd64", "amd64"), child(t, "linux/arm64", "arm64"), child(t, "linux/arm/v7", "arm/v7"), child(t, "windows/amd64", "amd64"))
	levels := indexWith(child(t, "linux/amd64/v3", "amd64/v3"), child(t, "linux/amd64", "amd64"), child(t, "linux/amd64/v2", "amd64/v2"))
	silent := indexWith(child(t, "", "arm64"), child(t, "", "amd64"))
	nested := indexWith(mutate.IndexAddendum{Add: usual}, child(t, "linux/s390x", "s390x"))
	for _, tt := range []struct {
		name, want string
		have       any
		label      string
		wantErr    string
	}{
		{name: "one of several", want: "amd64", have: usual, label: "amd64"},
		{name: "another", want: "linux/arm64", have: usual, label: "arm64"},
		{name: "arm64 is arm64/v8", want: "arm64/v8", have: usual, label: "arm64"},
		{name: "variant", want: "arm/v7", have: usual, label: "arm/v7"},
		{name: "older variant runs too", want: "arm/v8", have: usual, label: "arm/v7"},
		{name: "newer variant does not run", want: "arm/v6", have: usual, wantErr: "no image for linux/arm/v6, only for linux/amd64, linux/arm/v7, linux/arm64, windows/amd64"},
		{name: "amd64 is the oldest level", want: "amd64", have: levels, label: "amd64"},
		{name: "the newest level that runs", want: "amd64/v2", have: levels, label: "amd64/v2"},
		{name: "a level between", want: "amd64/v4", have: levels, label: "amd64/v3"},
		{name: "index without platforms", want: "amd64", have: silent, label: "amd64"},
		{name: "lacking in index without platforms", want: "riscv64", have: silent, wantErr: "no image for linux/riscv64, only for linux/amd64, linux/arm64"},
		{name: "index in index", want: "arm64", have: nested, label: "arm64"},
		{name: "index in index, outer", want: "s390x", have: nested, label: "s390x"},
		{name: "single image", want: "amd64", have: imageOf(t, "amd64"), label: "amd64"},
		{name: "single image of another architecture", want: "arm64", have: imageOf(t, "amd64"), wantErr: "no image for linux/arm64, only for linux/amd64"},
		{name: "single image that does not say", want: "arm64", have: imageOf(t, ""), label: ""},
		{name: "nothing but attestations", want: "amd64", have: indexWith(attestation), wantErr: "nor for any other"},
		{name: "empty index", want: "amd64", have: indexWith(), wantErr: "nor for any other"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := newRegistry(t)
			switch x := tt.have.(type) {
			case v1.ImageIndex:
				tr.add(t, "app:1", x)
			case v1.Image:
				tr.add(t, "app:1", x)
			}
			p, err := ParsePlatform(tt.want)
			if err != nil {
				t.Fatal(err)
			}
			img, err := sources(t, func(s *Sources) { s.Platform = p }).Image(t.Context(), tr.ref("app:1"))
			if tt.wantErr != "" {
				wantError(t, err, tt.wantErr, "registry "+tr.host)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := label(t, img); got != tt.label {
				t.Errorf("got the image for %q, want %q", got, tt.label)
			}
		})
	}
}

func TestParsePlatform(t *testing.T) {
	for in, want := range map[string]string{
		"amd64": "linux/amd64", "linux/arm64": "linux/arm64", "linux/arm64/v8": "linux/arm64/v8", "arm/v7": "linux/arm/v7",
		"x86_64": "linux/amd64", "aarch64": "linux/arm64", "": "", "linux/": "", "windows/amd64": "", "a/b/c/d": "", "amd64//": "",
	} {
		p, err := ParsePlatform(in)
		if got := p.String(); got != want || (err == nil) != (want != "") {
			t.Errorf("ParsePlatform(%q) = %q, %v", in, got, err)
		}
	}
}

// TestIndexIsWhole: volumes of format oci hold the index as it is.
func TestIndexIsWhole(t *testing.T) {
	tr := newRegistry(t)
	idx := indexWith(child(t, "linux/amd64", "amd64"), child(t, "linux/arm64", "arm64"), child(t, "unknown/unknown", "unknown"))
	tr.add(t, "multi:1", idx)
	tr.add(t, "single:1", imageOf(t, "arm64/v8", gzLayer(t, 1, 500)))
	s := sources(t)
	got, err := s.Index(t.Context(), tr.ref("multi:1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(got); err != nil {
		t.Error(err)
	}
	if digestOf(t, got) != digestOf(t, idx) {
		t.Error("another index")
	}
	one, err := s.Index(t.Context(), tr.ref("single:1")) // also without our platform
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(one); err != nil {
		t.Error(err)
	}
	m, _ := one.IndexManifest()
	if len(m.Manifests) != 1 || m.Manifests[0].Platform.String() != "linux/arm64/v8" {
		t.Errorf("index of a single image: %v", m.Manifests)
	}
	if _, err := got.Image(v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("1", 64)}); err == nil {
		t.Error("an image that is not in the index")
	}
}

func TestImageIsValid(t *testing.T) {
	tr := newRegistry(t)
	img := imageOf(t, "amd64", gzLayer(t, 1, 500), gzLayer(t, 2, 400))
	tr.add(t, "app:1", img)
	got := mustImage(t, sources(t), tr.ref("app:1"))
	if err := validate.Image(got); err != nil {
		t.Error(err)
	}
	if digestOf(t, got) != digestOf(t, img) {
		t.Error("another image")
	}
}

func zst(t *testing.T, b []byte, skippable bool) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	out := z.EncodeAll(b, nil)
	if skippable {
		out = append([]byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3}, out...)
	}
	return out
}

// estargz is a gzip file of many members, as stargz snapshotters want it.
func estargz(t *testing.T, plain []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	for len(plain) > 0 {
		n := min(1000, len(plain))
		z := gzip.NewWriter(&buf)
		_, _ = z.Write(plain[:n])
		_ = z.Close()
		plain = plain[n:]
	}
	return buf.Bytes()
}

func TestLayerFormats(t *testing.T) {
	plain := tarOf(t, "file", append(noise(1, 20_000), make([]byte, 100_000)...))
	zeros := gz(t, make([]byte, 16<<20))
	served := gz(t, plain)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("credentials went to a foreign address")
		}
		_, _ = w.Write(served)
	}))
	defer elsewhere.Close()
	foreign := newLayerOf(t, served, plain, types.DockerForeignLayer)
	foreign.desc.URLs = []string{"ftp://nonsense", elsewhere.URL + "/layer"}
	for _, tt := range []struct {
		name    string
		layer   v1.Layer
		wantErr string
	}{
		{"gzip", newLayerOf(t, gz(t, plain), plain, types.OCILayer), ""},
		{"gzip under Docker's type", newLayerOf(t, gz(t, plain), plain, types.DockerLayer), ""},
		{"zstd", newLayerOf(t, zst(t, plain, false), plain, types.OCILayerZStd), ""},
		{"zstd after a skippable frame", newLayerOf(t, zst(t, plain, true), plain, types.OCILayerZStd), ""},
		{"zstd that says gzip", newLayerOf(t, zst(t, plain, false), plain, types.OCILayer), ""},
		{"uncompressed", newLayerOf(t, plain, plain, types.OCIUncompressedLayer), ""},
		{"uncompressed that says gzip", newLayerOf(t, plain, plain, types.DockerLayer), ""},
		{"estargz", newLayerOf(t, estargz(t, plain), plain, types.OCILayer), ""},
		{"empty", newLayerOf(t, nil, nil, types.OCIUncompressedLayer), ""},
		{"foreign", foreign, ""},
		{"another tar than the configuration says", newLayerOf(t, gz(t, plain[:1024]), plain, types.OCILayer), "wrong content"},
		{"gzip that is cut", newLayerOf(t, gz(t, plain)[:5000], plain, types.OCILayer), "unexpected EOF"},
		{"garbage behind gzip", newLayerOf(t, append(gz(t, plain), "garbage"...), plain, types.OCILayer), "unexpected EOF"},
		{"zeros", newLayerOf(t, zeros, make([]byte, 16<<20), types.OCILayer), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newRegistry(t)
			tr.add(t, "app:1", imageOf(t, "amd64", tt.layer))
			img := mustImage(t, sources(t), tr.ref("app:1"))
			got, err := tryContents(img)
			if tt.wantErr != "" {
				wantError(t, err, tt.wantErr)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			h, _, _ := v1.SHA256(bytes.NewReader(got[0]))
			if want, _ := tt.layer.DiffID(); h != want {
				t.Error("other content")
			}
		})
	}
}

func TestBombIsBounded(t *testing.T) {
	blob := zst(t, make([]byte, 1<<20), false)
	l := &layer{desc: v1.Descriptor{Size: int64(len(blob))}}
	l.desc.Digest, _, _ = v1.SHA256(bytes.NewReader(blob))
	l.open = func(v1.Descriptor) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(blob)), nil }
	rc, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	rc.(*verified).limit = 1 << 19
	_, err = io.Copy(io.Discard, rc)
	wantError(t, err, "unpacks to more than 524288 bytes")
}

// memory is content in memory.
type memory map[v1.Hash][]byte

func (m memory) open(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	b, ok := m[d.Digest]
	if !ok {
		return nil, fmt.Errorf("there is no %s", d.Digest)
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (m memory) add(b []byte, mt types.MediaType) v1.Descriptor {
	h, n, _ := v1.SHA256(bytes.NewReader(b))
	m[h] = b
	return v1.Descriptor{MediaType: mt, Digest: h, Size: n}
}

func (m memory) addJSON(v any, mt types.MediaType) v1.Descriptor {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return m.add(b, mt)
}

func TestHostileManifests(t *testing.T) {
	m := memory{}
	config := m.addJSON(v1.ConfigFile{Architecture: "amd64", OS: "linux", RootFS: v1.RootFS{Type: "layers", DiffIDs: make([]v1.Hash, 0)}}, types.OCIConfigJSON)
	chain := m.addJSON(map[string]any{"schemaVersion": 2, "manifests": []any{}}, types.OCIImageIndex)
	for range 10 {
		chain = m.addJSON(map[string]any{"schemaVersion": 2, "manifests": []any{chain}}, types.OCIImageIndex)
	}
	big := v1.IndexManifest{SchemaVersion: 2}
	for range maxManifests + 1 {
		big.Manifests = append(big.Manifests, config)
	}
	layers := func(ls ...v1.Descriptor) v1.Descriptor {
		return m.addJSON(v1.Manifest{SchemaVersion: 2, Config: config, Layers: ls}, types.OCIManifestSchema1)
	}
	lying := layers()
	lying.Size += 5
	other := layers()
	m[v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("1", 64)}] = m[other.Digest]
	other.Digest.Hex = strings.Repeat("1", 64)
	for _, tt := range []struct {
		name    string
		desc    v1.Descriptor
		wantErr string
	}{
		{"indexes without end", chain, "deeper than"},
		{"too many manifests", m.addJSON(big, types.OCIImageIndex), "more than 2000 manifests"},
		{"image and index", m.addJSON(map[string]any{"schemaVersion": 2, "manifests": []any{}, "layers": []any{}, "config": config}, types.OCIImageIndex), "at once"},
		{"neither", m.add([]byte(`{"schemaVersion":2}`), types.OCIImageIndex), "no container image"},
		{"null", m.add([]byte(`null`), types.OCIImageIndex), "no container image"},
		{"list", m.add([]byte(`[]`), types.OCIImageIndex), "not JSON"},
		{"config with fewer layers", layers(config), "1 layers and its configuration"},
		{"manifest shorter than promised", lying, "only"},
		{"manifest with another digest", other, "wrong content"},
		{"manifest is not there", v1.Descriptor{Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("2", 64)}}, "there is no"},
		{"huge manifest", v1.Descriptor{Size: 1 << 40}, "more than"},
		{"artifact", m.addJSON(map[string]any{"schemaVersion": 2, "config": m.add([]byte(`{}`), types.OCIEmptyJSON), "layers": []any{config}}, types.OCIManifestSchema1), "no container image"},
		{"bad digest", m.add([]byte(`{"schemaVersion":2,"config":{"digest":"md5:1"},"layers":[]}`), types.OCIManifestSchema1), "reading its manifest"},
		{"negative size", m.add(fmt.Appendf(nil, `{"schemaVersion":2,"config":{"digest":%q,"size":%d},"layers":[{"digest":%q,"size":-5}]}`, config.Digest, config.Size, config.Digest), types.OCIManifestSchema1), "layers"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := choose(t.Context(), m, []v1.Descriptor{tt.desc}, v1.Platform{OS: "linux", Architecture: "amd64"})
			if err == nil {
				_, err = newImage(t.Context(), m, d)
			}
			wantError(t, err, tt.wantErr)
		})
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:` + strings.Repeat("1", 64) + `","platform":{"os":"linux","architecture":"amd64"}}]}`))
	f.Add([]byte(`{"schemaVersion":2,"config":{},"layers":[{"size":-1}]}`))
	f.Add([]byte(`{"schemaVersion":1,"fsLayers":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := memory{}
		d := m.add(raw, types.OCIManifestSchema1)
		if d, err := choose(t.Context(), m, []v1.Descriptor{d}, hostPlatform()); err == nil {
			_, _ = newImage(t.Context(), m, d)
		}
		if _, err := parseLayoutIndex(raw); err != nil && strings.Contains(err.Error(), "\x00") {
			t.Errorf("%q", err)
		}
	})
}

func TestReferences(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("a", 64)
	for in, want := range map[string]string{
		"alpine":                         "docker.io/library/alpine:latest",
		"alpine:3":                       "docker.io/library/alpine:3",
		"linuxkit/init:v1":               "docker.io/linuxkit/init:v1",
		"docker.io/library/alpine":       "docker.io/library/alpine:latest",
		"index.docker.io/library/alpine": "docker.io/library/alpine:latest",
		"ghcr.io/a/b/c":                  "ghcr.io/a/b/c:latest",
		"localhost/a:1":                  "localhost/a:1",
		"localhost:5000/a":               "localhost:5000/a:latest",
		"127.0.0.1:5000/a" + digest:      "127.0.0.1:5000/a" + digest,
		"a:1" + digest:                   "docker.io/library/a:1" + digest,
		"a/b/c:1":                        "docker.io/a/b/c:1",
		"":                               "",
		"UPPER":                          "",
		"a@sha256:1":                     "",
		"a b":                            "",
		"https://ghcr.io/a":              "",
		"a:" + strings.Repeat("t", 200):  "",
	} {
		r, err := parseReference(in)
		if (err == nil) != (want != "") || err == nil && r.text != want {
			t.Errorf("%q: %q, %v; want %q", in, r.text, err, want)
		}
	}
}

func FuzzReference(f *testing.F) {
	for _, s := range []string{"alpine", "a/b:c@sha256:" + strings.Repeat("a", 64), "localhost:5000/x", "[::1]:5000/x", ":", "@", "/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseReference(s)
		if err != nil {
			return
		}
		again, err := parseReference(r.text)
		if err != nil || again.text != r.text {
			t.Errorf("%q completes to %q, which completes to %q, %v", s, r.text, again.text, err)
		}
		if r.tag != "" && !r.hasDigest() && !r.sameName(r.text) {
			t.Errorf("%q is not its own name", r.text)
		}
	})
}

func tarFile(tw *tar.Writer, name string, content []byte) {
	_ = tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))})
	_, _ = tw.Write(content)
}
