package images

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
)

// testRegistry is go-containerregistry's registry behind counters, logins and
// faults.
type testRegistry struct {
	*httptest.Server
	host  string
	inner http.Handler
	push  *httptest.Server // to the same content, without any of it

	mu     sync.Mutex
	hits   map[string]int // "GET blobs/sha256:..." -> how often
	ranges []string
	auth   string // "", "basic" or "token"
	user   string // "": everybody gets a token
	fault  func(w http.ResponseWriter, r *http.Request, hit int) bool
}

func newRegistry(t *testing.T) *testRegistry {
	return startRegistry(t, httptest.NewServer)
}

func startRegistry(t *testing.T, start func(http.Handler) *httptest.Server) *testRegistry {
	t.Helper()
	tr := &testRegistry{hits: map[string]int{}, inner: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	tr.push = httptest.NewServer(tr.inner)
	tr.Server = start(tr)
	tr.Config.ErrorLog = log.New(io.Discard, "", 0)
	u, _ := url.Parse(tr.URL)
	tr.host = u.Host
	t.Cleanup(func() { tr.Server.CloseClientConnections(); tr.Server.Close(); tr.push.Close() })
	return tr
}

// ref is a reference to this registry.
func (tr *testRegistry) ref(s string) string { return tr.host + "/" + s }

func (tr *testRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.Method + " " + r.URL.Path
	if _, after, ok := strings.Cut(r.URL.Path, "/blobs/"); ok {
		key = r.Method + " blobs/" + after
	} else if _, after, ok := strings.Cut(r.URL.Path, "/manifests/"); ok {
		key = r.Method + " manifests/" + after
	}
	tr.mu.Lock()
	tr.hits[key]++
	hit := tr.hits[key]
	if v := r.Header.Get("Range"); v != "" {
		tr.ranges = append(tr.ranges, v)
	}
	fault := tr.fault
	tr.mu.Unlock()
	switch {
	case r.URL.Path == "/token":
		if user, password, _ := r.BasicAuth(); tr.user != "" && (user != tr.user || password != "secret") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"token":"t-%s"}`, r.URL.Query().Get("scope"))
		return
	case !tr.allowed(r):
		tr.challenge(w, r)
		return
	case fault != nil && fault(w, r, hit):
		return
	case r.Method == http.MethodGet && strings.HasPrefix(key, "GET blobs/"):
		rec := httptest.NewRecorder()
		plain := r.Clone(r.Context())
		plain.Header.Del("Range")
		if tr.inner.ServeHTTP(rec, plain); rec.Code == http.StatusOK {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(rec.Body.Bytes()))
			return
		}
	}
	tr.inner.ServeHTTP(w, r)
}

func (tr *testRegistry) allowed(r *http.Request) bool {
	switch tr.auth {
	case "basic":
		user, password, _ := r.BasicAuth()
		return user == tr.user && password == "secret"
	case "token":
		return strings.HasPrefix(r.Header.Get("Authorization"), "Bearer t-repository:")
	}
	return true
}

func (tr *testRegistry) challenge(w http.ResponseWriter, r *http.Request) {
	if tr.auth == "basic" {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
	} else {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test"`, tr.URL))
	}
	w.WriteHeader(http.StatusUnauthorized)
	fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
}

func (tr *testRegistry) count(key string) int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.hits[key]
}

func (tr *testRegistry) total(prefix string) (n int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for k, v := range tr.hits {
		if strings.HasPrefix(k, prefix) {
			n += v
		}
	}
	return n
}

func (tr *testRegistry) setFault(f func(w http.ResponseWriter, r *http.Request, hit int) bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.fault = f
}

// add pushes an image or an index and returns its digest.
func (tr *testRegistry) add(t *testing.T, ref string, what remote.Taggable) v1.Hash {
	t.Helper()
	u, _ := url.Parse(tr.push.URL)
	tag, err := name.ParseReference(u.Host + "/" + ref)
	if err != nil {
		t.Fatal(err)
	}
	switch x := what.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(tag, x)
	case v1.Image:
		err = remote.Write(tag, x)
	default:
		err = remote.Put(tag, what)
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Get(tag)
	if err != nil {
		t.Fatal(err)
	}
	return d.Digest
}

// noise is n bytes that do not compress, the same for the same seed.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	c := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1})
	_, _ = c.Read(b)
	return b
}

// tarOf is a layer with one file.
func tarOf(t *testing.T, file string, content []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	if err := tw.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := tw.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gz(t *testing.T, b []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// layerOf is a layer whose compressed form is given; static layers take it for
// the uncompressed one too.
type layerOf struct {
	v1.Layer
	diffID v1.Hash
	desc   v1.Descriptor
}

func (l *layerOf) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l *layerOf) Descriptor() (*v1.Descriptor, error) { return &l.desc, nil }

func newLayerOf(t *testing.T, blob, plain []byte, mt types.MediaType) *layerOf {
	t.Helper()
	diffID, _, err := v1.SHA256(bytes.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	l := static.NewLayer(blob, mt)
	digest, _ := l.Digest()
	return &layerOf{Layer: l, diffID: diffID, desc: v1.Descriptor{MediaType: mt, Digest: digest, Size: int64(len(blob))}}
}

func gzLayer(t *testing.T, seed uint64, size int) v1.Layer {
	plain := tarOf(t, fmt.Sprintf("file%d", seed), noise(seed, size))
	return newLayerOf(t, gz(t, plain), plain, types.OCILayer)
}

// imageOf is an image of an architecture ("amd64", "arm64/v8", "" for none).
func imageOf(t *testing.T, platform string, layers ...v1.Layer) v1.Image {
	t.Helper()
	img := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	arch, variant, _ := strings.Cut(platform, "/")
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.Architecture, cfg.Variant, cfg.OS = arch, variant, "linux"
	cfg.Config.Labels = map[string]string{"for": platform}
	switch platform {
	case "":
		cfg.OS = ""
	case "unknown":
		cfg.OS = platform
	}
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	if img, err = mutate.AppendLayers(img, layers...); err != nil {
		t.Fatal(err)
	}
	return img
}

func digestOf(t *testing.T, what interface{ Digest() (v1.Hash, error) }) v1.Hash {
	t.Helper()
	h, err := what.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// sources are Sources for amd64 with a cache of their own, in a hurry.
func sources(t *testing.T, change ...func(*Sources)) *Sources {
	t.Helper()
	s := &Sources{Platform: v1.Platform{OS: "linux", Architecture: "amd64"}, Dir: t.TempDir(), Backoff: time.Millisecond, Retries: 3, stall: time.Minute}
	s.Keychain = anonymous{}
	for _, c := range change {
		c(s)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// content reads all layers, uncompressed.
func contents(t *testing.T, img v1.Image) [][]byte {
	t.Helper()
	out, err := tryContents(img)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryContents(img v1.Image) ([][]byte, error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, l := range layers {
		rc, err := l.Uncompressed()
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(rc)
		rc.Close()
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

func label(t *testing.T, img v1.Image) string {
	t.Helper()
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Config.Labels["for"]
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q lacks %q", err, p)
		}
	}
}

func mustImage(t *testing.T, s *Sources, ref string) v1.Image {
	t.Helper()
	img, err := s.Image(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func uncompressed(l v1.Layer) ([]byte, error) {
	rc, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	r, release, err := decompress(rc)
	if err != nil {
		return nil, err
	}
	defer release()
	return io.ReadAll(r)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func asError[T error](err error, target *T) bool { return errors.As(err, target) }

func newTLSServer(h http.Handler) *httptest.Server { return httptest.NewTLSServer(h) }

func (tr *testRegistry) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tr.Certificate().Raw})
}
