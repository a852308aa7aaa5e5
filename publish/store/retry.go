package store

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// maxRetryAfter bounds what a server may ask us to wait.
const maxRetryAfter = 2 * time.Minute

// StatusError is an answer of an HTTP server that is none of the expected.
type StatusError struct {
	Method, URL, Status string
	Code                int
}

func (e *StatusError) Error() string { return e.Method + " " + e.URL + ": " + e.Status }

// Hint says what to do about it.
func (e *StatusError) Hint() string {
	switch e.Code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "put the account into ~/.netrc (machine HOST login USER password WORD), and let the server allow PUT, DELETE, MKCOL, COPY and MOVE"
	case http.StatusMethodNotAllowed:
		return "the server takes no uploads here: switch WebDAV on (nginx: dav_methods PUT DELETE MKCOL COPY MOVE; create_full_put_path on;)"
	case http.StatusInsufficientStorage:
		return "the server's disk is full: remove old sets with: hooksmith publish DESTINATION --prune --keep N"
	case http.StatusRequestEntityTooLarge:
		return "the server limits the size of uploads (nginx: client_max_body_size 0;)"
	case http.StatusConflict:
		return "a folder above it is missing, and the server does not let us make it: make the destination's folder there"
	}
	if e.Code >= 500 {
		return "the server's own log says why (nginx answers 500 to uploads into folders that are not there, without MKCOL or create_full_put_path on;)"
	}
	return ""
}

// Patience repeats what failed for reasons that pass. Only whole operations
// are repeated; the zero value never is.
type Patience struct {
	Tries int           // in all
	Pause time.Duration // before the second try; doubles
	Log   *slog.Logger  // nil: silent
}

// Do runs op until it succeeds, fails for good, or Tries are used up.
func (p Patience) Do(ctx context.Context, what string, op func() error) error {
	pause := p.Pause
	for try := 1; ; try++ {
		err := op()
		if err == nil || try >= p.Tries || ctx.Err() != nil || !Transient(err) {
			return err
		}
		if p.Log != nil {
			p.Log.Info("trying again", "what", what, "in", pause, "error", err)
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, 30*time.Second)
	}
}

// Transient tells whether another try may succeed.
func Transient(err error) bool {
	var status *StatusError
	if errors.As(err, &status) {
		switch status.Code {
		case http.StatusRequestTimeout, http.StatusTooManyRequests:
			return true
		case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusInsufficientStorage:
			return false
		}
		return status.Code >= 500
	}
	if code, known := cloudTransient(err); known {
		return code
	}
	for _, final := range []error{fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, ErrUnsupported, context.Canceled, errFinal,
		unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.ENOTDIR, unix.EISDIR} {
		if errors.Is(err, final) {
			return false
		}
	}
	return true
}

// errFinal marks errors that another try would meet again.
var errFinal = errors.New("for good")

// Permanent marks an error that Patience does not try again.
func Permanent(err error) error { return final{err} }

// final hides the mark from the message.
type final struct{ error }

func (f final) Unwrap() []error { return []error{f.error, errFinal} }

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// polite is a transport that waits as long as a server's Retry-After says,
// before the answer goes to whoever repeats the request.
type polite struct{ next http.RoundTripper }

func (p *polite) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := p.next.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable && resp.StatusCode != http.StatusTooManyRequests {
		return resp, err
	}
	if wait := retryAfter(resp.Header.Get("Retry-After"), time.Now()); wait > 0 {
		if err := sleep(req.Context(), wait); err != nil {
			return nil, errors.Join(err, resp.Body.Close())
		}
	}
	return resp, nil
}

// retryAfter reads the header (RFC 9110, 10.2.3): seconds or a date.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil && seconds > 0 {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, min(date.Sub(now), maxRetryAfter))
	}
	return 0
}

// retrying repeats the operations of a store.
type retrying struct {
	Store
	p Patience
}

// Retry gives a store patience.
func Retry(s Store, p Patience) Store { return &retrying{s, p} }

// Unwrap returns the store behind the patience: for Turner and Locker.
func Unwrap(s Store) Store {
	if r, ok := s.(*retrying); ok {
		return r.Store
	}
	return s
}

func (r *retrying) Put(ctx context.Context, name, key string, size int64, content Content) error {
	return r.p.Do(ctx, "writing "+name, func() error { return r.Store.Put(ctx, name, key, size, content) })
}

// Create is repeated as well: whoever calls it can tell its own object, which
// a try with a lost answer has left.
func (r *retrying) Create(ctx context.Context, name string, data []byte) error {
	return r.p.Do(ctx, "writing "+name, func() error { return r.Store.Create(ctx, name, data) })
}

func (r *retrying) Copy(ctx context.Context, from, to string) error {
	return r.p.Do(ctx, "copying to "+to, func() error { return r.Store.Copy(ctx, from, to) })
}

func (r *retrying) Delete(ctx context.Context, name string) error {
	return r.p.Do(ctx, "removing "+name, func() error { return r.Store.Delete(ctx, name) })
}

// Get repeats only the opening; readers repeat the rest, from where they are.
func (r *retrying) Get(ctx context.Context, name string, off, n int64) (rc io.ReadCloser, err error) {
	err = r.p.Do(ctx, "reading "+name, func() error {
		rc, err = r.Store.Get(ctx, name, off, n)
		return err
	})
	return rc, err
}
