package build

import (
	"context"
	"fmt"
	"path"
	"strings"

	"hooksmith/build/linuxkit"
	"hooksmith/build/rootfs"
)

// part is a tree of the root file system and what it comes from. Later parts
// win over earlier ones.
type part struct {
	name     string // for people
	location string // as LinuxKit says it: "init[0]", "services[2]", "files"
	source   string // image reference, or LinuxKit's word
	group    string // the segment that it goes to
	tree     *rootfs.Tree
	root     *rootfs.Tree // before it was placed, if that is what programs see as /
	ours     bool         // made of Debian packages
}

// Groups of parts that are no container's.
const (
	groupBase     = "base"
	groupShared   = "shared"
	groupModules  = "kernel modules"
	groupFirmware = "firmware"
	groupFiles    = "files"
)

// parts lays the template out: kernel, init, volumes, containers, files.
func (b *builder) parts(ctx context.Context, k *openedKernel) ([]part, error) {
	layout, err := b.resolved.Layout(ctx)
	if err != nil {
		return nil, err
	}
	var parts []part
	for _, lp := range layout {
		t, err := b.layers.tree(ctx, lp.Layers)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", lp.Location, lp.Name, err)
		}
		p := part{
			name: strings.TrimSpace(lp.Location + " " + lp.Name), location: lp.Location, source: lp.Source,
			group: groupOf(lp), tree: t.Place(lp.Prefix), ours: b.images[lp.Source] != nil,
		}
		if isRoot(lp) {
			p.root = t
		}
		parts = append(parts, p)
	}
	below, err := b.belowInit(k, parts)
	if err != nil {
		return nil, err
	}
	extra, err := b.extraFiles()
	if err != nil {
		return nil, err
	}
	parts = append(below, parts...)
	if extra.Len() > 0 {
		parts = append(parts, part{name: "hooksmith's own files", location: "files", source: "hooksmith", group: groupFiles, tree: extra})
	}
	return parts, nil
}

// belowInit are the kernel's parts, with lib/ where the init images want it.
func (b *builder) belowInit(k *openedKernel, parts []part) ([]part, error) {
	var init []*rootfs.Tree
	for _, p := range parts {
		if strings.HasPrefix(p.location, "init[") {
			init = append(init, p.tree)
		}
	}
	if len(init) == 0 || len(k.parts) == 0 {
		return k.parts, nil
	}
	merged, err := rootfs.Merge(init...)
	if err != nil {
		return nil, fmt.Errorf("laying the init images over one another: %w", err)
	}
	var out []part
	for _, p := range k.parts {
		if p.tree, err = usrMerged(p.tree, merged); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		out = append(out, p)
	}
	return out, nil
}

// groupOf names the segment of a part: each container and volume has one.
func groupOf(p linuxkit.Part) string {
	if rest, ok := strings.CutPrefix(p.Prefix, "containers/"); ok {
		names := strings.SplitN(rest, "/", 3)
		return path.Join(names[:min(2, len(names))]...)
	}
	if p.Location == "files" {
		return groupFiles
	}
	return groupBase
}

// isRoot reports whether a part is a container's root file system.
func isRoot(p linuxkit.Part) bool {
	return strings.HasPrefix(p.Prefix, "containers/") && (strings.HasSuffix(p.Prefix, "/lower") || strings.HasSuffix(p.Prefix, "/rootfs"))
}

func merge(parts []part) (*rootfs.Tree, error) {
	trees := make([]*rootfs.Tree, len(parts))
	for i, p := range parts {
		trees[i] = p.tree
	}
	t, err := rootfs.Merge(trees...)
	if err != nil {
		names := make([]string, len(parts))
		for i, p := range parts {
			names[i] = fmt.Sprintf("%d %s", i+1, p.name)
		}
		return nil, fmt.Errorf("laying the parts over one another: %w (trees: %s)", err, strings.Join(names, ", "))
	}
	return t, nil
}

// origins maps every path of the merged tree that a part describes to the
// number of the last part that does.
func origins(tree *rootfs.Tree, parts []part) map[string]int {
	of := make(map[string]int, tree.Len())
	for i, p := range parts {
		_ = p.tree.Walk(func(name string, n *rootfs.Inode) error {
			if n.Implied() {
				return nil
			}
			if tree.Lookup(name) == nil {
				name = followParents(tree, name)
			}
			of[name] = i
			return nil
		})
	}
	return of
}

// followParents is where a path leads once the symbolic links among its
// parents are followed inside the tree, as Merge has done.
func followParents(tree *rootfs.Tree, name string) string {
	const maxHops = 40
	done, rest := ".", strings.Split(name, "/")
	for hops := 0; len(rest) > 1; {
		next := path.Join(done, rest[0])
		n := tree.Lookup(next)
		rest = rest[1:]
		if n == nil || n.Type() != rootfs.ModeLink || hops == maxHops {
			done = next
			continue
		}
		hops++
		target := n.Target
		if !strings.HasPrefix(target, "/") {
			target = path.Join(path.Dir(next), target)
		}
		done = "."
		rest = append(strings.Split(strings.TrimPrefix(path.Clean("/"+target), "/"), "/"), rest...)
	}
	return path.Join(append([]string{done}, rest...)...)
}

// extraFiles are what Options add to the template.
func (b *builder) extraFiles() (*rootfs.Tree, error) {
	files := map[string]*rootfs.Inode{}
	if len(b.opt.CACertificates) > 0 { // hook-docker has the folder from the host
		files["etc/hooksmith/ca/site.crt"] = b.file(0o644, b.opt.CACertificates)
	}
	return rootfs.New(files)
}

// file is a generated file of the initramfs.
func (b *builder) file(perm uint32, content []byte) *rootfs.Inode {
	n := rootfs.NewFile(perm, content)
	n.ModTime = b.epoch()
	return n
}
