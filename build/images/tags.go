package images

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// maxTags bounds what a registry may list.
const maxTags = 100_000

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
	puller, err := remote.NewPuller(remote.WithAuthFromKeychain(s.Keychain), remote.WithTransport(s.registries.transport))
	if err != nil {
		return nil, err
	}
	pages, err := puller.Lister(ctx, e.repo)
	if err != nil {
		return nil, err
	}
	var tags []string
	for pages.HasNext() {
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
