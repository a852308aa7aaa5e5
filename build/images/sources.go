package images

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"hooksmith/build/docker"
)

// Sources finds images for one platform. The zero value asks registries only,
// for the platform that it runs on. It is safe for concurrent use; its fields
// must not change after the first call.
type Sources struct {
	Platform v1.Platform // see ParsePlatform; zero: linux on this processor
	Dir      string      // the image cache; "": hooksmith/images in the user's cache folder

	Layouts   []string // OCI layout folders, docker-save and OCI archives: asked first
	UseDocker bool     // ask the daemon before registries
	// DockerFirst are repositories whose images are made on this machine: for
	// them the daemon is asked first, if there is one.
	DockerFirst []string
	Docker      docker.Config // where the daemon is; also for Folders
	Folders     []Folder      // built when nobody has their image yet; see ReadFolders

	Mirrors  []Mirror       // asked before the registry that they mirror
	Insecure []string       // registries, HOST or HOST:PORT, whose TLS is not verified, or that have none
	CA       []byte         // PEM, trusted beside the system's
	Keychain authn.Keychain // nil: docker's (and podman's) credential stores and helpers

	Pins    []Pin // what references stood for, from a lock file
	Pull    bool  // ask again what tags stand for, whatever pins and cache say
	Offline bool  // never use the network

	Progress Progress      // nil: silent
	Log      *slog.Logger  // nil: silent
	Retries  int           // requests in a row that may fail; 0: 5
	Backoff  time.Duration // before the second of them, then doubled; 0: 500 ms

	once       sync.Once
	err        error
	store      *store
	registries *registries
	daemon     *daemon
	pins       map[string]v1.Hash

	dockerFirst map[string]bool // by complete name
	stall       time.Duration

	mu       sync.Mutex
	resolved map[string]Pin
}

// Pin says which digest a reference stood for, and what kind of place said so:
// layout, docker, registry or folder.
type Pin struct {
	Ref    string `json:"ref"` // complete: docker.io/library/alpine:3.20
	Digest string `json:"digest"`
	Source string `json:"source,omitempty"`
}

// Image returns the image that ref stands for, for the Platform. Manifest and
// configuration are read now; layers when they are opened, with ctx, which
// must live as long as the image is used. Errors do not repeat ref; see
// NotFoundError.
func (s *Sources) Image(ctx context.Context, ref string) (v1.Image, error) {
	f, err := s.find(ctx, ref, s.hasPlatform)
	if err != nil {
		return nil, err
	}
	img, err := newImage(ctx, f.content, f.best)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.place, err)
	}
	img.content, img.attested = f.content, f.attested
	return img, nil
}

// Index returns the images of all platforms that ref stands for, as the index
// that there is, attestations included, or as a new one. The rest is as with
// Image.
func (s *Sources) Index(ctx context.Context, ref string) (v1.ImageIndex, error) {
	f, err := s.find(ctx, ref, func(context.Context, *found) error { return nil })
	if err != nil {
		return nil, err
	}
	if len(f.descs) == 1 {
		m, err := readManifest(ctx, f.content, f.descs[0])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.place, err)
		}
		if m.index != nil {
			return newIndex(ctx, f.content, m), nil
		}
	}
	x, err := indexOf(ctx, f.content, f.descs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.place, err)
	}
	return x, nil
}

// Prefetch downloads all layers of images of this package, several at a time,
// so that they can be read offline.
func (s *Sources) Prefetch(ctx context.Context, images ...v1.Image) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * parallelDownloads)
	for _, img := range images {
		layers, err := img.Layers()
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		for _, l := range layers {
			ours, ok := l.(*layer)
			if !ok {
				continue
			}
			g.Go(func() error {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				rc, err := ours.open(ours.desc)
				if err != nil {
					return err
				}
				return rc.Close()
			})
		}
	}
	return g.Wait()
}

// Resolved returns what all references so far stood for, sorted.
func (s *Sources) Resolved() []Pin {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Pin
	for _, p := range s.resolved {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Pin) int { return strings.Compare(a.Ref, b.Ref) })
	return out
}

// Close ends the connections that are idle. Images stay usable.
func (s *Sources) Close() error {
	if s.daemon == nil {
		return nil
	}
	s.registries.trust.close()
	return s.daemon.close()
}

func (s *Sources) init() error {
	s.once.Do(func() { s.err = s.setUp() })
	return s.err
}

// setUp checks the fields and prepares what is shared by all calls.
func (s *Sources) setUp() (err error) {
	if s.Platform.Architecture == "" {
		s.Platform = hostPlatform()
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	if s.Keychain == nil {
		s.Keychain = authn.DefaultKeychain
	}
	s.Retries, s.Backoff = cmp.Or(s.Retries, 5), cmp.Or(s.Backoff, 500*time.Millisecond)
	if s.Dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		s.Dir = filepath.Join(cache, "hooksmith", "images")
	}
	s.resolved, s.pins = map[string]Pin{}, map[string]v1.Hash{}
	for _, p := range s.Pins {
		ref, err := parseReference(p.Ref)
		if err != nil {
			return fmt.Errorf("pin: %w", err)
		}
		if s.pins[ref.text], err = v1.NewHash(p.Digest); err != nil {
			return fmt.Errorf("pin of %s: %w", p.Ref, err)
		}
	}
	s.dockerFirst = map[string]bool{}
	for _, repository := range s.DockerFirst {
		ref, err := parseReference(repository)
		if err != nil {
			return err
		}
		s.dockerFirst[ref.name()] = true
	}
	var plain []string
	for _, m := range s.Mirrors {
		if u, err := url.Parse(m.URL); err == nil && u.Scheme == "http" {
			plain = append(plain, u.Host)
		}
	}
	trust, err := newHostTransport(s.CA, s.Insecure, plain)
	if err != nil {
		return err
	}
	if s.store, err = openStore(s.Dir); err != nil {
		return err
	}
	s.registries = &registries{
		store: s.store, trust: trust, keychain: s.Keychain, mirrors: s.Mirrors, offline: s.Offline,
		transport: &patient{next: trust, tries: s.Retries, pause: s.Backoff, log: s.Log},
		retries:   s.Retries, pause: s.Backoff, stall: s.stall, progress: s.Progress, log: s.Log,
		slots: make(chan struct{}, parallelDownloads), hosts: map[string]*endpoint{},
	}
	s.daemon = &daemon{docker: &s.Docker, store: s.store, platform: s.Platform, offline: s.Offline, progress: s.Progress, log: s.Log}
	return nil
}

// found is what a place has for a reference.
type found struct {
	content  content
	descs    []v1.Descriptor // of an image or an index; several: one image for several platforms
	best     v1.Descriptor   // the image for the platform
	attested []v1.Descriptor // what its index attests of it
	place    string
}

// place is one of those that are asked in turn.
type place struct {
	name     string
	kind     string // of Pin.Source
	optional bool   // its errors do not end the search
	find     func(context.Context, reference) (content, []v1.Descriptor, error)
}

// find asks all places in turn for something that fits.
func (s *Sources) find(ctx context.Context, text string, fits func(context.Context, *found) error) (*found, error) {
	if err := s.init(); err != nil {
		return nil, err
	}
	ref, err := parseReference(text)
	if err != nil {
		return nil, err
	}
	if pin, ok := s.pins[ref.text]; ok && !s.Pull && !ref.hasDigest() {
		ref.digest, ref.pinned = pin, true
	}
	var asked []error
	for _, p := range s.places(ref) {
		f := &found{place: p.name}
		f.content, f.descs, err = p.find(ctx, ref)
		if err == nil {
			err = fits(ctx, f)
		}
		if err == nil {
			s.note(ref, f, p.kind)
			return f, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		stop := !p.optional && !isMiss(err)
		if said := (*placeError)(nil); !errors.As(err, &said) {
			err = &placeError{p.name, err}
		}
		if asked = append(asked, err); stop {
			break
		}
	}
	if ref.pinned && isMiss(asked[len(asked)-1]) {
		asked = append(asked, fmt.Errorf("the lock file pins it to %s: --pull renews that", ref.digest))
	}
	return nil, &NotFoundError{asked}
}

// hasPlatform chooses the image for the platform.
func (s *Sources) hasPlatform(ctx context.Context, f *found) (err error) {
	f.best, f.attested, err = chooseAttested(ctx, f.content, f.descs, s.Platform)
	return err
}

// note records what a reference stood for.
func (s *Sources) note(ref reference, f *found, kind string) {
	digest := f.descs[0].Digest
	switch {
	case ref.hasDigest():
		digest = ref.digest
	case len(f.descs) > 1 && f.best.Digest != v1.Hash{}:
		digest = f.best.Digest
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resolved[ref.text] = Pin{Ref: ref.text, Digest: digest.String(), Source: kind}
}

// places lists where to look for ref, in order.
func (s *Sources) places(ref reference) []place {
	var out []place
	for _, path := range s.Layouts {
		out = append(out, place{name: "layout " + path, kind: "layout", find: func(ctx context.Context, ref reference) (content, []v1.Descriptor, error) {
			return s.fromLayout(ctx, path, ref)
		}})
	}
	registry := place{name: "registry " + displayHost(ref.repo.RegistryStr()), kind: "registry", find: s.fromRegistry}
	i := slices.IndexFunc(s.Folders, func(f Folder) bool { return f.Ref == ref.text })
	if i < 0 {
		if s.UseDocker || s.dockerFirst[ref.name()] {
			out = append(out, place{name: "Docker", kind: "docker", optional: !s.UseDocker, find: s.fromDaemon})
		}
		return append(out, registry)
	}
	folder := s.Folders[i]
	if folder.err == nil && (!s.Pull || s.Offline) {
		out = append(out, place{name: "Docker", kind: "folder", optional: true, find: func(ctx context.Context, ref reference) (content, []v1.Descriptor, error) {
			return s.builtFolder(ctx, ref)
		}})
		if !folder.local {
			registry.optional = true
			out = append(out, registry)
		}
	}
	return append(out, place{name: "folder " + folder.Dir, kind: "folder", find: func(ctx context.Context, ref reference) (content, []v1.Descriptor, error) {
		return s.buildFolder(ctx, folder, ref)
	}})
}

func (s *Sources) fromLayout(ctx context.Context, path string, ref reference) (content, []v1.Descriptor, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if st.IsDir() {
		ds, err := layoutDir(path).find(ctx, ref)
		return layoutDir(path), ds, err
	}
	ds, err := s.store.archive(ctx, path, ref, s.Platform, s.Progress)
	return storeContent{s.store}, ds, err
}

func (s *Sources) fromDaemon(ctx context.Context, ref reference) (content, []v1.Descriptor, error) {
	ds, err := s.daemon.find(ctx, ref)
	return storeContent{s.store}, ds, err
}

// fromRegistry takes what the cache knows: the digest that was asked for or is
// pinned, or what the tag stood for when it was last asked; else, and with
// Pull, it asks the mirrors and the registry.
func (s *Sources) fromRegistry(ctx context.Context, ref reference) (content, []v1.Descriptor, error) {
	repo, err := s.registries.repository(ref)
	if err != nil {
		return nil, nil, err
	}
	known, ok := s.known(ctx, ref)
	if ok && (!s.Pull || s.Offline || ref.hasDigest()) {
		return repo, []v1.Descriptor{known}, nil
	}
	if s.Offline {
		return nil, nil, ErrOffline
	}
	d, err := repo.resolve(ctx, known)
	if err != nil {
		return nil, nil, err
	}
	if !ref.hasDigest() {
		err = s.store.remember("ref "+ref.text, named{Names: []string{ref.text}, Desc: d})
	}
	return repo, []v1.Descriptor{d}, err
}

// known is the manifest of ref, if it is in the store.
func (s *Sources) known(ctx context.Context, ref reference) (v1.Descriptor, bool) {
	d := v1.Descriptor{Digest: ref.digest}
	if !ref.hasDigest() {
		last := s.store.recall("ref " + ref.text)
		if len(last) != 1 {
			return d, false
		}
		d = last[0].Desc
	}
	if !s.store.has(d.Digest, -1) {
		return v1.Descriptor{}, false
	}
	m, err := readManifest(ctx, storeContent{s.store}, d)
	if err != nil {
		return v1.Descriptor{}, false
	}
	return m.desc, true
}

// builtFolder returns a folder's image that was built before. Its tag names its
// content, so that the cache's is as good as the daemon's.
func (s *Sources) builtFolder(ctx context.Context, ref reference) (content, []v1.Descriptor, error) {
	c := storeContent{s.store}
	var ds []v1.Descriptor
	for _, n := range s.store.recall("folder " + ref.text) {
		ds = append(ds, n.Desc)
	}
	if _, err := choose(ctx, c, ds, s.Platform); err == nil {
		return c, ds, nil
	}
	return s.keepFolder(ctx, ref)
}

// keepFolder copies a folder's image from the daemon and remembers it.
func (s *Sources) keepFolder(ctx context.Context, ref reference) (content, []v1.Descriptor, error) {
	c, ds, err := s.fromDaemon(ctx, ref)
	if err != nil {
		return nil, nil, err
	}
	var images []named
	for _, d := range ds {
		images = append(images, named{Names: []string{ref.text}, Desc: d})
	}
	return c, ds, s.store.remember("folder "+ref.text, images...)
}

func (s *Sources) buildFolder(ctx context.Context, f Folder, ref reference) (content, []v1.Descriptor, error) {
	if f.err != nil {
		return nil, nil, f.err
	}
	if s.Offline {
		return nil, nil, fmt.Errorf("its image would have to be built: %w", ErrOffline)
	}
	if err := s.daemon.build(ctx, f, s.Pull); err != nil {
		return nil, nil, err
	}
	return s.keepFolder(ctx, ref)
}
