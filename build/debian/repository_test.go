package debian

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
)

func TestOpenVerifies(t *testing.T) {
	r := newTestRepo(t)
	r.publish()
	repo, err := Open(t.Context(), &httpFetcher{}, r.options())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, rel := range repo.Releases() {
		names = append(names, rel.Suite)
		if want := r.keyring().Fingerprints(); !slices.Equal(rel.SignedBy, want) {
			t.Errorf("%s is signed by %v, want %v", rel.Suite, rel.SignedBy, want)
		}
		if !validSHA256(rel.SHA256) || rel.Date.IsZero() || rel.URL == "" {
			t.Errorf("incomplete release %+v", rel)
		}
	}
	wantLines(t, names, []string{"trixie", "trixie-updates", "trixie-security"})
}

// TestOpenRefuses breaks one thing at a time.
func TestOpenRefuses(t *testing.T) {
	const inRelease = "/debian/dists/trixie/InRelease"
	tests := []struct {
		name  string
		spoil func(t *testing.T, r *testRepo, o *Options)
		want  []string
	}{
		{"unknown key", func(t *testing.T, r *testRepo, o *Options) {
			o.Keys = &Keyring{keys: openpgp.EntityList{newTestKey(t, "other")}}
		}, []string{"trixie", "not among the archive keys"}},
		{"changed text", func(t *testing.T, r *testRepo, o *Options) {
			r.files[inRelease] = []byte(strings.Replace(string(r.files[inRelease]), "Origin: Debian", "Origin: Debiam", 1))
		}, []string{inRelease, "bad signature"}},
		{"text before the signed part", func(t *testing.T, r *testRepo, o *Options) {
			r.files[inRelease] = append([]byte("Codename: trixie\n\n"), r.files[inRelease]...)
		}, []string{"not a clear-signed file"}},
		{"text after the signature", func(t *testing.T, r *testRepo, o *Options) {
			r.files[inRelease] = append(r.files[inRelease], "Codename: trixie\n"...)
		}, []string{"not a clear-signed file"}},
		{"captive portal", func(t *testing.T, r *testRepo, o *Options) {
			r.files[inRelease] = []byte("<html>please log in</html>")
		}, []string{"not a clear-signed file", "captive portal"}},
		{"empty", func(t *testing.T, r *testRepo, o *Options) { r.files[inRelease] = nil }, []string{"not a clear-signed file"}},
		{"truncated", func(t *testing.T, r *testRepo, o *Options) {
			r.files[inRelease] = r.files[inRelease][:len(r.files[inRelease])-40]
		}, []string{inRelease}},
		{"missing", func(t *testing.T, r *testRepo, o *Options) { delete(r.files, inRelease) }, []string{inRelease, "404"}},
		{"another suite", func(t *testing.T, r *testRepo, o *Options) {
			r.files[inRelease] = r.files["/debian/dists/trixie-updates/InRelease"]
		}, []string{"release file of trixie-updates", "not of trixie"}},
		{"clock behind", func(t *testing.T, r *testRepo, o *Options) {
			o.Now = func() time.Time { return testNow.AddDate(0, -1, 0) }
		}, []string{"in the future", "check the clock"}},
		{"no keys", func(t *testing.T, r *testRepo, o *Options) { o.Keys = nil }, []string{"no archive keys"}},
		{"suite name that is a path", func(t *testing.T, r *testRepo, o *Options) { o.Suite = "../trixie" }, []string{`suite "../trixie"`}},
		{"snapshot that is no time", func(t *testing.T, r *testRepo, o *Options) { o.Snapshot = "yesterday" }, []string{"20260912T083000Z"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newTestRepo(t)
			r.publish()
			o := r.options()
			tt.spoil(t, r, &o)
			_, err := Open(t.Context(), &httpFetcher{}, o)
			wantError(t, err, tt.want...)
		})
	}
}

// TestOpenSlowClock: a clock that is some minutes late is no reason to refuse
// what was signed just now.
func TestOpenSlowClock(t *testing.T) {
	r := newTestRepo(t)
	r.publish()
	o := r.options()
	o.Now = func() time.Time { return testNow.Add(-2 * time.Hour) }
	if _, err := Open(t.Context(), &httpFetcher{}, o); err != nil {
		t.Error(err)
	}
}

// TestOpenExpired: a replayed release must not keep updates away, but a
// snapshot is old on purpose, and still has to be signed.
func TestOpenExpired(t *testing.T) {
	r := newTestRepo(t)
	r.publish()
	o := r.options()
	o.Now = func() time.Time { return testNow.AddDate(0, 0, 20) }
	_, err := Open(t.Context(), &httpFetcher{}, o)
	wantError(t, err, "InRelease: it expired on 2026-11-28 12:00 UTC and now is 2026-12-11", "snapshot (such as 20261121T110000Z)", "mirror is out of date")

	o.Snapshot = "20261121T110000Z"
	f := rewriteFetcher{&httpFetcher{}, strings.NewReplacer(
		"https://snapshot.debian.org/archive/debian/"+o.Snapshot, r.url+"/debian",
		"https://snapshot.debian.org/archive/debian-security/"+o.Snapshot, r.url+"/debian-security")}
	if _, err := Open(t.Context(), f, o); err != nil {
		t.Fatalf("expired snapshot: %v", err)
	}
	o.Keys = &Keyring{keys: openpgp.EntityList{newTestKey(t, "other")}}
	_, err = Open(t.Context(), f, o)
	wantError(t, err, "not among the archive keys")
}

type rewriteFetcher struct {
	*httpFetcher
	rewrite *strings.Replacer
}

func (f rewriteFetcher) Latest(ctx context.Context, urls []string, limit int64) ([]byte, error) {
	for i := range urls {
		urls[i] = f.rewrite.Replace(urls[i])
	}
	return f.httpFetcher.Latest(ctx, urls, limit)
}

// TestOpenTwoSignatures: Debian signs with the keys of two releases; knowing
// one of them is enough, and a bad signature by the other does not hurt.
func TestOpenTwoSignatures(t *testing.T) {
	r := newTestRepo(t)
	r.signer = []*openpgp.Entity{newTestKey(t, "previous"), r.key}
	r.publish()
	if _, err := Open(t.Context(), &httpFetcher{}, r.options()); err != nil {
		t.Fatal(err)
	}
}

// TestOpenTriesMirrors: a dead mirror, one with other keys and one that is out
// of date come before the good one.
func TestOpenTriesMirrors(t *testing.T) {
	good, foreign, stale := newTestRepo(t), newTestRepo(t), newTestRepo(t)
	stale.key, stale.signer = good.key, good.signer
	for _, s := range stale.suites {
		s.release["Valid-Until"] = testNow.Add(-time.Minute).Format(time.RFC1123)
	}
	for _, r := range []*testRepo{good, foreign, stale} {
		r.add("trixie", "foo", "1.0", "amd64", []byte("deb"))
		r.publish()
	}
	o := good.options()
	o.Mirrors = Mirrors{}
	for _, base := range []string{"http://127.0.0.1:1", foreign.url, stale.url, good.url} {
		o.Mirrors.Main = append(o.Mirrors.Main, base+"/debian")
		o.Mirrors.Security = append(o.Mirrors.Security, base+"/debian-security")
	}
	repo, err := Open(t.Context(), &httpFetcher{}, o)
	if err != nil {
		t.Fatal(err)
	}
	if got := repo.Mirrors().Main[0]; got != good.url+"/debian" {
		t.Errorf("first mirror afterwards is %s, want the one that works", got)
	}
	x, err := repo.Index(t.Context(), "amd64", "foo")
	if err != nil {
		t.Fatal(err)
	}
	p, _ := x.Package("foo")
	if got := p.URLs(repo.Mirrors())[0]; !strings.HasPrefix(got, good.url) {
		t.Errorf("package is fetched from %s first", got)
	}

	o.Mirrors.Main = o.Mirrors.Main[:2]
	_, err = Open(t.Context(), &httpFetcher{}, o)
	wantError(t, err, "http://127.0.0.1:1/debian", "not among the archive keys")
}

func TestParseRelease(t *testing.T) {
	good := "Codename: trixie\nSuite: stable\nDate: Sat, 12 Sep 2026 07:55:41 UTC\nSHA256:\n " + strings.Repeat("a", 64) + " 12 main/x\n"
	r, err := parseRelease([]byte(good))
	if err != nil || r.files["main/x"].size != 12 || r.Date.Day() != 12 {
		t.Fatalf("%+v %v", r, err)
	}
	for _, bad := range [][2]string{
		{"07:55:41 UTC", "soon"}, {" 12 main/x", " 12 ../x"}, {" 12 main/x", " -12 main/x"}, {" 12 main/x", " 12"}, {strings.Repeat("a", 64), "zz"},
	} {
		if _, err := parseRelease([]byte(strings.Replace(good, bad[0], bad[1], 1))); err == nil {
			t.Errorf("%q for %q is accepted", bad[1], bad[0])
		}
	}
	if _, err := parseRelease([]byte(good + "\n" + good)); err == nil {
		t.Error("two stanzas are accepted")
	}
	// Architecture-independent packages in an index of their own.
	own := strings.Replace(good, "Suite:", "Architectures: all amd64\nSuite:", 1)
	own = strings.ReplaceAll(own, "main/x", "main/binary-amd64/Packages.xz\n "+strings.Repeat("b", 64)+" 5 main/binary-all/Packages.xz")
	r, err = parseRelease([]byte(own))
	if err != nil {
		t.Fatal(err)
	}
	jobs := (&suite{release: r}).jobs("main", "amd64")
	if len(jobs) != 2 || jobs[1].name != "main/binary-all/Packages.xz" {
		t.Errorf("jobs %v", slices.Collect(maps.Keys(r.files)))
	}
}

// brokenCache is a Fetcher on a full disk.
type brokenCache struct{ asked atomic.Int32 }

func (c *brokenCache) Blob(context.Context, []string, string, int64) (*os.File, error) {
	return nil, errors.New("no file is asked for")
}

func (c *brokenCache) Latest(context.Context, []string, int64) ([]byte, error) {
	c.asked.Add(1)
	return nil, fmt.Errorf("downloading: %w", &fs.PathError{Op: "write", Path: "cache/x", Err: syscall.ENOSPC})
}

// TestOpenWithoutCache: what is wrong with this machine is not blamed on one
// mirror after the other.
func TestOpenWithoutCache(t *testing.T) {
	cache := &brokenCache{}
	_, err := Open(t.Context(), cache, Options{
		Suite: "sid", Keys: &Keyring{}, Mirrors: Mirrors{Main: []string{"http://a.example/debian", "http://b.example/debian"}},
	})
	if !errors.Is(err, syscall.ENOSPC) || cache.asked.Load() != 1 {
		t.Errorf("%v after %d mirrors", err, cache.asked.Load())
	}
}
