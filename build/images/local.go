package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/filters"
	dockerimage "github.com/docker/docker/api/types/image"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxLocal bounds how many images of a repository the daemon is asked for.
const maxLocal = 500

// Local is an image that the Docker daemon has.
type Local struct {
	Tag    string
	Labels map[string]string
	Tagged time.Time // when it was built, pulled or tagged here; zero if it was only loaded
}

// Local lists the images of a repository that the Docker daemon has for the
// Platform, sorted by tag. It is an error if there is no daemon.
func (s *Sources) Local(ctx context.Context, repository string) ([]Local, error) {
	if err := s.init(); err != nil {
		return nil, err
	}
	ref, err := parseReference(repository)
	if err != nil {
		return nil, err
	}
	return s.daemon.list(ctx, ref)
}

func (d *daemon) list(ctx context.Context, repo reference) ([]Local, error) {
	api, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	// Without a tag the filter takes all tags of the repository, by the name that
	// docker shows: docker.io/library/kernel is kernel.
	shown := strings.TrimPrefix(repo.name(), "docker.io/")
	filter := filters.NewArgs(filters.Arg("reference", repo.name()), filters.Arg("reference", shown), filters.Arg("reference", strings.TrimPrefix(shown, "library/")))
	images, err := api.ImageList(ctx, dockerimage.ListOptions{Filters: filter})
	if err != nil {
		return nil, err
	}
	if len(images) > maxLocal {
		return nil, fmt.Errorf("it has %d images of %s, more than %d", len(images), repo.name(), maxLocal)
	}
	var out []Local
	for _, img := range images {
		for _, text := range img.RepoTags {
			ref, err := parseReference(text)
			if err != nil || ref.name() != repo.name() {
				continue
			}
			info, err := d.inspect(ctx, api, ref)
			if wrong := (*platformError)(nil); errors.As(err, &wrong) || isMiss(err) {
				continue // for another platform, or removed meanwhile
			}
			if err != nil {
				return nil, err
			}
			l := Local{Tag: ref.tag, Tagged: info.Metadata.LastTagTime}
			if info.Config != nil {
				l.Labels = info.Config.Labels
			}
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b Local) int { return strings.Compare(a.Tag, b.Tag) })
	return out, nil
}

// InArchive returns a reference to the only image for the Platform in a
// docker-save or OCI archive, or in the folder of an OCI layout. With path
// among Layouts, Image finds it by that.
func (s *Sources) InArchive(ctx context.Context, path string) (string, error) {
	if err := s.init(); err != nil {
		return "", err
	}
	c, images, err := s.archived(ctx, path)
	if err != nil {
		return "", err
	}
	found := map[v1.Hash]string{}
	for _, n := range images {
		if isAttestation(n.Desc) {
			continue
		}
		_, err := choose(ctx, c, []v1.Descriptor{n.Desc}, s.Platform)
		if incomplete := (*incompleteError)(nil); errors.As(err, &incomplete) {
			return "", err
		}
		if err != nil {
			continue
		}
		if known, ok := found[n.Desc.Digest]; !ok || known == "" {
			found[n.Desc.Digest] = completeRef(n.Names)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("it has no image for %s%s", s.Platform, listNames(images))
	case 1:
		for digest, name := range found {
			if name == "" {
				name = "hooksmith.local/kernel@" + digest.String()
			}
			return name, nil
		}
	}
	return "", fmt.Errorf("it has several images for %s%s", s.Platform, listNames(images))
}

// archived lists what is in an archive or layout.
func (s *Sources) archived(ctx context.Context, path string) (content, []named, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if st.IsDir() {
		images, err := layoutDir(path).images()
		return layoutDir(path), images, err
	}
	var all []named
	_, err = s.store.archiveImages(ctx, path, s.Platform, s.Progress, func(images []named) ([]v1.Descriptor, error) {
		all = images
		var ds []v1.Descriptor
		for _, n := range images {
			ds = append(ds, n.Desc)
		}
		return ds, nil
	})
	return storeContent{s.store}, all, err
}

// completeRef is the first name that says repository and tag.
func completeRef(names []string) string {
	for _, n := range names {
		if ref, err := parseReference(n); err == nil && strings.Contains(n, ":") {
			return ref.text
		}
	}
	return ""
}
