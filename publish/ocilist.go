package publish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// listOCI reads the tags that are ids of sets.
func listOCI(ctx context.Context, opt Options) (*Index, error) {
	repo, tag, err := openOCI(opt.Dest)
	if err != nil {
		return nil, err
	}
	x := &Index{Schema: indexSchema}
	err = repo.Tags(ctx, "", func(tags []string) error {
		for _, t := range tags {
			if idPattern.MatchString(t) && len(x.Sets) < maxSets {
				x.Sets = append(x.Sets, Entry{ID: t})
			}
		}
		return nil
	})
	if isNotFound(err) {
		return x, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing tags: %w", err)
	}
	kept := x.Sets[:0]
	for _, e := range x.Sets {
		if _, m, err := readManifest(ctx, repo, e.ID); err == nil {
			kept = append(kept, entryOf(e.ID, m))
		} else if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	x.Sets = kept
	slices.SortStableFunc(x.Sets, func(a, b Entry) int { return a.Published.Compare(b.Published) })
	if desc, err := repo.Resolve(ctx, tag); err == nil {
		x.Current, _ = setOf(ctx, repo, desc)
	}
	return x, nil
}

// isNotFound: a repository that nothing was pushed to, or a tag that is not there.
func isNotFound(err error) bool {
	var answer *errcode.ErrorResponse
	return errors.Is(err, errdef.ErrNotFound) || errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}

func entryOf(id string, m *ocispec.Manifest) Entry {
	e := Entry{ID: id, Complete: true}
	e.Published, _ = time.Parse(time.RFC3339, m.Annotations[ocispec.AnnotationCreated])
	for _, l := range m.Layers {
		o := objectOf(l)
		e.Files = append(e.Files, o)
		e.Signed = e.Signed || MediaType(o) == l.MediaType && l.MediaType == "application/vnd.hooksmith.minisig"
	}
	return e
}

func rollbackOCI(ctx context.Context, opt Options, id string) (*Result, error) {
	start := opt.Now()
	x, err := listOCI(ctx, opt)
	if err != nil {
		return nil, err
	}
	e, err := x.resolve(id)
	if err != nil {
		return nil, err
	}
	repo, tag, err := openOwnTag(opt.Dest)
	if err != nil {
		return nil, err
	}
	desc, err := repo.Resolve(ctx, e.ID)
	if err != nil {
		return nil, err
	}
	if err := verifyOCI(ctx, opt, repo, desc, newFlow(opt.RateLimit, opt.Observer)); err != nil {
		return nil, err
	}
	if err := moveTag(ctx, opt, repo, desc, tag); err != nil {
		return nil, err
	}
	return &Result{ID: e.ID, Previous: x.Current, Files: e.Files, Total: e.Bytes(), AtOnce: true, Took: opt.Now().Sub(start)}, nil
}

// pruneOCI deletes manifests; the registry's own garbage collection frees the
// blobs. Sets that other tags name stay, and do not count.
func pruneOCI(ctx context.Context, opt Options) (removed []string, err error) {
	x, err := listOCI(ctx, opt)
	if err != nil || opt.Keep <= 0 {
		return nil, err
	}
	repo, _, err := openOCI(opt.Dest)
	if err != nil {
		return nil, err
	}
	used, err := tagged(ctx, repo, x)
	if err != nil {
		return nil, err
	}
	for _, id := range x.excess(opt.Keep, used) {
		if err := deleteTag(ctx, repo, id); err != nil {
			return removed, fmt.Errorf("removing set %s: %w (the registry has to allow deletion)", id, err)
		}
		removed = append(removed, id)
	}
	return removed, nil
}

// tagged are the sets that have another tag than their id: deleting a manifest
// takes all its tags away.
func tagged(ctx context.Context, repo *remote.Repository, x *Index) (map[string]bool, error) {
	digests := map[digest.Digest]bool{}
	err := repo.Tags(ctx, "", func(tags []string) error {
		for _, t := range tags {
			if idPattern.MatchString(t) {
				continue
			}
			desc, err := repo.Resolve(ctx, t)
			if err != nil && !isNotFound(err) {
				return fmt.Errorf("looking what the tag %s means: %w", t, err)
			}
			digests[desc.Digest] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, e := range x.Sets {
		desc, err := repo.Resolve(ctx, e.ID)
		if err != nil && !isNotFound(err) {
			return nil, err
		}
		used[e.ID] = digests[desc.Digest]
	}
	return used, nil
}

func deleteTag(ctx context.Context, repo *remote.Repository, tag string) error {
	desc, err := repo.Resolve(ctx, tag)
	if err != nil {
		return err
	}
	return repo.Manifests().Delete(ctx, desc)
}
