package publish_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hooksmith/build"
	"hooksmith/publish"
	"hooksmith/publish/sign"
	"hooksmith/publish/verify"
)

// TestAbsent: what only looks makes no folder, and says that there is none.
func TestAbsent(t *testing.T) {
	for _, kind := range servers {
		if kind.name != "folder" && kind.name != "sftp" {
			continue
		}
		t.Run(kind.name, func(t *testing.T) {
			s := kind.start(t)
			opt := s.options("")
			opt.Keep = 1
			_, listErr := publish.List(t.Context(), opt)
			_, rollbackErr := publish.Rollback(t.Context(), opt, "0123")
			_, fetchErr := publish.Fetch(t.Context(), publish.FetchOptions{Source: opt.Dest, Dir: filepath.Join(t.TempDir(), "to"), Access: s.access, Retry: quick})
			if kind.name == "folder" && !errors.Is(listErr, fs.ErrNotExist) {
				t.Errorf("listing: %v", listErr)
			}
			if rollbackErr == nil || fetchErr == nil {
				t.Errorf("rollback: %v, fetch: %v", rollbackErr, fetchErr)
			}
			dir := s.root
			if kind.name == "sftp" {
				dir = filepath.Join(dir, "hook")
				_ = os.RemoveAll(filepath.Join(dir, ".hooksmith")) // the lock of the rollback
			}
			if left, err := os.ReadDir(dir); err == nil && (kind.name == "folder" || len(left) > 0) {
				t.Errorf("it made %s: %v", dir, left)
			}
		})
	}
}

// TestFetchSignature: the signature that lands in the folder is the one that
// was verified, whichever of the two the origin has exchanged.
func TestFetchSignature(t *testing.T) {
	mine, other := testKey(t), testKey(t)
	s := folderServer(t)
	dir := newSet(t, 1, 1, 5_000)
	opt := s.options(dir)
	opt.Key = mine
	_, err := publish.Publish(t.Context(), opt)
	must(t, err)
	id := idOf(t, dir)
	message, err := os.ReadFile(filepath.Join(dir, build.ManifestName))
	must(t, err)
	foreign, err := sign.Sign(other, message, nil, time.Unix(1_800_000_000, 0))
	must(t, err)
	good, err := os.ReadFile(filepath.Join(s.root, id, sign.Name))
	must(t, err)
	must(t, os.Remove(filepath.Join(s.root, sign.Name)))
	for _, c := range []struct{ stable, byID []byte }{{foreign, good}, {good, foreign}} {
		must(t, os.WriteFile(filepath.Join(s.root, sign.Name), c.stable, 0o644))
		must(t, os.WriteFile(filepath.Join(s.root, id, sign.Name), c.byID, 0o644))
		to := t.TempDir()
		// Bytes beyond the end, in what an earlier try has left.
		part := filepath.Join(to, ".initramfs-test-x86_64."+sumOfFile(t, filepath.Join(dir, "initramfs-test-x86_64"))[:16]+".part")
		content, err := os.ReadFile(filepath.Join(dir, "initramfs-test-x86_64"))
		must(t, err)
		must(t, os.WriteFile(part, append(content, "more"...), 0o644))
		_, err = publish.Fetch(t.Context(), publish.FetchOptions{Source: s.root, Dir: to, Key: mine.Public(), Retry: quick})
		must(t, err)
		report, err := verify.Set(t.Context(), verify.FS(os.DirFS(to)), verify.Options{Key: mine.Public()})
		must(t, err)
		must(t, report.Err())
	}
}

func TestWhere(t *testing.T) {
	for _, c := range []struct{ dest, url, serve string }{
		{"http://host/my boot/é", "http://host/my%20boot/%C3%A9", "hooksmith fetch http://host/my%20boot/%C3%A9 out/mirror"},
		{"s3://bucket/a b?endpoint=http://minio:9000", "http://minio:9000/bucket/a%20b", `hooksmith fetch 's3://bucket/a%20b?endpoint=http://minio:9000' out`},
		{"/srv/my hook", "", "--artifacts '/srv/my hook'"},
		{"/srv/it's", "", `--artifacts '/srv/it'\''s'`},
		{"/srv/hook", "", "--artifacts /srv/hook"},
	} {
		if got := publish.Where(c.dest, ""); got != c.url {
			t.Errorf("%s: %q", c.dest, got)
		}
		if got := publish.ServeHint(c.dest); !strings.Contains(got, c.serve) {
			t.Errorf("%s: %q", c.dest, got)
		}
	}
}
