// Command drivertable makes configs/drivers.tsv.gz: which module of a complete
// kernel drives which device, which CONFIG symbol builds the module and which
// firmware it asks for. `hooksmith drivers check` tells by it what is missing
// where a device has no driver.
//
//	go run ./scripts/drivertable configs/drivers.tsv.gz
//
// What it is made of comes from Debian, verified by the archive's signature:
// the modules of linux-image-amd64 and linux-image-arm64 tell their devices
// and firmware, and the Makefiles of linux-source the symbols. The source is
// 150 MB to download and takes half a minute to go through; downloads are
// kept in hooksmith's cache. Run it when Debian has a new kernel series; the
// same packages give the same bytes.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/adrg/xdg"
	"github.com/google/renameio/v2"

	"hooksmith/build/debian"
	"hooksmith/build/fetch"
	"hooksmith/build/rootfs"
	"hooksmith/configs"
	"hooksmith/kernel"
	"hooksmith/kernel/drivers"
)

// source is the package with the kernel's source: of the series that
// linux-image-amd64 is.
const source = "linux-source-6.12"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: drivertable FILE")
		os.Exit(2)
	}
	if err := run(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "drivertable:", err)
		os.Exit(1)
	}
}

// run makes the table.
//
//  1. The modules of both architectures say what they drive.
//  2. The Makefiles say which symbol builds them.
//  3. Both become one line for each module.
func run(ctx context.Context, file string) error {
	a, err := openArchive(ctx)
	if err != nil {
		return err
	}
	all := map[string]*drivers.Driver{}
	var from []string
	for _, arch := range []kernel.Arch{kernel.X86_64, kernel.AArch64} {
		pkg, index, err := a.modules(ctx, arch)
		if err != nil {
			return err
		}
		from = append(from, pkg.Name+" "+pkg.Version)
		addIndex(all, index)
	}
	pkg, symbols, err := a.symbols(ctx)
	if err != nil {
		return err
	}
	from = append(from, pkg.Name+" "+pkg.Version)
	var list []drivers.Driver
	for _, d := range all {
		d.Symbol = symbols[d.Path]
		if len(d.Aliases) > 0 {
			list = append(list, *d)
		}
	}
	out, err := renameio.NewPendingFile(file, renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer out.Cleanup()
	if err := drivers.WriteTable(out, "Debian "+strings.Join(from, ", "), list); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%d drivers, %d symbols\n", len(list), len(symbols))
	return out.CloseAtomicallyReplace()
}

// buses are those by which devices of servers are found.
var buses = []string{"pci:", "usb:", "virtio:", "vmbus:", "xen:", "acpi:", "acpi*:", "platform:", "nd:", "cxl:"}

// builtIn are device tables of drivers that Debian builds into the kernel,
// which does not tell them: from MODULE_DEVICE_TABLE in their source.
var builtIn = map[string][]string{
	"virtio_pci":     {"pci:v00001AF4d*sv*sd*bc*sc*i*"},
	"virtio_console": {"virtio:d00000003v*"},
	"8250_pci":       {"pci:v*d*sv*sd*bc07sc00i*"},
	"tpm_tis":        {"acpi*:MSFT0101:*", "acpi*:PNP0C31:*"},
	"tpm_crb":        {"acpi*:MSFT0101:*"},
}

func addIndex(all map[string]*drivers.Driver, x *kernel.Index) {
	for _, m := range x.Modules {
		add(all, m.Path, m.Name, m.Aliases, m.Firmware, x.Arch)
	}
	for _, b := range x.Builtin {
		add(all, b.Path, b.Name, slices.Concat(b.Aliases, builtIn[b.Name]), b.Firmware, x.Arch)
	}
}

func add(all map[string]*drivers.Driver, path, name string, aliases, firmware []string, arch kernel.Arch) {
	path, _, _ = strings.Cut(strings.TrimPrefix(path, "kernel/"), ".ko")
	d := all[name]
	if d == nil {
		d = &drivers.Driver{Name: name, Path: path}
		all[name] = d
	}
	d.Archs = append(d.Archs, arch)
	for _, a := range aliases {
		wanted := func(bus string) bool { return strings.HasPrefix(a, bus) }
		if !strings.ContainsAny(a, " \t") && slices.ContainsFunc(buses, wanted) {
			d.Aliases = append(d.Aliases, a)
		}
	}
	d.Aliases = unique(d.Aliases)
	d.Firmware = unique(append(d.Firmware, slices.DeleteFunc(slices.Clone(firmware), func(f string) bool { return strings.ContainsAny(f, " \t") })...))
}

func unique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// archive is Debian's.
type archive struct {
	cache *fetch.Cache
	repo  *debian.Repository
}

func openArchive(ctx context.Context) (*archive, error) {
	keys, err := debian.ShippedKeys(configs.FS)
	if err != nil {
		return nil, err
	}
	cache := &fetch.Cache{Dir: filepath.Join(xdg.CacheHome, "hooksmith"), Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	repo, err := debian.Open(ctx, cache, debian.Options{Mirrors: debian.HostMirrors(os.DirFS("/")), Keys: keys})
	return &archive{cache, repo}, err
}

// modules reads the complete kernel of an architecture.
func (a *archive) modules(ctx context.Context, arch kernel.Arch) (*debian.Package, *kernel.Index, error) {
	index, err := a.repo.Index(ctx, arch.Debian(), "linux-image-*")
	if err != nil {
		return nil, nil, err
	}
	pkg, err := index.ResolveMeta("linux-image-" + arch.Debian())
	if err != nil {
		return nil, nil, err
	}
	var x *kernel.Index
	err = a.unpacked(ctx, pkg, func(tree fs.FS) error {
		k, err := kernel.OpenDebian(tree, arch)
		if err != nil {
			return err
		}
		dir, err := k.Modules()
		if err != nil {
			return err
		}
		x, err = kernel.ReadIndex(ctx, dir, k.Release, arch)
		return err
	})
	return pkg, x, err
}

// unpacked gives fn the files of a package.
func (a *archive) unpacked(ctx context.Context, pkg *debian.Package, fn func(fs.FS) error) error {
	layer := debian.NewLayer(pkg, func() (io.ReadCloser, error) { return pkg.Open(ctx, a.cache, a.repo.Mirrors()) })
	return rootfs.Unpacked(layer.Uncompressed, func(tree *rootfs.Tree) error { return fn(tree.FS()) })
}

// symbols reads the Makefiles of the kernel's source: path of a module to
// symbol.
func (a *archive) symbols(ctx context.Context) (*debian.Package, map[string]string, error) {
	index, err := a.repo.Index(ctx, "amd64", source)
	if err != nil {
		return nil, nil, err
	}
	pkg, err := index.Package(source)
	if err != nil {
		return nil, nil, err
	}
	var symbols map[string]string
	err = a.unpacked(ctx, pkg, func(tree fs.FS) error {
		tars, err := fs.Glob(tree, "usr/src/linux-source-*.tar.xz")
		if err != nil || len(tars) != 1 {
			return cmp.Or(err, fmt.Errorf("%s has %d source archives", pkg, len(tars)))
		}
		f, err := tree.Open(tars[0])
		if err != nil {
			return err
		}
		defer f.Close()
		symbols, err = readMakefiles(f)
		return err
	})
	return pkg, symbols, err
}
