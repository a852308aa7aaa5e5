package images

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

type anonymous struct{}

func (anonymous) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

// cut answers with the first n bytes of what there is to say, and breaks off.
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
			if tags, err := s.Tags(t.Context(), tr.ref("hook/app")); err != nil || !slices.Equal(tags, []string{"v1"}) {
				t.Errorf("tags %q, %v", tags, err)
			}
		})
	}
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
