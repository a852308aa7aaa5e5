package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

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
		asked = append(asked, miss("the lock file pins it to %s: --pull renews that", ref.digest))
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
	if path, ok := s.onlyIn[ref.text]; ok {
		return []place{s.layoutPlace(path)}
	}
	var out []place
	for _, path := range s.Layouts {
		out = append(out, s.layoutPlace(path))
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

func (s *Sources) layoutPlace(path string) place {
	return place{name: "layout " + path, kind: "layout", find: func(ctx context.Context, ref reference) (content, []v1.Descriptor, error) {
		return s.fromLayout(ctx, path, ref)
	}}
}

func (s *Sources) fromLayout(ctx context.Context, path string, ref reference) (content, []v1.Descriptor, error) {
	c, ds, err := s.askLayout(ctx, path, ref)
	if err == nil {
		err = s.tagOnly(ctx, path, ref, ds)
	}
	return c, ds, err
}

// askLayout returns what a layout or archive has for ref.
func (s *Sources) askLayout(ctx context.Context, path string, ref reference) (content, []v1.Descriptor, error) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w: give the path, from this folder, of an OCI layout or a tar of docker save (hooksmith embed export writes layouts)", err)
	}
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
