package build

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"hooksmith/build/initramfs"
	"hooksmith/build/rootfs"
)

// writeInitramfs writes the tree as a chain of archives, behind the kernel's
// microcode if there is any.
func (b *builder) writeInitramfs(ctx context.Context, k *openedKernel, tree *rootfs.Tree, parts []part, embedded []embeddedTree, a *Artifacts) error {
	a.RAMNeededMiB = ramNeeded(a.UnpackedBytes)
	cuts, err := b.cut(tree, parts, embedded, a.RAMNeededMiB)
	if err != nil {
		return err
	}
	name, _ := b.output(roleInitramfs)
	task := b.observer().Begin("compressing "+name.name, a.UnpackedBytes)
	err = b.addFile(a, roleInitramfs, func(w *hashing) error {
		early, err := writeMicrocode(w, k)
		if err != nil {
			return err
		}
		opt := initramfs.Options{TempDir: b.out.tmp}
		if !b.opt.OneSegment {
			opt = b.segmentOptions()
			opt.Ahead = b.ahead
			opt.Placed = func(infos []initramfs.Info) (int, io.WriterAt) {
				return w.place(ctx, b.opt.Cache, infos), io.NewOffsetWriter(w.f, early)
			}
		}
		opt.Progress = task.Add
		infos, err := initramfs.Write(ctx, w, segmentsOf(cuts), opt)
		for i, info := range infos {
			a.Segments = append(a.Segments, Segment{
				Name: info.Name, Offset: info.Offset + early, Size: info.Size, Unpacked: info.Unpacked,
				Entries: info.Entries, SHA256: info.SHA256, Holds: cuts[i].holds,
			})
		}
		if err == nil && opt.Placed != nil {
			err = w.keep(ctx, b.opt.Cache)
		}
		return err
	})
	task.Done(err)
	return err
}

// segmentOptions are for segments, which the cache keeps.
func (b *builder) segmentOptions() initramfs.Options {
	return initramfs.Options{TempDir: b.out.tmp, Cache: b.opt.Cache, Program: b.opt.Program}
}

// writeMicrocode writes the uncompressed archive that the kernel reads before
// it can decompress anything, and returns its length: a multiple of four,
// because what follows may be a plain archive too.
func writeMicrocode(w io.Writer, k *openedKernel) (int64, error) {
	if k.ucode == nil {
		return 0, nil
	}
	r, err := k.ucode()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	n, err := io.Copy(w, r)
	if err != nil {
		return n, fmt.Errorf("microcode: %w", err)
	}
	pad := -n & 3
	_, err = w.Write(make([]byte, pad))
	return n + pad, err
}

// cut is a segment and what it holds, in words.
type cut struct {
	initramfs.Segment
	holds []string
}

func segmentsOf(cuts []cut) []initramfs.Segment {
	var list []initramfs.Segment
	for _, c := range cuts {
		list = append(list, c.Segment)
	}
	return list
}

// cut divides the tree: what boots first, what several parts share, each
// container, the kernel's modules and firmware, the template's files, and at
// the end the file that says that nothing is missing.
//
// A file with several names goes to one segment with all of them, because hard
// links end with their archive. So dividing costs no memory, and bytes only
// where a compressor would have found the same twice.
func (b *builder) cut(tree *rootfs.Tree, parts []part, embedded []embeddedTree, ram int64) ([]cut, error) {
	var err error
	if b.ownInit(parts) {
		info, err := b.note(ramFile, strconv.FormatInt(ram, 10))
		if err != nil {
			return nil, err
		}
		if tree, err = rootfs.Merge(tree, info); err != nil {
			return nil, err
		}
	}
	b.warnTimes(tree, embedded)
	all := []*rootfs.Tree{tree}
	for _, e := range embedded {
		all = append(all, e.tree)
	}
	attributes, err := b.xattrCut(b.ownInit(parts), all...)
	if err != nil {
		return nil, err
	}
	var cuts []cut
	if b.opt.OneSegment {
		if tree, parts, err = mergeEmbedded(tree, parts, embedded); err != nil {
			return nil, err
		}
		cuts = []cut{{initramfs.Segment{Name: groupBase, Tree: tree}, names(parts)}}
	} else {
		cuts = append(divide(tree, parts), b.embedCuts(embedded)...)
	}
	if attributes != nil {
		cuts = append(cuts, *attributes)
	}
	if b.ownInit(parts) {
		complete, err := b.note(completeFile, "complete")
		if err != nil {
			return nil, err
		}
		cuts = append(cuts, cut{initramfs.Segment{Name: "complete", Tree: complete}, []string{"/" + completeFile}})
	}
	for i := range cuts {
		if s := &cuts[i].Segment; !strings.HasPrefix(s.Name, groupEmbed+" ") {
			b.compressed(s)
		}
	}
	return cuts, err
}

// note is a file of one line for our init.
func (b *builder) note(path, text string) (*rootfs.Tree, error) {
	return rootfs.New(map[string]*rootfs.Inode{path: b.file(0o644, []byte(text+"\n"))})
}

// compressed says how a segment is written that is not of the store.
func (b *builder) compressed(s *initramfs.Segment) {
	s.Compression, s.Level, s.Epoch, s.Last = b.opt.Compression, b.opt.level(), b.opt.Epoch, inContainers
	if s.Name == groupModules || s.Name == groupFirmware {
		// They are compressed already: a higher level costs time and gains
		// nothing.
		s.Level = fastLevel(b.opt.Compression)
	}
}

// defaultZstdLevel is one of those at which repetitions are found far back
// (initramfs.Zstd): smaller than zstd -9. The fastest level saves a fifth of
// the compressor's time and makes a third more bytes.
const defaultZstdLevel = 7

// level is the compression level of what is not compressed yet.
func (o Options) level() int {
	if o.Level == 0 && cmp.Or(o.Compression, initramfs.Zstd) == initramfs.Zstd {
		return defaultZstdLevel
	}
	return o.Level
}

// fastLevel is the lowest level of a compression.
func fastLevel(c initramfs.Compression) int {
	if c == initramfs.None {
		return 0
	}
	return 1
}

// inContainers chooses what the init can do without when it says that the
// memory does not suffice for all.
func inContainers(p string) bool { return p == "containers" || strings.HasPrefix(p, "containers/") }

// ownInit reports whether the init is ours, which knows the files about RAM.
func (b *builder) ownInit(parts []part) bool {
	return slices.ContainsFunc(parts, func(p part) bool { return p.ours && strings.HasPrefix(p.location, "init[") })
}

func names(parts []part) []string {
	var out []string
	for _, p := range parts {
		out = append(out, p.name)
	}
	return out
}

// divide cuts the tree by the groups of its parts.
func divide(tree *rootfs.Tree, parts []part) []cut {
	of := origins(tree, parts)
	groups := []string{groupBase, groupShared}
	for _, p := range parts {
		if !slices.Contains(groups, p.group) && p.group != groupModules && p.group != groupFirmware && p.group != groupFiles {
			groups = append(groups, p.group)
		}
	}
	groups = append(groups, groupModules, groupFirmware, groupFiles)
	group := func(p string) string {
		if i, ok := of[p]; ok {
			return parts[i].group
		}
		return groupBase
	}
	home := homes(tree, group)
	var cuts []cut
	for _, g := range groups {
		t := tree.Keep(func(p string, n *rootfs.Inode) bool {
			if n.IsDir() {
				return group(p) == g
			}
			return home[n] == g
		})
		if t.Len() == 0 {
			continue
		}
		var holds []string
		for _, p := range parts {
			if p.group == g {
				holds = append(holds, p.name)
			}
		}
		if g == groupShared {
			holds = []string{"files that several containers have"}
		}
		cuts = append(cuts, cut{initramfs.Segment{Name: g, Tree: t}, slices.Compact(holds)})
	}
	return cuts
}

// homes maps every file to the group that writes it: the one of all its names,
// or base if that has one of them, or shared.
func homes(tree *rootfs.Tree, group func(string) string) map[*rootfs.Inode]string {
	home := make(map[*rootfs.Inode]string, tree.Len())
	_ = tree.Walk(func(p string, n *rootfs.Inode) error {
		g := group(p)
		switch have, ok := home[n]; {
		case n.IsDir() || ok && have == g:
		case !ok:
			home[n] = g
		case have == groupBase || g == groupBase:
			home[n] = groupBase
		default:
			home[n] = groupShared
		}
		return nil
	})
	return home
}
