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
	"hooksmith/build/fetch"
)

// Sources finds images for one platform. The zero value asks registries only,
// for the platform that it runs on. It is safe for concurrent use; its fields
// must not change after the first call.
type Sources struct {
	Platform v1.Platform // see ParsePlatform; zero: linux on this processor
	Dir      string      // the image cache; "": hooksmith/images in the user's cache folder

	Layouts []string // OCI layout folders, docker-save and OCI archives: asked first
	// OnlyIn names, for references in any spelling, the layout or archive that
	// alone is asked for them: no other layout, no daemon, no registry.
	OnlyIn    map[string]string
	UseDocker bool // ask the daemon before registries
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

	onlyIn      map[string]string // by complete reference
	dockerFirst map[string]bool   // by complete name
	stall       time.Duration

	mu       sync.Mutex
	resolved map[string]Pin
	tagged   map[string]string // images of layouts that have a tag and no name -> the repository they stood for
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
func (s *Sources) setUp() error {
	if err := s.setDefaults(); err != nil {
		return err
	}
	if err := s.parseFields(); err != nil {
		return err
	}
	trust, err := newHostTransport(s.CA, s.Insecure, plainHosts(s.Mirrors))
	if err != nil {
		return err
	}
	if s.store, err = openStore(s.Dir); err != nil {
		return err
	}
	s.registries = &registries{
		store: s.store, trust: trust, keychain: s.Keychain, mirrors: s.Mirrors, offline: s.Offline,
		transport: &patient{next: &fetch.Paced{Next: trust, Stall: s.stall}, tries: s.Retries, pause: s.Backoff, log: s.Log},
		retries:   s.Retries, pause: s.Backoff, progress: s.Progress, log: s.Log,
		slots: make(chan struct{}, parallelDownloads), hosts: map[string]*endpoint{},
	}
	s.daemon = &daemon{docker: &s.Docker, store: s.store, platform: s.Platform, offline: s.Offline, progress: s.Progress, log: s.Log}
	return nil
}

// setDefaults fills fields that are zero.
func (s *Sources) setDefaults() error {
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
	return nil
}

// parseFields reads the references in pins, OnlyIn and DockerFirst.
func (s *Sources) parseFields() error {
	s.resolved, s.pins, s.tagged = map[string]Pin{}, map[string]v1.Hash{}, map[string]string{}
	for _, p := range s.Pins {
		ref, err := parseReference(p.Ref)
		if err != nil {
			return fmt.Errorf("pin: %w", err)
		}
		if s.pins[ref.text], err = v1.NewHash(p.Digest); err != nil {
			return fmt.Errorf("pin of %s: %w", p.Ref, err)
		}
	}
	s.onlyIn = map[string]string{}
	for text, path := range s.OnlyIn {
		ref, err := parseReference(text)
		if err != nil {
			return err
		}
		s.onlyIn[ref.text] = path
	}
	s.dockerFirst = map[string]bool{}
	for _, repository := range s.DockerFirst {
		ref, err := parseReference(repository)
		if err != nil {
			return err
		}
		s.dockerFirst[ref.name()] = true
	}
	return nil
}

// plainHosts are the hosts of mirrors that are named with http://.
func plainHosts(mirrors []Mirror) []string {
	var plain []string
	for _, m := range mirrors {
		if u, err := url.Parse(m.URL); err == nil && u.Scheme == "http" {
			plain = append(plain, u.Host)
		}
	}
	return plain
}
