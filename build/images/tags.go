package images

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Bounds of what a registry may list. A page may be empty, and name itself as
// the next one.
const (
	maxTags     = 100_000
	maxTagPages = 1000
	maxTagPage  = 16 << 20
)

// Tags lists the tags of a repository, such as ghcr.io/owner/name, as the
// first of its mirrors and its registry does that answers.
func (s *Sources) Tags(ctx context.Context, repository string) ([]string, error) {
	if err := s.init(); err != nil {
		return nil, err
	}
	if s.Offline {
		return nil, fmt.Errorf("the tags of %s are not kept: %w", repository, ErrOffline)
	}
	ref, err := parseReference(repository)
	if err != nil {
		return nil, err
	}
	repo, err := s.registries.repository(ref)
	if err != nil {
		return nil, err
	}
	var asked []error
	for _, e := range repo.endpoints {
		tags, err := s.tagsOf(ctx, e)
		if err == nil {
			return tags, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		asked = append(asked, &placeError{e.host, e.explain(err)})
	}
	return nil, errors.Join(asked...)
}

func (s *Sources) tagsOf(ctx context.Context, e *endpoint) ([]string, error) {
	puller, err := remote.NewPuller(remote.WithAuthFromKeychain(s.Keychain), remote.WithTransport(capped{s.registries.transport, maxTagPage}))
	if err != nil {
		return nil, err
	}
	pages, err := puller.Lister(ctx, e.repo)
	if err != nil {
		return nil, err
	}
	var tags []string
	for n := 0; pages.HasNext(); n++ {
		if n == maxTagPages {
			return nil, fmt.Errorf("it lists more than %d pages of tags", maxTagPages)
		}
		page, err := pages.Next(ctx)
		if err != nil {
			return nil, err
		}
		if tags = append(tags, page.Tags...); len(tags) > maxTags {
			return nil, fmt.Errorf("it lists more than %d tags", maxTags)
		}
	}
	return tags, nil
}

// capped is a transport whose answers have at most so many bytes.
type capped struct {
	next  http.RoundTripper
	bytes int64
}

func (c capped) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(req)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, c.bytes)
	}
	return resp, err
}
