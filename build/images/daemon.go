package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	dockerimage "github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hooksmith/build/docker"
)

// Versions of the API that know platforms.
const (
	apiSavePlatform    = "1.48"
	apiInspectPlatform = "1.49"
)

// daemon is a Docker daemon as a place of images. It is connected to when it
// is first needed.
type daemon struct {
	docker   *docker.Config
	store    *store
	platform v1.Platform
	offline  bool
	progress Progress
	log      *slog.Logger

	mu  sync.Mutex
	api *docker.Daemon
}

func (d *daemon) connect(ctx context.Context) (*docker.Daemon, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.api != nil {
		return d.api, nil
	}
	if d.offline {
		h, err := d.docker.Find()
		if err != nil {
			return nil, err
		}
		if !h.Local() {
			return nil, miss("the daemon at %s is not on this machine, and --offline forbids to ask it", h)
		}
	}
	var err error
	d.api, err = d.docker.Connect(ctx)
	return d.api, err
}

func (d *daemon) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.api == nil {
		return nil
	}
	err := d.api.Close()
	d.api = nil
	return err
}

// find returns the daemon's image for ref. It is copied into the store by way
// of `docker save`, once for each image ID; with the containerd store of newer
// daemons that gives the very blobs that were pulled.
func (d *daemon) find(ctx context.Context, ref reference) ([]v1.Descriptor, error) {
	api, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	info, err := d.inspect(ctx, api, ref)
	if err != nil {
		return nil, err
	}
	key := fmt.Sprintf("docker %s %s", info.ID, d.platform)
	all := func(images []named) ([]v1.Descriptor, error) {
		var ds []v1.Descriptor
		for _, n := range images {
			ds = append(ds, n.Desc)
		}
		return ds, nil
	}
	ds, err := d.store.imported(ctx, key, d.platform, all, func() ([]named, error) { return d.save(ctx, api, ref) })
	if err != nil {
		return nil, err
	}
	return ds, d.checkPin(ctx, ref, info, ds)
}

// inspect finds the image and checks that it is for our platform, because
// saving a wrong one is long.
func (d *daemon) inspect(ctx context.Context, api *docker.Daemon, ref reference) (dockerimage.InspectResponse, error) {
	var opts []client.ImageInspectOption
	if versions.GreaterThanOrEqualTo(api.ClientVersion(), apiInspectPlatform) {
		opts = append(opts, client.ImageInspectWithPlatform(ociPlatform(d.platform)))
	}
	info, err := api.ImageInspect(ctx, ref.String(), opts...)
	if errdefs.IsNotFound(err) && len(opts) > 0 {
		info, err = api.ImageInspect(ctx, ref.String()) // is it there for another platform?
	}
	switch {
	case errdefs.IsNotFound(err):
		return info, miss("it has no image %s", ref)
	case client.IsErrConnectionFailed(err):
		return info, api.Explain(err)
	case err != nil:
		return info, err
	}
	have := v1.Platform{OS: info.Os, Architecture: info.Architecture, Variant: info.Variant}
	if have.Architecture != "" && rank(d.platform, have) == 0 {
		return info, &platformError{d.platform, []string{have.String()}, nil}
	}
	return info, nil
}

// save copies an image out of the daemon, as a stream.
func (d *daemon) save(ctx context.Context, api *docker.Daemon, ref reference) (images []named, err error) {
	var opts []client.ImageSaveOption
	if versions.GreaterThanOrEqualTo(api.ClientVersion(), apiSavePlatform) {
		opts = append(opts, client.ImageSaveWithPlatforms(*ociPlatform(d.platform)))
	}
	add, done := d.progress.start(ref.short()+" from Docker", 0)
	defer func() { done(err) }()
	stream, err := api.ImageSave(ctx, []string{ref.String()}, opts...)
	if err != nil {
		return nil, fmt.Errorf("docker save: %w", err)
	}
	defer stream.Close()
	images, err = d.store.importArchive(ctx, &counted{stream, add})
	if err != nil {
		return nil, fmt.Errorf("docker save: %w", errors.Join(err, ctx.Err()))
	}
	return images, nil
}

// checkPin compares what the daemon has with what a lock file wants: it keeps
// the digest of the registry that it pulled from, and its images have one here.
func (d *daemon) checkPin(ctx context.Context, ref reference, info dockerimage.InspectResponse, ds []v1.Descriptor) error {
	if !ref.pinned {
		return nil
	}
	pinned := "@" + ref.digest.String()
	if slices.ContainsFunc(info.RepoDigests, func(s string) bool { return strings.HasSuffix(s, pinned) }) {
		return nil
	}
	for _, desc := range ds {
		if desc.Digest == ref.digest {
			return nil
		}
	}
	best, err := choose(ctx, storeContent{d.store}, ds, d.platform)
	if err != nil || best.Digest == ref.digest {
		return err
	}
	return miss("it has %s as %s, but the lock file pins %s (renew it with --pull)", ref, best.Digest, ref.digest)
}

func ociPlatform(p v1.Platform) *ocispec.Platform {
	return &ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
}

// build makes the image of a folder, with the daemon's builder and build
// cache, and tags it. Base images are pulled again only if pull says so.
func (d *daemon) build(ctx context.Context, f Folder, pull bool) (err error) {
	api, err := d.connect(ctx)
	if err != nil {
		return err
	}
	files, err := contextFiles(ctx, f.Dir)
	if err != nil {
		return err
	}
	_, done := d.progress.start("building "+f.Name, 0)
	defer func() { done(err) }()
	err = api.Build(ctx, docker.Build{
		Name: f.Dir, Tag: f.Ref, Platform: f.platform, Pull: pull,
		Context: func(ctx context.Context, w io.Writer) error { return writeContext(ctx, w, files) },
		Retry:   func(reason string) { d.log.Warn(reason, "folder", f.Dir) },
	})
	if errors.Is(err, docker.ErrBaseImage) {
		return fmt.Errorf("%w (its Dockerfile begins with %s)", err, baseImages(f.Dir))
	}
	return err
}
