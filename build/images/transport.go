package images

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"syscall"
	"time"

	"hooksmith/build/fetch"
)

// maxRetryAfter is the longest wait that a registry may ask of us.
const maxRetryAfter = 2 * time.Minute

// hostTransport sends requests with the trust that their host has: verified
// TLS for all, any TLS or plain HTTP for those that are named insecure.
type hostTransport struct {
	strict, lax http.RoundTripper
	insecure    []string // HOST or HOST:PORT
	plain       []string // HOST:PORT of mirrors whose URL says http
}

func newHostTransport(pem []byte, insecure, plain []string) (*hostTransport, error) {
	roots, err := rootsWith(pem)
	if err != nil {
		return nil, err
	}
	base := func(c *tls.Config) http.RoundTripper {
		return &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 15 * time.Second}).DialContext,
			TLSClientConfig:       c,
			TLSHandshakeTimeout:   15 * time.Second,
			ResponseHeaderTimeout: fetch.Stall,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   parallelDownloads,
			IdleConnTimeout:       30 * time.Second,
			DisableCompression:    true, // what is hashed is what is sent
		}
	}
	return &hostTransport{
		strict:   base(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}),
		lax:      base(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}), //nolint:gosec // for hosts that the user named
		insecure: insecure,
		plain:    plain,
	}, nil
}

// rootsWith are the system's certificates and those of pem. Without any, it is
// nil: then the system's are read when a server's certificate is verified, for
// to read them takes longer than a build in which nothing changed.
func rootsWith(pem []byte) (*x509.CertPool, error) {
	if len(pem) == 0 {
		return nil, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("--ca: the file has no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
	}
	return roots, nil
}

// close closes connections that nobody uses.
func (t *hostTransport) close() {
	for _, rt := range []http.RoundTripper{t.strict, t.lax} {
		if c, ok := rt.(*http.Transport); ok {
			c.CloseIdleConnections()
		}
	}
}

// plainHTTPError is a request that would have gone out unencrypted.
type plainHTTPError struct{ host string }

func (e plainHTTPError) Error() string { return "plain HTTP to " + e.host + " is not allowed" }

func (t *hostTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	host := req.URL.Host
	if t.isInsecure(host) {
		return t.lax.RoundTrip(req)
	}
	// A redirect to HTTP carries no credentials, and what it brings is verified.
	redirected := req.Response != nil && req.Header.Get("Authorization") == ""
	if req.URL.Scheme == "http" && !redirected && !isLoopback(host) && !slices.Contains(t.plain, host) {
		return nil, plainHTTPError{host}
	}
	return t.strict.RoundTrip(req)
}

func (t *hostTransport) isInsecure(host string) bool {
	return slices.Contains(t.insecure, host) || slices.Contains(t.insecure, hostOnly(host))
}

func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return host
}

func isLoopback(host string) bool {
	h := hostOnly(host)
	ip := net.ParseIP(h)
	return h == "localhost" || ip != nil && ip.IsLoopback()
}

// patient repeats requests that failed for a passing reason, and waits as long
// as a registry asks for.
type patient struct {
	next  http.RoundTripper
	tries int
	pause time.Duration
	log   *slog.Logger
}

func (p *patient) RoundTrip(req *http.Request) (*http.Response, error) {
	for try := 1; ; try++ {
		resp, err := p.next.RoundTrip(req)
		wait, again := p.again(req, resp, err, try)
		if !again {
			return resp, err
		}
		why := err
		if resp != nil {
			why = fmt.Errorf("server answered %s", resp.Status)
			_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
			resp.Body.Close()
		}
		p.log.Info("registry did not answer as it should, waiting", "host", req.URL.Host, "wait", wait.Round(time.Millisecond), "reason", why)
		if err := fetch.Sleep(req.Context(), wait); err != nil {
			return nil, err
		}
		if req, err = rewind(req); err != nil {
			return nil, err
		}
	}
}

func rewind(req *http.Request) (*http.Request, error) {
	c := req.Clone(req.Context())
	c.Response = req.Response
	if req.GetBody == nil {
		return c, nil
	}
	var err error
	c.Body, err = req.GetBody()
	return c, err
}

// again says whether to repeat a request, and when.
func (p *patient) again(req *http.Request, resp *http.Response, err error, try int) (time.Duration, bool) {
	hasBody := req.Body != nil && req.Body != http.NoBody
	if try >= p.tries || req.Context().Err() != nil || hasBody && req.GetBody == nil {
		return 0, false
	}
	wait := p.pause<<(try-1) + rand.N(p.pause/4+1) //nolint:gosec // spreads clients, hides nothing
	if err != nil {
		return wait, worthRetry(err)
	}
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	default:
		return 0, false
	}
	if asked, ok := retryAfter(resp.Header.Get("Retry-After"), time.Now()); ok {
		return max(asked, 0), asked <= maxRetryAfter
	}
	return wait, true
}

// retryAfter reads RFC 9110 section 10.2.3: seconds or a date.
func retryAfter(s string, now time.Time) (time.Duration, bool) {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 && n < 1<<30 {
		return time.Duration(n) * time.Second, true
	}
	if at, err := http.ParseTime(s); err == nil {
		return at.Sub(now), true
	}
	return 0, false
}

// worthRetry reports whether an error may go away by itself. A name that does
// not exist, a host where nobody answers and a certificate that is not trusted
// stay as they are.
func worthRetry(err error) bool {
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var noTLS tls.RecordHeaderError
	var plain plainHTTPError
	var op *net.OpError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, http.ErrSchemeMismatch),
		errors.Is(err, syscall.ENOSPC), errors.As(err, &cert), errors.As(err, &noTLS), errors.As(err, &plain):
		return false
	case errors.As(err, &dns):
		return dns.IsTemporary || dns.IsTimeout
	case errors.As(err, &op) && op.Op == "dial" && op.Timeout():
		return false // 15 s of silence; a mirror that is not there must not take minutes
	}
	return true
}
