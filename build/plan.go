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

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hooksmith/build/debian"
	"hooksmith/build/images"
	"hooksmith/build/linuxkit"
	"hooksmith/embed"
	"hooksmith/kernel"
)

// Plan is a build whose inputs are all settled by name, version and hash, of
// which nothing has been unpacked.
type Plan struct {
	opt      Options
	version  string // of HookOS
	arch     kernel.Arch
	policy   *kernel.Policy
	template []linuxkit.Source // variables not yet expanded
	vars     map[string]string
	images   map[string]*debian.Plan    // made by us, by expanded reference
	wanted   []string                   // variables of images that we neither make nor know
	foreign  *foreign                   // images of others
	kernel   *debian.Package            // nil: an image, or none
	firmware map[string]*debian.Package // by the name that was asked for
	packages []*debian.Package
	releases []LockedRelease
	inputs   []Input // all that is no package
	owner    func(soname string) string

	cfg      *linuxkit.Config
	resolved *linuxkit.Resolved
	boot     v1.Image // the kernel, if it is an image
	embedded []embed.Image
}

// NewPlan settles the inputs of a build: it reads the configs, asks the Debian
// mirror (or the lock file) for packages, and finds the images. With a lock,
// any difference from it is an error that lists what differs.
func NewPlan(ctx context.Context, opt Options) (*Plan, error) {
	if opt.Flavor.Unavailable != "" {
		return nil, fmt.Errorf("flavor %s cannot be built: %s", opt.Flavor.ID, strings.TrimSpace(opt.Flavor.Unavailable))
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	p := &Plan{opt: opt, images: map[string]*debian.Plan{}, firmware: map[string]*debian.Package{}, owner: unknownOwner}
	var err error
	if p.arch, err = kernel.ParseArch(opt.Flavor.Arch); err != nil {
		return nil, err
	}
	// 1. What is on this machine: template, policy, variables, definitions.
	if err := p.readConfigs(); err != nil {
		return nil, err
	}
	defs, err := p.definitions()
	if err != nil {
		return nil, err
	}
	// 2. Debian's packages, and our images that are made of them.
	lookup, err := p.openPackages(ctx, defs)
	if err != nil {
		return nil, err
	}
	if err := p.planImages(ctx, defs, lookup); err != nil {
		return nil, err
	}
	// 3. The template, which now names all images, and those of others.
	if err := p.resolve(ctx); err != nil {
		return nil, err
	}
	// 4. The images that docker shall have.
	if err := p.planEmbed(ctx); err != nil {
		return nil, err
	}
	return p, p.checkLock()
}

// unknownOwner is for builds that have read no package index.
func unknownOwner(string) string { return "" }

// readConfigs reads the templates and the module policy.
func (p *Plan) readConfigs() error {
	if err := p.readTemplates(); err != nil {
		return err
	}
	version, err := fs.ReadFile(p.opt.Configs, "version.txt")
	if err != nil {
		return err
	}
	p.version = strings.TrimSpace(string(version))
	p.addInput("version", "HookOS", version)
	b, err := fs.ReadFile(p.opt.Configs, "modules.yaml")
	if err != nil {
		return err
	}
	if p.policy, err = kernel.ParsePolicy("modules.yaml", b); err != nil {
		return err
	}
	if p.opt.Flavor.Kernel.Debian != "" {
		p.addInput("policy", "modules.yaml", b)
	}
	if len(p.opt.SSHKeys) > 0 {
		p.addInput("file", "ssh keys", p.opt.SSHKeys)
	}
	if len(p.opt.CACertificates) > 0 {
		p.addInput("file", "CA certificates", p.opt.CACertificates)
	}
	p.vars = map[string]string{}
	maps.Copy(p.vars, p.opt.Flavor.Variables)
	maps.Copy(p.vars, p.opt.Vars)
	for _, name := range slices.Sorted(maps.Keys(p.vars)) {
		p.addInput("variable", name, []byte(p.vars[name]))
	}
	return nil
}

// readTemplates reads the flavor's LinuxKit files, or takes those of the user.
func (p *Plan) readTemplates() error {
	var err error
	if p.template, err = p.opt.templates(); err != nil {
		return err
	}
	for _, t := range p.template {
		p.addInput("template", t.Name, t.Data)
	}
	return nil
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
		for _, m := range imageVar.FindAllSubmatch(t.Data, -1) {
			variable := "HOOK_CONTAINER_" + string(m[1]) + "_IMAGE"
			if _, set := p.vars[variable]; set {
				continue
			}
			name := imageName(variable)
			i := slices.IndexFunc(all, func(d *debian.Definition) bool { return d.Name == name })
			if i >= 0 {
				defs[variable] = all[i]
			} else if len(p.opt.Files) == 0 {
				p.wanted = append(p.wanted, variable)
			}
		}
	}
	return defs, nil
}

// planImages names our own images and the kernel, and sets the template's
// variables.
func (p *Plan) planImages(ctx context.Context, defs map[string]*debian.Definition, lookup lookupFunc) error {
	if p.kernel != nil {
		p.packages = append(p.packages, p.kernel)
	}
	for _, pkg := range p.firmware {
		p.packages = append(p.packages, pkg)
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
		p.images[linuxkit.ReferenceExpand(img.Ref)] = img
		p.packages = append(p.packages, img.Packages...)
		p.inputs = append(p.inputs, Input{Kind: "image", Name: img.Definition.Name, Version: img.Ref})
	}
	p.packages = sortPackages(p.packages)
	p.setDefault("HOOK_VERSION", p.version)
	p.setDefault("HOOK_KERNEL_ID", p.opt.Flavor.ID)
	p.setDefault("HOOK_FLAVOR", p.opt.Flavor.ID)
	p.setDefault("HOOK_ARCH", string(p.arch))
	p.setDefault("HOOK_CMDLINE", defaultCmdline[p.arch])
	p.setDefault("HOOK_SSH_KEYS", string(p.opt.SSHKeys))
	if err := p.namePublished(ctx); err != nil {
		return err
	}
	return p.nameKernel(ctx)
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

// Locked is the plan as a lock file keeps it.
func (p *Plan) Locked() *LockedFlavor {
	f := &LockedFlavor{ID: p.opt.Flavor.ID, Releases: p.releases, Packages: p.packages, Inputs: p.inputs}
	if p.kernel != nil {
		f.Kernel = p.kernel.Name
	}
	f.Images = p.pins()
	for name, pkg := range p.firmware {
		if f.Firmware == nil {
			f.Firmware = map[string]string{}
		}
		f.Firmware[name] = pkg.Name
	}
	return f
}

// pins are what the references that were asked for stood for.
func (p *Plan) pins() []images.Pin {
	if source, ok := p.opt.Images.(interface{ Resolved() []images.Pin }); ok {
		return source.Resolved()
	}
	return nil
}

// pinOf is what a reference stood for.
func (p *Plan) pinOf(ref string) (pin images.Pin, ok bool) {
	pins := p.pins()
	i := slices.IndexFunc(pins, func(pin images.Pin) bool { return pin.Ref == linuxkit.ReferenceExpand(ref) })
	if i < 0 {
		return pin, false
	}
	return pins[i], true
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
