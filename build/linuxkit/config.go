package linuxkit

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Pos is a place in a source: a file of Parse, or the label of an image.
// Lines and columns count from 1. They are those of the bytes given to Parse,
// so after Expand they are those of the expanded text.
type Pos struct {
	File         string
	Line, Column int
}

// String returns "file:line:column", shorter where less is known.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Setting is the value of one key together with its presence: LinuxKit lets a
// key that is set but empty win over a label, and one that is absent not.
type Setting[T any] struct {
	Value T
	Set   bool
	Pos   Pos   // of the key
	Elems []Pos // of the elements, if the value is a list
}

// at returns the place of element i, or that of the key if it has none.
func (s Setting[T]) at(i int) Pos {
	if i >= 0 && i < len(s.Elems) {
		return s.Elems[i]
	}
	return s.Pos
}

// Section is the list that a container stands in.
type Section string

// The sections of containers, in the order in which they are laid out.
const (
	Onboot     Section = "onboot"
	Onshutdown Section = "onshutdown"
	Services   Section = "services"
)

// Config is the content of one or more LinuxKit files, validated as far as
// that is possible without the images.
type Config struct {
	Kernel     Kernel
	Init       []Image
	Onboot     []*Container
	Onshutdown []*Container
	Services   []*Container
	Files      []*File
	Volumes    []*Volume

	trust []Pos  // of the `trust` keys, which have no effect
	doc   *node  // the merged document, for `metadata`
	last  string // name of the last file
}

// Image is the reference of an image as the file has it (see ReferenceExpand).
type Image struct {
	Ref string
	Pos Pos
}

// Kernel is the key `kernel`. All of it may be unset.
type Kernel struct {
	Image   Setting[string]
	Cmdline Setting[string]
	Binary  Setting[string]
	Tar     Setting[string]
	UCode   Setting[string]
}

// BinaryName returns the name of the kernel in its image.
func (k Kernel) BinaryName() string {
	if k.Binary.Value == "" {
		return "kernel"
	}
	return k.Binary.Value
}

// TarName returns the name of the tar of modules in the image, or "" if none
// is wanted.
func (k Kernel) TarName() string {
	switch {
	case !k.Tar.Set:
		return "kernel.tar"
	case k.Tar.Value == "none":
		return ""
	}
	return k.Tar.Value
}

// Container is one element of onboot, onshutdown or services.
type Container struct {
	Section Section
	Index   int // in its section, all files taken together
	Pos     Pos
	Name    Setting[string]
	Image   Setting[string]
	Settings
}

// String returns what errors call the container: `services[2] "docker"`.
func (c *Container) String() string {
	return fmt.Sprintf("%s[%d] %.80q", c.Section, c.Index, c.Name.Value)
}

// Location returns the container's place as LinuxKit names it in tar files,
// such as "services[2]".
func (c *Container) Location() string { return fmt.Sprintf("%s[%d]", c.Section, c.Index) }

// Dir returns where the container lies in the image. Containers that run once
// are numbered, because their order of execution is the order of names.
func (c *Container) Dir() string {
	if c.Section == Services {
		return "containers/services/" + c.Name.Value
	}
	return fmt.Sprintf("containers/%s/%03d-%s", c.Section, c.Index, c.Name.Value)
}

// Settings are the keys that may stand both in a file and in the label of an
// image (LabelKey).
type Settings struct {
	Capabilities      Setting[[]string]
	CapabilitiesAdd   Setting[[]string]
	Ambient           Setting[[]string]
	Mounts            Setting[[]specs.Mount]
	Binds             Setting[[]string]
	BindsAdd          Setting[[]string]
	Devices           Setting[[]Device]
	Tmpfs             Setting[[]string]
	Command           Setting[[]string]
	Env               Setting[[]string]
	Cwd               Setting[string]
	Net               Setting[string]
	Pid               Setting[string]
	Ipc               Setting[string]
	Uts               Setting[string]
	Userns            Setting[string]
	Hostname          Setting[string]
	Readonly          Setting[bool]
	MaskedPaths       Setting[[]string]
	ReadonlyPaths     Setting[[]string]
	UID               Setting[ID]
	GID               Setting[ID]
	AdditionalGids    Setting[[]ID]
	NoNewPrivileges   Setting[bool]
	OOMScoreAdj       Setting[int]
	RootfsPropagation Setting[string]
	CgroupsPath       Setting[string]
	Resources         Setting[specs.LinuxResources]
	Sysctl            Setting[map[string]string]
	Rlimits           Setting[[]string]
	UIDMappings       Setting[[]specs.LinuxIDMapping]
	GIDMappings       Setting[[]specs.LinuxIDMapping]
	Annotations       Setting[map[string]string]
	Runtime           Runtime
}

// Runtime is the key `runtime`, what runtime.json is made of.
type Runtime struct {
	Cgroups    Setting[[]string]
	Mounts     Setting[[]specs.Mount]
	Mkdir      Setting[[]string]
	Interfaces Setting[[]Interface]
	BindNS     BindNS
	Namespace  Setting[string]
}

// Interface is a network interface that is made for, or moved into, a
// container.
type Interface struct {
	Name         string `json:"name,omitempty"`
	Add          string `json:"add,omitempty"`
	Peer         string `json:"peer,omitempty"`
	CreateInRoot bool   `json:"createInRoot"`
}

// BindNS says where the namespaces of a container are bound for others.
type BindNS struct {
	Cgroup, Ipc, Mnt, Net, Pid, User, Uts Setting[string]
}

// Device is a device node of a container. The path "all" means no node but a
// rule for every device of the type.
type Device struct {
	Path, Type   string
	Major, Minor int64
	Mode         string // octal
}

// ID is a user or group: a number, or the name of a container, which stands
// for the number that is allocated to it.
type ID struct {
	Name string
	Num  uint32
}

// File is one element of files.
type File struct {
	Index     int
	Pos       Pos
	Path      Setting[string]
	Directory Setting[bool]
	Symlink   Setting[string]
	Contents  Setting[string]
	Source    Setting[string]
	Metadata  Setting[string]
	Optional  Setting[bool]
	Mode      Setting[string]
	UID       Setting[ID]
	GID       Setting[ID]
}

// String returns what errors call the file: `files[3] "/etc/motd"`.
func (f *File) String() string { return fmt.Sprintf("files[%d] %.80q", f.Index, f.Path.Value) }

// Volume is one element of volumes.
type Volume struct {
	Index     int
	Pos       Pos
	Name      Setting[string]
	Image     Setting[string]
	Readonly  Setting[bool]
	Format    Setting[string]
	Platforms Setting[[]string]
}

// String returns what errors call the volume: `volumes[0] "data"`.
func (v *Volume) String() string { return fmt.Sprintf("volumes[%d] %.80q", v.Index, v.Name.Value) }

// dir returns where the volume lies in the image.
func (v *Volume) dir() string { return "containers/volumes/" + v.Name.Value }

// merged returns where the volume is mounted in the running system.
func (v *Volume) merged() string { return "/" + v.dir() + "/merged" }

// Containers returns all containers in the order of layout: onboot,
// onshutdown, services.
func (c *Config) Containers() []*Container {
	all := make([]*Container, 0, len(c.Onboot)+len(c.Onshutdown)+len(c.Services))
	all = append(all, c.Onboot...)
	all = append(all, c.Onshutdown...)
	return append(all, c.Services...)
}

// Images returns every image that the configuration names, each reference
// once, expanded, in order of first use: the kernel's, init, volumes,
// containers. It is what a caller pulls ahead, in parallel.
func (c *Config) Images() []Image {
	var all []Image
	seen := map[string]bool{}
	add := func(ref string, pos Pos) {
		ref = ReferenceExpand(ref)
		if ref != "" && !seen[ref] {
			seen[ref] = true
			all = append(all, Image{ref, pos})
		}
	}
	add(c.Kernel.Image.Value, c.Kernel.Image.Pos)
	for _, image := range c.Init {
		add(image.Ref, image.Pos)
	}
	for _, v := range c.Volumes {
		add(v.Image.Value, v.Image.Pos)
	}
	for _, container := range c.Containers() {
		add(container.Image.Value, container.Image.Pos)
	}
	return all
}

// firstID is the number of the first container; every further one, in the
// order of Containers, has the next.
const firstID = 100

// ids returns the number that each container's name stands for. Of containers
// of the same name the last one counts, as in LinuxKit.
func (c *Config) ids() map[string]uint32 {
	ids := map[string]uint32{}
	for i, container := range c.Containers() {
		ids[container.Name.Value] = firstID + uint32(i)
	}
	return ids
}

// volumes returns the volumes by name.
func (c *Config) volumes() map[string]*Volume {
	byName := map[string]*Volume{}
	for _, v := range c.Volumes {
		byName[v.Name.Value] = v
	}
	return byName
}
