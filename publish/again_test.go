package publish_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hooksmith/publish"
	"hooksmith/publish/sign"
	"hooksmith/publish/store"
)

// signedBy says whose signature stands below prefix, "" if there is none.
func signedBy(t *testing.T, opt publish.Options, prefix string) string {
	t.Helper()
	st, err := store.Open(t.Context(), opt.Dest, opt.Access)
	must(t, err)
	defer st.Close()
	rc, err := st.Get(t.Context(), prefix+sign.Name, 0, -1)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	must(t, err)
	defer rc.Close()
	b := make([]byte, 200)
	n, _ := rc.Read(b)
	line, _, _ := strings.Cut(string(b[:n]), "\n")
	return line[strings.LastIndex(line, " ")+1:]
}

// TestSignLater: a set that stands already is published with a signature, then
// with another's, then with none: the stable names follow each time.
func TestSignLater(t *testing.T) {
	first, second := testKey(t), testKey(t)
	for _, kind := range servers {
		t.Run(kind.name, func(t *testing.T) {
			s := kind.start(t)
			dir := newSet(t, 1, 1, 20_000)
			for _, key := range []*sign.PrivateKey{nil, first, second, nil, first} {
				opt := s.options(dir)
				opt.Key = key
				_, err := publish.Publish(t.Context(), opt)
				must(t, err)
				want := ""
				if key != nil {
					want = key.Public().ID()
				}
				for _, prefix := range []string{"", idOf(t, dir) + "/"} {
					if got := signedBy(t, opt, prefix); got != want {
						t.Errorf("signed by %q at %q, published with %q", got, prefix, want)
					}
				}
			}
		})
	}
}

// TestStaleSignature: one of an earlier build, left in the folder, is not
// published as if it were this build's.
func TestStaleSignature(t *testing.T) {
	key := testKey(t)
	dir, later := newSet(t, 1, 1, 5_000), newSet(t, 2, 1, 5_000)
	must(t, publish.SignFolder(t.Context(), dir, key, time.Unix(1, 0)))
	s := folderServer(t)
	_, err := publish.Publish(t.Context(), s.options(dir))
	must(t, err)
	signature, err := os.ReadFile(filepath.Join(dir, sign.Name))
	must(t, err)
	for _, old := range [][]byte{signature, signature[:20]} {
		must(t, os.WriteFile(filepath.Join(later, sign.Name), old, 0o644))
		if _, err = publish.Publish(t.Context(), s.options(later)); err == nil || !strings.Contains(err.Error(), "does not sign what is there") {
			t.Errorf("published with another build's signature: %v", err)
		}
	}
	opt := s.options(later)
	opt.Key = key
	_, err = publish.Publish(t.Context(), opt)
	must(t, err)
}

// TestFolderInTheWay: what cannot be switched leaves the old set in force.
func TestFolderInTheWay(t *testing.T) {
	for _, kind := range servers {
		if kind.name != "folder" && kind.name != "sftp" {
			continue
		}
		t.Run(kind.name, func(t *testing.T) {
			s := kind.start(t)
			old, next := newSet(t, 1, 1, 20_000), newSet(t, 2, 2, 20_000)
			_, err := publish.Publish(t.Context(), s.options(old))
			must(t, err)
			root := s.root
			if kind.name == "sftp" {
				root = filepath.Join(root, "hook")
			}
			must(t, os.Remove(filepath.Join(root, "vmlinuz-test-x86_64")))
			must(t, os.Mkdir(filepath.Join(root, "vmlinuz-test-x86_64"), 0o755))
			if _, err = publish.Publish(t.Context(), s.options(next)); err == nil || !strings.Contains(err.Error(), "is a folder") {
				t.Errorf("published over a folder: %v", err)
			}
			if at := standing(t, s.options(next), "", old, next); at != old {
				t.Errorf("%q stands after a publish that failed", at)
			}
			must(t, os.Remove(filepath.Join(root, "vmlinuz-test-x86_64")))
			_, err = publish.Publish(t.Context(), s.options(next))
			must(t, err)
			whole(t, s.options(next), "")
		})
	}
}

// TestRepairFails: completing a switch that was cut off removes no name, even
// if it fails as well.
func TestRepairFails(t *testing.T) {
	s := startNginx(t)
	target, err := url.Parse("http://" + s.addr)
	must(t, err)
	refuse := true
	proxy := httputil.NewSingleHostReverseProxy(target)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "MOVE" {
			to, _ := url.Parse(r.Header.Get("Destination"))
			if refuse && path.Base(to.Path) == "vmlinuz-x86_64" {
				w.WriteHeader(http.StatusInsufficientStorage)
				return
			}
			to.Host = s.addr
			r.Header.Set("Destination", to.String())
		} else if d, _ := url.Parse(r.Header.Get("Destination")); d != nil && d.Host != "" {
			d.Host = s.addr
			r.Header.Set("Destination", d.String())
		}
		r.Host = s.addr
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()
	old, next := newSet(t, 1, 1, 20_000), newSet(t, 2, 2, 20_000)
	_, err = publish.Publish(t.Context(), s.options(old))
	must(t, err)
	// As a publisher leaves it that was killed in its switch.
	_, err = publish.Publish(t.Context(), s.options(next))
	must(t, err)
	index := filepath.Join(s.root, "dav", ".hooksmith", "index.json")
	data, err := os.ReadFile(index)
	must(t, err)
	cut := strings.Replace(string(data), `"current": "`+idOf(t, next)+`",`,
		`"current": "`+idOf(t, old)+`", "switching": {"from": "`+idOf(t, old)+`", "to": "`+idOf(t, next)+`"},`, 1)
	must(t, os.WriteFile(index, []byte(cut), 0o644))
	opt := s.options(next)
	opt.Dest = strings.Replace(opt.Dest, s.addr, strings.TrimPrefix(front.URL, "http://"), 1)
	if _, err := publish.Publish(t.Context(), opt); err == nil {
		t.Fatal("published, though the server has no room")
	}
	if at := standing(t, s.options(next), "", old, next); at != next {
		t.Errorf("%q stands", at)
	}
	refuse = false
	_, err = publish.Publish(t.Context(), opt)
	must(t, err)
	whole(t, s.options(next), "")
}

// TestRegistryTags: pruning for one tag leaves what others name.
func TestRegistryTags(t *testing.T) {
	s := startRegistry(t)
	opt := s.options("")
	if x, err := publish.List(t.Context(), opt); err != nil || len(x.Sets) != 0 {
		t.Errorf("listing what nobody pushed to: %+v, %v", x, err)
	}
	repository := strings.TrimSuffix(opt.Dest, ":prod")
	var sets []string
	for i, tag := range []string{"prod", "staging", "staging", "staging"} {
		dir := newSet(t, uint64(i), 1, 10_000)
		sets = append(sets, dir)
		opt = s.options(dir)
		opt.Dest = repository + ":" + tag
		// Times of sets are in seconds: without this, all are equally old.
		opt.Now = func() time.Time { return time.Unix(1_800_000_000+int64(i), 0) }
		if i == 3 {
			opt.Keep = 2
		}
		r, err := publish.Publish(t.Context(), opt)
		must(t, err)
		if i == 3 && (len(r.Removed) != 1 || r.Removed[0] != idOf(t, sets[1])) {
			t.Errorf("removed %v", r.Removed)
		}
	}
	r, err := publish.Fetch(t.Context(), publish.FetchOptions{Source: repository + ":prod", Dir: t.TempDir(), Retry: quick})
	if err != nil || r.ID != idOf(t, sets[0]) {
		t.Errorf("%+v, %v", r, err)
	}
	for _, bad := range []string{":" + idOf(t, sets[0]), "@sha256:" + strings.Repeat("0", 64)} {
		opt.Dest = repository + bad
		if _, err := publish.Publish(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "one set for good") {
			t.Errorf("%s: %v", bad, err)
		}
		if _, err := publish.Rollback(t.Context(), opt, idOf(t, sets[3])); err == nil || !strings.Contains(err.Error(), "one set for good") {
			t.Errorf("rollback at %s: %v", bad, err)
		}
	}
}

// TestNewFolder: the destination's own folders need not be there.
func TestNewFolder(t *testing.T) {
	for _, kind := range servers {
		if kind.name == "put" {
			continue // whether folders appear is the server's affair
		}
		t.Run(kind.name, func(t *testing.T) {
			s := kind.start(t)
			dir := newSet(t, 1, 1, 5_000)
			opt := s.options(dir)
			before, query, _ := strings.Cut(opt.Dest, "?")
			opt.Dest = before + "/new folder/ä+b"
			if query != "" {
				opt.Dest += "?" + query
			}
			_, err := publish.Publish(t.Context(), opt)
			must(t, err)
			whole(t, opt, "")
		})
	}
}

// TestMostSets: an index that is full is not made one that nobody can read.
func TestMostSets(t *testing.T) {
	s := folderServer(t)
	x := publish.Index{Schema: 1}
	for i := range 4096 {
		x.Sets = append(x.Sets, publish.Entry{ID: fmt.Sprintf("%016x", i), Complete: true})
	}
	data, err := json.Marshal(x)
	must(t, err)
	must(t, os.MkdirAll(filepath.Join(s.root, ".hooksmith"), 0o755))
	must(t, os.WriteFile(filepath.Join(s.root, ".hooksmith", "index.json"), data, 0o644))
	if _, err := publish.Publish(t.Context(), s.options(newSet(t, 1, 1, 5_000))); err == nil || !strings.Contains(err.Error(), "--prune") {
		t.Errorf("published one more: %v", err)
	}
	if x, err := publish.List(t.Context(), s.options("")); err != nil || len(x.Sets) != 4096 {
		t.Errorf("the list afterwards: %v", err)
	}
}
