package drivers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"hooksmith/guest/modalias"
	"hooksmith/kernel"
)

// Artifact is what a HookOS, or a kernel, brings to drive devices. It does not
// change once it is made.
type Artifact struct {
	Source   string      `json:"source"`
	Release  string      `json:"release"` // of the kernel
	Arch     kernel.Arch `json:"arch"`
	Warnings []string    `json:"warnings,omitempty"`

	modules   map[string]*kernel.Module // that are in it
	builtin   map[string]*kernel.Builtin
	elsewhere map[string]bool // that the kernel has, but this does not carry
	aliases   *aliases
	deps      map[string][]string // modules.dep: names in it, not yet loaded ones last; nil if there is none
	conf      *modprobeConf
	missing   map[string][]string // firmware files by module
	firmware  map[string][]string // those that are asked for
}

// Options say what to open.
type Options struct {
	Source  string // name for people
	Release string // of the kernel, if modules of several are there
	// Firmware are more file systems whose lib/firmware counts, beside that of
	// the one that is opened.
	Firmware []fs.FS
	// FirmwareUnknown says why it is not known which firmware there will be, as
	// with a kernel image alone: nothing is then said about it but this, as a
	// warning.
	FirmwareUnknown string
}

// Open looks into the root file system of an initramfs, of an installed
// system or of a LinuxKit kernel.tar: modules below lib/modules/RELEASE,
// firmware below lib/firmware, what modprobe.d says.
func Open(ctx context.Context, root fs.FS, opt Options) (*Artifact, error) {
	dir, err := modulesDir(root, opt.Release)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", opt.Source, err)
	}
	sub, err := fs.Sub(root, dir)
	if err != nil {
		return nil, err
	}
	release := path.Base(dir)
	arch, err := modulesArch(ctx, sub, release)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", opt.Source, err)
	}
	index, err := kernel.ReadIndex(ctx, sub, release, arch)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", opt.Source, err)
	}
	a := newArtifact(opt.Source, index)
	for i := range index.Modules {
		a.modules[index.Modules[i].Name] = &index.Modules[i]
	}
	if a.conf, err = readModprobeConf(root); err != nil {
		return nil, fmt.Errorf("%s: %w", opt.Source, err)
	}
	if err := a.readLists(sub); err != nil {
		return nil, fmt.Errorf("%s: %w", opt.Source, err)
	}
	if opt.FirmwareUnknown != "" {
		a.Warnings = append(a.Warnings, "firmware was not looked for: "+opt.FirmwareUnknown)
		return a, nil
	}
	a.addFirmware(index.All(), append([]fs.FS{root}, opt.Firmware...)...)
	return a, nil
}

// FromSelection is the modules that a flavor would carry, and the firmware in
// root (below lib/firmware), before anything is built.
func FromSelection(source string, s *kernel.Selection, root fs.FS) (*Artifact, error) {
	a := newArtifact(source, s.Index)
	a.conf = &modprobeConf{}
	for _, m := range s.Modules {
		a.modules[m.Name] = m.Module
	}
	for i := range s.Index.Modules {
		if name := s.Index.Modules[i].Name; a.modules[name] == nil {
			a.elsewhere[name] = true
		}
	}
	files, err := s.Files()
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		a.addList(f.Path, string(f.Data))
	}
	a.addFirmware(s, root)
	return a, nil
}

func newArtifact(source string, x *kernel.Index) *Artifact {
	a := &Artifact{
		Source: source, Release: x.Release, Arch: x.Arch,
		modules: map[string]*kernel.Module{}, builtin: map[string]*kernel.Builtin{}, elsewhere: map[string]bool{},
		aliases: newAliases(), missing: map[string][]string{}, firmware: map[string][]string{},
	}
	for i := range x.Builtin {
		b := &x.Builtin[i]
		a.builtin[b.Name] = b
		for _, alias := range b.Aliases {
			a.aliases.add(alias, b.Name)
		}
	}
	return a
}

// modulesDir finds lib/modules/RELEASE.
func modulesDir(root fs.FS, release string) (string, error) {
	var found []string
	for _, parent := range []string{"usr/lib/modules", "lib/modules"} {
		entries, err := fs.ReadDir(root, parent)
		if err != nil {
			continue
		}
		for _, e := range entries {
			dir := path.Join(parent, e.Name())
			if st, err := fs.Stat(root, dir); err == nil && st.IsDir() && (release == "" || e.Name() == release) {
				found = append(found, dir)
			}
		}
		if len(found) > 0 {
			break // lib is a link to usr/lib
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		if release != "" {
			return "", fmt.Errorf("there are no modules of kernel %s in it", release)
		}
		return "", errors.New("there is no folder lib/modules/RELEASE in it: its kernel has no modules, or they are in another file")
	}
	var names []string
	for _, dir := range found {
		names = append(names, path.Base(dir))
	}
	return "", fmt.Errorf("there are modules of several kernels in it (%s): choose one by --release", strings.Join(names, ", "))
}

// errStop ends a walk.
var errStop = errors.New("stop")

// modulesArch finds out for which machine the modules are, by the first one.
// Without any, it does not matter.
func modulesArch(ctx context.Context, dir fs.FS, release string) (kernel.Arch, error) {
	var first string
	err := fs.WalkDir(dir, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Contains(path.Base(p), ".ko") {
			first = p
			return errStop
		}
		return err
	})
	if err != nil && !errors.Is(err, errStop) {
		return "", err
	}
	if first == "" {
		return kernel.X86_64, nil
	}
	var errs []error
	for _, arch := range []kernel.Arch{kernel.X86_64, kernel.AArch64} {
		_, err := kernel.ReadIndex(ctx, oneFile{dir, first}, release, arch)
		if err == nil {
			return arch, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

// oneFile is a file system reduced to one file at its root.
type oneFile struct {
	fs.FS
	name string
}

func (o oneFile) Open(name string) (fs.File, error) {
	if name == path.Base(o.name) {
		return o.FS.Open(o.name)
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (o oneFile) ReadDir(string) ([]fs.DirEntry, error) {
	st, err := o.Stat(path.Base(o.name))
	if err != nil {
		return nil, err
	}
	return []fs.DirEntry{fs.FileInfoToDirEntry(st)}, nil
}

func (o oneFile) Stat(name string) (fs.FileInfo, error) {
	if name == "." {
		return fs.Stat(o.FS, ".")
	}
	return fs.Stat(o.FS, o.name)
}

// maxList bounds modules.alias and its like: Debian's largest has 1.5 MiB.
const maxList = 64 << 20

// readLists reads what depmod wrote. Without modules.alias the modules are
// asked, as depmod would.
func (a *Artifact) readLists(dir fs.FS) error {
	has := map[string]bool{}
	for _, name := range []string{"modules.alias", "modules.builtin.alias", "modules.dep"} {
		text, err := readList(dir, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		has[name] = true
		a.addList(name, text)
	}
	for _, alias := range a.conf.aliases {
		a.aliases.add(alias[0], alias[1])
	}
	if has["modules.alias"] || len(a.modules) == 0 {
		return nil
	}
	a.Warnings = append(a.Warnings, "there is no modules.alias: what the modules say of themselves counts, as if depmod had run")
	for _, name := range slices.Sorted(maps.Keys(a.modules)) {
		for _, alias := range a.modules[name].Aliases {
			a.aliases.add(alias, name)
		}
	}
	return nil
}

func readList(dir fs.FS, name string) (string, error) {
	f, err := dir.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxList+1))
	if err == nil && len(b) > maxList {
		err = fmt.Errorf("more than %d bytes", maxList)
	}
	return string(b), err
}

// addList takes one file of depmod's.
func (a *Artifact) addList(name, text string) {
	switch name {
	case "modules.alias", "modules.builtin.alias":
		for line := range strings.Lines(text) {
			if words := strings.Fields(line); len(words) == 3 && words[0] == "alias" {
				a.aliases.add(words[1], modalias.ModuleName(words[2]))
			}
		}
	case "modules.dep":
		a.deps = map[string][]string{}
		for line := range strings.Lines(text) {
			if module, needs, ok := strings.Cut(line, ":"); ok {
				a.deps[modalias.ModuleOf(strings.TrimSpace(module))] = strings.Fields(needs)
			}
		}
	}
}

// addFirmware notes what the modules ask for, and what of it none of the file
// systems has.
func (a *Artifact) addFirmware(s *kernel.Selection, roots ...fs.FS) {
	for _, f := range s.Firmware() {
		a.firmware[f.Module], a.missing[f.Module] = f.Files, slices.Clone(f.Files)
	}
	for _, root := range roots {
		lacks := map[string][]string{}
		for _, f := range s.FirmwareMissing(root) {
			lacks[f.Module] = f.Files
		}
		for module, files := range a.missing {
			a.missing[module] = slices.DeleteFunc(files, func(f string) bool { return !slices.Contains(lacks[module], f) })
		}
	}
	maps.DeleteFunc(a.missing, func(_ string, files []string) bool { return len(files) == 0 })
}
