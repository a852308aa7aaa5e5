package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"time"
)

// maxDownload bounds one file.
const maxDownload = 8 << 30

// client asks as firmware does: without a proxy, without compression, without
// following redirects, and on connections that stay open.
type client struct {
	http  *http.Client
	stall time.Duration
}

// newClient makes a client for one target. Certificates are checked by the
// checker, so that the rest can be tried with a bad one too.
func newClient(stall time.Duration) *client {
	dialer := &net.Dialer{Timeout: stall}
	return &client{stall: stall, http: &http.Client{
		Transport: &http.Transport{
			DialContext:           dialer.DialContext,
			DisableCompression:    true,
			TLSClientConfig:       &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // tls.go checks the certificate
			TLSHandshakeTimeout:   stall,
			ResponseHeaderTimeout: stall,
			MaxIdleConnsPerHost:   1,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// following is the same client, for files that only people and tools ask for.
func (c *client) following() *client {
	follow := *c.http
	follow.CheckRedirect = nil
	return &client{&follow, c.stall}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// answer is a response whose body was read.
type answer struct {
	*http.Response
	reused bool  // of the connection
	read   int64 // bytes of the body
	took   time.Duration
	body   []byte // at most keep bytes
	err    error  // why the body ended early
}

// do sends a request and reads the body: into to if it is not nil, and the
// first keep bytes. What goes wrong with the body is the answer's err.
func (c *client) do(ctx context.Context, method string, u *url.URL, header map[string]string, keep int64, to io.Writer) (*answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a := &answer{}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { a.reused = i.Reused }})
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "hooksmith check")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	start := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, err
	}
	defer resp.Body.Close()
	a.Response = resp
	body := &watched{r: resp.Body, timer: time.AfterFunc(c.stall, func() { cancel(errStalled) }), stall: c.stall}
	defer body.timer.Stop()
	if keep > 0 {
		a.body, a.err = io.ReadAll(io.LimitReader(body, keep))
		a.read = int64(len(a.body))
	}
	if a.err == nil && to != nil {
		var n int64
		n, a.err = io.Copy(to, io.LimitReader(body, maxDownload))
		a.read += n
	}
	if cause := context.Cause(ctx); errors.Is(cause, errStalled) && a.err != nil {
		a.err = cause
	}
	a.took = time.Since(start)
	return a, diskError(a.err)
}

var errStalled = errors.New("the server sends nothing any more")

// diskError is an error of writing a download, which is not the server's.
func diskError(err error) error {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		return fmt.Errorf("storing the download: %w", err)
	}
	return nil
}

// watched pushes a timer back with every read.
type watched struct {
	r     io.Reader
	timer *time.Timer
	stall time.Duration
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.timer.Reset(w.stall)
	return n, err
}
