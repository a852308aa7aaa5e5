package publish_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hooksmith/publish"
	"hooksmith/publish/store"
)

// gcsServer answers as the XML API of Google Cloud Storage is documented to,
// for one bucket, and gives tokens as Google's token server does.
type gcsServer struct {
	mu      sync.Mutex
	objects map[string][]byte // by /BUCKET/NAME
	kinds   map[string]string
	token   string // that is asked for; "": none
	given   int    // tokens
	busy    int    // requests that get 503
	flip    bool   // a bit of what comes
}

func startGCS(t testing.TB) (*gcsServer, *server) {
	t.Helper()
	g := &gcsServer{objects: map[string][]byte{}, kinds: map[string]string{}}
	web := httptest.NewServer(g)
	t.Cleanup(web.Close)
	s := &server{kind: "gs", addr: web.Listener.Addr().String()}
	s.dest = func(string) string { return "gs://hook/boot/x y" }
	s.access.LookupEnv = func(key string) (string, bool) {
		return map[string]string{"STORAGE_EMULATOR_HOST": s.addr}[key], key == "STORAGE_EMULATOR_HOST"
	}
	return g, s
}

func (g *gcsServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.URL.Path == "/token" {
		g.given++
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, g.token)
		return
	}
	fail := func(status int, code string) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<?xml version='1.0' encoding='UTF-8'?><Error><Code>%s</Code><Message>the test says so</Message></Error>", code)
	}
	old, there := g.objects[r.URL.Path]
	switch {
	case g.busy > 0:
		g.busy--
		w.Header().Set("Retry-After", "1")
		fail(http.StatusServiceUnavailable, "ServiceUnavailable")
	case g.token != "" && r.Header.Get("Authorization") != "Bearer "+g.token:
		fail(http.StatusUnauthorized, "AuthenticationRequired")
	case !strings.HasPrefix(r.URL.Path, "/hook/"):
		fail(http.StatusNotFound, "NoSuchBucket")
	case r.Method == http.MethodPut && r.Header.Get("x-goog-if-generation-match") == "0" && there:
		fail(http.StatusPreconditionFailed, "PreconditionFailed")
	case r.Method == http.MethodPut:
		g.put(w, r, fail)
	case !there:
		fail(http.StatusNotFound, "NoSuchKey")
	case r.Method == http.MethodDelete:
		delete(g.objects, r.URL.Path)
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("X-Goog-Hash", hashOf(old))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(old))
	}
}

func (g *gcsServer) put(w http.ResponseWriter, r *http.Request, fail func(int, string)) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut off: no object
	}
	if source := r.Header.Get("x-goog-copy-source"); source != "" {
		name, err := url.PathUnescape(source)
		was, there := g.objects[name]
		if err != nil || !there || len(data) > 0 {
			fail(http.StatusNotFound, "NoSuchKey")
			return
		}
		g.objects[r.URL.Path] = was
		fmt.Fprint(w, "<?xml version='1.0' encoding='UTF-8'?><CopyObjectResult></CopyObjectResult>")
		return
	}
	if g.flip && len(data) > 0 {
		data[len(data)/2] ^= 1
	}
	g.objects[r.URL.Path], g.kinds[r.URL.Path] = data, r.Header.Get("Content-Type")
	w.Header().Set("X-Goog-Hash", hashOf(data))
	w.Header().Set("X-Goog-Generation", "1")
}

func hashOf(data []byte) string {
	sum := binary.BigEndian.AppendUint32(nil, crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
	return "md5=AAAAAAAAAAAAAAAAAAAAAA==,crc32c=" + base64.StdEncoding.EncodeToString(sum)
}

// TestPublishGS: the life of three sets, as in TestPublish.
func TestPublishGS(t *testing.T) {
	g, s := startGCS(t)
	key := testKey(t)
	a, b, c := newSet(t, 1, 1, 200_000), newSet(t, 2, 1, 300_000), newSet(t, 3, 3, 100_000)
	publishAll(t, s, key, a, b, c)
	rollbackAndPrune(t, s, a, b, c)
	fetchBack(t, s, key, a)
	if got := g.kinds["/hook/boot/x y/hook.json"]; got != "" && got != "application/json" {
		t.Errorf("hook.json has the type %q", got)
	}
	for name := range g.objects {
		if strings.HasSuffix(name, "publish.lock") {
			t.Errorf("%s was left", name)
		}
	}
}

// TestGS: what Store promises, and what goes wrong.
func TestGS(t *testing.T) {
	g, s := startGCS(t)
	st, err := store.Open(t.Context(), s.dest(""), s.access)
	must(t, err)
	defer st.Close()
	must(t, st.Create(t.Context(), "new", []byte("mine")))
	if err := st.Create(t.Context(), "new", []byte("other")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
	if _, err := st.Get(t.Context(), "none", 0, -1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading what is not there: %v", err)
	}
	must(t, st.Delete(t.Context(), "none"))
	for _, r := range []struct {
		off, n int64
		want   string
	}{{0, -1, "mine"}, {1, -1, "ine"}, {1, 2, "in"}} {
		rc, err := st.Get(t.Context(), "new", r.off, r.n)
		must(t, err)
		got, err := io.ReadAll(rc)
		must(t, errors.Join(err, rc.Close()))
		if string(got) != r.want {
			t.Errorf("%d bytes from %d: %q", r.n, r.off, got)
		}
	}
	g.flip = true
	if err := st.Put(t.Context(), "flipped", "", 4, bytes.NewReader([]byte("abcd"))); err == nil || !strings.Contains(err.Error(), "CRC32C") {
		t.Errorf("a bit was flipped on the way: %v", err)
	}
	g.flip = false
	_, err = store.Open(t.Context(), "gs://hook/x?region=here", s.access)
	if err == nil || !strings.Contains(err.Error(), "endpoint") {
		t.Errorf("an unknown option: %v", err)
	}
	opt := s.options(newSet(t, 1, 1, 1000))
	opt.Dest = "gs://other/x"
	var hint interface{ Hint() string }
	_, err = publish.Publish(t.Context(), opt)
	if !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "bucket") {
		t.Errorf("no such bucket: %v", err)
	}
}

// TestGSBusy: 503 with Retry-After is waited for.
func TestGSBusy(t *testing.T) {
	g, s := startGCS(t)
	g.busy = 2
	begun := time.Now()
	opt := s.options(newSet(t, 1, 1, 1000))
	_, err := publish.Publish(t.Context(), opt)
	must(t, err)
	if time.Since(begun) < time.Second || g.busy != 0 {
		t.Errorf("took %s", time.Since(begun))
	}
	whole(t, opt, "")
}

// TestGSToken: a service account's key is exchanged for a token, once.
func TestGSToken(t *testing.T) {
	g, s := startGCS(t)
	g.token = "secret-token"
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", serviceAccount(t, "http://"+s.addr+"/token"))
	opt := s.options(newSet(t, 1, 1, 1000))
	opt.Dest, opt.Access = "gs://hook/x?endpoint=http://"+s.addr, store.Access{}
	_, err := publish.Publish(t.Context(), opt)
	must(t, err)
	if g.given != 1 {
		t.Errorf("%d tokens were asked for", g.given)
	}
	whole(t, opt, "")
	opt.Access, opt.Dest = s.access, s.dest("") // an emulator gets none
	var hint interface{ Hint() string }
	_, err = publish.Publish(t.Context(), opt)
	if !errors.Is(err, fs.ErrPermission) || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "GOOGLE_APPLICATION_CREDENTIALS") || strings.Contains(err.Error(), g.token) {
		t.Errorf("without a token: %v", err)
	}
}

func serviceAccount(t testing.TB, tokens string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	data, err := json.Marshal(map[string]string{"type": "service_account", "client_email": "test@example.com", "private_key_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": tokens})
	must(t, err)
	path := filepath.Join(t.TempDir(), "key.json")
	must(t, os.WriteFile(path, data, 0o600))
	return path
}
