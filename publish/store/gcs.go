package store

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

const (
	gcsEndpoint = "https://storage.googleapis.com"
	gcsScope    = "https://www.googleapis.com/auth/devstorage.read_write"
)

// gcs is a store in a bucket of Google Cloud Storage, by its XML API
// (https://cloud.google.com/storage/docs/xml-api/reference-methods). Google's
// own library would bring gRPC and OpenTelemetry into the program.
type gcs struct {
	client *http.Client
	base   *url.URL // of the bucket
	bucket string
	prefix string
}

// openGS opens gs://BUCKET/PREFIX with Google's application default
// credentials. ?endpoint=URL is for private endpoints; STORAGE_EMULATOR_HOST
// names an emulator, which gets no credentials.
func openGS(ctx context.Context, u *url.URL, a Access) (*gcs, error) {
	endpoint, emulator := gcsEndpoint, a.env("STORAGE_EMULATOR_HOST")
	for key, values := range u.Query() {
		if key != "endpoint" {
			return nil, fmt.Errorf("?%s=: gs:// knows only ?endpoint=URL", key)
		}
		endpoint, emulator = values[0], ""
	}
	if emulator != "" {
		endpoint = emulator
		if !strings.Contains(endpoint, "://") {
			endpoint = "http://" + endpoint
		}
	}
	base, err := url.Parse(endpoint)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("endpoint %q: write it as https://HOST", endpoint)
	}
	g := &gcs{base: base.JoinPath("/", u.Host), bucket: u.Host, prefix: prefixOf(u)}
	transport := http.RoundTripper(&polite{Transport()})
	if emulator == "" {
		// Tokens are fetched again while a set is published, also to give the lock
		// back after ctx has ended.
		ctx = context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, &http.Client{Timeout: 30 * time.Second})
		found, err := google.FindDefaultCredentials(ctx, gcsScope)
		if err != nil {
			return nil, &cloudError{name: u.Host, err: err}
		}
		transport = &oauth2.Transport{Source: found.TokenSource, Base: transport}
	}
	g.client = &http.Client{Transport: transport}
	return g, nil
}

// do sends a request; the caller closes the body of the answer. No request is
// repeated here: Patience does that.
func (g *gcs) do(ctx context.Context, method, name string, header map[string]string, body io.Reader, size int64) (*http.Response, error) {
	if size == 0 {
		body = http.NoBody
	}
	req, err := http.NewRequestWithContext(ctx, method, g.base.JoinPath(g.prefix+name).String(), body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = size
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return nil, explainCloud(name, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	err = &StatusError{Method: method, URL: req.URL.Redacted(), Status: resp.Status + gcsReason(resp.Body), Code: resp.StatusCode}
	return nil, explainCloud(name, errors.Join(err, resp.Body.Close()))
}

// gcsReason is what the body of an error says.
func gcsReason(body io.Reader) string {
	var said struct{ Code, Message string }
	if err := xml.NewDecoder(io.LimitReader(body, 64<<10)).Decode(&said); err != nil || said.Code == "" {
		return ""
	}
	return fmt.Sprintf(" (%.60q: %.200q)", said.Code, said.Message)
}

// exec is do for answers whose body says nothing.
func (g *gcs) exec(ctx context.Context, method, name string, header map[string]string, body io.Reader, size int64) (http.Header, error) {
	resp, err := g.do(ctx, method, name, header, body, size)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	return resp.Header, explainCloud(name, errors.Join(err, resp.Body.Close()))
}

// Put writes an object. It is there when all of it has come.
func (g *gcs) Put(ctx context.Context, name, _ string, size int64, content Content) error {
	return g.put(ctx, name, nil, size, reader(content, size))
}

// Create is a write on the condition that there is no generation yet.
func (g *gcs) Create(ctx context.Context, name string, data []byte) error {
	return g.put(ctx, name, map[string]string{"x-goog-if-generation-match": "0"}, int64(len(data)), bytes.NewReader(data))
}

// put compares what the server says that it has with what was sent.
func (g *gcs) put(ctx context.Context, name string, header map[string]string, size int64, body io.Reader) error {
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	all := map[string]string{"Content-Type": contentType(name), "Cache-Control": "no-cache"}
	for k, v := range header {
		all[k] = v
	}
	got, err := g.exec(ctx, http.MethodPut, name, all, io.TeeReader(body, sum), size)
	if err != nil {
		return err
	}
	has, ok := gcsChecksum(got)
	if want := sum.Sum32(); ok && has != want {
		return &cloudError{name: name, err: fmt.Errorf("the server has the CRC32C %08x of %d bytes with %08x: they changed on the way", has, size, want)}
	}
	return nil
}

// gcsChecksum reads the CRC32C of x-goog-hash, which has a list of KIND=BASE64.
func gcsChecksum(h http.Header) (uint32, bool) {
	for _, line := range h.Values("X-Goog-Hash") {
		for one := range strings.SplitSeq(line, ",") {
			text, ok := strings.CutPrefix(strings.TrimSpace(one), "crc32c=")
			if !ok {
				continue
			}
			if b, err := base64.StdEncoding.DecodeString(text); err == nil && len(b) == 4 {
				return binary.BigEndian.Uint32(b), true
			}
		}
	}
	return 0, false
}

// Get reads a range.
func (g *gcs) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	header := map[string]string{"Accept-Encoding": "identity"}
	want := rangeOf(off, n)
	if want != "" {
		header["Range"] = want
	}
	resp, err := g.do(ctx, http.MethodGet, name, header, nil, 0)
	if err != nil {
		return nil, err
	}
	if want != "" && resp.StatusCode != http.StatusPartialContent {
		err := fmt.Errorf("asked for %s, the server answers %s", want, resp.Status)
		return nil, explainCloud(name, Permanent(errors.Join(err, resp.Body.Close())))
	}
	return resp.Body, nil
}

// Copy is done by the server.
func (g *gcs) Copy(ctx context.Context, from, to string) error {
	source := url.URL{Path: "/" + g.bucket + "/" + g.prefix + from}
	_, err := g.exec(ctx, http.MethodPut, to, map[string]string{"x-goog-copy-source": source.EscapedPath()}, nil, 0)
	if status, _ := answer(err); status == http.StatusRequestEntityTooLarge {
		return errors.Join(ErrUnsupported, err) // more than one request can copy
	}
	return err
}

// Delete removes an object.
func (g *gcs) Delete(ctx context.Context, name string) error {
	if strings.HasSuffix(name, "/") {
		return nil // there are no folders
	}
	_, err := g.exec(ctx, http.MethodDelete, name, nil, nil, 0)
	return gone(err)
}

// Close ends idle connections.
func (g *gcs) Close() error {
	g.client.CloseIdleConnections()
	return nil
}
