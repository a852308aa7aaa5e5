package build

import (
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hooksmith/build/images"
	"hooksmith/build/linuxkit"
)

const attestedStatement = `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document","predicate":{
	"spdxVersion":"SPDX-2.3","packages":[
	{"name":"musl","versionInfo":"1.2.5-r0","licenseDeclared":"MIT","externalRefs":[{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":"pkg:apk/alpine/musl@1.2.5-r0"}]},
	{"name":"musl","versionInfo":"1.2.5-r0","licenseDeclared":"MIT","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:apk/alpine/musl@1.2.5-r0"}]},
	{"name":"plain"}]}}`

// attested is an index of an image and what BuildKit attests of it.
func attested(t *testing.T, img v1.Image, statement string) v1.ImageIndex {
	t.Helper()
	layer := static.NewLayer([]byte(statement), "application/vnd.in-toto+json")
	about := must(mutate.Append(empty.Image, mutate.Addendum{Layer: layer, Annotations: map[string]string{"in-toto.io/predicate-type": "https://spdx.dev/Document"}}))
	about = mutate.MediaType(about, types.OCIManifestSchema1)
	return mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: about, Descriptor: v1.Descriptor{
			Platform:    &v1.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": must(img.Digest()).String()},
		}})
}

// What an image's publisher attests to be in it is in our SBOM, also when the
// image is pinned and nothing is asked of the network.
func TestAttestedSBOM(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	push := func(ref, statement string) {
		t.Helper()
		img := testImage(t, v1.Config{Entrypoint: []string{"/x"}}, gzipped(t, text("x", ref)))
		config := must(img.ConfigFile()).DeepCopy()
		config.OS, config.Architecture = "linux", "amd64"
		if err := remote.WriteIndex(must(name.NewTag(host+"/"+ref)), attested(t, must(mutate.ConfigFile(img, config)), statement)); err != nil {
			t.Fatal(err)
		}
	}
	push("own:1", attestedStatement)
	push("broken:1", "<html>")
	run := func(opt Options, cache, image string, lock *Lock, offline bool) (*Artifacts, error) {
		opt.Files = []linuxkit.Source{{Name: "a.yml", Data: []byte("init: [" + host + "/" + image + "]\n")}}
		opt.Images = &images.Sources{Dir: cache, Platform: must(images.ParsePlatform("amd64")), Retries: 1, Pins: lock.Pins(opt.Flavor.ID), Offline: offline}
		opt.Lock = lock
		return Build(t.Context(), opt)
	}
	cache := t.TempDir()
	opt := fileOptions(t)
	if _, err := run(opt, cache, "own:1", nil, false); err != nil {
		t.Fatal(err)
	}
	first := must(os.ReadFile(filepath.Join(opt.Out, "sbom.spdx.json")))
	var doc struct {
		Packages []struct {
			Name            string
			LicenseDeclared string
			ExternalRefs    []struct{ ReferenceLocator string }
		}
		Relationships []struct{ SpdxElementID, RelationshipType, RelatedSpdxElement string }
	}
	if err := json.Unmarshal(first, &doc); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, p := range doc.Packages {
		if p.Name == "musl" && p.LicenseDeclared == "MIT" && len(p.ExternalRefs) == 1 && p.ExternalRefs[0].ReferenceLocator == "pkg:apk/alpine/musl@1.2.5-r0" {
			found++
		}
	}
	held := 0
	for _, r := range doc.Relationships {
		if r.RelationshipType == "CONTAINS" && strings.Contains(r.SpdxElementID, "SPDXRef-image-") && strings.Contains(r.RelatedSpdxElement, "musl") {
			held++
		}
	}
	if found != 1 || held != 1 {
		t.Errorf("musl is there %d times and held %d times by its image, want 1: %s", found, held, first)
	}

	lock := must(ParseLock(LockName, must(os.ReadFile(filepath.Join(opt.Out, LockName)))))
	opt.Out = t.TempDir()
	if _, err := run(opt, cache, "own:1", lock, true); err != nil {
		t.Fatal(err)
	}
	if again := must(os.ReadFile(filepath.Join(opt.Out, "sbom.spdx.json"))); string(again) != string(first) {
		t.Error("another SBOM from the lock file, offline")
	}
	if _, err := run(fileOptions(t), t.TempDir(), "broken:1", nil, false); err == nil || !strings.Contains(err.Error(), "not JSON") {
		t.Errorf("a broken attestation: %v", err)
	}
	without := fileOptions(t)
	without.NoSBOM = true
	if _, err := run(without, t.TempDir(), "broken:1", nil, false); err != nil {
		t.Errorf("a broken attestation that nobody wants: %v", err)
	}
}

func FuzzReadSPDX(f *testing.F) {
	f.Add([]byte(attestedStatement[strings.Index(attestedStatement, `"predicate":{`)+len(`"predicate":`) : len(attestedStatement)-1]))
	f.Fuzz(func(t *testing.T, doc []byte) {
		packages, err := readSPDX("r", doc)
		for _, p := range packages {
			if err != nil || p.Name == "" || len(p.Name) > maxAttestedText {
				t.Errorf("%+v, %v", p, err)
			}
		}
	})
}
