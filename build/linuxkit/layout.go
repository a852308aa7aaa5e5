package linuxkit

import (
	"context"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Part is a stack of layers and the directory that it goes to. Parts later in
// a list win over earlier ones, path by path.
type Part struct {
	// Location says what the part comes from, in LinuxKit's words: "kernel",
	// "parents", "init[0]", "volume[0]", "services[2]", "files".
	Location string

	// Name is that of the container or volume, or what else tells the part
	// from others of its location.
	Name string

	// Source is the reference of the image, or LinuxKit's word for what is
	// generated ("linuxkit.files").
	Source string

	// Prefix is the directory, without slashes at its ends; "" is the root.
	Prefix string

	// Layers are to be flattened together, lowest first, then placed.
	Layers []v1.Layer
}

// LinuxKit's words for the origin of generated entries.
const (
	sourceFiles   = "linuxkit.files"
	sourceVolumes = "linuxkit.volumes"
	sourceApk     = "LINUXKIT.apkinit"
)

// Layout resolves cfg and lays it out: (*Resolved).Layout after Resolve.
func Layout(ctx context.Context, cfg *Config, images Resolver, opts Options) ([]Part, error) {
	r, err := Resolve(ctx, cfg, images, opts)
	if err != nil {
		return nil, err
	}
	return r.Layout(ctx)
}

// Layout returns the parts of the root file system in the order of LinuxKit
// (linuxkit.md 1.6) but for the kernel's, which stand before them
// (KernelParts). No layer's content is read, except to join the package
// databases of several init images.
//
// The first part, "parents", holds the folders that `files` need but do not
// list. It comes before all images, so that it makes folders where no image
// has them and changes none that is there.
func (r *Resolved) Layout(ctx context.Context) ([]Part, error) {
	container, volume, initial, err := newFilters(r.opts.modTime())
	if err != nil {
		return nil, err
	}
	// 1. Folders for the files, below everything.
	files, parents, err := r.files()
	if err != nil {
		return nil, err
	}
	var parts []Part
	if parents != nil {
		parts = append(parts, Part{Location: "parents", Name: "parents", Source: sourceFiles, Layers: []v1.Layer{parents}})
	}
	// 2. Init images over one another.
	for i, img := range r.Init {
		ref := ReferenceExpand(r.Config.Init[i].Ref)
		part, err := imagePart(img, initial, Part{Location: fmt.Sprintf("init[%d]", i), Name: ref, Source: ref})
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	apk, err := r.joinApk(ctx)
	if err != nil {
		return nil, err
	}
	parts = append(parts, apk...)
	// 3. Volumes, 4. containers.
	for _, v := range r.Volumes {
		more, err := v.parts(volume, r.opts)
		if err != nil {
			return nil, &Error{Pos: v.Volume.Pos, Where: v.Volume.String(), Message: err.Error(), Err: err}
		}
		parts = append(parts, more...)
	}
	more, err := r.containers(container)
	if err != nil {
		return nil, err
	}
	parts = append(parts, more...)
	// 5. Files, over everything.
	if files != nil {
		parts = append(parts, Part{Location: "files", Name: "files", Source: sourceFiles, Layers: []v1.Layer{files}})
	}
	return parts, nil
}

// imagePart completes a part with the filtered layers of an image.
func imagePart(img v1.Image, f filter, part Part) (Part, error) {
	var err error
	if part.Layers, err = f.around(img); err != nil {
		return Part{}, fmt.Errorf("%s: layers of image %s: %w", part.Location, part.Source, err)
	}
	return part, nil
}

// containers lays out all containers. Those with the same image share the
// tree of the first.
func (r *Resolved) containers(f filter) ([]Part, error) {
	var parts []Part
	roots := map[string]string{} // image reference to the directory of its tree
	for _, c := range r.Containers {
		root, shared := roots[c.Ref]
		if !shared {
			root = c.Dir() + "/lower"
			if c.Merged.Readonly.Value {
				root = c.Dir() + "/rootfs"
			}
			roots[c.Ref] = root
			tree, err := imagePart(c.Image, f, Part{Location: c.Location(), Name: c.Name.Value, Source: c.Ref, Prefix: root})
			if err != nil {
				return nil, err
			}
			parts = append(parts, tree)
		}
		bundle, err := c.bundle(root, r.opts)
		if err != nil {
			return nil, &Error{Pos: c.Pos, Where: c.Container.String(), Message: err.Error(), Err: err}
		}
		parts = append(parts, Part{Location: c.Location(), Name: c.Name.Value, Source: c.Ref, Prefix: c.Dir(), Layers: []v1.Layer{bundle}})
	}
	return parts, nil
}

// bundle is the OCI bundle around the tree at root: the two configurations
// and the directories that the mounts of runtime.json need.
func (c *ResolvedContainer) bundle(root string, opts Options) (v1.Layer, error) {
	config, err := marshal(c.Spec)
	if err != nil {
		return nil, err
	}
	readonly := c.Merged.Readonly.Value
	runtime, err := marshal(buildRuntime(&c.Merged.Runtime, c.Dir(), root, readonly))
	if err != nil {
		return nil, err
	}
	entries := []Entry{{Name: "config.json", Mode: 0o644, Data: config}}
	if !readonly {
		entries = append(entries, Entry{Name: "tmp/", Mode: 0o755})
	}
	// The rootfs of a read-only container may be its own tree: then its
	// folder is there, and the entry would change its mode.
	if root != c.Dir()+"/rootfs" {
		entries = append(entries, Entry{Name: "rootfs/", Mode: 0o755})
	}
	entries = append(entries, Entry{Name: "runtime.json", Mode: 0o644, Data: runtime})
	return NewLayer(opts.modTime(), entries...)
}
