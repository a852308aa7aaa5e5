package fetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	neturl "net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// stall is how long a download may bring nothing before it is tried again.
const stall = 30 * time.Second

func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: stall,
		MaxIdleConnsPerHost:   parallelDownloads,
		IdleConnTimeout:       30 * time.Second,
		DisableCompression:    true, // what is hashed is what is sent
	}}
}

// permanent marks an answer that another try at the same URL will not change.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// download brings a blob to dst, through a partial file that a later try, or
// a later run, goes on with.
func (c *Cache) download(ctx context.Context, urls []string, w want, dst string) error {
	if len(urls) == 0 {
		return fmt.Errorf("nothing says where to download sha256 %s from", w.sha256)
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	part, err := openPartial(filepath.Join(c.Dir, "partial", w.sha256))
	if err != nil {
		return err
	}
	defer part.Close()
	if _, err := os.Stat(dst); err == nil { // another process was faster
		return nil
	}
	task := c.Observer.Begin(shortName(urls[0]), max(w.size, 0))
	err = c.retry(ctx, urls, func(url string) error {
		return c.resume(ctx, url, part, w, task)
	})
	task.Done(err)
	if err != nil {
		return fmt.Errorf("downloading %s: %w", urls[0], err)
	}
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return err
	}
	return os.Rename(part.Name(), dst)
}

// shortName is what a download is called while it runs: the file, or, where
// the file is called after its hash, the folder that it stands for.
func shortName(url string) string {
	if plain, err := neturl.PathUnescape(url); err == nil {
		url = plain
	}
	if dir, _, ok := strings.Cut(url, "/by-hash/"); ok {
		_, after, _ := strings.Cut(dir, "/dists/")
		return "index " + after
	}
	return path.Base(url)
}

// openPartial opens and locks the partial file, so that two processes that
// want the same blob do not write into each other's.
func openPartial(name string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", name, err)
		}
		// The holder before us may have renamed the file away.
		held, err1 := f.Stat()
		now, err2 := os.Stat(name)
		if err1 == nil && err2 == nil && os.SameFile(held, now) {
			return f, nil
		}
		f.Close()
	}
}

// retry calls try for each URL in turn, several rounds with growing pauses,
// until one works or all have failed for good.
func (c *Cache) retry(ctx context.Context, urls []string, try func(url string) error) error {
	var last error
	pause := c.Backoff
	gone := map[string]bool{}
	for round := 0; round < c.Retries && len(gone) < len(urls); round++ {
		if round > 0 {
			if err := sleep(ctx, pause); err != nil {
				return err
			}
			pause *= 2
		}
		for _, url := range urls {
			if gone[url] {
				continue
			}
			err := try(url)
			if err == nil || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			var p permanent
			if errors.As(err, &p) {
				gone[url] = true
			}
			c.Log.Debug("download failed", "url", url, "round", round+1, "error", err)
			last = fmt.Errorf("%s: %w", url, err)
		}
	}
	return last
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// resume appends what is missing of the blob to part and verifies the whole.
func (c *Cache) resume(ctx context.Context, url string, part *os.File, w want, task Task) error {
	h := sha256.New()
	have, err := rehash(part, h, w.limit)
	if err != nil {
		return err
	}
	if whole := have == w.size || w.size < 0 && w.check(have, h.Sum(nil)) == nil; !whole {
		if err := c.get(ctx, url, part, h, &have, w, task); err != nil {
			return err
		}
	}
	if err := w.check(have, h.Sum(nil)); err != nil {
		if err := part.Truncate(0); err != nil { // wrong bytes are no start to resume from
			return err
		}
		return permanent{err}
	}
	return nil
}

// rehash brings h up to date with what a former try left in part.
func rehash(part *os.File, h hash.Hash, size int64) (int64, error) {
	if _, err := part.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	have, err := io.Copy(h, io.LimitReader(part, size+1))
	if err == nil && have > size {
		h.Reset()
		have, err = 0, part.Truncate(0)
	}
	if err != nil {
		return 0, err
	}
	_, err = part.Seek(have, io.SeekStart)
	return have, err
}

func (c *Cache) get(ctx context.Context, url string, part *os.File, h hash.Hash, have *int64, w want, task Task) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return permanent{err}
	}
	if *have > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", *have))
	}
	resp, err := c.Client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusPartialContent && *have > 0:
	case resp.StatusCode == http.StatusOK:
		h.Reset()
		*have = 0
		if err := part.Truncate(0); err != nil {
			return err
		}
		if _, err := part.Seek(0, io.SeekStart); err != nil {
			return err
		}
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		_ = part.Truncate(0)
		return fmt.Errorf("server answered %s to a resumed download", resp.Status)
	default:
		return statusError(resp)
	}
	timer := time.AfterFunc(stall, func() { cancel(fmt.Errorf("no byte came for %s", stall)) })
	defer timer.Stop()
	body := &watched{r: io.LimitReader(resp.Body, w.limit-*have+1), timer: timer, task: task}
	n, err := io.Copy(io.MultiWriter(part, h), body)
	*have += n
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err == nil && *have < w.size {
		err = fmt.Errorf("connection ended after %d of %d bytes", *have, w.size)
	}
	return err
}

// statusError turns an HTTP status into an error; client errors that will
// not go away by waiting are permanent.
func statusError(resp *http.Response) error {
	err := fmt.Errorf("server answered %s", resp.Status)
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return err
	}
	if resp.StatusCode >= 400 && resp.StatusCode < 500 {
		return permanent{err}
	}
	return err
}

// watched reports progress and pushes the stall timer ahead on every byte.
type watched struct {
	r     io.Reader
	timer *time.Timer
	task  Task
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.timer.Reset(stall)
		w.task.Add(int64(n))
	}
	return n, err
}
