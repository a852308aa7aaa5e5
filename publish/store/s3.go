package store

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	gcaws "gocloud.dev/aws"
)

// bucket is a store in an S3 bucket. Its objects switch one by one.
type bucket struct {
	s3     *s3.Client
	name   string // of the bucket
	prefix string
	close  func()
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
	if q.Get("response_checksum_validation") == "" {
		q.Set("response_checksum_validation", "when_required") // Publish compares SHA-256, and then sends all of it again
	}
	cfg, err := gcaws.V2ConfigFromURLParams(ctx, q)
	if err != nil {
		return nil, err
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1" // what servers other than Amazon's expect
	}
	pathStyle = pathStyle || cfg.BaseEndpoint != nil // AWS_ENDPOINT_URL
	transport := Transport()
	if b, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		transport.TLSClientConfig = b.GetTransport().TLSClientConfig // AWS_CA_BUNDLE
	}
	cfg.HTTPClient = &http.Client{Transport: &polite{transport}}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = pathStyle
		o.Retryer = aws.NopRetryer{} // Patience repeats, and takes up the parts that were sent
	})
	return &bucket{s3: client, name: u.Host, prefix: prefixOf(u), close: transport.CloseIdleConnections}, nil
}

// The signature covers the headers; the bytes are read back and hashed.
var unsignedPayload = s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)

// Put writes an object; a large one in parts that a later Put of the same key
// can take up.
func (b *bucket) Put(ctx context.Context, name, key string, size int64, content Content) error {
	if size >= multipartFrom {
		return b.putParts(ctx, b.prefix+name, key != "", size, content)
	}
	in := b.object(name)
	in.Body, in.ContentLength = reader(content, size), &size
	_, err := b.s3.PutObject(ctx, in, unsignedPayload)
	return explainCloud(name, err)
}

func (b *bucket) object(name string) *s3.PutObjectInput {
	return &s3.PutObjectInput{Bucket: &b.name, Key: aws.String(b.prefix + name),
		ContentType: aws.String(contentType(name)), CacheControl: aws.String("no-cache")}
}

// Create is a conditional write.
func (b *bucket) Create(ctx context.Context, name string, data []byte) error {
	in := b.object(name)
	in.Body, in.ContentLength, in.IfNoneMatch = bytes.NewReader(data), aws.Int64(int64(len(data))), aws.String("*")
	_, err := b.s3.PutObject(ctx, in)
	return explainCloud(name, err)
}

// Get reads a range.
func (b *bucket) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	in := &s3.GetObjectInput{Bucket: &b.name, Key: aws.String(b.prefix + name)}
	if r := rangeOf(off, n); r != "" {
		in.Range = &r
	}
	out, err := b.s3.GetObject(ctx, in)
	if err != nil {
		return nil, explainCloud(name, err)
	}
	return out.Body, nil
}

// Copy is done by the server.
func (b *bucket) Copy(ctx context.Context, from, to string) error {
	_, err := b.s3.CopyObject(ctx, &s3.CopyObjectInput{Bucket: &b.name, Key: aws.String(b.prefix + to),
		CopySource: aws.String(url.QueryEscape(b.name + "/" + b.prefix + from))})
	return explainCloud(from, err)
}

// Delete removes an object.
func (b *bucket) Delete(ctx context.Context, name string) error {
	if strings.HasSuffix(name, "/") {
		return nil // there are no folders
	}
	_, err := b.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: aws.String(b.prefix + name)})
	return gone(explainCloud(name, err))
}

// Close ends idle connections.
func (b *bucket) Close() error {
	b.close()
	return nil
}
