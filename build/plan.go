package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"hooksmith/build/debian"
	"hooksmith/build/fetch"
	"hooksmith/build/initramfs"
	"hooksmith/kernel"
)

// Options say what to build, from what, and where to. Flavor, Configs, Guest
// and Cache are required, Out too for Build.
type Options struct {
	Flavor  Flavor
	Out     string            // folder for the results
	Vars    map[string]string // variables of the template that the user sets
	Version string            // of hooksmith, for hook.json

	Compression initramfs.Compression // "" is zstd
	Level       int                   // 0 is the compression's default
	NoSBOM      bool
	Epoch       time.Time // no file of the initramfs is newer; zero: no limit

	Firmware       []string // beside the flavor's
	SSHKeys        []byte   // authorized_keys of the SSH server; none: no server
	CACertificates []byte   // PEM, trusted beside Debian's

	Lock     *Lock          // build exactly these inputs; nil: the newest
	Mirrors  debian.Mirrors // zero: ftp.debian.org
	Snapshot string         // time of snapshot.debian.org; "": Mirrors
	Now      func() time.Time

	Configs  fs.FS // flavors, templates, image definitions, keyrings
	Guest    fs.FS // guest-linux-ARCH, the program inside HookOS
	Cache    *fetch.Cache
	Observer fetch.Observer // nil: silent
	Log      *slog.Logger   // nil: silent
}

// Plan is a build whose inputs are all settled by name, version and hash, of
// which nothing has been unpacked.
type Plan struct {
	opt      Options
	arch     kernel.Arch
	policy   *kernel.Policy
	template []source // LinuxKit files, variables not yet expanded
	vars     map[string]string
	images   map[string]*debian.Plan // by reference
	kernel   *debian.Package
	firmware map[string]*debian.Package // by the name that was asked for
	packages []*debian.Package
	releases []LockedRelease
	inputs   []Input // all that is no package
	owner    func(soname string) string
}

type source struct {
	name string
	data []byte
}

// NewPlan settles the inputs of a build: it reads the configs, asks the Debian
// mirror (or the lock file) for packages, and names the images. With a lock,
// any difference from it is an error that lists what differs.
func NewPlan(ctx context.Context, opt Options) (*Plan, error) {
	p := &Plan{opt: opt, images: map[string]*debian.Plan{}, firmware: map[string]*debian.Package{}}
	if opt.Flavor.Unavailable != "" {
		return nil, fmt.Errorf("flavor %s cannot be built: %s", opt.Flavor.ID, strings.TrimSpace(opt.Flavor.Unavailable))
	}
	if p.opt.Log == nil {
		p.opt.Log = slog.New(slog.DiscardHandler)
	}
	var err error
	if p.arch, err = kernel.ParseArch(opt.Flavor.Arch); err != nil {
		return nil, err
	}
	if err := p.readConfigs(); err != nil {
		return nil, err
	}
	defs, err := p.definitions()
	if err != nil {
		return nil, err
	}
	lookup, err := p.openPackages(ctx, defs)
	if err != nil {
		return nil, err
	}
	if err := p.planImages(defs, lookup); err != nil {
		return nil, err
	}
	return p, p.checkLock()
}

// readConfigs reads the templates and the module policy.
func (p *Plan) readConfigs() error {
	names := []string{p.opt.Flavor.Template + ".yaml"}
	if len(p.opt.SSHKeys) > 0 {
		names = append(names, p.opt.Flavor.Template+"-ssh.yaml")
	}
	for _, name := range names {
		b, err := fs.ReadFile(p.opt.Configs, name)
		if err != nil {
			return fmt.Errorf("template of flavor %s: %w", p.opt.Flavor.ID, err)
		}
		p.template = append(p.template, source{name, b})
		p.addInput("template", name, b)
	}
	b, err := fs.ReadFile(p.opt.Configs, "modules.yaml")
	if err != nil {
		return err
	}
	p.addInput("policy", "modules.yaml", b)
	p.policy, err = kernel.ParsePolicy("modules.yaml", b)
	if len(p.opt.SSHKeys) > 0 {
		p.addInput("file", "ssh keys", p.opt.SSHKeys)
	}
	if len(p.opt.CACertificates) > 0 {
		p.addInput("file", "CA certificates", p.opt.CACertificates)
	}
	for _, name := range slices.Sorted(maps.Keys(p.opt.Vars)) {
		p.addInput("variable", name, []byte(p.opt.Vars[name]))
	}
	return err
}

func (p *Plan) addInput(kind, name string, content []byte) {
	sum := sha256.Sum256(content)
	p.inputs = append(p.inputs, Input{Kind: kind, Name: name, SHA256: hex.EncodeToString(sum[:])})
}

var imageVar = regexp.MustCompile(`\$\{?HOOK_CONTAINER_([A-Z0-9_]+)_IMAGE\b`)

// definitions returns the image definitions that the templates name and the
// user has not replaced: HOOK_CONTAINER_DOCKER_IMAGE is hook-docker.
func (p *Plan) definitions() (map[string]*debian.Definition, error) {
	sub, err := fs.Sub(p.opt.Configs, "images")
	if err != nil {
		return nil, err
	}
	all, err := debian.ReadDefinitions(sub)
	if err != nil {
		return nil, err
	}
	defs := map[string]*debian.Definition{}
	for _, t := range p.template {
		for _, m := range imageVar.FindAllSubmatch(t.data, -1) {
			variable := "HOOK_CONTAINER_" + string(m[1]) + "_IMAGE"
			if _, set := p.opt.Vars[variable]; set {
				continue
			}
			name := "hook-" + strings.ReplaceAll(strings.ToLower(string(m[1])), "_", "-")
			i := slices.IndexFunc(all, func(d *debian.Definition) bool { return d.Name == name })
			if i < 0 {
				return nil, fmt.Errorf("template %s names ${%s}, but there is no image %s: give one with --set %s=IMAGE", t.name, variable, name, variable)
			}
			defs[variable] = all[i]
		}
	}
	return defs, nil
}

type lookupFunc func(name string) (*debian.Package, error)

// openPackages settles where packages come from and which the kernel and the
// firmware are.
func (p *Plan) openPackages(ctx context.Context, defs map[string]*debian.Definition) (lookupFunc, error) {
	if p.opt.Lock != nil {
		return p.openLock()
	}
	keyFS, err := fs.Sub(p.opt.Configs, "keyrings")
	if err != nil {
		return nil, err
	}
	keys, err := debian.ReadKeyring(keyFS)
	if err != nil {
		return nil, err
	}
	firmware, err := p.firmwarePackages()
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
	names := []string{p.opt.Flavor.Kernel.Debian, "linux-image-*"}
	for _, d := range defs {
		names = append(names, d.PackageNames(p.arch.Debian())...)
	}
	names = append(names, slices.Collect(maps.Values(firmware))...)
	index, err := repo.Index(ctx, p.arch.Debian(), names...)
	if err != nil {
		return nil, err
	}
	p.owner = index.LibraryPackage
	if p.kernel, err = index.ResolveMeta(p.opt.Flavor.Kernel.Debian); err != nil {
		return nil, fmt.Errorf("kernel of flavor %s: %w", p.opt.Flavor.ID, err)
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
	if p.kernel, err = locked.find(locked.Kernel); err != nil {
		return nil, err
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
	p.owner = func(string) string { return "" }
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

// planImages names every image and sets the template's variables.
func (p *Plan) planImages(defs map[string]*debian.Definition, lookup lookupFunc) error {
	p.packages = append(p.packages, p.kernel)
	for _, pkg := range p.firmware {
		p.packages = append(p.packages, pkg)
	}
	p.vars = maps.Clone(p.opt.Vars)
	if p.vars == nil {
		p.vars = map[string]string{}
	}
	for _, variable := range slices.Sorted(maps.Keys(defs)) {
		img, err := defs[variable].Plan(p.arch.Debian(), lookup, p.opt.Guest)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w (this hooksmith was built without it: run make build)", err)
		}
		if err != nil {
			return err
		}
		p.vars[variable] = img.Ref
		p.images[img.Ref] = img
		p.packages = append(p.packages, img.Packages...)
		p.inputs = append(p.inputs, Input{Kind: "image", Name: img.Definition.Name, Version: img.Ref})
	}
	p.packages = sortPackages(p.packages)
	p.setDefault("HOOK_VERSION", p.opt.Version)
	p.setDefault("HOOK_KERNEL_IMAGE", p.kernelRef())
	p.setDefault("HOOK_KERNEL_ID", p.opt.Flavor.ID)
	p.setDefault("HOOK_KERNEL_VERSION", p.kernel.Version)
	p.setDefault("HOOK_FLAVOR", p.opt.Flavor.ID)
	p.setDefault("HOOK_ARCH", string(p.arch))
	p.setDefault("HOOK_CMDLINE", defaultCmdline[p.arch])
	p.setDefault("HOOK_SSH_KEYS", string(p.opt.SSHKeys))
	return nil
}

// defaultCmdline is what the template suggests for the kernel: the last
// console is /dev/console.
var defaultCmdline = map[kernel.Arch]string{
	kernel.X86_64:  "console=tty0 console=ttyS0,115200",
	kernel.AArch64: "console=tty0 console=ttyAMA0,115200",
}

func (p *Plan) setDefault(name, value string) {
	if _, ok := p.vars[name]; !ok {
		p.vars[name] = value
	}
}

var notTag = regexp.MustCompile(`[^A-Za-z0-9_.-]`)

// kernelRef names the kernel's package like an image, for the template.
func (p *Plan) kernelRef() string {
	return "hooksmith/" + notTag.ReplaceAllString(p.kernel.Name, "_") + ":" + notTag.ReplaceAllString(p.kernel.Version, "_")
}

// Locked is the plan as a lock file keeps it.
func (p *Plan) Locked() *LockedFlavor {
	f := &LockedFlavor{ID: p.opt.Flavor.ID, Releases: p.releases, Kernel: p.kernel.Name, Packages: p.packages, Inputs: p.inputs}
	for name, pkg := range p.firmware {
		if f.Firmware == nil {
			f.Firmware = map[string]string{}
		}
		f.Firmware[name] = pkg.Name
	}
	return f
}

// checkLock compares the plan with the lock that it was made from.
func (p *Plan) checkLock() error {
	if p.opt.Lock == nil {
		return nil
	}
	if diff := p.opt.Lock.Flavors[p.opt.Flavor.ID].diff(p.Locked()); len(diff) > 0 {
		return fmt.Errorf("--locked: the inputs are not those of the lock file (renew it with hooksmith update):\n  %s", strings.Join(diff, "\n  "))
	}
	return nil
}

// Summary is a plan for humans and scripts.
type Summary struct {
	Flavor        string            `json:"flavor"`
	Kernel        string            `json:"kernel"`
	Images        []string          `json:"images"`
	Packages      []*debian.Package `json:"packages"`
	DownloadBytes int64             `json:"download_bytes"` // with an empty cache
	Outputs       []string          `json:"outputs"`
}

// Summary returns what the plan would build, of what.
func (p *Plan) Summary() Summary {
	s := Summary{Flavor: p.opt.Flavor.ID, Kernel: p.kernel.Name + " " + p.kernel.Version, Packages: p.packages}
	s.Images = slices.Sorted(maps.Keys(p.images))
	for _, pkg := range p.packages {
		s.DownloadBytes += pkg.Size
	}
	for _, n := range p.outputNames() {
		s.Outputs = append(s.Outputs, n.name, n.alias)
	}
	s.Outputs = append(s.Outputs, ManifestName, ChecksumName, LockName)
	if !p.opt.NoSBOM {
		s.Outputs = append(s.Outputs, SBOMName)
	}
	return s
}

type outputName struct{ role, name, alias string }

// outputNames are the two artifacts: under the flavor's output id, and under
// the names that boot servers ask for.
func (p *Plan) outputNames() []outputName {
	id, arch := p.opt.Flavor.OutputID, string(p.arch)
	return []outputName{
		{"kernel", "vmlinuz-" + id, "vmlinuz-" + arch},
		{"initramfs", "initramfs-" + id, "initramfs-" + arch},
	}
}
