package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	gcaws "gocloud.dev/aws"
	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"
	"gocloud.dev/gcp"
)

// bucket is a store in an object store. Its objects switch one by one.
type bucket struct {
	*blob.Bucket
	prefix string
	name   string     // of the bucket
	s3     *s3.Client // nil: another kind
}

// openS3 opens s3://BUCKET/PREFIX?endpoint=URL&region=NAME&profile=NAME...
// Credentials are found as the AWS tools find them.
func openS3(ctx context.Context, u *url.URL) (*bucket, error) {
	q := u.Query()
	pathStyle := q.Get("endpoint") != ""
	for _, key := range []string{"use_path_style", "s3ForcePathStyle"} {
		if v := q.Get(key); v != "" {
			var err error
			if pathStyle, err = strconv.ParseBool(v); err != nil {
				return nil, err
			}
		}
		q.Del(key)
	}
	if q.Get("request_checksum_calculation") == "" {
		q.Set("request_checksum_calculation", "when_required") // older servers refuse the trailers; we read everything back
	}
	cfg, err := gcaws.V2ConfigFromURLParams(ctx, q)
	if err != nil {
		return nil, err
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1" // what servers other than Amazon's expect
	}
	pathStyle = pathStyle || cfg.BaseEndpoint != nil // AWS_ENDPOINT_URL
	transport := newTransport()
	if b, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		transport.TLSClientConfig = b.GetTransport().TLSClientConfig // AWS_CA_BUNDLE
	}
	cfg.HTTPClient = &http.Client{Transport: &polite{transport}}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = pathStyle
		o.Retryer = aws.NopRetryer{} // Patience repeats, and takes up the parts that were sent
	})
	b, err := s3blob.OpenBucket(ctx, client, u.Host, &s3blob.Options{RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired})
	if err != nil {
		return nil, err
	}
	return &bucket{Bucket: b, prefix: prefixOf(u), name: u.Host, s3: client}, nil
}

// openGS opens gs://BUCKET/PREFIX with Google's application default credentials.
func openGS(ctx context.Context, u *url.URL) (*bucket, error) {
	creds, err := gcp.DefaultCredentials(ctx)
	if err != nil {
		return nil, err
	}
	client, err := gcp.NewHTTPClient(&polite{newTransport()}, creds.TokenSource)
	if err != nil {
		return nil, err
	}
	b, err := gcsblob.OpenBucket(ctx, client, u.Host, nil)
	if err != nil {
		return nil, err
	}
	return &bucket{Bucket: b, prefix: prefixOf(u), name: u.Host}, nil
}

// openAzure opens azblob://CONTAINER/PREFIX. The account is that of
// AZURE_STORAGE_ACCOUNT and its like; ?storage_account= names another.
func openAzure(ctx context.Context, u *url.URL) (*bucket, error) {
	opener := azureblob.URLOpener{
		MakeClient:        azureblob.NewDefaultClient,
		ServiceURLOptions: *azureblob.NewDefaultServiceURLOptions(),
	}
	b, err := opener.OpenBucketURL(ctx, u)
	if err != nil {
		return nil, err
	}
	return &bucket{Bucket: b, prefix: prefixOf(u), name: u.Host}, nil
}

func prefixOf(u *url.URL) string {
	if p := strings.Trim(path.Clean("/"+u.Path), "/"); p != "" {
		return p + "/"
	}
	return ""
}

// newTransport has room for parallel uploads, and gives up on servers that
// accept a connection and then say nothing.
func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	t.MaxIdleConnsPerHost = 16
	t.ResponseHeaderTimeout = 5 * time.Minute // completing an upload takes some servers long
	t.WriteBufferSize, t.ReadBufferSize = 128<<10, 128<<10
	return t
}

// Put writes an object, on S3 in parts that a later Put can take up.
func (b *bucket) Put(ctx context.Context, name, key string, size int64, content Content) error {
	if b.s3 != nil && key != "" && size >= multipartFrom {
		return b.putParts(ctx, b.prefix+name, size, content)
	}
	opt := &blob.WriterOptions{ContentType: contentType(name), CacheControl: "no-cache", BufferSize: partSize, MaxConcurrency: 2}
	return explainCloud(name, b.Upload(ctx, b.prefix+name, reader(content, size), opt))
}

// contentType: nothing that a proxy would compress or a browser would guess.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".json":
		return "application/json"
	case ".txt", ".minisig", ".lock":
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

// Create is a conditional write.
func (b *bucket) Create(ctx context.Context, name string, data []byte) error {
	opt := &blob.WriterOptions{ContentType: contentType(name), CacheControl: "no-cache", IfNotExist: true}
	return explainCloud(name, b.Upload(ctx, b.prefix+name, bytes.NewReader(data), opt))
}

// Get reads a range.
func (b *bucket) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	r, err := b.NewRangeReader(ctx, b.prefix+name, off, n, nil)
	if err != nil {
		return nil, explainCloud(name, err)
	}
	return r, nil
}

// Copy is done by the server.
func (b *bucket) Copy(ctx context.Context, from, to string) error {
	return explainCloud(from, b.Bucket.Copy(ctx, b.prefix+to, b.prefix+from, nil))
}

// Delete removes an object.
func (b *bucket) Delete(ctx context.Context, name string) error {
	if strings.HasSuffix(name, "/") {
		return nil // there are no folders
	}
	err := explainCloud(name, b.Bucket.Delete(ctx, b.prefix+name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// explainCloud gives the library's codes the names that Store promises.
func explainCloud(name string, err error) error {
	if err == nil {
		return nil
	}
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return &cloudError{name, err, fs.ErrNotExist}
	case gcerrors.FailedPrecondition, gcerrors.AlreadyExists:
		return &cloudError{name, err, fs.ErrExist}
	case gcerrors.PermissionDenied:
		return &cloudError{name, err, fs.ErrPermission}
	}
	return &cloudError{name, err, nil}
}

type cloudError struct {
	name string
	err  error
	kind error
}

func (e *cloudError) Error() string { return e.name + ": " + e.err.Error() }

func (e *cloudError) Unwrap() []error {
	if e.kind == nil {
		return []error{e.err}
	}
	return []error{e.kind, e.err}
}

// Hint says where credentials come from.
func (e *cloudError) Hint() string {
	text := e.err.Error()
	if errors.Is(e.kind, fs.ErrPermission) || strings.Contains(text, "AccessDenied") || strings.Contains(text, "credentials") {
		return "credentials are found as the provider's own tools find them (AWS_PROFILE or ~/.aws, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT); they have to allow reading, writing and deleting"
	}
	if strings.Contains(text, "NoSuchBucket") {
		return "make the bucket first, or correct its name"
	}
	return ""
}

// cloudTransient judges errors of the library's; known is false for others.
func cloudTransient(err error) (transient, known bool) {
	var ce *cloudError
	if !errors.As(err, &ce) {
		return false, false
	}
	var status interface{ HTTPStatusCode() int }
	if ce.kind == nil && errors.As(err, &status) {
		code := status.HTTPStatusCode()
		return code == 0 || code >= 500 && code != http.StatusNotImplemented && code != http.StatusInsufficientStorage ||
			code == http.StatusRequestTimeout || code == http.StatusTooManyRequests, true
	}
	text := ce.err.Error()
	lost := strings.Contains(text, "no EC2 IMDS role found") || strings.Contains(text, "failed to refresh cached credentials")
	return ce.kind == nil && !lost && !errors.Is(err, context.Canceled), true
}
