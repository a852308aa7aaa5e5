package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	neturl "net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func newClient() *http.Client {
	return &http.Client{Transport: &Paced{Next: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: Stall,
		MaxIdleConnsPerHost:   parallelDownloads,
		IdleConnTimeout:       30 * time.Second,
		DisableCompression:    true, // what is hashed is what is sent
	}}}
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
	part, err := OpenPartial(ctx, c.Log, filepath.Join(c.Dir, "partial", w.sha256))
	if err != nil {
		return err
	}
	defer part.Close()
	if _, err := os.Stat(dst); err == nil { // another process was faster
		return part.Remove()
	}
	task := c.Observer.Begin(shortName(urls[0]), max(w.size, 0))
	err = part.Load(Whole{Size: w.size, Limit: w.limit, Add: task.Add})
	if err == nil {
		err = c.retry(ctx, urls, part, func(url string) error { return c.resume(ctx, url, part, w) })
	}
	task.Done(err)
	if err != nil {
		return fmt.Errorf("downloading %s: %w", urls[0], err)
	}
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return err
	}
	return part.Commit(dst)
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

// retry calls try for each URL in turn, several rounds with growing pauses,
// until one works, all have failed for good, or nothing more of part comes.
func (c *Cache) retry(ctx context.Context, urls []string, part *Partial, try func(url string) error) error {
	patience := NewPatience(c.Retries, c.Backoff, part)
	for urls = slices.Clone(urls); ; {
		var last error
		for _, url := range slices.Clone(urls) {
			err := try(url)
			if err == nil || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			c.Log.Debug("download failed", "url", url, "error", err)
			if isLocal(err) {
				return localError{fmt.Errorf("%s: %w", url, err)}
			}
			last = fmt.Errorf("%s: %w", url, err)
			if p := (permanent{}); errors.As(err, &p) {
				urls = slices.DeleteFunc(urls, func(u string) bool { return u == url })
				patience.Drop(last)
			} else {
				patience.Note(last)
			}
		}
		if len(urls) == 0 {
			return patience.GaveUp()
		}
		wait, again := patience.Again()
		if !again {
			return patience.GaveUp()
		}
		c.Log.Log(ctx, patience.Level(), "download broke off, trying again", "url", urls[0], "reason", last, "wait", wait)
		if err := Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// localError is about a file of this machine.
type localError struct{ error }

func (e localError) Unwrap() error { return e.error }

// Hint is the next step, for who sees the error.
func (localError) Hint() string {
	return "--cache-dir names another folder for the cache, and hooksmith cache prune makes room in this one"
}

// isLocal reports whether err is about a file of this machine, a full disk for
// example: no other server and no other try will help.
func isLocal(err error) bool {
	var file *fs.PathError
	var link *os.LinkError
	return errors.As(err, &file) || errors.As(err, &link)
}

// Sleep waits, until ctx is done at the latest.
func Sleep(ctx context.Context, d time.Duration) error {
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
// Where it went on with what an earlier run or another server had brought, and
// that is wrong, it begins anew: the fault need not be this server's.
func (c *Cache) resume(ctx context.Context, url string, part *Partial, w want) error {
	if whole := part.Have() == w.size || w.size < 0 && w.check(part) == nil; !whole {
		if err := part.Get(ctx, c.asker(url)); err != nil {
			return err
		}
	}
	err := w.check(part)
	if err == nil {
		return nil
	}
	mixed := part.IsMixed()
	if err = errors.Join(err, part.Restart()); !mixed {
		return permanent{err}
	}
	c.Log.Info("what had come before is wrong, downloading from the beginning", "url", url, "reason", err)
	return c.resume(ctx, url, part, w)
}

// asker asks a URL for the bytes from an offset on.
func (c *Cache) asker(url string) func(ctx context.Context, offset int64) (*http.Response, error) {
	return func(ctx context.Context, offset int64) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return nil, permanent{err}
		}
		if offset > 0 {
			req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		}
		resp, err := c.Client.Do(req)
		if err != nil {
			return nil, err
		}
		switch resp.StatusCode {
		case http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
			return resp, nil
		}
		return nil, errors.Join(statusError(resp), resp.Body.Close())
	}
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
