package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"sync/atomic"
)

// site is a web server that takes PUT, better with WebDAV's MKCOL, COPY, MOVE
// and DELETE (RFC 4918).
type site struct {
	client     *http.Client
	base       *url.URL
	user, pass string
	noMove     atomic.Bool // the server answered that it has no COPY or MOVE
	made       sync.Map    // folders that are there
}

func openHTTP(u *url.URL, a Access) *site {
	base := *u
	base.Path = strings.TrimRight(base.Path, "/")
	base.User = nil
	s := &site{client: &http.Client{Transport: &polite{Transport()}}, base: &base}
	if u.User != nil {
		s.user = u.User.Username()
		s.pass, _ = u.User.Password()
	} else {
		s.user, s.pass = a.netrc(u.Hostname())
	}
	return s
}

func (s *site) url(name string) string {
	u := *s.base
	u.Path += "/" + name
	return u.String()
}

// do sends a request and returns the answer if its code is among those given,
// of which 404 is fs.ErrNotExist. The caller closes the body.
func (s *site) do(ctx context.Context, method, name string, header map[string]string, body *io.SectionReader, good ...int) (*http.Response, error) {
	var r io.Reader
	if body != nil && body.Size() > 0 {
		r = body
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url(name), r)
	if err != nil {
		return nil, err
	}
	if r != nil {
		req.ContentLength = body.Size()
		req.GetBody = func() (io.ReadCloser, error) {
			again := io.NewSectionReader(body, 0, body.Size())
			return io.NopCloser(again), nil
		}
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	if s.user != "" {
		req.SetBasicAuth(s.user, s.pass)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	for _, code := range good {
		if resp.StatusCode == code {
			return resp, nil
		}
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
	_ = resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, &fs.PathError{Op: method, Path: s.url(name), Err: fs.ErrNotExist}
	}
	return nil, &StatusError{Method: method, URL: s.url(name), Status: resp.Status, Code: resp.StatusCode}
}

// exec is do for answers whose body says nothing.
func (s *site) exec(ctx context.Context, method, name string, header map[string]string, body *io.SectionReader, good ...int) error {
	resp, err := s.do(ctx, method, name, header, body, good...)
	if err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, resp.Body, 64<<10)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, resp.Body.Close())
}

var written = []int{http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent}

// Put writes what others may be reading beside, and moves it, where the server
// can. Files with a key get a name that nobody knows yet.
func (s *site) Put(ctx context.Context, name, key string, size int64, content Content) error {
	if key != "" || s.noMove.Load() {
		return s.put(ctx, name, reader(content, size))
	}
	part := beside(name, "")
	if err := s.put(ctx, part, reader(content, size)); err != nil {
		return err
	}
	err := s.move(ctx, "MOVE", part, name)
	if errors.Is(err, ErrUnsupported) {
		_ = s.Delete(ctx, part)
		return s.put(ctx, name, reader(content, size))
	}
	return err
}

func (s *site) put(ctx context.Context, name string, body *io.SectionReader) error {
	// The folder first: RFC 4918, 9.7.1 wants 409 without it, nginx answers 500.
	if dir := path.Dir(name); dir != "." {
		if _, made := s.made.Load(dir); !made {
			if err := s.mkcol(ctx, dir); err != nil && !unsupportedStatus(err) {
				return err
			}
			s.made.Store(dir, true)
		}
	}
	return s.exec(ctx, http.MethodPut, name, map[string]string{"Content-Type": contentType(name)}, body, written...)
}

// mkcol makes a folder and its parents. 405 is the answer for one that is there.
func (s *site) mkcol(ctx context.Context, dir string) error {
	if parent := path.Dir(dir); parent != "." {
		if err := s.mkcol(ctx, parent); err != nil {
			return err
		}
	}
	return s.exec(ctx, "MKCOL", dir+"/", nil, nil, http.StatusCreated, http.StatusOK, http.StatusMethodNotAllowed)
}

// mkBase makes the folders of the destination itself, from the top: what is
// there answers 405, what we may not touch 403 or 401.
func (s *site) mkBase(ctx context.Context) error {
	base := *s.base
	base.Path = ""
	root := &site{client: s.client, base: &base, user: s.user, pass: s.pass}
	dir := ""
	var last error
	for _, part := range strings.Split(strings.Trim(s.base.Path, "/"), "/") {
		dir = path.Join(dir, part)
		last = root.exec(ctx, "MKCOL", dir+"/", nil, nil, http.StatusCreated, http.StatusOK, http.StatusMethodNotAllowed)
	}
	return last
}

// move is COPY or MOVE of one file over another.
func (s *site) move(ctx context.Context, method, from, to string) error {
	err := s.exec(ctx, method, from, map[string]string{"Destination": s.url(to), "Overwrite": "T"}, nil, written...)
	var status *StatusError
	if errors.As(err, &status) {
		switch status.Code {
		case http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusBadRequest:
			s.noMove.Store(true)
			return ErrUnsupported
		case http.StatusConflict:
			if err := s.mkcol(ctx, path.Dir(to)); err != nil {
				return err
			}
			return s.exec(ctx, method, from, map[string]string{"Destination": s.url(to), "Overwrite": "T"}, nil, written...)
		}
	}
	return err
}

// Copy has the server copy beside, then rename: a COPY alone may be seen half.
func (s *site) Copy(ctx context.Context, from, to string) error {
	if s.noMove.Load() {
		return ErrUnsupported
	}
	part := beside(to, "")
	if err := s.move(ctx, "COPY", from, part); err != nil {
		return err
	}
	err := s.move(ctx, "MOVE", part, to)
	if err != nil {
		_ = s.Delete(context.WithoutCancel(ctx), part)
	}
	return err
}

// Create makes a folder NAME.d as the lock of NAME: the one thing that all
// WebDAV servers make at most once. Servers without get If-None-Match.
func (s *site) Create(ctx context.Context, name string, data []byte) error {
	if parent := path.Dir(name); parent != "." {
		err := s.mkcol(ctx, parent)
		if isStatus(err, http.StatusConflict) && s.mkBase(ctx) == nil { // RFC 4918, 9.3.1: no parent
			err = s.mkcol(ctx, parent)
		}
		if err != nil && !unsupportedStatus(err) {
			return err
		}
	}
	body := io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))
	err := s.exec(ctx, "MKCOL", name+".d/", nil, nil, http.StatusCreated)
	if err == nil {
		return s.put(ctx, name, body)
	}
	if !unsupportedStatus(err) {
		return err
	}
	probe := path.Join(path.Dir(name), ".probe-"+nonce()) + "/"
	if s.exec(ctx, "MKCOL", probe, nil, nil, http.StatusCreated) == nil {
		_ = s.Delete(ctx, probe)
		return &fs.PathError{Op: "MKCOL", Path: s.url(name), Err: fs.ErrExist}
	}
	if err := s.exec(ctx, http.MethodHead, name, nil, nil, http.StatusOK); err == nil {
		return &fs.PathError{Op: "PUT", Path: s.url(name), Err: fs.ErrExist}
	}
	err = s.exec(ctx, http.MethodPut, name, map[string]string{"If-None-Match": "*"}, body, written...)
	var status *StatusError
	if errors.As(err, &status) && status.Code == http.StatusPreconditionFailed {
		return &fs.PathError{Op: "PUT", Path: s.url(name), Err: fs.ErrExist}
	}
	return err
}

func unsupportedStatus(err error) bool {
	return isStatus(err, http.StatusMethodNotAllowed) || isStatus(err, http.StatusNotImplemented)
}

func isStatus(err error, code int) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Code == code
}

// Get reads a range, or as much of the whole as a server without ranges sends.
func (s *site) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	header := map[string]string{"Accept-Encoding": "identity"}
	if r := rangeOf(off, n); r != "" {
		header["Range"] = r
	}
	resp, err := s.do(ctx, http.MethodGet, name, header, nil, http.StatusOK, http.StatusPartialContent)
	if err != nil {
		return nil, err
	}
	var r io.Reader = resp.Body
	if resp.StatusCode == http.StatusOK && off > 0 {
		if _, err := io.CopyN(io.Discard, resp.Body, off); err != nil {
			return nil, errors.Join(err, resp.Body.Close())
		}
	}
	if n >= 0 {
		r = io.LimitReader(r, n)
	}
	return &multiCloser{r, resp.Body.Close}, nil
}

// Delete removes a file, its lock folder if it is a lock, or a folder (NAME/).
func (s *site) Delete(ctx context.Context, name string) error {
	s.made.Delete(strings.TrimSuffix(name, "/"))
	err := s.exec(ctx, http.MethodDelete, name, nil, nil, written...)
	if errors.Is(err, fs.ErrNotExist) || strings.HasSuffix(name, "/") && unsupportedStatus(err) {
		err = nil
	}
	if err == nil && strings.HasSuffix(name, ".lock") {
		return s.Delete(ctx, name+".d/")
	}
	return err
}

// Close ends idle connections.
func (s *site) Close() error {
	s.client.CloseIdleConnections()
	return nil
}
