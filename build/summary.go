package build

import (
	"slices"

	"hooksmith/build/debian"
	"hooksmith/build/linuxkit"
)

// Summary is a plan for humans and scripts.
type Summary struct {
	Flavor        string            `json:"flavor"`
	Kernel        string            `json:"kernel"`
	Images        []string          `json:"images"`
	Packages      []*debian.Package `json:"packages"`
	DownloadBytes int64             `json:"download_bytes"` // of packages, with an empty cache
	ImageBytes    int64             `json:"image_bytes"`    // of the layers of others' images, each once, as their source has them
	Outputs       []string          `json:"outputs"`
	Embedded      []EmbeddedImage   `json:"embedded,omitempty"`
}

// Summary returns what the plan would build, of what.
func (p *Plan) Summary() Summary {
	s := Summary{Flavor: p.opt.Flavor.ID, Images: []string{}, Packages: append([]*debian.Package{}, p.packages...), ImageBytes: p.foreign.size()}
	switch {
	case p.kernel != nil:
		s.Kernel = p.kernel.Name + " " + p.kernel.Version
	case p.boot != nil:
		s.Kernel = p.kernelExpanded()
		if digest, err := p.boot.Digest(); err == nil {
			s.Kernel += "@" + digest.String()
		}
	}
	for _, image := range p.cfg.Images() {
		ref := linuxkit.ReferenceExpand(image.Ref)
		if ours := p.images[ref]; ours != nil {
			s.Images = append(s.Images, ours.Ref)
		} else if f := p.foreign.get(ref); f != nil && ref != p.kernelExpanded() {
			s.Images = append(s.Images, ref+"@"+f.digest)
		}
	}
	slices.Sort(s.Images)
	for _, img := range p.embedded {
		s.Embedded = append(s.Embedded, EmbeddedImage{Names: img.Names, Digests: img.Digests, Source: img.Ref()})
	}
	for _, pkg := range p.packages {
		s.DownloadBytes += pkg.Size
	}
	for _, n := range p.outputNames() {
		s.Outputs = append(s.Outputs, n.name)
		if n.alias != "" {
			s.Outputs = append(s.Outputs, n.alias)
		}
	}
	s.Outputs = append(s.Outputs, ManifestName, ChecksumName, LockName)
	if !p.opt.NoSBOM {
		s.Outputs = append(s.Outputs, SBOMName)
	}
	return s
}

// outputName is a file that a build makes.
type outputName struct{ role, name, alias string }

// Roles of artifacts.
const (
	roleKernel    = "kernel"
	roleInitramfs = "initramfs"
	roleCmdline   = "cmdline"
	roleTar       = "tar"
)

// outputNames are the artifacts. Those of a flavor stand under its output id,
// and under the names that boot servers ask for; those of LinuxKit files have
// LinuxKit's names.
func (p *Plan) outputNames() []outputName {
	id, arch := p.opt.Flavor.OutputID, string(p.arch)
	if p.opt.Format == Tar {
		return []outputName{{roleTar, id + ".tar", ""}}
	}
	if len(p.opt.Files) == 0 {
		return []outputName{
			{roleKernel, "vmlinuz-" + id, "vmlinuz-" + arch},
			{roleInitramfs, "initramfs-" + id, "initramfs-" + arch},
		}
	}
	names := []outputName{{roleInitramfs, id + "-initrd.img", ""}}
	if p.kernel != nil || p.boot != nil {
		names = append([]outputName{{roleKernel, id + "-kernel", ""}}, names...)
		if p.cfg.Kernel.Cmdline.Value != "" {
			names = append(names, outputName{roleCmdline, id + "-cmdline", ""})
		}
	}
	return names
}

// output returns the artifact of a role, if there is one.
func (p *Plan) output(role string) (outputName, bool) {
	names := p.outputNames()
	if i := slices.IndexFunc(names, func(n outputName) bool { return n.role == role }); i >= 0 {
		return names[i], true
	}
	return outputName{}, false
}
