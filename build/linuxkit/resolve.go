package linuxkit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Resolver finds images. It is asked once for each reference, with the
// reference that ReferenceExpand gives, for the platform it was made for.
type Resolver interface {
	Image(ctx context.Context, ref string) (v1.Image, error)
}

// IndexResolver is a Resolver that also has the images of other platforms.
// Volumes of format `oci` hold what it returns; with a plain Resolver they
// hold the one image.
type IndexResolver interface {
	Resolver
	Index(ctx context.Context, ref string) (v1.ImageIndex, error)
}

// ResolverFunc makes a Resolver of a function.
type ResolverFunc func(ctx context.Context, ref string) (v1.Image, error)

// Image calls f.
func (f ResolverFunc) Image(ctx context.Context, ref string) (v1.Image, error) { return f(ctx, ref) }

// Epoch is the time that LinuxKit gives to all files that it generates.
var Epoch = time.Date(2017, 4, 18, 16, 30, 0, 0, time.UTC)

// Options change how a configuration is laid out. The zero value is fine.
type Options struct {
	// ModTime is the time of generated files; zero means Epoch.
	ModTime time.Time

	// Open opens the `source` of files. Nil means that there are none to be
	// had; see DirSource.
	Open func(source string) (fs.File, error)

	// Compat does what LinuxKit 1.8.2 does where that differs from its
	// documentation: `binds` hides `binds.add` (capabilities likewise), `all`
	// beside other capabilities is an error, volumes in `mounts` are not
	// resolved, read-only volumes get an overlay, and the parents of files
	// replace the folders of the images.
	Compat bool
}

func (o Options) modTime() time.Time {
	if o.ModTime.IsZero() {
		return Epoch
	}
	return o.ModTime
}

// Resolved is a configuration together with its images: labels merged,
// nothing laid out yet.
type Resolved struct {
	Config     *Config
	Init       []v1.Image
	Volumes    []*ResolvedVolume
	Containers []*ResolvedContainer // onboot, onshutdown, services

	opts Options
}

// ResolvedContainer is a container with its image and all its settings.
type ResolvedContainer struct {
	*Container
	Ref    string // expanded
	Image  v1.Image
	Label  Settings    // what the image asks for
	Merged Settings    // file over label over image configuration
	Spec   *specs.Spec // config.json
}

// ResolvedVolume is a volume with its content: Image, or Index for format
// oci, or neither for an empty one.
type ResolvedVolume struct {
	*Volume
	Ref   string // expanded
	Image v1.Image
	Index v1.ImageIndex
}

// Resolve finds the images of cfg and merges their labels into the settings
// of its containers. It reads configurations, no layers. The error joins the
// problems of all images.
func Resolve(ctx context.Context, cfg *Config, images Resolver, opts Options) (*Resolved, error) {
	r := &Resolved{Config: cfg, opts: opts}
	l := &lookup{images: images, found: map[string]v1.Image{}, missing: map[string]bool{}}
	for i, image := range cfg.Init {
		r.Init = append(r.Init, l.image(ctx, where{item: fmt.Sprintf("init[%d]", i)}, image.Ref, image.Pos))
	}
	for _, v := range cfg.Volumes {
		r.Volumes = append(r.Volumes, l.volume(ctx, v))
	}
	names := cfg.names()
	for _, c := range cfg.Containers() {
		rc := &ResolvedContainer{Container: c, Ref: ReferenceExpand(c.Image.Value)}
		r.Containers = append(r.Containers, rc)
		rc.Image = l.image(ctx, where{item: c.String()}, c.Image.Value, c.Image.Pos)
		if rc.Image == nil {
			continue
		}
		if err := rc.merge(names, opts); err != nil {
			l.add(err)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(l.errs) > 0 {
		return nil, errors.Join(l.errs...)
	}
	return r, nil
}

// merge reads the image's configuration and decides all settings.
func (rc *ResolvedContainer) merge(names names, opts Options) error {
	config, err := rc.Image.ConfigFile()
	if err != nil {
		return fmt.Errorf("%s: configuration of image %s: %w", rc.Container, rc.Ref, err)
	}
	rc.Label, err = ParseLabel(rc.Ref, config.Config.Labels[LabelKey])
	if err != nil {
		return fmt.Errorf("%s: %w", rc.Container, err)
	}
	rc.Merged = merge(&rc.Settings, &rc.Label, config.Config, opts)
	d := &decoder{}
	names.checkSettings(d, where{item: rc.Container.String()}, &rc.Merged)
	if len(d.errs) > 0 {
		return errors.Join(d.errs...)
	}
	rc.Spec, err = names.buildSpec(&rc.Merged, opts)
	if err != nil {
		return &Error{Pos: rc.Pos, Where: rc.Container.String(), Message: err.Error(), Err: err}
	}
	return nil
}

// lookup asks for each image once.
type lookup struct {
	problems
	images  Resolver
	found   map[string]v1.Image
	missing map[string]bool
}

// image returns the image, or nil after a problem.
func (l *lookup) image(ctx context.Context, at where, ref string, pos Pos) v1.Image {
	expanded := ReferenceExpand(ref)
	if img, ok := l.found[expanded]; ok || l.missing[expanded] || ctx.Err() != nil {
		return img
	}
	img, err := l.fetch(ctx, expanded)
	if err != nil {
		l.missing[expanded] = true
		l.add(&Error{Pos: pos, Where: at.String(), Message: fmt.Sprintf("image %.200s: %v", expanded, err), Err: err})
		return nil
	}
	l.found[expanded] = img
	return img
}

func (l *lookup) fetch(ctx context.Context, ref string) (v1.Image, error) {
	if ref == "" {
		return nil, errors.New("the reference is empty")
	}
	if name := variable.FindString(ref); name != "" {
		return nil, fmt.Errorf("%s is not set; give it a value with --set", name)
	}
	img, err := l.images.Image(ctx, ref)
	if err == nil && img == nil {
		err = errors.New("not found")
	}
	return img, err
}

func (l *lookup) volume(ctx context.Context, v *Volume) *ResolvedVolume {
	rv := &ResolvedVolume{Volume: v, Ref: ReferenceExpand(v.Image.Value)}
	if rv.Ref == "" {
		return rv
	}
	at := where{item: v.String()}
	source, ok := l.images.(IndexResolver)
	if v.Format.Value != "oci" || !ok {
		rv.Image = l.image(ctx, at, v.Image.Value, v.Image.Pos)
		return rv
	}
	var err error
	if rv.Index, err = source.Index(ctx, rv.Ref); err == nil && rv.Index == nil {
		err = errors.New("not found")
	}
	if err != nil {
		l.add(&Error{Pos: v.Image.Pos, Where: at.String(), Message: fmt.Sprintf("image index %.200s: %v", rv.Ref, err), Err: err})
	}
	return rv
}
