package build

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hooksmith/build/initramfs"
	"hooksmith/build/linuxkit"
	"hooksmith/build/rootfs"
	"hooksmith/embed"
)

// embedDir is where the init finds a store for docker, as upstream's
// hook-embedded places it; it is mounted where dockerd looks.
const embedDir = "etc/embedded-images"

// groupEmbed begins the names of the segments of embedded images.
const groupEmbed = "embed"

// EmbeddedImage is an image in the store that HookOS brings along.
type EmbeddedImage struct {
	ID      string   `json:"id,omitempty"` // of its configuration, as docker images shows it
	Names   []string `json:"names"`
	Digests []string `json:"digests,omitempty"`
	Source  string   `json:"source"`
}

// planEmbed finds the images that are to be embedded, several at a time.
func (p *Plan) planEmbed(ctx context.Context) error {
	if len(p.opt.Embed) == 0 {
		return nil
	}
	var refs []string
	for _, w := range p.opt.Embed {
		refs = append(refs, w.Ref())
	}
	if err := p.foreign.find(ctx, refs); err != nil {
		return err
	}
	for _, w := range p.opt.Embed {
		f := p.foreign.get(w.Ref())
		if f.err != nil {
			return fmt.Errorf("image to embed %s (%s): %w", w.Source, w.Origin, p.explainMissing(ctx, w, f.err))
		}
		img := embed.Image{Want: w, Image: f.img, Digests: p.knownDigests(w, f)}
		p.embedded = append(p.embedded, img)
		p.inputs = append(p.inputs, Input{Kind: "embedded image", Name: embedName(w), Version: w.Source + " " + f.digest})
		if in := (Input{Kind: "image", Name: linuxkit.ReferenceExpand(w.Source), Version: f.digest}); !slices.ContainsFunc(p.inputs, in.same) {
			p.inputs = append(p.inputs, in)
			p.inputs = append(p.inputs, f.packages...)
		}
	}
	if !embed.HasWorker(p.opt.Embed) {
		p.opt.Log.Warn("the embedded images lack "+strings.TrimSuffix(embed.WorkerName, ":latest")+", which EKS Anywhere starts as the worker",
			"fix", "name the image of Tinkerbell's worker with --agent IMAGE, such as ghcr.io/tinkerbell/tink-agent:VERSION")
	}
	_, err := embed.NewStore(p.embedded) // what is wrong with them is told before anything is downloaded
	return err
}

func (in Input) same(other Input) bool { return in.Kind == other.Kind && in.Name == other.Name }

// embedName names an embedded image in the list of inputs.
func embedName(w embed.Want) string {
	if len(w.Names) == 0 {
		return w.Ref()
	}
	return strings.Join(w.Names, " ")
}

// knownDigests are the digests under which a registry has the image: its own
// and its index's, each once. What a daemon or docker save gave was repacked
// here, and no registry has it.
func (p *Plan) knownDigests(w embed.Want, f *foreignImage) []string {
	var digests []string
	add := func(d string) {
		if !slices.Contains(digests, d) {
			digests = append(digests, d)
		}
	}
	for _, d := range w.Known {
		add(d)
	}
	if pin, ok := p.pinOf(w.Ref()); ok {
		if pin.Source == "docker" || pin.Source == "folder" || pin.Source == "layout" && isRepacked(f.img) {
			return digests
		}
		add(pin.Digest)
	}
	add(f.digest)
	return digests
}

// isRepacked reports whether no layer is compressed: such images come from
// docker save.
func isRepacked(img v1.Image) bool {
	ls, err := img.Layers()
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(ls, func(l v1.Layer) bool {
		digest, err := l.Digest()
		diffID, err2 := l.DiffID()
		return err != nil || err2 != nil || digest != diffID
	})
}

// ownTemplateInit reports whether the template's init is ours, which restores
// device nodes and extended attributes. Without a template it is.
func (p *Plan) ownTemplateInit() bool {
	return p.cfg == nil || slices.ContainsFunc(p.cfg.Init, func(image linuxkit.Image) bool { return p.images[linuxkit.ReferenceExpand(image.Ref)] != nil })
}

// embedStore lays the embedded images out as docker's store; nil: there are
// none. Images are flattened if the init would lose what layers need.
func (b *builder) embedStore(ctx context.Context) (*embed.Store, error) {
	if len(b.embedded) == 0 || b.store != nil {
		return b.store, nil
	}
	list := slices.Clone(b.embedded)
	if !b.ownTemplateInit() {
		b.opt.Log.Warn("the template's init is not hooksmith's: it loses what docker's layers need (deletions, attributes), so each embedded image " +
			"becomes a single layer, with another ID and without its digests; docker pull would fetch it again")
		for i, img := range list {
			var err error
			if list[i], err = b.flatten(ctx, img); err != nil {
				return nil, fmt.Errorf("flattening %s (%s): %w", img.Source, img.Origin, err)
			}
		}
	}
	var err error
	b.store, err = embed.NewStore(list)
	return b.store, err
}

// embeddedTree is a part of the store, placed.
type embeddedTree struct {
	name  string
	tree  *rootfs.Tree
	holds []string
}

// embedTrees are the parts of the store: the one with the folders first, then
// one for each layer, so that an image more leaves the others' as they are.
// With ahead, each is compressed as soon as it is there; base is what the
// segments before them have, nil: nothing.
func (b *builder) embedTrees(ctx context.Context, base *rootfs.Tree) ([]embeddedTree, error) {
	store, err := b.embedStore(ctx)
	if store == nil || err != nil {
		return nil, err
	}
	task := b.observer().Begin("embedding images", 0)
	e := embedding{b, newPool(), task}
	out := make([]embeddedTree, len(store.Layers)+1)
	if out[0], err = e.unpacked(ctx, store.Head); err != nil {
		task.Done(err)
		return nil, err
	}
	if b.ahead != nil {
		below := []*rootfs.Tree{base, out[0].tree}
		b.ahead.Over(slices.DeleteFunc(below, func(t *rootfs.Tree) bool { return t == nil })...)
	}
	for i, l := range store.Layers {
		e.work.add(e.job(ctx, l, &out[i+1]))
	}
	err = e.work.run(ctx, min(runtime.GOMAXPROCS(0), 4)) // each takes up to 90 MB
	task.Done(err)
	if err == nil && !b.ownTemplateInit() {
		out[0].tree, err = b.withMountScript(out[0].tree)
	}
	return out, err
}

// usersOf names the images that a part of the store belongs to.
func usersOf(store *embed.Store, l *embed.Layer) []string {
	var out []string
	for _, img := range store.Images {
		if l == store.Head || slices.Contains(img.Layers, l) {
			out = append(out, append(slices.Clone(img.Names), img.Source)[0])
		}
	}
	return out
}

// mountScript makes LinuxKit's init mount the store, as upstream's
// hook-embedded does: docker's service finds it below /run.
const mountScript = `#!/bin/sh
mkdir -p /run/images
mount -o bind /` + embedDir + ` /run/images
`

func (b *builder) withMountScript(t *rootfs.Tree) (*rootfs.Tree, error) {
	script, err := rootfs.New(map[string]*rootfs.Inode{"etc/init.d/001-images-mount.sh": b.file(0o755, []byte(mountScript))})
	if err != nil {
		return nil, err
	}
	return rootfs.Merge(t, script)
}

// embedCuts are the segments of the store. Times of files are the images' own,
// as far as an initramfs can have them (warnTimes): programs compare them, and
// they are the same in every build.
func (b *builder) embedCuts(trees []embeddedTree) []cut {
	var cuts []cut
	for _, t := range trees {
		cuts = append(cuts, cut{b.embedSegment(t), t.holds})
	}
	return cuts
}

func (b *builder) embedSegment(t embeddedTree) initramfs.Segment {
	return initramfs.Segment{Name: t.name, Tree: t.tree, Compression: b.opt.Compression, Level: b.opt.level(), Epoch: time.Time{}}
}

// describeEmbedded tells in hook.json what docker will have.
func (b *builder) describeEmbedded(a *Artifacts) {
	if b.store == nil {
		return
	}
	for _, img := range b.store.Images {
		a.Embedded = append(a.Embedded, EmbeddedImage{ID: img.ID.String(), Names: img.Names, Digests: img.Digests, Source: img.Source})
	}
}

// mergeEmbedded lays the store over the tree, for outputs without segments.
func mergeEmbedded(tree *rootfs.Tree, parts []part, trees []embeddedTree) (*rootfs.Tree, []part, error) {
	if len(trees) == 0 {
		return tree, parts, nil
	}
	all := []*rootfs.Tree{tree}
	for _, t := range trees {
		all = append(all, t.tree)
		parts = append(parts, part{name: t.name, location: groupEmbed, source: strings.Join(t.holds, " "), group: t.name, tree: t.tree})
	}
	merged, err := rootfs.Merge(all...)
	if err != nil {
		return nil, nil, fmt.Errorf("laying the embedded images over the template: %w", err)
	}
	return merged, parts, nil
}

// xattrsFile is the manifest of attributes that our init sets, because a cpio
// has no place for them: JSON, one object a line.
const xattrsFile = "etc/hooksmith/xattrs"

// xattrRecord is a line of it. All is in base64: a string of JSON has no place
// for names that are not UTF-8.
type xattrRecord struct {
	Path  []byte `json:"path"`
	Name  []byte `json:"name"`
	Value []byte `json:"value"`
}

// xattrManifest lists the attributes of all files of the trees; nil: none.
func xattrManifest(trees ...*rootfs.Tree) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	for _, t := range trees {
		err := t.Walk(func(p string, n *rootfs.Inode) error {
			for _, name := range sortedKeys(n.Xattrs) {
				if err := enc.Encode(xattrRecord{[]byte("/" + p), []byte(name), []byte(n.Xattrs[name])}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// xattrCut is the segment with the manifest; nil: there are no attributes.
// Without our init nobody reads it, and what is lost is told.
func (b *builder) xattrCut(ours bool, trees ...*rootfs.Tree) (*cut, error) {
	if !ours {
		for _, t := range trees {
			if err := b.warnXattrs(t); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
	text, err := xattrManifest(trees...)
	if err != nil || len(text) == 0 {
		return nil, err
	}
	t, err := rootfs.New(map[string]*rootfs.Inode{xattrsFile: b.file(0o600, text)})
	return &cut{initramfs.Segment{Name: "attributes", Tree: t}, []string{"/" + xattrsFile}}, err
}

// embedMissing are the embedded images of which a part is not in the cache.
func (b *builder) embedMissing(ctx context.Context) ([]v1.Image, error) {
	if !b.ownTemplateInit() { // flattening reads the layers themselves
		var all []v1.Image
		for _, img := range b.embedded {
			all = append(all, img.Image)
		}
		return all, nil
	}
	store, err := b.embedStore(ctx)
	if store == nil || err != nil {
		return nil, err
	}
	var missing []v1.Image
	for i, stored := range store.Images {
		if slices.ContainsFunc(stored.Layers, func(l *embed.Layer) bool { return !b.storedCached(l) }) {
			missing = append(missing, b.embedded[i].Image)
		}
	}
	return missing, nil
}

// underDev reports whether a path is in the folder that docker mounts anew for
// each container.
func underDev(p string) bool {
	return p == "dev" || path.Dir(p) == "dev" || strings.HasPrefix(p, "dev/")
}
