package build

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"hooksmith/build/debian"
	"hooksmith/build/initramfs"
	"hooksmith/build/linuxkit"
	"hooksmith/build/rootfs"
)

// Files of the initramfs that the init looks for.
const (
	ramFile      = "etc/hooksmith/ram"      // MiB of RAM needed, in the first segment
	completeFile = "etc/hooksmith/complete" // the last entry: there if all was unpacked
)

// epoch is the time of generated files.
func (b *builder) epoch() time.Time {
	if b.opt.Epoch.IsZero() {
		return linuxkit.Epoch
	}
	return b.opt.Epoch
}

// describe begins the manifest of the build.
func (b *builder) describe(cfg *linuxkit.Config, k *openedKernel, tree *rootfs.Tree) *Artifacts {
	a := &Artifacts{
		Flavor: b.opt.Flavor.ID, OutputID: b.opt.Flavor.OutputID, Arch: string(b.arch),
		Generator: "hooksmith " + b.opt.Version,
		Kernel: KernelInfo{
			Version: k.Release,
			Source:  b.kernel.Name + " " + b.kernel.Version,
			Signed:  k.Image.Signed,
			Cmdline: strings.TrimSpace(cfg.Kernel.Cmdline.Value),
			Modules: len(k.selection.Modules),
		},
		UnpackedBytes:   tree.Size(),
		FirmwareMissing: []MissingFirmware{},
	}
	for _, m := range k.selection.FirmwareMissing(tree.FS()) {
		a.FirmwareMissing = append(a.FirmwareMissing, MissingFirmware{Module: m.Module, Files: m.Files})
	}
	return a
}

// writeKernel copies the image byte by byte: its signature stays valid.
func (b *builder) writeKernel(k *openedKernel, a *Artifacts) error {
	img, err := k.OpenImage()
	if err != nil {
		return err
	}
	defer img.Close()
	return b.addFile(a, 0, func(w io.Writer) error {
		_, err := io.Copy(w, img)
		return err
	})
}

// addFile writes the n-th of outputNames.
func (b *builder) addFile(a *Artifacts, n int, write func(io.Writer) error) error {
	name := b.outputNames()[n]
	f, err := b.out.write(name.name, write)
	if err != nil {
		return err
	}
	f.Role, f.Arch = name.role, a.Arch
	if name.alias != name.name {
		f.Aliases = []string{name.alias}
	}
	a.Files = append(a.Files, f)
	return nil
}

// writeInitramfs writes the tree as segments.
func (b *builder) writeInitramfs(ctx context.Context, tree *rootfs.Tree, a *Artifacts) error {
	if err := b.warnXattrs(tree); err != nil {
		return err
	}
	a.RAMNeededMiB = ramNeeded(tree.Size())
	segments, err := b.segments(tree, a.RAMNeededMiB)
	if err != nil {
		return err
	}
	task := b.observer().Begin("compressing "+b.outputNames()[1].name, tree.Size())
	err = b.addFile(a, 1, func(w io.Writer) error {
		infos, err := initramfs.Write(ctx, w, segments, initramfs.Options{TempDir: b.out.tmp, Progress: task.Add})
		for _, i := range infos {
			a.Segments = append(a.Segments, Segment(i))
		}
		return err
	})
	task.Done(err)
	return err
}

// segments divides the tree: what boots first, what only a complete machine
// needs, and at the end the file that says that nothing is missing.
func (b *builder) segments(tree *rootfs.Tree, ram int64) ([]initramfs.Segment, error) {
	class := func(p string) string {
		switch {
		case strings.HasPrefix(p, "usr/lib/modules/"):
			return "modules"
		case strings.HasPrefix(p, firmwareDir+"/"):
			return "firmware"
		}
		return "base"
	}
	only := func(want string) *rootfs.Tree {
		return tree.Keep(func(p string, n *rootfs.Inode) bool { return class(p) == want && (want == "base" || !n.IsDir()) })
	}
	own := func(path, text string) (*rootfs.Tree, error) {
		return rootfs.New(map[string]*rootfs.Inode{path: b.file(0o644, []byte(text))})
	}
	info, err := own(ramFile, strconv.FormatInt(ram, 10)+"\n")
	if err != nil {
		return nil, err
	}
	base, err := rootfs.Merge(only("base"), info)
	if err != nil {
		return nil, err
	}
	complete, err := own(completeFile, "complete\n")
	if err != nil {
		return nil, err
	}
	// Modules and much firmware are compressed already: a higher level costs
	// time and gains nothing.
	level := b.opt.Level
	if level == 0 && (b.opt.Compression == "" || b.opt.Compression == initramfs.Zstd) {
		level = defaultZstdLevel
	}
	fast := min(b.opt.Level, 1)
	list := []initramfs.Segment{{
		Name: "base", Tree: base, Level: level,
		// The init goes first: it says so when memory does not suffice for the rest.
		Last: func(p string) bool { return p == "containers" || strings.HasPrefix(p, "containers/") },
	}}
	for _, name := range []string{"modules", "firmware"} {
		if t := only(name); t.Len() > 0 {
			list = append(list, initramfs.Segment{Name: name, Tree: t, Level: fast})
		}
	}
	list = append(list, initramfs.Segment{Name: "complete", Tree: complete, Level: fast})
	for i := range list {
		list[i].Compression, list[i].Epoch = b.opt.Compression, b.opt.Epoch
	}
	return list, nil
}

// defaultZstdLevel costs two seconds more than the encoder's own default for a
// HookOS, and saves 4% of what every machine downloads (README: figures).
const defaultZstdLevel = 7

// ramNeeded is the RAM in MiB of the smallest machine that can unpack a tree
// of so many bytes: the kernel gives the root file system half of what is free
// beside itself and the compressed initramfs, which takes at most half of the
// unpacked one (guest.md: measured). Rounded up to 64 MiB.
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
	a.BuildID, err = buildID(a.Inputs, a.Generator, b.opt.Compression, b.opt.Level, b.opt.Epoch)
	return err
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
