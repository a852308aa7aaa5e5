package inspect

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"hooksmith/build"
	"hooksmith/kernel"
)

// Options are for Inspect; the zero value works.
type Options struct {
	// Contents makes Inspect read every file to its end, for a digest by which
	// Compare tells them apart, and look for the kernel's configuration.
	Contents bool
	// Seed keys the digests; two reports can be compared if they have the same.
	Seed maphash.Seed
}

// Inspect looks into a set. What is odd but does not keep it from being read
// is a warning of the report; an error names the file, the offset and the
// record at which the kernel would stop.
//
//  1. The kernel image and the initramfs are read, next to each other.
//  2. The records become the tree that is there after boot.
//  3. From the tree come services, images, packages, modules and firmware.
//  4. hook.json adds what only the builder knows.
func Inspect(ctx context.Context, set *Set, opt Options) (*Report, error) {
	if opt.Seed == (maphash.Seed{}) {
		opt.Seed = maphash.MakeSeed()
	}
	r := &Report{Schema: Schema, Source: set.Source, Services: []Service{}, Images: []Image{}, Packages: []Package{}, Firmware: []Firmware{}, Warnings: []string{}}
	var t *tree
	g, ctx := errgroup.WithContext(ctx)
	if set.Kernel != nil {
		g.Go(func() (err error) {
			r.Kernel, r.Config, err = readKernel(set.Kernel, opt)
			return err
		})
	}
	if set.Initramfs != nil {
		g.Go(func() (err error) {
			r.Initramfs, t, err = readInitramfs(ctx, set.Initramfs, opt)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if t != nil {
		r.fill(t)
	}
	r.apply(set.Build, set.Others)
	r.addKnownPackages(set)
	r.compareKernels()
	return r, nil
}

// readKernel asks the kernel image.
func readKernel(f *Artifact, opt Options) (*Kernel, map[string]string, error) {
	image, err := kernel.Inspect(f, f.Size)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	k := &Kernel{
		File: f.Name, Format: string(image.Format), Arch: string(image.Arch), Release: image.Release, Version: image.Version,
		CmdlineMax: image.CommandLine, Size: f.Size, LoadSize: image.LoadSize, EFI: image.EFI, Signed: image.Signed,
	}
	if !opt.Contents {
		return k, nil, nil
	}
	var h maphash.Hash
	h.SetSeed(opt.Seed)
	if _, err := io.Copy(&h, io.NewSectionReader(f, 0, f.Size)); err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", f.Name, err)
	}
	k.digest = h.Sum64()
	config := embeddedConfig(f, f.Size)
	if config != nil {
		k.ConfigFound = f.Name
	}
	return k, config, nil
}

// readInitramfs reads the file once and applies it.
func readInitramfs(ctx context.Context, f *Artifact, opt Options) (*Initramfs, *tree, error) {
	spans, err := split(f, f.Size)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	scans, err := scan(ctx, f, spans, opt, opt.Seed)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	t := unpack(scans)
	if t.entries == 0 {
		return nil, nil, fmt.Errorf("%s: there is no archive in it", f.Name)
	}
	i := &Initramfs{File: f.Name, Size: f.Size, Entries: t.entries, Layout: t.layout()}
	for n, s := range scans {
		for j, seg := range s.segments {
			end := spans[n].end
			if j+1 < len(s.segments) {
				end = s.segments[j+1].Offset
			}
			seg.Size = end - seg.Offset
			i.Segments = append(i.Segments, seg)
			i.Unpacked += seg.Unpacked
		}
	}
	for _, p := range t.paths {
		i.Memory += t.nodes[p].memory()
	}
	i.Arch = t.arch()
	i.RAMMiB, i.RAMFrom = neededRAM(i.Memory), "estimate"
	said := strings.TrimSpace(string(t.content("etc/hooksmith/ram")))
	if mib, err := strconv.ParseInt(said, 10, 64); err == nil && mib > 0 {
		i.RAMMiB, i.RAMFrom = mib, "etc/hooksmith/ram"
	}
	return i, t, nil
}

// neededRAM is the RAM in MiB of the smallest machine that unpacks a tree of
// so many bytes: the kernel gives the root file system half of what is free
// beside itself and the compressed file. The formula is that of hooksmith build.
func neededRAM(unpacked int64) int64 {
	const mib, kernelItself = 1 << 20, 96
	need := (2*unpacked+unpacked/2)/mib + kernelItself
	return (need + 63) / 64 * 64
}

// arch is what most programs are for; "" if there are none.
func (t *tree) arch() string {
	count := map[string]int{}
	for _, n := range t.nodes {
		if n.inode != nil && n.inode.data.machine != "" {
			count[n.inode.data.machine]++
		}
	}
	best := ""
	for _, name := range slices.Sorted(maps.Keys(count)) {
		if count[name] > count[best] {
			best = name
		}
	}
	return best
}

// layout tells whose tree it is.
func (t *tree) layout() string {
	for _, sign := range []struct{ path, layout string }{
		{"etc/hooksmith", "hooksmith"}, {"containers/services", "linuxkit"}, {"containers/onboot", "linuxkit"},
		{"scripts/init-premount", "initramfs-tools"}, {"scripts/functions", "initramfs-tools"},
		{"lib/dracut", "dracut"}, {"usr/lib/dracut", "dracut"},
	} {
		if t.nodes[sign.path] != nil {
			return sign.layout
		}
	}
	return "unknown"
}

// fill takes the lists from the tree.
func (r *Report) fill(t *tree) {
	r.Services = t.services()
	r.Images = t.images()
	r.Packages = t.packages()
	r.Modules, r.Firmware = t.modules()
	r.Files = t.files()
	r.Symbols = t.symbols()
	if r.Config == nil {
		r.findConfig(t)
	}
	if n := t.lookup("init"); n != nil && n.Mode&0o111 != 0 {
		r.Init = "/init"
	} else {
		t.warnings = append(t.warnings, "there is no /init that can be run: the kernel does not start this file system")
	}
	r.Warnings = append(r.Warnings, t.warnings...)
}

// modules lists what lies below lib/modules and lib/firmware.
func (t *tree) modules() (*Modules, []Firmware) {
	m := &Modules{List: []Module{}}
	firmware := []Firmware{}
	count := map[string]int{}
	for _, p := range t.paths {
		n := t.nodes[p]
		if n.inode == nil {
			continue
		}
		if name, ok := firmwareName(p); ok {
			firmware = append(firmware, Firmware{name, n.inode.data.Size})
		} else if release, rest, ok := modulePath(p); ok && moduleName(rest) != "" {
			count[release]++
			m.Bytes += n.inode.data.Size
			m.List = append(m.List, Module{Name: moduleName(rest), Path: p, Size: n.inode.data.Size, Vermagic: n.inode.data.vermagic, digest: n.inode.data.digest})
		}
	}
	if len(m.List) == 0 {
		return nil, firmware
	}
	for release := range count {
		m.Releases = append(m.Releases, release)
	}
	slices.SortFunc(m.Releases, func(a, b string) int { return strings.Compare(a, b) })
	m.Release = slices.MaxFunc(m.Releases, func(a, b string) int { return count[a] - count[b] })
	slices.SortFunc(m.List, func(a, b Module) int { return strings.Compare(a.Name+" "+a.Path, b.Name+" "+b.Path) })
	slices.SortFunc(firmware, func(a, b Firmware) int { return strings.Compare(a.Name, b.Name) })
	return m, firmware
}

// addKnownPackages takes the packages from hook.json, or from a bill of
// materials beside the artifacts: a tree that is made from packages without
// running their tools has no database.
func (r *Report) addKnownPackages(set *Set) {
	if len(r.Packages) > 0 {
		return
	}
	if set.Build != nil {
		for _, in := range set.Build.Inputs {
			if in.Kind == "package" {
				r.Packages = append(r.Packages, Package{Name: in.Name, Version: in.Version, Arch: in.Arch, Kind: "deb", In: strings.Join(in.UsedBy, " ")})
			}
		}
	} else if set.SBOM != nil {
		found, err := parseSPDX(set.SBOM)
		if err != nil {
			r.Warnings = append(r.Warnings, fmt.Sprintf("%s: %v", build.SBOMName, err))
		}
		r.Packages = inPart(found, build.SBOMName)
	}
	r.Packages = sortPackages(r.Packages)
}

// compareKernels warns of modules that the kernel will not load.
func (r *Report) compareKernels() {
	if r.Modules == nil {
		return
	}
	if len(r.Modules.Releases) > 1 {
		r.Warnings = append(r.Warnings, "there are modules of several kernels: "+strings.Join(r.Modules.Releases, ", "))
	}
	if r.Kernel != nil && !slices.Contains(r.Modules.Releases, r.Kernel.Release) {
		r.Warnings = append(r.Warnings, fmt.Sprintf("the kernel is %s and the modules are for %s: none will load", r.Kernel.Release, strings.Join(r.Modules.Releases, ", ")))
	}
	if wrong := r.Modules.Foreign(); len(wrong) > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("%d modules have the version magic of another kernel than their folder, for example %s: %q", len(wrong), wrong[0].Path, wrong[0].Vermagic))
	}
}

// Foreign lists modules whose version magic is of another release than the
// folder in which they lie.
func (m *Modules) Foreign() []Module {
	var out []Module
	for _, mod := range m.List {
		release, _, _ := modulePath(mod.Path)
		built, _, _ := strings.Cut(mod.Vermagic, " ")
		if mod.Vermagic != "" && built != release {
			out = append(out, mod)
		}
	}
	return out
}

// findConfig reads the configuration from a file of the tree.
func (r *Report) findConfig(t *tree) {
	for _, p := range t.paths {
		if b := t.content(p); b != nil && (strings.Contains(p, "boot/config-") || strings.HasSuffix(p, "/config") && strings.Contains(p, "lib/modules/")) {
			if c, err := kernel.ParseConfig(bytes.NewReader(b)); err == nil {
				r.Config = c
				if r.Kernel != nil {
					r.Kernel.ConfigFound = p
				}
				return
			}
		}
	}
}

// symbols are those that modules export, and those of a System.map that others
// can link with; nil if neither file is there.
func (t *tree) symbols() map[string]bool {
	var out map[string]bool
	for _, p := range t.paths {
		b := t.content(p)
		mapFile := strings.Contains(p, "System.map")
		if b == nil || !mapFile && !strings.HasSuffix(p, "/modules.symbols") {
			continue
		}
		if out == nil {
			out = map[string]bool{}
		}
		for line := range bytes.Lines(b) {
			fields := strings.Fields(string(line[:min(len(line), 512)]))
			switch {
			case len(fields) < 3:
			case mapFile:
				if name, ok := strings.CutPrefix(fields[2], "__ksymtab_"); ok {
					out[name] = true
				}
			case fields[0] == "alias":
				out[strings.TrimPrefix(fields[1], "symbol:")] = true
			}
		}
	}
	return out
}
