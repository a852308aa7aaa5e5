package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
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
	keys, err := debian.ShippedKeys(p.opt.Configs)
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
	list, err := p.selectPackages(ctx, repo, names, firmware)
	if err != nil {
		return nil, err
	}
	p.kernel = list.Kernel
	maps.Copy(p.firmware, list.Firmware)
	return list.find, nil
}

// packageList is what a build takes from the archive's indices.
type packageList struct {
	Kernel   *debian.Package            `json:"kernel,omitempty"`
	Firmware map[string]*debian.Package `json:"firmware,omitempty"`
	Packages []*debian.Package          `json:"packages"`
}

func (l *packageList) find(name string) (*debian.Package, error) {
	for _, pkg := range l.Packages {
		if pkg.Name == name {
			return pkg, nil
		}
	}
	return nil, fmt.Errorf("package %s was not looked for", name)
}

// selectPackages looks the names up in the archive's indices. They are large,
// so the answer is kept for as long as the archive is the same.
func (p *Plan) selectPackages(ctx context.Context, repo *debian.Repository, names []string, firmware map[string]string) (*packageList, error) {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	index := sync.OnceValues(func() (*debian.Index, error) { return repo.Index(ctx, p.arch.Debian(), names...) })
	p.owner = func(soname string) string {
		if x, err := index(); err == nil {
			return x.LibraryPackage(soname)
		}
		return ""
	}
	meta := p.opt.Flavor.Kernel.Debian
	key, err := buildID("package list 1", p.arch, p.releases, meta, names, firmware)
	if err != nil {
		return nil, err
	}
	f, err := p.opt.Cache.Derive(ctx, key, func(_ context.Context, w io.Writer) error {
		x, err := index()
		if err != nil {
			return err
		}
		list, err := lookUp(x, meta, names, firmware)
		if err != nil {
			return err
		}
		return json.NewEncoder(w).Encode(list)
	})
	if err != nil {
		var missing *missingKernel
		if errors.As(err, &missing) {
			return nil, fmt.Errorf("kernel of flavor %s: %w", p.opt.Flavor.ID, missing.err)
		}
		return nil, err
	}
	defer f.Close()
	var list packageList
	if err := json.NewDecoder(f).Decode(&list); err != nil {
		return nil, fmt.Errorf("reading the cached package list: %w", err)
	}
	return &list, nil
}

// missingKernel says that it is the kernel that was not found.
type missingKernel struct{ err error }

func (e *missingKernel) Error() string { return e.err.Error() }

// lookUp finds the packages in the index.
func lookUp(x *debian.Index, meta string, names []string, firmware map[string]string) (*packageList, error) {
	list := &packageList{Firmware: map[string]*debian.Package{}}
	var err error
	if meta != "" {
		if list.Kernel, err = x.ResolveMeta(meta); err != nil {
			return nil, &missingKernel{err}
		}
	}
	for name, pkg := range firmware {
		if list.Firmware[name], err = x.Package(pkg); err != nil {
			return nil, fmt.Errorf("firmware %s: %w", name, err)
		}
	}
	for _, name := range names {
		if name == meta || strings.Contains(name, "*") {
			continue
		}
		pkg, err := x.Package(name)
		if err != nil {
			return nil, err
		}
		list.Packages = append(list.Packages, pkg)
	}
	return list, nil
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
