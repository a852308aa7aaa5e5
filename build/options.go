package build

import (
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"hooksmith/build/debian"
	"hooksmith/build/fetch"
	"hooksmith/build/initramfs"
	"hooksmith/build/linuxkit"
	"hooksmith/embed"
	"hooksmith/kernel"
)

// Options say what to build, from what, and where to. Flavor, Configs, Guest
// and Cache are required, Out too for Build.
type Options struct {
	Flavor  Flavor
	Out     string            // folder for the results
	Vars    map[string]string // variables of the template that the user sets
	Version string            // of hooksmith, for hook.json

	// Files are LinuxKit files that are built as they are, instead of a
	// flavor's template, under LinuxKit's names: OutputID-kernel and so on. Of
	// Flavor only ID, OutputID and Arch count (see FileFlavor).
	Files []linuxkit.Source
	// Open opens the `source` of the template's files; nil: there are none.
	Open   func(source string) (fs.File, error)
	Format Format
	// Compat does what LinuxKit does where that differs from its documentation.
	Compat bool
	// Kernel is used instead of the flavor's; nil: that of the flavor.
	Kernel *KernelImage
	// DecompressKernel takes the vmlinux out of a kernel image.
	DecompressKernel bool
	// CheckAll looks for missing libraries in the images of others too.
	CheckAll bool

	Compression initramfs.Compression // "" is zstd
	Level       int                   // 0: 7 for zstd, else the compression's default
	OneSegment  bool                  // a single archive instead of a chain of cached ones
	NoSBOM      bool
	Epoch       time.Time // no file of the initramfs is newer; zero: no limit

	Firmware       []string // beside the flavor's
	SSHKeys        []byte   // authorized_keys of the SSH server; none: no server
	CACertificates []byte   // PEM, trusted beside Debian's

	// Embed are images that docker has when HookOS starts; see embed.Merge.
	Embed []embed.Want

	Lock     *Lock          // build exactly these inputs; nil: the newest
	Mirrors  debian.Mirrors // zero: ftp.debian.org
	Snapshot string         // time of snapshot.debian.org; "": Mirrors
	Now      func() time.Time

	Configs fs.FS // flavors, templates, image definitions, keyrings
	Guest   fs.FS // guest-linux-ARCH, the program inside HookOS
	Cache   *fetch.Cache
	// Images finds images that are not made of Debian packages, for the
	// flavor's architecture; it may be an IndexResolver. Nil: there are none.
	Images   linuxkit.Resolver
	Observer fetch.Observer // nil: silent
	Log      *slog.Logger   // nil: silent

	// Program names the running hooksmith: what one program has cached or
	// built, another one makes again. With "" nothing is taken for up to date.
	Program string
}

// templates are the flavor's LinuxKit files, or those of the user.
func (o *Options) templates() ([]linuxkit.Source, error) {
	if len(o.Files) > 0 {
		return o.Files, nil
	}
	names := []string{o.Flavor.Template + ".yaml"}
	if len(o.SSHKeys) > 0 {
		names = append(names, o.Flavor.Template+"-ssh.yaml")
	}
	var list []linuxkit.Source
	for _, name := range names {
		b, err := fs.ReadFile(o.Configs, name)
		if err != nil {
			return nil, fmt.Errorf("template of flavor %s: %w", o.Flavor.ID, err)
		}
		list = append(list, linuxkit.Source{Name: name, Data: b})
	}
	return list, nil
}

// TemplateVariables are the names of the variables that the template has, sorted.
// Only Flavor, Files, SSHKeys and Configs count.
func (o *Options) TemplateVariables() ([]string, error) {
	list, err := o.templates()
	var names []string
	for _, t := range list {
		names = append(names, linuxkit.Variables(t.Data)...)
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// Format is what a build writes.
type Format string

const (
	// KernelInitrd is a kernel and an initramfs, and for LinuxKit files the
	// kernel's command line. It is the default, "" too.
	KernelInitrd Format = "kernel+initrd"
	// Tar is everything in one tar whose entries say where they are from.
	Tar Format = "tar"
)

// FileFlavor is the flavor of LinuxKit files that are built under a name, for an
// architecture in either of its spellings.
func FileFlavor(name, arch string) Flavor {
	if known, err := kernel.ParseArch(arch); err == nil {
		arch = string(known)
	}
	return Flavor{ID: name, OutputID: name, Arch: arch, Description: "LinuxKit file"}
}
