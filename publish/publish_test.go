package publish_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hooksmith/publish"
	"hooksmith/publish/sign"
)

func testKey(t testing.TB) *sign.PrivateKey {
	t.Helper()
	_, private, err := sign.Generate(rand.Reader, "")
	must(t, err)
	path := filepath.Join(t.TempDir(), "key")
	must(t, os.WriteFile(path, private, 0o600))
	key, err := sign.ReadPrivateKey(path, nil)
	must(t, err)
	return key
}

// TestPublish: every kind of destination, through a life of three sets.
func TestPublish(t *testing.T) {
	key := testKey(t)
	for _, kind := range servers {
		t.Run(kind.name, func(t *testing.T) {
			s := kind.start(t)
			a, b, c := newSet(t, 1, 1, 200_000), newSet(t, 2, 1, 300_000), newSet(t, 3, 3, 100_000)
			publishAll(t, s, key, a, b, c)
			rollbackAndPrune(t, s, a, b, c)
			fetchBack(t, s, key, a)
		})
	}
}

func publishAll(t *testing.T, s *server, key *sign.PrivateKey, a, b, c string) {
	t.Helper()
	for _, dir := range []string{a, b, c} {
		opt := s.options(dir)
		opt.Key = key
		r, err := publish.Publish(t.Context(), opt)
		must(t, err)
		if r.ID != idOf(t, dir) || standing(t, opt, "", a, b, c) != dir {
			t.Fatalf("%s stands there after publishing %s", standing(t, opt, "", a, b, c), dir)
		}
		whole(t, opt, "")
		whole(t, opt, r.ID+"/")
		if dir == b && s.kind != "http" && r.Sent > 310_000 {
			t.Errorf("%d bytes were sent for 300000 new ones", r.Sent)
		}
	}
	// Once more: nothing moves.
	opt := s.options(c)
	opt.Key = key
	r, err := publish.Publish(t.Context(), opt)
	must(t, err)
	if r.Sent > 2000 { // the signature has the time in it
		t.Errorf("%d bytes were sent again", r.Sent)
	}
}

func rollbackAndPrune(t *testing.T, s *server, a, b, c string) {
	t.Helper()
	opt := s.options("")
	if _, err := publish.Rollback(t.Context(), opt, "feed"); err == nil || !strings.Contains(err.Error(), "--list") {
		t.Errorf("rollback to nothing: %v", err)
	}
	_, err := publish.Rollback(t.Context(), opt, idOf(t, a)[:10])
	must(t, err)
	if at := standing(t, opt, "", a, b, c); at != a {
		t.Errorf("%s stands there after the rollback", at)
	}
	opt.Keep = 2
	removed, err := publish.Prune(t.Context(), opt)
	must(t, err)
	if len(removed) != 1 || removed[0] != idOf(t, b) {
		t.Errorf("removed %v", removed)
	}
	x, err := publish.List(t.Context(), opt)
	must(t, err)
	if len(x.Sets) != 2 || x.Current != idOf(t, a) || !x.Sets[0].Signed {
		t.Errorf("listed: %+v", x)
	}
	if at := standing(t, opt, idOf(t, b)+"/", b); at != "" {
		t.Error("the removed set is still there")
	}
}

func fetchBack(t *testing.T, s *server, key *sign.PrivateKey, a string) {
	t.Helper()
	dir := t.TempDir()
	opt := publish.FetchOptions{Source: s.dest(s.addr), Dir: dir, Key: key.Public(), Access: s.access, Retry: quick}
	r, err := publish.Fetch(t.Context(), opt)
	must(t, err)
	if r.ID != idOf(t, a) || !r.Signed || r.Moved < 200_000 {
		t.Errorf("fetched %+v", r)
	}
	for _, name := range []string{"vmlinuz-x86_64", "initramfs-test-x86_64", "sbom.spdx.json", "hook.json"} {
		want, err := os.ReadFile(filepath.Join(a, name))
		must(t, err)
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what was published (%v)", name, err)
		}
	}
	if r, err = publish.Fetch(t.Context(), opt); err != nil || r.Moved != 0 {
		t.Errorf("fetching again: %+v, %v", r, err)
	}
	opt.Key = testKey(t).Public()
	if _, err = publish.Fetch(t.Context(), opt); err == nil {
		t.Error("fetched with another's key")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// TestRegistry: one manifest for each set, and tags.
func TestRegistry(t *testing.T) {
	s := startRegistry(t)
	key := testKey(t)
	a, b := newSet(t, 1, 1, 400_000), newSet(t, 2, 1, 200_000)
	for _, dir := range []string{a, b, b} {
		opt := s.options(dir)
		opt.Key = key
		opt.Now = func() time.Time { return time.Unix(1_800_000_000, 0) }
		r, err := publish.Publish(t.Context(), opt)
		must(t, err)
		if r.ID != idOf(t, dir) || dir == b && r.Sent > 210_000 {
			t.Errorf("%+v", r)
		}
	}
	_, err := publish.Rollback(t.Context(), s.options(""), idOf(t, a))
	must(t, err)
	dir := t.TempDir()
	r, err := publish.Fetch(t.Context(), publish.FetchOptions{Source: s.dest(s.addr), Dir: dir, Key: key.Public(), Retry: quick})
	must(t, err)
	if r.ID != idOf(t, a) {
		t.Errorf("fetched %s after a rollback to %s", r.ID, idOf(t, a))
	}
	opt := s.options("")
	opt.Keep = 1
	removed, err := publish.Prune(t.Context(), opt)
	must(t, err)
	x, err := publish.List(t.Context(), opt)
	must(t, err)
	if len(removed) != 1 || len(x.Sets) != 1 || x.Current != idOf(t, a) || !x.Sets[0].Signed {
		t.Errorf("removed %v, left %+v", removed, x)
	}
}
