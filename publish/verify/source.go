package verify

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
)

// Source gives the files of a set by name. An error that is fs.ErrNotExist
// means that there is no such file. The caller closes.
type Source interface {
	Open(ctx context.Context, name string) (io.ReadCloser, error)
}

// FS is the set in the root of a file system.
func FS(fsys fs.FS) Source { return files{fsys} }

type files struct{ fs.FS }

func (f files) Open(_ context.Context, name string) (io.ReadCloser, error) { return f.FS.Open(name) }

// URL is the set below an http or https URL; client nil means
// http.DefaultClient.
func URL(client *http.Client, base string) Source {
	if client == nil {
		client = http.DefaultClient
	}
	return &site{client, strings.TrimRight(base, "/")}
}

type site struct {
	client *http.Client
	base   string
}

func (s *site) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	address := s.base + "/" + url.PathEscape(name)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	_ = resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusGone {
		return nil, &fs.PathError{Op: "GET", Path: req.URL.Redacted(), Err: fs.ErrNotExist}
	}
	return nil, fmt.Errorf("GET %s: %s", req.URL.Redacted(), resp.Status)
}
