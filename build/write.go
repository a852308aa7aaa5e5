package build

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"hooksmith/build/debian"
	"hooksmith/build/linuxkit"
	"hooksmith/build/rootfs"
)

// Files of the initramfs that the init looks for.
const (
	ramFile      = "etc/hooksmith/ram"      // MiB of RAM needed, in the first segment
	completeFile = "etc/hooksmith/complete" // the last entry: there if all was unpacked
)

// epoch is the time of generated files.
func (p *Plan) epoch() time.Time {
	if p.opt.Epoch.IsZero() {
		return linuxkit.Epoch
	}
	return p.opt.Epoch
}

// describe begins the manifest of the build.
func (b *builder) describe(k *openedKernel, tree *rootfs.Tree) *Artifacts {
	a := &Artifacts{
		Flavor: b.opt.Flavor.ID, OutputID: b.opt.Flavor.OutputID, Arch: string(b.arch),
		Generator:       "hooksmith " + b.opt.Version,
		Kernel:          k.info,
		FirmwareMissing: []MissingFirmware{},
	}
	if k.missing != nil {
		for _, m := range k.missing(tree.FS()) {
			a.FirmwareMissing = append(a.FirmwareMissing, MissingFirmware{Module: m.Module, Files: m.Files})
		}
	}
	return a
}

// write makes the artifacts of the format.
func (b *builder) write(ctx context.Context, k *openedKernel, tree *rootfs.Tree, parts []part, embedded []embeddedTree, a *Artifacts) error {
	if b.opt.Format == Tar {
		tree, parts, err := mergeEmbedded(tree, parts, embedded)
		if err != nil {
			return err
		}
		a.UnpackedBytes = tree.Size()
		return b.addFile(a, roleTar, func(w *hashing) error { return writeTar(ctx, w, tree, parts, b.cfg.FileLocations()) })
	}
	deduped, err := tree.Dedup(ctx, editedAtRunTime)
	if err != nil {
		return err
	}
	a.UnpackedBytes = deduped.Size()
	if err := b.writeKernel(k, a); err != nil {
		return err
	}
	for _, e := range embedded { // not deduplicated: hard links would join files of different layers
		a.UnpackedBytes += e.tree.Size()
	}
	return b.writeInitramfs(ctx, k, deduped, parts, embedded, a)
}

// editedAtRunTime keeps files apart that programs write in place: a hard link
// of theirs in a container's lower layer would change with them.
func editedAtRunTime(p string) bool {
	return strings.HasPrefix(p, "etc/") || strings.HasPrefix(p, "var/")
}

// writeKernel copies the image byte by byte: its signature stays valid.
func (b *builder) writeKernel(k *openedKernel, a *Artifacts) error {
	if k.image == nil {
		return nil
	}
	img, err := k.image()
	if err != nil {
		return err
	}
	defer img.Close()
	err = b.addFile(a, roleKernel, func(w *hashing) error {
		_, err := io.Copy(w, img)
		return err
	})
	if _, wanted := b.output(roleCmdline); err != nil || !wanted {
		return err
	}
	return b.addFile(a, roleCmdline, func(w *hashing) error {
		_, err := io.WriteString(w, b.cfg.Kernel.Cmdline.Value)
		return err
	})
}

// addFile writes the artifact of a role.
func (b *builder) addFile(a *Artifacts, role string, write func(*hashing) error) error {
	name, ok := b.output(role)
	if !ok {
		return fmt.Errorf("a build of %s has no %s", b.opt.Flavor.ID, role)
	}
	f, err := b.out.write(name.name, write)
	if err != nil {
		return err
	}
	f.Role, f.Arch = name.role, a.Arch
	if name.alias != "" && name.alias != name.name {
		f.Aliases = []string{name.alias}
	}
	a.Files = append(a.Files, f)
	return nil
}

// ramNeeded is the RAM in MiB of the smallest machine that can unpack a tree
// of so many bytes: the kernel gives the root file system half of what is free
// beside itself and the compressed initramfs, which takes at most half of the
// unpacked one (guest.md: measured). What the tree leaves free has room for
// the window of the zstd frame that is being unpacked, which package initramfs
// never makes larger than its segment calls for: 64 MiB, 128 at level 22
// (measured down to 192 MiB, with trees that do not compress). Rounded up to
// 64 MiB.
func ramNeeded(unpacked int64) int64 {
	const mib = 1 << 20
	const kernelItself = 96
	need := (2*unpacked+unpacked/2)/mib + kernelItself
	return (need + 63) / 64 * 64
}

// warnXattrs names files whose extended attributes a cpio cannot carry.
func (b *builder) warnXattrs(tree *rootfs.Tree) error {
	return tree.Walk(func(p string, n *rootfs.Inode) error {
		if len(n.Xattrs) > 0 {
			b.opt.Log.Warn("extended attributes are lost in an initramfs", "file", "/"+p, "attributes", slices.Sorted(maps.Keys(n.Xattrs)))
		}
		return nil
	})
}

// addInputs lists all inputs and names the build after them.
func (b *builder) addInputs(ctx context.Context, a *Artifacts) error {
	users := map[string][]string{}
	for _, img := range b.images {
		for _, p := range img.Packages {
			users[p.Name] = append(users[p.Name], img.Definition.Name)
		}
	}
	for _, p := range b.packages {
		slices.Sort(users[p.Name])
		in := Input{
			Kind: "package", Name: p.Name, Version: p.Version, Arch: p.Architecture, SHA256: p.SHA256,
			Source: fmt.Sprintf("%s (%s)", p.Source, p.SourceVersion), UsedBy: users[p.Name],
		}
		var err error
		if in.License, err = b.licenses(ctx, p); err != nil {
			return err
		}
		a.Inputs = append(a.Inputs, in)
	}
	a.Inputs = append(a.Inputs, b.Plan.inputs...)
	slices.SortStableFunc(a.Inputs, func(x, y Input) int {
		return strings.Compare(x.Kind+"\x00"+x.Name, y.Kind+"\x00"+y.Name)
	})
	var err error
	a.BuildID, err = b.ID()
	return err
}

// ID names the build by all that its bytes depend on.
func (p *Plan) ID() (string, error) {
	return buildID(p.opt.Flavor, p.packages, p.inputs, p.opt.Version, p.opt.Format, p.opt.Compat, p.opt.DecompressKernel,
		p.opt.Compression, p.opt.Level, p.opt.OneSegment, p.opt.Epoch, len(p.opt.Files) > 0, p.opt.Firmware, p.opt.CheckAll, p.opt.NoSBOM)
}

// licenses reads a package's copyright file. A package whose documentation is
// a link to another package's has none of its own.
func (b *builder) licenses(ctx context.Context, p *debian.Package) ([]string, error) {
	indexed, err := b.layers.index(ctx, b.packageLayer(ctx, p))
	if err != nil {
		return nil, err
	}
	tree, err := rootfs.Flatten(indexed)
	if err != nil {
		return nil, err
	}
	file := tree.Lookup(p.CopyrightPath())
	if file == nil {
		return nil, nil
	}
	names, err := debian.Licenses(file.Open())
	if err != nil {
		return nil, fmt.Errorf("copyright of %s: %w", p, err)
	}
	return names, nil
}
