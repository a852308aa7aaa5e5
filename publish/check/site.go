package check

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"hooksmith/publish/inspect"
	"hooksmith/publish/verify"
)

// local is files that were downloaded, or lie in a folder, under the names
// that the target has for them.
type local struct {
	dir   string
	names map[string]string // to paths
	web   *client           // for what describes the set; nil: it is in the folder
	url   *url.URL
}

func (l *local) path(name string) string { return filepath.Join(l.dir, name) }

// Open makes it a verify.Source.
func (l *local) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if p, ok := l.names[name]; ok {
		return os.Open(p)
	}
	if l.web != nil {
		return l.document(ctx, name)
	}
	if !verify.PlainName(name) {
		return nil, fmt.Errorf("%q: %w", name, fs.ErrNotExist)
	}
	return os.Open(l.path(name))
}

// document gets one of the small files that describe the set.
func (l *local) document(ctx context.Context, name string) (io.ReadCloser, error) {
	a, err := l.web.do(ctx, http.MethodGet, l.url.JoinPath(name), nil, verify.MaxManifest+1, nil)
	switch {
	case err != nil:
		return nil, err
	case a.err != nil:
		return nil, a.err
	case a.StatusCode == http.StatusOK:
		return io.NopCloser(bytes.NewReader(a.body)), nil
	case a.StatusCode == http.StatusNotFound, a.StatusCode == http.StatusGone, a.StatusCode == http.StatusForbidden:
		// S3 answers 403 for what is not there to those who may not list.
		return nil, fmt.Errorf("GET %s: %s: %w", l.url.JoinPath(name).Redacted(), a.Status, fs.ErrNotExist)
	}
	return nil, fmt.Errorf("GET %s: %s", l.url.JoinPath(name).Redacted(), a.Status)
}

// site checks a folder behind a URL.
//
//  1. the certificate, 2. the folder, as EKS Anywhere asks for it,
//  3. both files, as iPXE does, 4. what is in them.
func (c *checker) site(ctx context.Context, u *url.URL, files *local) error {
	web := newClient(c.opt.Stall)
	defer web.close()
	if u.Scheme == "https" {
		c.certificate(ctx, u)
	}
	if reached, err := c.getFolder(ctx, web, u); err != nil || !reached {
		return err
	}
	files.web, files.url = web.following(), u
	kernelName, initramfsName := c.names()
	for _, name := range []string{kernelName, initramfsName} {
		p := &probe{checker: c, web: web, id: short(name), name: name, url: u.JoinPath(name), files: files}
		if err := p.run(ctx); err != nil {
			return err
		}
	}
	return c.contents(ctx, files)
}

// getFolder makes the one request of EKS Anywhere, which looks at nothing but
// whether there is an answer (pkg/providers/tinkerbell/assert.go).
func (c *checker) getFolder(ctx context.Context, web *client, u *url.URL) (reached bool, err error) {
	const id, title = "folder", "GET of the folder"
	a, err := web.do(ctx, http.MethodGet, u, nil, 64<<10, nil)
	if a == nil {
		if errors.Is(err, context.Canceled) {
			return false, err
		}
		c.add(id, title, Fail, "start the server, open the port, or correct the host name; no proxy is used, as EKS Anywhere and machines use none", "%v", err)
		return false, nil
	}
	switch {
	case a.StatusCode >= 500:
		c.add(id, title, Warn, "look at the server's log", "%s; EKS Anywhere does not look at that, but it is no good sign", a.Status)
	default:
		c.add(id, title, Pass, "", "%s", a.Status)
	}
	return true, err
}

// probe tries one file.
type probe struct {
	*checker
	web   *client
	id    string
	name  string
	url   *url.URL
	files *local
	iso   bool

	head *answer
	get  *answer
	size int64 // of what was downloaded
}

func (p *probe) say(id, title string, status Status, fix, detail string, args ...any) {
	p.add(p.id+"."+id, p.name+": "+title, status, fix, detail, args...)
}

// run makes the requests of a boot in their order. Without a whole file the
// rest is not tried.
func (p *probe) run(ctx context.Context) error {
	if ok, err := p.tryHead(ctx); err != nil || !ok {
		return err
	}
	if ok, err := p.download(ctx); err != nil || !ok {
		return err
	}
	p.files.names[p.name] = p.files.path(filepath.Base(p.name))
	p.describe()
	if err := p.ranges(ctx); err != nil {
		return err
	}
	return p.ifRange(ctx)
}

// request follows redirects, so that the rest can be tried behind them, and
// reports what kept it from an answer.
func (p *probe) request(ctx context.Context, method, id string, header map[string]string, keep int64, to io.Writer) (*answer, error) {
	a, err := p.web.do(ctx, method, p.url, header, keep, to)
	if a == nil && !errors.Is(err, context.Canceled) {
		p.say(id, method, Fail, "look at the server's log, or at what stands between", "%v", err)
		return nil, nil
	}
	return a, err
}

// tryHead is UEFI HTTP boot's first request; it also finds redirects.
func (p *probe) tryHead(ctx context.Context) (ok bool, err error) {
	const hops = 5
	for range hops {
		p.head, err = p.request(ctx, http.MethodHead, "head", nil, 0, nil)
		if err != nil || p.head == nil {
			return false, err
		}
		target, err := p.head.Location()
		if err != nil || p.head.StatusCode/100 != 3 {
			break
		}
		if target.String() == p.url.String() {
			p.say("head", "HEAD", Fail, "publish under a name that answers itself", "%s redirects to itself", target.Redacted())
			return false, nil
		}
		p.redirected(target)
		p.url = target
	}
	switch code := p.head.StatusCode; {
	case code == http.StatusOK:
		p.say("head", "HEAD", Pass, "", "%s", p.head.Status)
	case code/100 == 3:
		p.say("head", "HEAD", Fail, "publish under a name that answers itself", "redirected more than %d times", hops)
		return false, nil
	case code == http.StatusMethodNotAllowed || code == http.StatusNotImplemented:
		p.say("head", "HEAD", Warn, "allow HEAD: UEFI HTTP boot asks for the size with it", "%s", p.head.Status)
	case code == http.StatusNotFound:
		p.say("head", "HEAD", Fail, "publish the file under this name: it is made of the URL, a slash and what EKS Anywhere and Smee ask for", "%s for %s", p.head.Status, p.url.Redacted())
		return false, nil
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		p.say("head", "HEAD", Fail, "let the machines read it without a password: mode of file and folder, the server's rules, the bucket's policy", "%s for %s", p.head.Status, p.url.Redacted())
		return false, nil
	default:
		p.say("head", "HEAD", Fail, "look at the server's log", "%s for %s", p.head.Status, p.url.Redacted())
		return false, nil
	}
	return true, nil
}

func (p *probe) redirected(target *url.URL) {
	if p.iso {
		p.say("redirect", "redirect", Fail, "give the final URL as hookIsoURL", "to %s: Smee hands the redirect to the BMC, which then loads an image that Smee has not patched", target.Redacted())
		return
	}
	p.say("redirect", "redirect", Warn, "give the final URL as hookImagesURLPath", "to %s: iPXE follows, UEFI HTTP boot and BMCs do not", target.Redacted())
}

// download is the GET of a boot, to the end.
func (p *probe) download(ctx context.Context) (ok bool, err error) {
	f, err := os.Create(p.files.path(filepath.Base(p.name)))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var to io.Writer = f
	ended := func(error) {}
	if p.opt.Begin != nil {
		var add func(int64)
		add, ended = p.opt.Begin(p.name, p.head.ContentLength)
		to = &counted{f, add}
	}
	if p.get, err = p.request(ctx, http.MethodGet, "get", nil, 0, to); err != nil || p.get == nil {
		ended(cmp.Or(err, errNoAnswer))
		return false, err
	}
	ended(p.get.err)
	p.size = p.get.read
	rate := int64(float64(p.size) / max(p.get.took.Seconds(), 1e-6))
	speed := fmt.Sprintf("%s in %.1f s, %s/s", inspect.Bytes(p.size), p.get.took.Seconds(), inspect.Bytes(rate))
	switch {
	case p.get.StatusCode != http.StatusOK:
		p.say("get", "GET", Fail, "look at the server's log; HEAD worked", "%s", p.get.Status)
		return false, nil
	case p.get.err != nil:
		p.say("get", "GET", Fail, "publish it again, and look at the server's limits and log: the transfer ends early", "after %d of %d bytes: %v", p.size, p.get.ContentLength, p.get.err)
		return false, nil
	case p.size == 0:
		p.say("get", "GET", Fail, "publish it again", "the file is empty")
		return false, nil
	case rate < p.opt.Slow:
		p.say("get", "GET", Warn, "serve it from nearer by: every machine waits that long", "%s", speed)
	default:
		p.say("get", "GET", Pass, "", "%s", speed)
	}
	return true, nil
}

var errNoAnswer = errors.New("no answer")

// counted tells what goes through.
type counted struct {
	io.Writer
	add func(n int64)
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.add(int64(n))
	return n, err
}

// describe checks what the answers say about the file.
func (p *probe) describe() {
	p.length()
	if e := p.get.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		p.say("encoding", "content encoding", Fail, "switch compression off for this file: firmware and kernels take the bytes as they come", "%s, though nobody asked for it", e)
	}
	kind := strings.ToLower(p.get.Header.Get("Content-Type"))
	switch {
	case strings.HasPrefix(kind, "text/"):
		p.say("type", "content type", Warn, "serve it as application/octet-stream; see whether it is the file or a page about it", "%s: proxies may change or scan it", kind)
	default:
		p.say("type", "content type", Pass, "", "%s", orNone(kind))
	}
	if p.get.Close || !p.get.reused {
		p.say("keepalive", "keep-alive", Warn, "allow connections to stay open: each request pays for a new one", "the server closes the connection after an answer")
	} else {
		p.say("keepalive", "keep-alive", Pass, "", "the connection is used again")
	}
}

func orNone(s string) string {
	if s == "" {
		return "none is said"
	}
	return s
}

// length compares what HEAD and GET say with what came.
func (p *probe) length() {
	const fix = "let the server send Content-Length, of the file as it is"
	switch {
	case p.get.ContentLength < 0:
		p.say("length", "length", Fail, fix, "GET says none (%d bytes came): UEFI HTTP boot and BMCs need it before they begin", p.size)
	case p.head.StatusCode == http.StatusOK && p.head.ContentLength != p.size:
		p.say("length", "length", Fail, fix+"; a proxy between may answer HEAD by itself", "HEAD says %d, GET gives %d", p.head.ContentLength, p.size)
	default:
		p.say("length", "length", Pass, "", "%d bytes", p.size)
	}
}
