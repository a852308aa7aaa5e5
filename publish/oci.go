package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/retry"

	"hooksmith/build"
	"hooksmith/publish/sign"
	"hooksmith/publish/store"
	"hooksmith/publish/verify"
)

const (
	ociScheme = "oci://"

	// ArtifactType is that of the manifest that holds a set.
	ArtifactType = "application/vnd.hooksmith.hookos.v1"

	annotationID   = "dev.hooksmith.set"
	annotationRole = "dev.hooksmith.role"
	maxManifest    = 4 << 20
)

// MediaType is the layer type of a file of a set in a registry: by its role in
// hook.json, or by its name.
func MediaType(o Object) string {
	switch o.Name {
	case build.ManifestName:
		return "application/vnd.hooksmith.hook.v1+json"
	case build.SBOMName:
		return "application/spdx+json"
	case sign.Name:
		return "application/vnd.hooksmith.minisig"
	case build.ChecksumName, build.LockName:
		return "text/plain"
	}
	switch o.Role {
	case "kernel", "initramfs", "cmdline", "iso", "tar":
		return "application/vnd.hooksmith." + o.Role
	}
	return "application/octet-stream"
}

// openOCI opens oci://HOST/REPOSITORY[:TAG]; the tag is "latest" by default.
// Credentials are Docker's. Registries on this host are spoken to without TLS.
func openOCI(dest string) (*remote.Repository, string, error) {
	ref, err := registry.ParseReference(strings.TrimPrefix(dest, ociScheme))
	if err != nil {
		return nil, "", fmt.Errorf("%s: write oci://HOST/REPOSITORY[:TAG]: %w", dest, err)
	}
	tag := ref.Reference
	if tag == "" {
		tag = "latest"
	}
	ref.Reference = ""
	repo, err := remote.NewRepository(ref.String())
	if err != nil {
		return nil, "", err
	}
	repo.PlainHTTP = isLoopback(ref.Registry)
	client := &auth.Client{Client: &http.Client{Transport: retry.NewTransport(store.Transport())}, Cache: auth.NewCache()}
	client.SetUserAgent("hooksmith")
	docker, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return nil, "", fmt.Errorf("reading Docker's credentials: %w", err)
	}
	client.Credential = credentials.Credential(docker)
	repo.Client = client
	return repo, tag, nil
}

// openOwnTag opens a destination whose tag is the user's to move.
func openOwnTag(dest string) (*remote.Repository, string, error) {
	repo, tag, err := openOCI(dest)
	if err == nil && (idPattern.MatchString(tag) || strings.Contains(tag, ":")) {
		err = fmt.Errorf("%s: %s names one set for good: publish to a tag of another form, such as :prod", dest, tag)
	}
	return repo, tag, err
}

func isLoopback(hostPort string) bool {
	host := hostPort
	if h, _, err := net.SplitHostPort(hostPort); err == nil {
		host = h
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// publishOCI pushes what the registry does not have, one manifest over all
// under the set's id as tag, reads it back, and moves the tag.
func publishOCI(ctx context.Context, opt Options, s *set) (*Result, error) {
	start := opt.Now()
	repo, tag, err := openOwnTag(opt.Dest)
	if err != nil {
		return nil, err
	}
	f := newFlow(opt.RateLimit, opt.Observer)
	result := &Result{ID: s.id, Files: s.objects, AtOnce: true}
	if old, err := repo.Resolve(ctx, tag); err == nil {
		result.Previous, _ = setOf(ctx, repo, old)
	}
	if err := pushBlobs(ctx, opt, repo, f, s); err != nil {
		return nil, err
	}
	desc, err := packSet(ctx, opt, repo, s)
	if err != nil {
		return nil, err
	}
	if err := verifyOCI(ctx, opt, repo, desc, f); err != nil {
		return nil, err
	}
	if err := moveTag(ctx, opt, repo, desc, tag); err != nil {
		return nil, err
	}
	for _, o := range s.objects {
		result.Total += o.Size
	}
	if opt.Keep > 0 {
		if result.Removed, err = pruneOCI(ctx, opt); err != nil {
			return nil, err
		}
	}
	result.Sent, result.Took = f.sent.Load(), opt.Now().Sub(start)
	return result, nil
}

func descriptor(o Object) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: MediaType(o), Digest: digest.NewDigestFromEncoded(digest.SHA256, o.SHA256), Size: o.Size,
		Annotations: map[string]string{ocispec.AnnotationTitle: o.Name}}
	if o.Role != "" {
		d.Annotations[annotationRole] = o.Role
	}
	return d
}

func pushBlobs(ctx context.Context, opt Options, repo *remote.Repository, f *flow, s *set) error {
	first, _ := firstOfEach(s.objects)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(opt.Parallel)
	for _, o := range first {
		g.Go(func() error {
			there, err := repo.Blobs().Exists(ctx, descriptor(o))
			if err != nil || there {
				return err
			}
			task := f.observer.Begin(o.Name, o.Size)
			err = opt.Retry.Do(ctx, "pushing "+o.Name, func() error { return pushBlob(ctx, repo, f, s, o, task) })
			task.Done(err)
			return err
		})
	}
	return g.Wait()
}

func pushBlob(ctx context.Context, repo *remote.Repository, f *flow, s *set, o Object, task Task) (err error) {
	content, done, err := s.content(o.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	up := &upload{ReaderAt: content, ctx: ctx, flow: f, task: task}
	if err := repo.Blobs().Push(ctx, descriptor(o), io.NewSectionReader(up, 0, o.Size)); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
		return fmt.Errorf("pushing %s: %w", o.Name, err)
	}
	return nil
}

// packSet pushes the manifest under the set's id, unless it is there.
func packSet(ctx context.Context, opt Options, repo *remote.Repository, s *set) (ocispec.Descriptor, error) {
	var layers []ocispec.Descriptor
	for _, o := range s.objects {
		layers = append(layers, descriptor(o))
	}
	if old, m, err := readManifest(ctx, repo, s.id); err == nil && slices.EqualFunc(m.Layers, layers, sameLayer) {
		return old, nil // with the time of then
	}
	desc, err := oras.PackManifest(ctx, repo, oras.PackManifestVersion1_1, ArtifactType, oras.PackManifestOptions{Layers: layers,
		ManifestAnnotations: map[string]string{annotationID: s.id, ocispec.AnnotationCreated: opt.Now().UTC().Format(time.RFC3339)}})
	if err != nil {
		return desc, fmt.Errorf("pushing the manifest: %w", err)
	}
	return desc, repo.Tag(ctx, desc, s.id)
}

func sameLayer(a, b ocispec.Descriptor) bool {
	return a.Digest == b.Digest && a.MediaType == b.MediaType && a.Annotations[ocispec.AnnotationTitle] == b.Annotations[ocispec.AnnotationTitle]
}

// moveTag switches, and looks whether somebody else has at the same time.
func moveTag(ctx context.Context, opt Options, repo *remote.Repository, desc ocispec.Descriptor, tag string) error {
	if err := opt.Retry.Do(ctx, "tagging", func() error { return repo.Tag(ctx, desc, tag) }); err != nil {
		return fmt.Errorf("tagging %s: %w", tag, err)
	}
	now, err := repo.Resolve(ctx, tag)
	if err != nil {
		return fmt.Errorf("reading the tag %s back: %w", tag, err)
	}
	if now.Digest != desc.Digest {
		return fmt.Errorf("another publisher moved the tag %s to %s at the same time: that one is in force, whole (this set stays under its id)", tag, now.Digest)
	}
	return nil
}

// readManifest fetches and checks the manifest of a set.
func readManifest(ctx context.Context, repo *remote.Repository, reference string) (ocispec.Descriptor, *ocispec.Manifest, error) {
	desc, err := repo.Resolve(ctx, reference)
	if err != nil {
		return desc, nil, err
	}
	m, err := fetchManifest(ctx, repo, desc)
	return desc, m, err
}

func fetchManifest(ctx context.Context, repo *remote.Repository, desc ocispec.Descriptor) (*ocispec.Manifest, error) {
	if desc.Size > maxManifest {
		return nil, fmt.Errorf("manifest %s: %d bytes are too many", desc.Digest, desc.Size)
	}
	rc, err := repo.Fetch(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	data, err := io.ReadAll(io.LimitReader(rc, maxManifest+1))
	if err != nil {
		return nil, err
	}
	if digest.FromBytes(data) != desc.Digest {
		return nil, fmt.Errorf("manifest %s: the content has another digest", desc.Digest)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	if m.ArtifactType != ArtifactType {
		return nil, fmt.Errorf("manifest %s is of type %q, not %s: it holds no HookOS of hooksmith's", desc.Digest, m.ArtifactType, ArtifactType)
	}
	for _, l := range m.Layers {
		if !verify.PlainName(l.Annotations[ocispec.AnnotationTitle]) || l.Digest.Validate() != nil || l.Digest.Algorithm() != digest.SHA256 || l.Size < 0 {
			return nil, fmt.Errorf("manifest %s has a layer without a proper name or digest", desc.Digest)
		}
	}
	return &m, nil
}

func setOf(ctx context.Context, repo *remote.Repository, desc ocispec.Descriptor) (string, error) {
	m, err := fetchManifest(ctx, repo, desc)
	if err != nil {
		return "", err
	}
	return m.Annotations[annotationID], nil
}

func objectOf(l ocispec.Descriptor) Object {
	return Object{Name: l.Annotations[ocispec.AnnotationTitle], Size: l.Size, SHA256: l.Digest.Encoded(), Role: l.Annotations[annotationRole]}
}

// verifyOCI reads every blob of a set back.
func verifyOCI(ctx context.Context, opt Options, repo *remote.Repository, desc ocispec.Descriptor, f *flow) error {
	m, err := fetchManifest(ctx, repo, desc)
	if err != nil {
		return fmt.Errorf("reading back: %w", err)
	}
	seen := map[digest.Digest]bool{}
	for _, l := range m.Layers {
		if seen[l.Digest] {
			continue
		}
		seen[l.Digest] = true
		o := objectOf(l)
		err := opt.Retry.Do(ctx, "reading back "+o.Name, func() error {
			rc, err := repo.Blobs().Fetch(ctx, l)
			if err != nil {
				return err
			}
			defer rc.Close()
			return verify.Check(ctx, verify.File{Name: o.Name, Size: o.Size, SHA256: o.SHA256}, &download{Reader: rc, ctx: ctx, flow: f, task: silent{}})
		})
		if err != nil {
			return fmt.Errorf("reading back %s: %w", o.Name, err)
		}
	}
	return nil
}
