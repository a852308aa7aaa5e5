package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// kept is the cached answer for a URL whose content changes.
type kept struct {
	URL          string `json:"url"`
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
	Body         []byte `json:"body"`
}

// Latest returns the present content of the first of urls that answers, at
// most limit bytes. A cached copy is revalidated, and only an offline Cache
// uses it unasked. The content is not verified: it must carry its own
// signature.
func (c *Cache) Latest(ctx context.Context, urls []string, limit int64) ([]byte, error) {
	c.init()
	if c.Offline {
		for _, url := range urls {
			if k, err := c.readKept(url); err == nil {
				return k.Body, nil
			}
		}
		return nil, fmt.Errorf("%s: %w", displayName(urls), ErrOffline)
	}
	var body []byte
	err := c.retry(ctx, urls, nil, func(url string) error {
		var err error
		body, err = c.revalidate(ctx, url, limit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("downloading %w", err)
	}
	return body, nil
}

func (c *Cache) revalidate(ctx context.Context, url string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*Stall)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, permanent{err}
	}
	old, oldErr := c.readKept(url)
	if oldErr == nil && old.ETag != "" {
		req.Header.Set("If-None-Match", old.ETag)
	}
	if oldErr == nil && old.LastModified != "" {
		req.Header.Set("If-Modified-Since", old.LastModified)
	}
	resp, err := c.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified && oldErr == nil {
		return old.Body, nil
	}
	if resp.StatusCode != http.StatusOK {
		return nil, statusError(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > limit {
		return nil, permanent{fmt.Errorf("answer is longer than %d bytes", limit)}
	}
	err = c.writeKept(kept{URL: url, ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified"), Body: body})
	return body, err
}

func (c *Cache) keptPath(url string) string {
	sum := sha256.Sum256([]byte(url))
	return filepath.Join(c.Dir, "latest", hex.EncodeToString(sum[:])+".json")
}

func (c *Cache) readKept(url string) (kept, error) {
	var k kept
	b, err := os.ReadFile(c.keptPath(url))
	if err != nil {
		return k, err
	}
	if err := json.Unmarshal(b, &k); err != nil {
		return k, err
	}
	if k.URL != url {
		return k, errors.New("cached answer is for another URL")
	}
	return k, nil
}

func (c *Cache) writeKept(k kept) error {
	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	path := c.keptPath(k.URL)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(path, b, 0o644)
}
