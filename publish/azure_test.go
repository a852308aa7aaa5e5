package publish_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"hooksmith/publish"
	"hooksmith/publish/store"
)

// azureServer answers as Azure's Put Blob, Put Block, Put Block List, Copy
// Blob, Get Blob and Delete Blob are documented to.
type azureServer struct {
	mu      sync.Mutex
	objects map[string][]byte
	blocks  map[string][]byte // by path and id
	pending int               // copies that are not done at once
}

func startAzure(t testing.TB) (*azureServer, *server) {
	t.Helper()
	z := &azureServer{objects: map[string][]byte{}, blocks: map[string][]byte{}}
	web := httptest.NewServer(z)
	t.Cleanup(web.Close)
	s := &server{kind: "azblob", addr: web.Listener.Addr().String()}
	s.dest = func(addr string) string { return "azblob://hook/boot?protocol=http&domain=" + addr }
	env := map[string]string{"AZURE_STORAGE_ACCOUNT": "acct", "AZURE_STORAGE_KEY": "c2VjcmV0"}
	s.access.LookupEnv = func(key string) (string, bool) { v, ok := env[key]; return v, ok }
	return z, s
}

func (z *azureServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	z.mu.Lock()
	defer z.mu.Unlock()
	fail := func(status int, code string) {
		w.Header().Set("x-ms-error-code", code)
		w.WriteHeader(status)
	}
	data, there := z.objects[r.URL.Path]
	switch {
	case !strings.HasPrefix(r.Header.Get("Authorization"), "SharedKey acct:"):
		fail(http.StatusForbidden, "AuthenticationFailed")
	case !strings.HasPrefix(r.URL.Path, "/acct/hook/"):
		fail(http.StatusNotFound, "ContainerNotFound")
	case r.Method == http.MethodPut && r.Header.Get("If-None-Match") == "*" && there:
		fail(http.StatusConflict, "BlobAlreadyExists")
	case r.Method == http.MethodPut:
		z.put(w, r, fail)
	case !there:
		fail(http.StatusNotFound, "BlobNotFound")
	case r.Method == http.MethodDelete:
		delete(z.objects, r.URL.Path)
		w.WriteHeader(http.StatusAccepted)
	default:
		if v := r.Header.Get("x-ms-range"); v != "" {
			r.Header.Set("Range", v)
		}
		w.Header().Set("x-ms-copy-status", "success")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}
}

func (z *azureServer) put(w http.ResponseWriter, r *http.Request, fail func(int, string)) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	q := r.URL.Query()
	switch {
	case r.Header.Get("x-ms-copy-source") != "":
		from, err := url.Parse(r.Header.Get("x-ms-copy-source"))
		was, there := z.objects[from.Path]
		if err != nil || !there {
			fail(http.StatusNotFound, "CannotVerifyCopySource")
			return
		}
		z.objects[r.URL.Path] = was
		status := "success"
		if z.pending > 0 {
			z.pending--
			status = "pending"
		}
		w.Header().Set("x-ms-copy-status", status)
		w.WriteHeader(http.StatusAccepted)
		return
	case q.Get("comp") == "block":
		z.blocks[r.URL.Path+q.Get("blockid")] = body
	case q.Get("comp") == "blocklist":
		var list struct{ Latest []string }
		if err := xml.Unmarshal(body, &list); err != nil {
			fail(http.StatusBadRequest, "InvalidXmlDocument")
			return
		}
		var all []byte
		for _, id := range list.Latest {
			all = append(all, z.blocks[r.URL.Path+id]...)
		}
		z.objects[r.URL.Path] = all
	default:
		z.objects[r.URL.Path] = body
	}
	w.WriteHeader(http.StatusCreated)
}

// TestPublishAzure: the life of three sets, and what Store promises.
func TestPublishAzure(t *testing.T) {
	z, s := startAzure(t)
	z.pending = 2
	key := testKey(t)
	a, b, c := newSet(t, 1, 1, 200_000), newSet(t, 2, 1, 300_000), newSet(t, 3, 3, 100_000)
	publishAll(t, s, key, a, b, c)
	rollbackAndPrune(t, s, a, b, c)
	fetchBack(t, s, key, a)
	st, err := store.Open(t.Context(), s.dest(s.addr), s.access)
	must(t, err)
	defer st.Close()
	must(t, st.Create(t.Context(), "new", []byte("mine")))
	if err := st.Create(t.Context(), "new", []byte("other")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
	must(t, st.Delete(t.Context(), "none"))
	large := bytes.Repeat([]byte("0123456789abcdef"), 20<<16)
	must(t, st.Put(t.Context(), "large", "", int64(len(large)), bytes.NewReader(large)))
	rc, err := st.Get(t.Context(), "large", 3, -1)
	must(t, err)
	got, err := io.ReadAll(rc)
	must(t, errors.Join(err, rc.Close()))
	if !bytes.Equal(got, large[3:]) {
		t.Errorf("%d bytes of blocks came back as %d others", len(large)-3, len(got))
	}
}

// TestAzureAccess: who is not let in learns it, and no secret is in the error.
func TestAzureAccess(t *testing.T) {
	_, s := startAzure(t)
	set := newSet(t, 1, 1, 1000)
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{}, "AZURE_STORAGE_ACCOUNT"},
		{map[string]string{"AZURE_STORAGE_ACCOUNT": "acct", "AZURE_STORAGE_SAS_TOKEN": "?sv=1&sig=hidden"}, "403"},
		{map[string]string{"AZURE_STORAGE_CONNECTION_STRING": "AccountKey=hidden"}, "AZURE_STORAGE_CONNECTION_STRING"},
		{map[string]string{"AZURE_STORAGE_ACCOUNT": "acct", "AZURE_STORAGE_KEY": "%hidden"}, "AZURE_STORAGE_KEY"},
	} {
		opt := s.options(set)
		opt.Access.LookupEnv = func(key string) (string, bool) { v, ok := c.env[key]; return v, ok }
		_, err := publish.Publish(t.Context(), opt)
		if text := fmt.Sprint(err); err == nil || !strings.Contains(text, c.want) || strings.Contains(text, "hidden") {
			t.Errorf("%v: %v", c.env, err)
		}
	}
}
