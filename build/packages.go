package build

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"hooksmith/build/debian"
)

type lookupFunc func(name string) (*debian.Package, error)

// openPackages settles where packages come from and which the kernel and the
// firmware are.
func (p *Plan) openPackages(ctx context.Context, defs map[string]*debian.Definition) (lookupFunc, error) {
	if p.opt.Lock != nil {
		return p.openLock()
	}
	firmware, err := p.firmwarePackages()
	if err != nil {
		return nil, err
	}
	if p.opt.Flavor.Kernel.Debian == "" && len(defs) == 0 && len(firmware) == 0 {
		return nil, nil // nothing is from Debian
	}
	keyFS, err := fs.Sub(p.opt.Configs, "keyrings")
	if err != nil {
		return nil, err
	}
	keys, err := debian.ReadKeyring(keyFS)
	if err != nil {
		return nil, err
	}
	components := []string{"main"}
	if len(firmware) > 0 {
		components = append(components, "non-free-firmware")
	}
	repo, err := debian.Open(ctx, p.opt.Cache, debian.Options{
		Components: components, Mirrors: p.opt.Mirrors, Snapshot: p.opt.Snapshot, Keys: keys, Now: p.opt.Now,
	})
	if err != nil {
		return nil, err
	}
	p.opt.Mirrors = repo.Mirrors()
	for _, r := range repo.Releases() {
		p.releases = append(p.releases, LockedRelease{Suite: r.Suite, Date: r.Date.UTC().Format(time.RFC3339), SHA256: r.SHA256})
	}
	var names []string
	if meta := p.opt.Flavor.Kernel.Debian; meta != "" {
		names = append(names, meta, "linux-image-*")
	}
	for _, d := range defs {
		names = append(names, d.PackageNames(p.arch.Debian())...)
	}
	names = append(names, slices.Collect(maps.Values(firmware))...)
	index, err := repo.Index(ctx, p.arch.Debian(), names...)
	if err != nil {
		return nil, err
	}
	p.owner = index.LibraryPackage
	if meta := p.opt.Flavor.Kernel.Debian; meta != "" {
		if p.kernel, err = index.ResolveMeta(meta); err != nil {
			return nil, fmt.Errorf("kernel of flavor %s: %w", p.opt.Flavor.ID, err)
		}
	}
	for name, pkg := range firmware {
		if p.firmware[name], err = index.Package(pkg); err != nil {
			return nil, fmt.Errorf("firmware %s: %w", name, err)
		}
	}
	return index.Package, nil
}

// openLock takes all packages from the lock file; no index is read.
func (p *Plan) openLock() (lookupFunc, error) {
	locked := p.opt.Lock.Flavors[p.opt.Flavor.ID]
	if locked == nil {
		return nil, fmt.Errorf("flavor %s is not in the lock file: add it with hooksmith update %s", p.opt.Flavor.ID, p.opt.Flavor.ID)
	}
	var err error
	if locked.Kernel != "" {
		if p.kernel, err = locked.find(locked.Kernel); err != nil {
			return nil, err
		}
	}
	names, err := p.firmwarePackages()
	if err != nil {
		return nil, err
	}
	for name := range names {
		if p.firmware[name], err = locked.find(locked.Firmware[name]); err != nil {
			return nil, fmt.Errorf("firmware %s: %w", name, err)
		}
	}
	if p.opt.Snapshot != "" {
		if p.opt.Mirrors, err = debian.SnapshotMirrors(p.opt.Snapshot); err != nil {
			return nil, err
		}
	}
	p.releases = locked.Releases
	return locked.find, nil
}

// firmwarePackages maps what flavor and user ask for to package names.
func (p *Plan) firmwarePackages() (map[string]string, error) {
	m := map[string]string{}
	for _, name := range slices.Concat(p.opt.Flavor.Firmware, p.opt.Firmware) {
		set, ok := p.policy.FirmwareSet(name)
		switch {
		case ok && !set.ForArch(p.arch):
			return nil, fmt.Errorf("firmware %s: there is none for %s", name, p.arch)
		case ok:
			m[name] = set.Package
		case strings.HasPrefix(name, "firmware-") || strings.HasSuffix(name, "-microcode"):
			m[name] = name
		default:
			return nil, fmt.Errorf("firmware %s: not a name of configs/modules.yaml (%s), nor a package such as firmware-bnx2", name, strings.Join(p.firmwareNames(), ", "))
		}
	}
	return m, nil
}

func (p *Plan) firmwareNames() []string {
	var names []string
	for _, s := range p.policy.Firmware {
		names = append(names, s.Name)
	}
	return names
}
