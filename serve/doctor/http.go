package doctor

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// Limits of HTTP.
const (
	httpConnect  = 8 * time.Second
	httpHeaders  = 12 * time.Second
	httpWhole    = 30 * time.Minute // for a large file
	maxRedirects = 5
	maxHeader    = 64 << 10
	rangeOctets  = 4096
	slowAfter    = 10 * time.Second // from then on
	slowBelow    = 16 << 10         // octets per second are too few
	mostSkew     = 2 * time.Minute
)

// client follows no redirect and believes no certificate: both are judged here.
func (f *fetcher) client() (*http.Client, func()) {
	t := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: httpConnect}).DialContext,
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: true}, // judged in certificate.go
		TLSHandshakeTimeout:    httpConnect,
		ResponseHeaderTimeout:  httpHeaders,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
	}
	stop := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: t, CheckRedirect: stop}, t.CloseIdleConnections
}

// session is one file by HTTP.
type session struct {
	*fetcher
	client *http.Client
	what   use
	got    *file
}

func (f *fetcher) http(ctx context.Context, u *url.URL, what use, got *file) {
	ctx, cancel := context.WithTimeout(ctx, httpWhole)
	defer cancel()
	client, done := f.client()
	defer done()
	s := &session{f, client, what, got}
	if f.silent[u.Host] {
		s.unreachable(u, errors.New("no answer, as before"))
		return
	}
	// 1. Is it there, by HEAD as EDK2 asks first?
	u, ok := s.locate(ctx, u)
	if !ok {
		return
	}
	// 2. Can a part of it be had?
	if what == asHook {
		s.part(ctx, u)
	}
	// 3. All of it.
	s.all(ctx, u)
}

// do makes a request. The caller closes the body.
func (s *session) do(ctx context.Context, method string, u *url.URL, octets string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "hooksmith-doctor")
	if octets != "" {
		req.Header.Set("Range", octets)
	}
	return s.client.Do(req)
}

// locate follows redirects where the machine would, and reads what the headers say.
func (s *session) locate(ctx context.Context, u *url.URL) (*url.URL, bool) {
	for range maxRedirects {
		before := s.now()
		resp, err := s.do(ctx, http.MethodHead, u, "")
		if err != nil {
			s.unreachable(u, err)
			return u, false
		}
		resp.Body.Close()
		s.clock(u, resp, before)
		s.certificate(u, resp)
		to := resp.Header.Get("Location")
		if resp.StatusCode < 300 || resp.StatusCode > 399 || to == "" {
			return u, s.status(u, resp)
		}
		next, err := u.Parse(to)
		if err != nil {
			s.got.bad(HTTPRedirect, "correct the address that the server redirects to", "%s redirects to %q, which is no URL", s.got.url, clean(to, 200))
			return u, false
		}
		if s.what == byFirmware {
			s.got.bad(HTTPRedirect, "name the final URL in the DHCP answer", "%s redirects to %s: UEFI firmware does not follow", s.got.url, clean(next.String(), 300))
			return next, false
		}
		u = next
	}
	s.got.bad(HTTPRedirect, "end the circle of redirects", "%s redirects more than %d times", s.got.url, maxRedirects)
	return u, false
}

func (s *session) unreachable(u *url.URL, err error) {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op
	}
	var slow net.Error
	if errors.As(err, &slow) && slow.Timeout() {
		s.silent[u.Host] = true
	}
	s.got.bad(HTTPUnreachable, "start the web server there, and let machines reach its port", "%s: %s", clean(u.String(), 300), clean(err.Error(), 300))
}

// status reads the answer to a HEAD. A server that knows none may still have the file.
func (s *session) status(u *url.URL, resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusOK:
		return true
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		if s.what == byFirmware {
			s.got.bad(HTTPHead, "have the web server answer HEAD", "%s: HEAD is refused with %d; UEFI firmware asks for the size by it", s.got.url, resp.StatusCode)
		}
		return true
	}
	s.got.bad(HTTPStatus, "put the file there, or correct the URL", "%s: the server says %d %s", clean(u.String(), 300), resp.StatusCode, http.StatusText(resp.StatusCode))
	return false
}

// clock compares the server's time with this host's.
func (s *session) clock(u *url.URL, resp *http.Response, before time.Time) {
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return
	}
	if date.Before(before.Add(-mostSkew)) || date.After(s.now().Add(mostSkew)) {
		s.got.doubt(ClockSkew, "set both clocks by NTP: certificates and logs depend on them", "the clock of %s is %s", u.Hostname(), roundly(date.Sub(before)))
	}
}

// roundly is a difference between clocks in words that stay the same for a while.
func roundly(d time.Duration) string {
	sign := "ahead of"
	if d < 0 {
		sign, d = "behind", -d
	}
	switch {
	case d > 48*time.Hour:
		return fmt.Sprintf("%d days %s this host's", d/(24*time.Hour), sign)
	case d > 2*time.Hour:
		return fmt.Sprintf("%d hours %s this host's", d/time.Hour, sign)
	}
	return fmt.Sprintf("%d minutes %s this host's", d/time.Minute, sign)
}

// part asks for the first octets.
func (s *session) part(ctx context.Context, u *url.URL) {
	resp, err := s.do(ctx, http.MethodGet, u, fmt.Sprintf("bytes=0-%d", rangeOctets-1))
	if err != nil {
		return // whole will say so
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, io.LimitReader(resp.Body, rangeOctets+1))
	want := fmt.Sprintf("bytes 0-%d/", rangeOctets-1)
	short := err == nil && n < rangeOctets && strings.HasPrefix(resp.Header.Get("Content-Range"), "bytes 0-")
	if resp.StatusCode == http.StatusPartialContent && (short || n == rangeOctets && strings.HasPrefix(resp.Header.Get("Content-Range"), want)) {
		return
	}
	s.got.doubt(NoRange, "serve the folder by a web server with ranges (hooksmith serve, nginx, any object store)",
		"%s: asked for a part of the file, the server says %d: hookImagesURLPath has no range support, so that a broken download begins again", s.got.url, resp.StatusCode)
}

// all reads the file, or only its beginning if it is large and that is enough.
func (s *session) all(ctx context.Context, u *url.URL) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := s.do(ctx, http.MethodGet, u, "")
	if err != nil {
		s.unreachable(u, err)
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		s.got.bad(HTTPStatus, "put the file there, or correct the URL", "%s: the server says %d %s", clean(u.String(), 300), resp.StatusCode, http.StatusText(resp.StatusCode))
		return
	}
	s.headers(u, resp)
	s.got.size = resp.ContentLength
	s.got.text = path.Base(clean(u.Path, 200))
	if s.what == asHook && !s.fetcher.whole && resp.ContentLength > 0 {
		s.got.ok = true
		s.got.text += fmt.Sprintf(", %d octets", s.got.size)
		return
	}
	s.read(resp, cancel)
}

// headers judges what firmware looks at.
func (s *session) headers(u *url.URL, resp *http.Response) {
	if resp.ContentLength < 0 && s.what != byIPXE {
		severity := s.got.doubt
		if s.what == byFirmware {
			severity = s.got.bad
		}
		severity(HTTPLength, "have the web server send Content-Length (no compression on the fly, no chunks)", "%s: the answer has no Content-Length", s.got.url)
	}
	if s.what != byFirmware {
		return
	}
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	known := []string{"application/efi", "application/vnd.efi-iso", "application/vnd.efi-img"} // EDK2's HttpBootSupport.c
	extensions := []string{".efi", ".iso", ".img"}
	if !slices.Contains(known, strings.ToLower(strings.TrimSpace(kind))) && !slices.Contains(extensions, strings.ToLower(path.Ext(u.Path))) {
		s.got.bad(HTTPType, "send Content-Type application/efi, or give the file a name that ends in .efi",
			"%s: UEFI firmware knows neither the type %q nor the file's extension", s.got.url, clean(kind, 60))
	}
}

// read takes the content, and gives up on a server that is too slow or has no end.
func (s *session) read(resp *http.Response, stop func()) {
	limit := int64(maxProgram)
	if s.what == asHook {
		limit = maxHook
	}
	sum := sha256.New()
	start := time.Now()
	buf := make([]byte, 256<<10)
	var n int64
	// A body that stands still is ended by the timer, one that crawls by its pace.
	idle := time.AfterFunc(slowAfter, stop)
	defer idle.Stop()
	for {
		k, err := resp.Body.Read(buf)
		idle.Reset(slowAfter)
		n += int64(k)
		sum.Write(buf[:k])
		if s.what != asHook {
			s.got.content = append(s.got.content, buf[:k]...)
		}
		took := time.Since(start)
		switch {
		case n > limit:
			s.broken("more than %d octets", limit)
		case errors.Is(err, io.EOF):
			s.got.ok, s.got.size, s.got.sha256 = true, n, hex.EncodeToString(sum.Sum(nil))
			s.got.text += fmt.Sprintf(", %d octets", n)
		case err != nil:
			s.broken("cut off after %d octets: %v", n, err)
		case took > slowAfter && float64(n) < slowBelow*took.Seconds():
			s.broken("only %d octets in %s", n, took.Round(time.Second))
		default:
			continue
		}
		return
	}
}

func (s *session) broken(format string, args ...any) {
	s.got.content = nil
	s.got.bad(HTTPBroken, "look at the web server's log, and at what is between", "%s: %s", s.got.url, clean(fmt.Sprintf(format, args...), 300))
}
