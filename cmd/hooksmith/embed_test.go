package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"hooksmith/build"
	"hooksmith/build/linuxkit"
)

// embedSite is a registry with images, and a bundle that names them.
type embedSite struct {
	*httptest.Server
	host, bundle string
	asked        atomic.Int64 // how often
	index        string       // digest of the action's index
	action       v1.Image
}

func newEmbedSite(t *testing.T) *embedSite {
	t.Helper()
	s := &embedSite{}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		switch r.URL.Path {
		case "/bundle.yaml":
			http.ServeFile(w, r, s.bundle)
		case "/login.yaml":
			fmt.Fprint(w, "<html>Sign in</html>")
		default:
			handler.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	s.host = strings.TrimPrefix(s.URL, "http://")
	base := plainLayer(t, "base")
	s.action = platformImage(t, "amd64", base, plainLayer(t, "action"))
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: s.action, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: platformImage(t, "arm64", plainLayer(t, "arm")), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}})
	if err := remote.WriteIndex(s.ref(t, "tinkerbell/actions/cexec:v1"), index); err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	s.index = digest.String()
	s.push(t, "agent:1", platformImage(t, "amd64", base))
	s.bundle = filepath.Join(t.TempDir(), "bundle.yaml")
	s.writeBundle(t, s.index)
	return s
}

func (s *embedSite) writeBundle(t *testing.T, digest string) {
	t.Helper()
	text := fmt.Sprintf("kind: Bundles\nspec:\n  versionsBundles:\n  - kubeVersion: \"1.30\"\n    tinkerbell:\n      tinkerbellStack:\n        actions:\n"+
		"          cexec: {imageDigest: %q, uri: \"%s/tinkerbell/actions/cexec:v1\"}\n", digest, s.host)
	if err := os.WriteFile(s.bundle, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (s *embedSite) ref(t *testing.T, path string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(s.host+"/"+path, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func (s *embedSite) push(t *testing.T, path string, img v1.Image) {
	t.Helper()
	if err := remote.Write(s.ref(t, path), img); err != nil {
		t.Fatal(err)
	}
}

func plainLayer(t *testing.T, content string) v1.Layer {
	t.Helper()
	l, err := linuxkit.NewLayer(linuxkit.Epoch, linuxkit.Entry{Name: content, Mode: 0o644, Data: bytes.Repeat([]byte(content), 3000)})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func platformImage(t *testing.T, arch string, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", arch
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	return img
}

// embedCommand runs an embed command that has to succeed.
func embedCommand(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	code, stdout, stderr := runHere(t.Context(), append([]string{"embed"}, args...)...)
	if code != 0 {
		t.Fatalf("hooksmith embed %s: %s", strings.Join(args, " "), stderr)
	}
	return stdout, stderr
}

func parsePlan(t *testing.T, text string) *build.EmbedPlan {
	t.Helper()
	var plan build.EmbedPlan
	if err := json.Unmarshal([]byte(text), &plan); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return &plan
}

const embedFlavor = "hook-debian-amd64"

// TestEmbedCommands: a plan of a bundle and an agent, written for a site
// without a network, and used there.
func TestEmbedCommands(t *testing.T) {
	s := newEmbedSite(t)
	cache := "--cache-dir=" + t.TempDir()
	set := []string{embedFlavor, cache, "--bundle", s.bundle, "--agent", s.host + "/agent:1"}
	out, said := embedCommand(t, append([]string{"plan", "--json"}, set...)...)
	if strings.Contains(said, "tink-worker") {
		t.Errorf("a worker is missing although there is one: %s", said)
	}
	plan := parsePlan(t, out)
	if len(plan.Images) != 2 || plan.Layers != 2 || plan.MemoryBytes == 0 || plan.RAMMiB == 0 {
		t.Fatalf("plan: %s", out)
	}
	action := plan.Images[0]
	digest, _ := s.action.Digest()
	config, _ := s.action.ConfigName()
	repo := s.host + "/tinkerbell/actions/cexec@"
	wantDigests := []string{repo + s.index, repo + digest.String()}
	slices.Sort(wantDigests)
	if action.Names[0] != "127.0.0.1/embedded/cexec:latest" || action.ID != config.String() || action.Digest != digest.String() ||
		!slices.Equal(action.Digests, wantDigests) || action.Platform != "linux/amd64" || action.Layers != 2 || action.SharedLayers != 1 || action.SharedBytes < 12000 {
		t.Errorf("action: %+v", action)
	}
	if worker := plan.Images[1]; worker.Names[0] != "127.0.0.1/embedded/tink-worker:latest" || worker.SharedLayers != 1 {
		t.Errorf("worker: %+v", worker)
	}
	table, _ := embedCommand(t, append([]string{"plan"}, set...)...)
	for _, want := range []string{"127.0.0.1/embedded/cexec:latest", "linux/amd64", digest.String(), "MiB more RAM"} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
	byURL, _ := embedCommand(t, "plan", "--json", embedFlavor, cache, "--bundle", s.URL+"/bundle.yaml", "--kube-version", "v1.30.4", "--agent", s.host+"/agent:1")
	if byURL != out {
		t.Errorf("the bundle by URL: %s", byURL)
	}

	dir := t.TempDir()
	for _, dest := range []string{"a.tar", "b.tar", "layout"} {
		embedCommand(t, append([]string{"export", filepath.Join(dir, dest)}, set...)...)
	}
	a, _ := os.ReadFile(filepath.Join(dir, "a.tar"))
	b, _ := os.ReadFile(filepath.Join(dir, "b.tar"))
	if len(a) == 0 || !bytes.Equal(a, b) {
		t.Error("two exports of the same images differ")
	}
	s.Close()
	for _, from := range []string{"a.tar", "layout"} {
		got, _ := embedCommand(t, "plan", "--json", embedFlavor, "--cache-dir="+t.TempDir(), "--offline", "--from", filepath.Join(dir, from))
		if got != out {
			t.Errorf("from %s: %s\nwant %s", from, got, out)
		}
	}
}

// TestEmbedErrors: what goes wrong says which image, for whom, and what there is.
func TestEmbedErrors(t *testing.T) {
	s := newEmbedSite(t)
	cache := "--cache-dir=" + t.TempDir()
	putSchema1(t, s)
	wrong := "sha256:" + strings.Repeat("1", 64)
	for _, tt := range []struct {
		name, want string
		args       []string
	}{
		{"another platform", "it has no image for linux/arm64, only for linux/amd64", []string{"hook-debian-arm64", "--agent", s.host + "/agent:1"}},
		{"not there", "it has no such image", []string{embedFlavor, "--agent", s.host + "/none:1"}},
		{"HTML by URL", "HTML page", []string{embedFlavor, "--bundle", s.URL + "/login.yaml"}},
		{"schema 1", "schema", []string{embedFlavor, "--embed", s.host + "/old:1"}},
		{"no such page", "bundleManifestUrl", []string{embedFlavor, "--bundle", "HTTP" + strings.TrimPrefix(s.URL, "http") + "/v2/none"}},
		{"no bundle", "bundleManifestUrl", []string{embedFlavor, "--bundle", "none"}},
		{"no list", "--embed IMAGE=NAME", []string{embedFlavor, "--images-file", "none"}},
		{"no export", "hooksmith embed export none", []string{embedFlavor, "--from", "none"}},
		{"no layout", "OCI layout or a tar of docker save", []string{embedFlavor, "--layout", "none", "--embed", "x:1"}},
		{"wrong digest", "cexec:v1 is there, but with the digest " + s.index + ", not " + wrong, []string{embedFlavor, "--bundle", s.bundle}},
	} {
		if tt.name == "wrong digest" {
			s.writeBundle(t, wrong)
		}
		code, _, stderr := runHere(t.Context(), append([]string{"embed", "plan", cache}, tt.args...)...)
		if code != 1 || !strings.Contains(stderr, tt.want) {
			t.Errorf("%s: exit code %d, %s", tt.name, code, stderr)
		}
	}
	_, stderr := embedCommand(t, "plan", cache, embedFlavor, "--embed", s.host+"/agent:1=cexec")
	if !strings.Contains(stderr, "127.0.0.1/embedded/tink-worker") || !strings.Contains(stderr, "--agent IMAGE") {
		t.Errorf("a missing worker: %s", stderr)
	}
}

// putSchema1 puts an image of Docker's first schema into the registry.
func putSchema1(t *testing.T, s *embedSite) {
	t.Helper()
	body := `{"schemaVersion":1,"name":"old","tag":"1","architecture":"amd64","fsLayers":[],"history":[]}`
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPut, s.URL+"/v2/old/manifests/1", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/vnd.docker.distribution.manifest.v1+json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil || answer.StatusCode >= 300 {
		t.Fatalf("%v %v", answer, err)
	}
	answer.Body.Close()
}

// TestEmbedLocked: a tag that moved is what the lock file says, until it is
// renewed.
func TestEmbedLocked(t *testing.T) {
	s := newEmbedSite(t)
	cache, dir := "--cache-dir="+t.TempDir(), t.TempDir()
	args := []string{"plan", "--json", embedFlavor, cache, "--agent", s.host + "/agent:1"}
	first, _ := embedCommand(t, args...)
	was := parsePlan(t, first).Images[0].Digest
	lock := fmt.Sprintf(`{"version":1,"flavors":{%q:{"releases":[],"packages":[],"inputs":[],"images":[{"ref":%q,"digest":%q}]}}}`, embedFlavor, s.host+"/agent:1", was)
	path := filepath.Join(dir, "hooksmith.lock")
	if err := os.WriteFile(path, []byte(lock), 0o644); err != nil {
		t.Fatal(err)
	}
	s.push(t, "agent:1", platformImage(t, "amd64", plainLayer(t, "newer")))
	locked, _ := embedCommand(t, append(args, "--locked", "--lock", path)...)
	now, _ := embedCommand(t, append(args, "--pull")...)
	if got := parsePlan(t, locked).Images[0].Digest; got != was {
		t.Errorf("locked: %s, want %s", got, was)
	}
	if got := parsePlan(t, now).Images[0].Digest; got == was {
		t.Errorf("--pull: still %s", got)
	}
}

// TestEmbedUsage: a command line that would embed nothing, or something else
// than is meant, is refused before anything is done.
func TestEmbedUsage(t *testing.T) {
	dir := t.TempDir()
	bundle := filepath.Join(dir, "bundle.yaml")
	text := "kind: Bundles\nspec:\n  versionsBundles:\n  - kubeVersion: 1.30\n    tinkerbell: {}\n  - kubeVersion: 1.31\n    tinkerbell:\n      a: {uri: r.example/tinkerbell/actions/a:1}\n"
	if err := os.WriteFile(bundle, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"--bundle is empty", []string{"build", embedFlavor, "--dry-run", "--agent", "x", "--bundle", ""}},
		{"--agent is empty", []string{"build", embedFlavor, "--dry-run", "--agent", ""}},
		{"--images-file is empty", []string{"update", embedFlavor, "--images-file", ""}},
		{"--from is empty", []string{"embed", "plan", "--from="}},
		{"--kube-version is empty", []string{"embed", "plan", "--bundle", bundle, "--kube-version", ""}},
		{"--embed is empty", []string{"embed", "plan", "--embed", ""}},
		{"for Kubernetes 1.30, only for 1.31", []string{"embed", "plan", "--bundle", bundle, "--kube-version", "1.30"}},
		{"is for Kubernetes 1.30, 1.31, not 1.29", []string{"embed", "plan", "--bundle", bundle, "--kube-version", "1.29"}},
		{"--bundle - and --images-file -: only one", []string{"embed", "plan", "--bundle", "-", "--images-file", "-"}},
		{"give the path alone, /x/b.yaml", []string{"embed", "plan", "--bundle", "file:///x/b.yaml"}},
		{"--images-file https://x/y: ", []string{"embed", "plan", "--images-file", "https://x/y"}},
		{"--from https://x/y.tar: ", []string{"embed", "plan", "--from", "https://x/y.tar"}},
		{"the destination is empty", []string{"embed", "export", "", "--agent", "x"}},
		{"compressed already", []string{"embed", "export", filepath.Join(dir, "x.tgz"), "--agent", "x"}},
	} {
		code, _, stderr := runHere(t.Context(), append(tt.args, "--offline", "--cache-dir="+filepath.Join(dir, "cache"))...)
		if code != exitUsage || !strings.Contains(stderr, tt.want) {
			t.Errorf("%q: exit code %d, %s", tt.args, code, stderr)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "x*")); left != nil {
		t.Errorf("written: %q", left)
	}
}

// TestEmbedFrom: the images of an export come from nowhere else, others of the
// same command from their registries, and damage says what to do.
func TestEmbedFrom(t *testing.T) {
	s := newEmbedSite(t)
	dir, set := t.TempDir(), []string{embedFlavor, "--cache-dir=" + t.TempDir(), "--bundle", s.bundle}
	folder := filepath.Join(dir, "set")
	embedCommand(t, append([]string{"export", folder}, set...)...)
	code, tarred, stderr := runHere(t.Context(), append([]string{"embed", "export", "-"}, set...)...)
	path := filepath.Join(dir, "set.tar")
	if err := os.WriteFile(path, []byte(tarred), 0o644); err != nil || code != 0 {
		t.Fatalf("%v, exit code %d: %s", err, code, stderr)
	}
	plan, _ := embedCommand(t, "plan", "--json", embedFlavor, "--cache-dir="+t.TempDir(), "--from", path, "--agent", s.host+"/agent:1", "--embed", s.host+"/tinkerbell/actions/cexec:v1")
	if images := parsePlan(t, plan).Images; len(images) != 2 || len(images[0].Names) != 2 {
		t.Errorf("an export with other images: %s", plan)
	}
	digest, err := s.action.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(folder, "blobs", "sha256", digest.Hex)); err != nil {
		t.Fatal(err)
	}
	asked := s.asked.Load()
	code, _, stderr = runHere(t.Context(), "embed", "plan", embedFlavor, "--cache-dir="+t.TempDir(), "--from", folder)
	if code != 1 || !strings.Contains(stderr, "copy it again (or write "+folder+" again with hooksmith embed export)") || s.asked.Load() != asked {
		t.Errorf("a damaged export: exit code %d, the registry was asked %d times, %s", code, s.asked.Load()-asked, stderr)
	}
	embedCommand(t, append([]string{"export", folder}, set...)...)
	embedCommand(t, "plan", embedFlavor, "--offline", "--cache-dir="+t.TempDir(), "--from", folder)
	layers, err := s.action.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	size, err := layers[0].Size()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "blobs", "sha256", layer.Hex), make([]byte, size), 0o644); err != nil {
		t.Fatal(err)
	}
	code, _, stderr = runHere(t.Context(), "embed", "plan", embedFlavor, "--cache-dir="+t.TempDir(), "--from", folder)
	if code != 1 || !strings.Contains(stderr, "wrong content") || !strings.Contains(stderr, "is damaged: copy it again") {
		t.Errorf("a damaged layer: exit code %d, %s", code, stderr)
	}
}
