package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"hooksmith/build"
)

// maxDownload bounds one file, and maxManifest hook.json.
const (
	maxDownload = 8 << 30
	maxManifest = 16 << 20
)

// download fetches a folder's files, or one file, into a folder of its own.
func (s *Set) download(ctx context.Context, u *url.URL, choice Choice) error {
	dir, err := os.MkdirTemp(choice.TempDir, "hooksmith-inspect-*")
	if err != nil {
		return fmt.Errorf("making a folder for the download: %w", err)
	}
	s.closers = append(s.closers, func() error { return os.RemoveAll(dir) })
	get := func(u *url.URL, name string, limit int64) error {
		return fetch(ctx, u, filepath.Join(dir, name), limit, choice.Begin)
	}
	base := path.Base(u.Path)
	if strings.HasPrefix(base, "vmlinuz") || strings.HasPrefix(base, "initramfs") || strings.HasPrefix(base, "initrd") {
		if err := get(u, base, maxDownload); err != nil {
			return err
		}
		return s.named(s.openFile(filepath.Join(dir, base)), u, dir)
	}
	m, err := s.remoteManifest(u, get, dir)
	if err != nil {
		return err
	}
	ids := []string{defaultID}
	if choice.ID != "" {
		ids = []string{choice.ID}
	}
	kernelName, initramfsName, err := s.choose(m, ids, choice)
	if err != nil {
		return fmt.Errorf("%s: %w", u.Redacted(), err)
	}
	for _, want := range []struct {
		name string
		to   **Artifact
	}{{kernelName, &s.Kernel}, {initramfsName, &s.Initramfs}} {
		if !filepath.IsLocal(want.name) || strings.Contains(want.name, "/") {
			return fmt.Errorf("%s: %s names the file %q, which is not in the folder", u.Redacted(), build.ManifestName, want.name)
		}
		if err := get(u.JoinPath(want.name), want.name, maxDownload); err != nil {
			return err
		}
		if *want.to, err = s.open(filepath.Join(dir, want.name)); err != nil {
			return err
		}
	}
	return s.named(nil, u, dir)
}

// named puts URLs in the place of the names of temporary files.
func (s *Set) named(err error, u *url.URL, dir string) error {
	folder := strings.TrimSuffix(u.Redacted(), "/")
	for _, f := range []*Artifact{s.Kernel, s.Initramfs} {
		if f == nil {
			continue
		}
		name := strings.TrimPrefix(f.Name, dir+"/")
		if f.Name = folder; path.Base(folder) != name {
			f.Name += "/" + name
		}
	}
	return err
}

// remoteManifest is hook.json, or nil if there is none.
func (s *Set) remoteManifest(u *url.URL, get func(*url.URL, string, int64) error, dir string) (*build.Manifest, error) {
	err := get(u.JoinPath(build.ManifestName), build.ManifestName, maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := build.ReadManifest(dir)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return nil, nil // a server that answers every name with a page
	}
	return m, err
}

// stall is how long a server may send nothing.
const stall = time.Minute

var errStalled = errors.New("the server has sent nothing for a minute")

// fetch gets one file. A 404 is fs.ErrNotExist.
func fetch(ctx context.Context, u *url.URL, to string, limit int64, begin func(string, int64) (func(int64), func(error))) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(stall, func() { cancel(errStalled) })
	defer timer.Stop()
	defer func() {
		if err != nil && errors.Is(context.Cause(ctx), errStalled) {
			err = fmt.Errorf("GET %s: %w", u.Redacted(), errStalled)
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		err := fmt.Errorf("GET %s: %s", u.Redacted(), resp.Status)
		if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusForbidden {
			err = fmt.Errorf("%w (%w)", err, fs.ErrNotExist)
		}
		return err
	}
	body := &watched{resp.Body, timer, nil}
	if begin != nil {
		add, done := begin(path.Base(to), resp.ContentLength)
		body.add = add
		defer func() { done(err) }()
	}
	return store(body, to, limit)
}

// watched pushes a timer back with every read.
type watched struct {
	io.Reader
	timer *time.Timer
	add   func(n int64) // nil: nobody counts
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	w.timer.Reset(stall)
	if w.add != nil {
		w.add(int64(n))
	}
	return n, err
}

// store writes at most limit bytes of r to a new file.
func store(r io.Reader, to string, limit int64) (err error) {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	n, err := io.Copy(f, io.LimitReader(r, limit+1))
	if err != nil {
		return fmt.Errorf("downloading %s: %w", filepath.Base(to), err)
	}
	if n > limit {
		return fmt.Errorf("downloading %s: more than %d bytes", filepath.Base(to), limit)
	}
	return nil
}
