package store

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"io"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

const (
	partSize      = 16 << 20 // sent from the file: it takes no memory
	maxParts      = 10000    // of Amazon's
	multipartFrom = 2 * partSize
	partsAtOnce   = 4
)

// putParts uploads in parts, several at once. Parts that an upload of before
// has left are not sent again: names of published files stand for one content.
func (b *bucket) putParts(ctx context.Context, key string, resume bool, size int64, content Content) error {
	length := int64(partSize)
	for size > length*maxParts {
		length *= 2
	}
	var (
		id   string
		have map[int32]types.Part
		err  error
	)
	if resume {
		if id, have, err = b.unfinished(ctx, key); err != nil {
			return explainCloud(key, err)
		}
	}
	if id == "" {
		if id, err = b.begin(ctx, key); err != nil {
			return explainCloud(key, err)
		}
	}
	parts, err := b.sendParts(ctx, key, id, length, size, content, have)
	if err != nil {
		if !resume { // nobody would take it up
			b.abort(ctx, key, id)
		}
		return explainCloud(key, err)
	}
	return b.complete(ctx, key, id, parts)
}

func (b *bucket) begin(ctx context.Context, key string) (id string, err error) {
	made, err := b.s3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &b.name, Key: &key,
		ContentType: aws.String(contentType(key)), CacheControl: aws.String("no-cache")})
	if err != nil {
		return "", err
	}
	return aws.ToString(made.UploadId), nil
}

func (b *bucket) complete(ctx context.Context, key, id string, parts []types.CompletedPart) error {
	_, err := b.s3.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: &b.name, Key: &key, UploadId: &id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
	if err != nil {
		// A try whose answer was lost has completed it, or its parts do not fit: begin anew.
		b.abort(ctx, key, id)
	}
	return explainCloud(key, err)
}

// abort has the server remove parts that nobody will take up.
func (b *bucket) abort(ctx context.Context, key, id string) {
	_, _ = b.s3.AbortMultipartUpload(context.WithoutCancel(ctx), &s3.AbortMultipartUploadInput{Bucket: &b.name, Key: &key, UploadId: &id})
}

// unfinished finds an upload that was cut off, and its parts.
func (b *bucket) unfinished(ctx context.Context, key string) (string, map[int32]types.Part, error) {
	list, err := b.s3.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &b.name, Prefix: &key})
	if err != nil {
		return "", nil, nil // not allowed, or not known to this server: no resuming then
	}
	for _, u := range list.Uploads {
		if aws.ToString(u.Key) != key {
			continue
		}
		have := map[int32]types.Part{}
		pages := s3.NewListPartsPaginator(b.s3, &s3.ListPartsInput{Bucket: &b.name, Key: &key, UploadId: u.UploadId})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return "", nil, ctx.Err()
			}
			for _, p := range page.Parts {
				have[aws.ToInt32(p.PartNumber)] = p
			}
		}
		return aws.ToString(u.UploadId), have, nil
	}
	return "", nil, nil
}

func (b *bucket) sendParts(ctx context.Context, key, id string, length, size int64, content Content, have map[int32]types.Part) ([]types.CompletedPart, error) {
	parts := make([]types.CompletedPart, (size+length-1)/length)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(partsAtOnce)
	var mu sync.Mutex
	for i := range parts {
		number := int32(i + 1)
		n := min(length, size-int64(i)*length)
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if p, ok := have[number]; ok && isPart(p, io.NewSectionReader(quiet(content), int64(i)*length, n)) {
				mu.Lock()
				defer mu.Unlock()
				parts[i] = types.CompletedPart{ETag: p.ETag, PartNumber: &number}
				return nil
			}
			out, err := b.s3.UploadPart(ctx, &s3.UploadPartInput{Bucket: &b.name, Key: &key, UploadId: &id, PartNumber: &number,
				ContentLength: &n, Body: io.NewSectionReader(content, int64(i)*length, n)}, unsignedPayload)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			parts[i] = types.CompletedPart{ETag: out.ETag, PartNumber: &number}
			return nil
		})
	}
	return parts, g.Wait()
}

// isPart reports whether a part of an earlier upload holds these bytes. Its
// size does not tell: servers list parts that were cut off as whole. The ETag
// of a part is its MD5, unless the server encrypts it by a key of its own: then
// it is sent again.
func isPart(p types.Part, r *io.SectionReader) bool {
	if aws.ToInt64(p.Size) != r.Size() {
		return false
	}
	h := md5.New() // the protocol's choice; what arrives is verified by SHA-256
	if _, err := io.Copy(h, r); err != nil {
		return false
	}
	return strings.Trim(aws.ToString(p.ETag), `"`) == hex.EncodeToString(h.Sum(nil))
}
