package images

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

type anonymous struct{}

func (anonymous) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

// cut answers with the first n bytes of what there is to say, and breaks off.
func cut(inner http.Handler, w http.ResponseWriter, r *http.Request, n int) bool {
	rec := httptest.NewRecorder()
	plain := r.Clone(r.Context())
	plain.Header.Del("Range")
	inner.ServeHTTP(rec, plain)
	w.Header().Set("Content-Length", fmt.Sprint(rec.Body.Len()))
	_, _ = w.Write(rec.Body.Bytes()[:n])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func TestRegistryFaults(t *testing.T) {
	const size = 200_000
	plain := tarOf(t, "file1", noise(1, size))
	layer := gzLayer(t, 1, size)
	blob := "GET blobs/" + digestOf(t, layer).String()
	isBlob := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, digestOf(t, layer).String()) }
	isManifest := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") }
	tests := []struct {
		name    string
		fault   func(tr *testRegistry) func(w http.ResponseWriter, r *http.Request, hit int) bool
		gets    int // requests for the layer
		ranges  int
		wantErr []string
	}{
		{name: "plain", gets: 1},
		{name: "429 with Retry-After", gets: 2, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, hit int) bool {
				if hit == 1 {
					w.Header().Set("Retry-After", "0")
					w.WriteHeader(http.StatusTooManyRequests)
				}
				return hit == 1
			}
		}},
		{name: "429 for too long", wantErr: []string{"limits how much may be pulled", "docker login 127.0.0.1"}, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				w.Header().Set("Retry-After", "7200")
				w.WriteHeader(http.StatusTooManyRequests)
				return true
			}
		}},
		{name: "503, then well", gets: 2, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, hit int) bool {
				if hit == 1 && isBlob(r) {
					w.WriteHeader(http.StatusServiceUnavailable)
					return true
				}
				return false
			}
		}},
		{name: "503 for ever", gets: 3, wantErr: []string{"503"}, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if isBlob(r) {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				return isBlob(r)
			}
		}},
		{name: "cut connections are resumed", gets: 4, ranges: 3, fault: func(tr *testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, hit int) bool {
				if !isBlob(r) || hit > 3 {
					return false
				}
				var from int
				_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
				rec := httptest.NewRecorder()
				tr.inner.ServeHTTP(rec, strip(r))
				body := rec.Body.Bytes()[from:]
				if from > 0 {
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, rec.Body.Len()-1, rec.Body.Len()))
					w.Header().Set("Content-Length", fmt.Sprint(len(body)))
					w.WriteHeader(http.StatusPartialContent)
				} else {
					w.Header().Set("Content-Length", fmt.Sprint(len(body)))
				}
				_, _ = w.Write(body[:hit*9_973])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
		}},
		{name: "cut, and the server knows no ranges", gets: 2, ranges: 1, fault: func(tr *testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, hit int) bool {
				if !isBlob(r) {
					return false
				}
				if hit == 1 {
					return cut(tr.inner, w, r, 50_000)
				}
				tr.inner.ServeHTTP(w, strip(r))
				return true
			}
		}},
		{name: "cut, and ranges are refused", gets: 3, ranges: 1, fault: func(tr *testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, hit int) bool {
				if isBlob(r) && hit == 1 {
					return cut(tr.inner, w, r, 50_000)
				}
				if isBlob(r) && hit == 2 {
					w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
					return true
				}
				return false
			}
		}},
		{name: "never more than nothing", gets: 3, wantErr: []string{"unexpected EOF"}, fault: func(tr *testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, hit int) bool {
				return isBlob(r) && cut(tr.inner, w, r, 0)
			}
		}},
		{name: "wrong bytes", gets: 1, wantErr: []string{"wrong digest", "broken mirror"}, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if isBlob(r) {
					n, _ := layer.Size()
					_, _ = w.Write(make([]byte, n))
				}
				return isBlob(r)
			}
		}},
		{name: "endless body", gets: 1, wantErr: []string{"wrong size"}, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				for isBlob(r) {
					if _, err := w.Write(make([]byte, 1<<16)); err != nil {
						return true
					}
				}
				return false
			}
		}},
		{name: "body too short", gets: 3, ranges: 2, wantErr: []string{"of", "unexpected EOF"}, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if isBlob(r) {
					_, _ = w.Write([]byte("short"))
				}
				return isBlob(r)
			}
		}},
		{name: "slow, then well", gets: 2, ranges: 1, fault: func(tr *testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, hit int) bool {
				if !isBlob(r) || hit > 1 {
					return false
				}
				rec := httptest.NewRecorder()
				tr.inner.ServeHTTP(rec, strip(r))
				w.Header().Set("Content-Length", fmt.Sprint(rec.Body.Len()))
				_, _ = w.Write(rec.Body.Bytes()[:1000])
				w.(http.Flusher).Flush()
				<-r.Context().Done() // until the client loses patience
				return true
			}
		}},
		{name: "wrong manifest", wantErr: []string{"wrong digest"}, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if isManifest(r) {
					w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("1", 64))
					fmt.Fprint(w, `{"schemaVersion":2,"layers":[]}`)
				}
				return isManifest(r)
			}
		}},
		{name: "endless manifest", wantErr: []string{"larger than"}, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				for isManifest(r) {
					if _, err := w.Write(make([]byte, 1<<16)); err != nil {
						return true
					}
				}
				return false
			}
		}},
		{name: "manifest is a page", wantErr: []string{"not JSON"}, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if isManifest(r) {
					fmt.Fprint(w, "<html>captive portal</html>")
				}
				return isManifest(r)
			}
		}},
		{name: "schema 1", wantErr: []string{"schema version 1", "current Docker"}, fault: func(*testRegistry) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if isManifest(r) {
					w.Header().Set("Content-Type", string(types.DockerManifestSchema1Signed))
					fmt.Fprint(w, `{"schemaVersion":1,"name":"a","fsLayers":[{"blobSum":"sha256:00"}],"history":[]}`)
				}
				return isManifest(r)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := newRegistry(t)
			tr.add(t, "hook/app:v1", imageOf(t, "amd64", layer))
			if tt.fault != nil {
				tr.setFault(tt.fault(tr))
			}
			s := sources(t, func(s *Sources) {
				if strings.HasPrefix(tt.name, "slow") {
					s.stall = 100 * time.Millisecond
				}
			})
			img, err := s.Image(t.Context(), tr.ref("hook/app:v1"))
			var got [][]byte
			if err == nil {
				got, err = tryContents(img)
			}
			if n := tr.count(blob); n != tt.gets {
				t.Errorf("%d requests for the layer, want %d", n, tt.gets)
			}
			if n := len(tr.ranges); n != tt.ranges {
				t.Errorf("%d of them for a range (%v), want %d", n, tr.ranges, tt.ranges)
			}
			if tt.wantErr != nil {
				wantError(t, err, tt.wantErr...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got[0], plain) {
				t.Error("other content")
			}
			left, _ := filepath.Glob(filepath.Join(s.Dir, "partial", "*"))
			if len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func strip(r *http.Request) *http.Request {
	c := r.Clone(r.Context())
	c.Header.Del("Range")
	return c
}

func TestCutAtAnyByteIsResumedByTheNextRun(t *testing.T) {
	const size = 120_000
	layer := gzLayer(t, 9, size)
	whole, _ := layer.Size()
	for _, at := range []int{0, 1, 4096, 77_777, int(whole) - 1} {
		tr := newRegistry(t)
		tr.add(t, "a:1", imageOf(t, "amd64", layer))
		tr.setFault(func(w http.ResponseWriter, r *http.Request, hit int) bool {
			return strings.HasSuffix(r.URL.Path, digestOf(t, layer).String()) && cut(tr.inner, w, r, at)
		})
		dir := t.TempDir()
		first := sources(t, func(s *Sources) { s.Dir, s.Retries = dir, 1 })
		_, err := tryContents(mustImage(t, first, tr.ref("a:1")))
		wantError(t, err, "downloading "+digestOf(t, layer).String())
		tr.setFault(nil)
		second := sources(t, func(s *Sources) { s.Dir = dir })
		contents(t, mustImage(t, second, tr.ref("a:1")))
		want := []string(nil)
		if at > 0 {
			want = []string{fmt.Sprintf("bytes=%d-", at)}
		}
		if got := tr.ranges; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("cut at %d: second run asked for %v, want %v", at, got, want)
		}
	}
}

func TestLogin(t *testing.T) {
	writeConfig := func(t *testing.T, host string) {
		dir := t.TempDir()
		auth := base64.StdEncoding.EncodeToString([]byte("ann:secret"))
		if err := os.WriteFile(filepath.Join(dir, "config.json"), fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, auth), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("HOME", dir)
		t.Setenv("DOCKER_CONFIG", dir)
	}
	writeHelper := func(t *testing.T, host string) {
		dir := t.TempDir()
		script := "#!/bin/sh\nread host\n[ \"$1 $host\" = 'get " + host + "' ] || exit 1\necho '{\"Username\":\"ann\",\"Secret\":\"secret\"}'\n"
		if err := os.WriteFile(filepath.Join(dir, "docker-credential-hooktest"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), fmt.Appendf(nil, `{"credHelpers":{%q:"hooktest"}}`, host), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("HOME", dir)
		t.Setenv("DOCKER_CONFIG", dir)
		t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	}
	for _, tt := range []struct {
		name, auth, user string
		login            func(*testing.T, string)
		wantErr          []string
	}{
		{name: "token for everybody", auth: "token"},
		{name: "token for a user", auth: "token", user: "ann", login: writeConfig},
		{name: "basic", auth: "basic", user: "ann", login: writeConfig},
		{name: "credential helper", auth: "basic", user: "ann", login: writeHelper},
		{name: "nobody logged in", auth: "basic", user: "ann", wantErr: []string{"wants credentials for hook/app", "docker login 127.0.0.1:"}},
		{name: "token refused", auth: "token", user: "ann", wantErr: []string{"docker login 127.0.0.1:"}},
		{name: "another user", auth: "basic", user: "bob", login: writeConfig, wantErr: []string{"does not let the user", "docker login"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newRegistry(t)
			tr.auth, tr.user = tt.auth, tt.user
			tr.add(t, "hook/app:v1", imageOf(t, "amd64", gzLayer(t, 1, 1000)))
			t.Setenv("HOME", t.TempDir())
			t.Setenv("DOCKER_CONFIG", t.TempDir())
			if tt.login != nil {
				tt.login(t, tr.host)
			}
			s := sources(t, func(s *Sources) { s.Keychain = nil })
			img, err := s.Image(t.Context(), tr.ref("hook/app:v1"))
			if tt.wantErr != nil {
				wantError(t, err, tt.wantErr...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			contents(t, img)
		})
	}
}

func TestSharedLayersAreDownloadedOnce(t *testing.T) {
	tr := newRegistry(t)
	base := []v1.Layer{gzLayer(t, 1, 50_000), gzLayer(t, 2, 60_000), gzLayer(t, 3, 70_000)}
	var refs []string
	for i := range 6 {
		ref := fmt.Sprintf("hook/app%d:v1", i)
		tr.add(t, ref, imageOf(t, "amd64", append(base[:i%3+1:i%3+1], gzLayer(t, uint64(10+i), 20_000))...))
		refs = append(refs, tr.ref(ref))
	}
	var began atomic.Int32
	s := sources(t, func(s *Sources) {
		s.Progress = func(string, int64) (func(int64), func(error)) {
			began.Add(1)
			return func(int64) {}, func(error) {}
		}
	})
	var images []v1.Image
	for _, ref := range refs {
		images = append(images, mustImage(t, s, ref))
	}
	var wg sync.WaitGroup
	for _, img := range images {
		wg.Go(func() {
			if _, err := tryContents(img); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if err := s.Prefetch(t.Context(), img); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for key, n := range tr.hits {
		if strings.HasPrefix(key, "GET blobs/") && n != 1 {
			t.Errorf("%s: %d times", key, n)
		}
	}
	if began.Load() != 9+6 { // layers and configurations
		t.Errorf("progress of %d downloads, want 15", began.Load())
	}
}

func TestOfflineNeedsAnEarlierRun(t *testing.T) {
	tr := newRegistry(t)
	ref := tr.ref("hook/app:v1")
	tr.add(t, "hook/app:v1", imageOf(t, "amd64", gzLayer(t, 1, 9_000), gzLayer(t, 2, 9_000)))
	dir := t.TempDir()
	offline := func(s *Sources) { s.Dir, s.Offline = dir, true }

	_, err := sources(t, offline).Image(t.Context(), ref)
	if !errors.Is(err, ErrOffline) {
		t.Fatalf("error %v, want ErrOffline", err)
	}
	online := sources(t, func(s *Sources) { s.Dir = dir })
	img := mustImage(t, online, ref)
	layers, _ := img.Layers()
	rc, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	rc.Close()
	digest := digestOf(t, img)
	tr.Server.Close()

	for _, r := range []string{ref, tr.ref("hook/app@" + digest.String()), tr.ref("hook/app:other@" + digest.String())} {
		img := mustImage(t, sources(t, offline), r)
		layers, _ := img.Layers()
		if rc, err := layers[0].Uncompressed(); err != nil {
			t.Errorf("%s: %v", r, err)
		} else {
			rc.Close()
		}
		if _, err := layers[1].Uncompressed(); !errors.Is(err, ErrOffline) {
			t.Errorf("a layer that was not downloaded: %v", err)
		}
	}
}

func TestPinsAndPull(t *testing.T) {
	tr := newRegistry(t)
	ref := tr.ref("hook/app:v1")
	old, now := imageOf(t, "amd64", gzLayer(t, 1, 5_000)), imageOf(t, "amd64", gzLayer(t, 2, 5_000))
	tr.add(t, "hook/app:v1", old)
	s := sources(t)
	contents(t, mustImage(t, s, ref))
	pins := s.Resolved()
	if len(pins) != 1 || pins[0] != (Pin{Ref: ref, Digest: digestOf(t, old).String(), Source: "registry"}) {
		t.Fatalf("pins %v", pins)
	}
	tr.add(t, "hook/app:v1", now)
	for _, tt := range []struct {
		name   string
		change func(*Sources)
		want   v1.Image
	}{
		{"what the cache knows", func(n *Sources) { n.Dir = s.Dir }, old},
		{"an empty cache asks", func(*Sources) {}, now},
		{"a pin holds", func(n *Sources) { n.Pins = pins }, old},
		{"pull renews", func(n *Sources) { n.Dir, n.Pins, n.Pull = s.Dir, pins, true }, now},
		{"the cache knows the new one", func(n *Sources) { n.Dir = s.Dir }, now},
		{"but the pin is stronger", func(n *Sources) { n.Dir, n.Pins = s.Dir, pins }, old},
		{"pull of nothing new", func(n *Sources) { n.Dir, n.Pull = s.Dir, true }, now},
	} {
		before := tr.total("GET manifests/")
		img := mustImage(t, sources(t, tt.change), ref)
		if digestOf(t, img) != digestOf(t, tt.want) {
			t.Errorf("%s: another image", tt.name)
		}
		if tt.name == "pull of nothing new" && tr.total("GET manifests/") != before {
			t.Errorf("%s: the manifest was downloaded again", tt.name)
		}
	}
	gone := []Pin{{Ref: ref, Digest: "sha256:" + strings.Repeat("0", 64)}}
	_, err := sources(t, func(s *Sources) { s.Pins = gone }).Image(t.Context(), ref)
	wantError(t, err, "no such image in hook/app")
	_, err = sources(t, func(s *Sources) { s.Pins = []Pin{{Ref: ref, Digest: "sha256:1"}} }).Image(t.Context(), ref)
	wantError(t, err, "pin of "+ref)
}

func TestMirrors(t *testing.T) {
	img := imageOf(t, "amd64", gzLayer(t, 1, 5_000))
	with := func(t *testing.T, repo string) *testRegistry {
		tr := newRegistry(t)
		tr.add(t, repo, img)
		return tr
	}
	lying := with(t, "hook/app:v1")
	lying.setFault(func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			fmt.Fprint(w, strings.Repeat("x", 5_200))
			return true
		}
		return false
	})
	down := newRegistry(t)
	down.Server.Close()
	for _, tt := range []struct {
		name    string
		mirror  *testRegistry
		format  string
		atHome  int // requests for the layer at the registry itself
		wantErr []string
	}{
		{"the mirror has it", with(t, "hook/app:v1"), "%HOST%=%URL%", 0, nil},
		{"a mirror with a path", with(t, "proxy/hub/hook/app:v1"), "%HOST%=%URL%/proxy/hub/", 0, nil},
		{"a mirror with containerd's path", with(t, "proxy/hook/app:v1"), "%HOST%=%URL%/v2/proxy", 0, nil},
		{"a mirror of everything", with(t, "hook/app:v1"), "%URL%", 0, nil},
		{"the mirror of another registry", with(t, "hook/app:v1"), "ghcr.io=%URL%", 1, nil},
		{"the mirror lacks it", newRegistry(t), "%HOST%=%URL%", 1, nil},
		{"the mirror is down", down, "%HOST%=%URL%", 1, nil},
		{"the mirror lies", lying, "%HOST%=%URL%", 1, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home := with(t, "hook/app:v1")
			m, err := ParseMirror(strings.NewReplacer("%HOST%", home.host, "%URL%", tt.mirror.URL).Replace(tt.format))
			if err != nil {
				t.Fatal(err)
			}
			s := sources(t, func(s *Sources) { s.Mirrors = []Mirror{m} })
			contents(t, mustImage(t, s, home.ref("hook/app:v1")))
			layers, _ := img.Layers()
			if n := home.count("GET blobs/" + digestOf(t, layers[0]).String()); n != tt.atHome {
				t.Errorf("%d requests at the registry itself, want %d", n, tt.atHome)
			}
		})
	}
	t.Run("nobody has it", func(t *testing.T) {
		home, mirror := newRegistry(t), newRegistry(t)
		s := sources(t, func(s *Sources) { s.Mirrors = []Mirror{{home.host, mirror.URL}} })
		_, err := s.Image(t.Context(), home.ref("hook/app:v1"))
		wantError(t, err, "mirror "+mirror.URL+": it has no such image", "registry "+home.host+": it has no such image", "NAME_UNKNOWN")
	})
}

func TestParseMirror(t *testing.T) {
	for in, want := range map[string]Mirror{
		"docker.io=https://m.example":        {"docker.io", "https://m.example"},
		"docker.io=m.example:5000":           {"docker.io", "https://m.example:5000"},
		"https://m.example/p":                {"*", "https://m.example/p"},
		"localhost:5000=http://127.0.0.1:80": {"localhost:5000", "http://127.0.0.1:80"},
		"=https://m.example":                 {},
		"docker.io=":                         {},
		"docker.io=ftp://m":                  {},
		"docker.io=https://m?x=1":            {},
		"":                                   {},
	} {
		got, err := ParseMirror(in)
		if got != want || (err == nil) != (want.URL != "") {
			t.Errorf("ParseMirror(%q) = %v, %v", in, got, err)
		}
	}
}

func TestTLS(t *testing.T) {
	tr := startRegistry(t, httptest.NewTLSServer)
	tr.auth = "token"
	tr.add(t, "app:1", imageOf(t, "amd64", gzLayer(t, 1, 500)))
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tr.Certificate().Raw})
	plain := newRegistry(t)
	plain.add(t, "app:1", imageOf(t, "amd64"))
	// Loopback addresses may speak HTTP; this name is one of no such privilege.
	other := strings.Replace(plain.host, "127.0.0.1", "127.0.0.1.nip.test", 1)
	for _, tt := range []struct {
		name    string
		ref     string
		change  func(*Sources)
		wantErr []string
	}{
		{"unknown authority", tr.ref("app:1"), nil, []string{"authority that is not trusted", "--ca FILE", "--insecure-registry " + tr.host}},
		{"its CA", tr.ref("app:1"), func(s *Sources) { s.CA = ca }, nil},
		{"insecure by host and port", tr.ref("app:1"), func(s *Sources) { s.Insecure = []string{tr.host} }, nil},
		{"insecure by host", tr.ref("app:1"), func(s *Sources) { s.Insecure = []string{"127.0.0.1"} }, nil},
		{"insecure is another host", tr.ref("app:1"), func(s *Sources) { s.Insecure = []string{"ghcr.io"} }, []string{"--ca FILE"}},
		{"CA is no certificate", tr.ref("app:1"), func(s *Sources) { s.CA = []byte("x") }, []string{"PEM"}},
		{"no such host", other + "/app:1", nil, []string{"there is no host 127.0.0.1.nip.test", "HTTPS_PROXY"}},
		{"nobody listens", "127.0.0.1:1/app:1", nil, []string{"nothing answers at 127.0.0.1:1"}},
		{"http mirror of an https server", plain.ref("app:1"), func(s *Sources) { s.Mirrors = []Mirror{{"*", "http://" + tr.host}} }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := sources(t)
			if tt.change != nil {
				tt.change(s)
			}
			img, err := s.Image(t.Context(), tt.ref)
			if tt.wantErr != nil {
				wantError(t, err, tt.wantErr...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			contents(t, img)
		})
	}
}

// TestPlainHTTPIsRefused: only loopback, mirrors that say http and insecure
// registries are spoken to without TLS.
func TestPlainHTTPIsRefused(t *testing.T) {
	trust, err := newHostTransport(nil, []string{"insecure.test"}, []string{"mirror.test:80"})
	if err != nil {
		t.Fatal(err)
	}
	sent := errors.New("sent")
	record := roundTripper(func(*http.Request) (*http.Response, error) { return nil, sent })
	trust.strict, trust.lax = record, record
	for _, tt := range []struct {
		url      string
		redirect bool
		ok       bool
	}{
		{"https://registry.test/v2/", false, true},
		{"http://registry.test/v2/", false, false},
		{"http://10.0.0.7:5000/v2/", false, false},
		{"http://127.0.0.1:5000/v2/", false, true},
		{"http://localhost/v2/", false, true},
		{"http://insecure.test:5000/v2/", false, true},
		{"http://mirror.test:80/v2/", false, true},
		{"http://cdn.test/blob", true, true},
	} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, tt.url, nil)
		if tt.redirect {
			req.Response = &http.Response{}
		}
		_, err := trust.RoundTrip(req)
		if ok := errors.Is(err, sent); ok != tt.ok {
			t.Errorf("%s: sent %v, want %v", tt.url, ok, tt.ok)
		}
		var refused plainHTTPError
		if !tt.ok && !errors.As(err, &refused) {
			t.Errorf("%s: %v", tt.url, err)
		}
	}
	e := &endpoint{}
	if r, err := parseReference("registry.test/app"); err != nil {
		t.Fatal(err)
	} else {
		e.repo = r.repo
	}
	wantError(t, e.explain(http.ErrSchemeMismatch), "--insecure-registry registry.test")
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"5": 5 * time.Second, "0": 0, "Sat, 21 Nov 2026 12:01:00 GMT": time.Minute, "": -1, "soon": -1, "-3": -1,
	} {
		got, ok := retryAfter(in, now)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %v, %v", in, got, ok)
		}
	}
}

func TestCancelledDownloadReturnsAtOnce(t *testing.T) {
	tr := newRegistry(t)
	layer := gzLayer(t, 1, 50_000)
	tr.add(t, "a:1", imageOf(t, "amd64", layer))
	ctx, cancel := context.WithCancel(t.Context())
	tr.setFault(func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if !strings.HasSuffix(r.URL.Path, digestOf(t, layer).String()) {
			return false
		}
		w.Header().Set("Content-Length", "50000")
		_, _ = w.Write(make([]byte, 10_000))
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
		return true
	})
	s := sources(t)
	img, err := s.Image(ctx, tr.ref("a:1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tryContents(img); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want cancelled", err)
	}
}

func TestDamagedCacheIsRepairedByTheNextRun(t *testing.T) {
	tr := newRegistry(t)
	layer := gzLayer(t, 1, 30_000)
	tr.add(t, "a:1", imageOf(t, "amd64", layer))
	s := sources(t)
	img := mustImage(t, s, tr.ref("a:1"))
	contents(t, img)
	size, _ := layer.Size()
	path := s.store.blobPath(digestOf(t, layer))
	if err := os.WriteFile(path, make([]byte, size), 0o644); err != nil {
		t.Fatal(err)
	}
	rc, err := img.(*image).layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	_, err = bytes.NewBuffer(nil).ReadFrom(rc)
	wantError(t, err, "run the command again")
	contents(t, img)
	if err := os.Truncate(path, 7); err != nil { // as after a crash of the machine
		t.Fatal(err)
	}
	contents(t, img)
}
