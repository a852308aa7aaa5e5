package inspect

import "hooksmith/build"

// Schema is the version of the JSON form of a Report and of a Diff: it grows
// when a field goes or changes its meaning, not when one is added.
const Schema = 1

// Report is all that is known about one HookOS. Lists are sorted by name if
// nothing else is said; sizes are bytes.
type Report struct {
	Schema    int        `json:"schema"`
	Source    string     `json:"source"` // what was asked for
	Build     *Build     `json:"build,omitempty"`
	Kernel    *Kernel    `json:"kernel,omitempty"`
	Initramfs *Initramfs `json:"initramfs,omitempty"`
	Services  []Service  `json:"services"` // in the order in which they start
	Images    []Image    `json:"images"`   // container images that are embedded
	Packages  []Package  `json:"packages"`
	Init      string     `json:"init,omitempty"` // the program that the kernel starts
	Modules   *Modules   `json:"modules,omitempty"`
	Firmware  []Firmware `json:"firmware"`
	Warnings  []string   `json:"warnings"` // what is odd, and would be seen at the latest when it boots

	// Files is the root file system as it will be after boot, by path; in JSON
	// only if it was asked for.
	Files []File `json:"files,omitempty"`

	// Config is the kernel's configuration, Symbols what modules.symbols or
	// System.map list; both only for a Compare, where they are to be had.
	Config  map[string]string `json:"-"`
	Symbols map[string]bool   `json:"-"`
}

// Build is what hook.json says.
type Build struct {
	ID        string   `json:"id"`
	Flavor    string   `json:"flavor"`
	OutputID  string   `json:"output_id"`
	Generator string   `json:"generator"`
	Others    []string `json:"others,omitempty"` // output ids of the other builds in the folder
}

// Kernel is what the kernel image says of itself.
type Kernel struct {
	File        string `json:"file"`
	Format      string `json:"format"` // bzImage, Image, Image.gz or zboot
	Arch        string `json:"arch"`   // x86_64 or aarch64
	Release     string `json:"release"`
	Version     string `json:"version"`           // the whole line
	Cmdline     string `json:"cmdline,omitempty"` // that hook.json suggests
	CmdlineMax  int    `json:"cmdline_max,omitempty"`
	Size        int64  `json:"size"`
	LoadSize    int64  `json:"load_size,omitempty"` // memory that it takes when it starts
	EFI         bool   `json:"efi"`
	Signed      bool   `json:"signed"`
	ConfigFound string `json:"config_found,omitempty"` // where the configuration was read from
	digest      uint64
}

// Initramfs is the file and what it becomes in memory.
type Initramfs struct {
	File     string    `json:"file"`
	Size     int64     `json:"size"`
	Unpacked int64     `json:"unpacked"` // of all archives
	Memory   int64     `json:"memory"`   // that the root file system takes after boot: whole pages, hard links once
	RAMMiB   int64     `json:"ram_mib"`  // smallest machine that boots it
	RAMFrom  string    `json:"ram_from"` // "hook.json", "etc/hooksmith/ram" or "estimate"
	Entries  int       `json:"entries"`
	Arch     string    `json:"arch"`   // that most programs are for: x86_64, aarch64
	Layout   string    `json:"layout"` // hooksmith, linuxkit, initramfs-tools, dracut or unknown
	Segments []Segment `json:"segments"`
}

// Segment is one archive, or compressed stream of archives.
type Segment struct {
	Name        string   `json:"name,omitempty"` // in hook.json
	Holds       []string `json:"holds,omitempty"`
	Offset      int64    `json:"offset"`
	Size        int64    `json:"size"`
	Unpacked    int64    `json:"unpacked"` // of its files' contents
	Entries     int      `json:"entries"`
	Compression string   `json:"compression"`
}

// Service is a container that LinuxKit's layout starts.
type Service struct {
	Name       string   `json:"name"`
	Kind       string   `json:"kind"` // onboot, service or onshutdown
	Command    []string `json:"command,omitempty"`
	User       string   `json:"user,omitempty"`      // uid:gid if not 0:0
	Privileges []string `json:"privileges"`          // what it may do beyond a plain container, in words
	Caps       []string `json:"capabilities"`        // sorted, without CAP_
	Namespaces []string `json:"namespaces"`          // that it has to itself
	Binds      []string `json:"binds,omitempty"`     // source:destination of the host's folders
	Devices    []string `json:"devices,omitempty"`   // paths
	ReadOnly   bool     `json:"read_only,omitempty"` // its root
	Size       int64    `json:"size"`                // of its files, hard links once
}

// Image is an image in Docker's store.
type Image struct {
	ID      string   `json:"id"` // sha256:..
	Names   []string `json:"names"`
	Digests []string `json:"digests,omitempty"` // name@sha256:..
	Arch    string   `json:"arch,omitempty"`
	Layers  int      `json:"layers"`
	Size    int64    `json:"size"`              // as docker images prints it; a layer counts for each image that has it
	Missing []string `json:"missing,omitempty"` // layers that the store does not have
}

// Package is an entry of a package database, or of a software bill of
// materials where there is no database.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch,omitempty"`
	Kind    string `json:"kind"`         // deb, apk or spdx
	In      string `json:"in,omitempty"` // the part of the tree with the database: "", "containers/services/x/lower"; or the file
}

// Modules is the kernel's loadable modules.
type Modules struct {
	Release  string   `json:"release"`  // the folder below lib/modules
	Releases []string `json:"releases"` // all such folders
	Bytes    int64    `json:"bytes"`
	List     []Module `json:"list"`
}

// Module is one of them.
type Module struct {
	Name     string `json:"name"`
	Path     string `json:"path"`
	Size     int64  `json:"size"` // as stored
	Vermagic string `json:"vermagic,omitempty"`
	digest   uint64
}

// Firmware is a file below lib/firmware, or processor microcode that is loaded early.
type Firmware struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// File is a file of the root file system.
type File struct {
	Path     string `json:"path"`
	Size     int64  `json:"size"`
	Memory   int64  `json:"memory"` // whole pages; of a hard link only its first name
	Mode     string `json:"mode"`   // as ls prints it
	Owner    string `json:"owner,omitempty"`
	Target   string `json:"target,omitempty"`
	LinkOf   string `json:"link_of,omitempty"` // the first name of a hard link
	Segment  int    `json:"segment"`
	digest   uint64
	hasBytes bool // digest is one
}

// apply takes from hook.json what the files themselves do not say.
func (r *Report) apply(a *build.Artifacts, others []string) {
	if a == nil {
		return
	}
	r.Build = &Build{ID: a.BuildID, Flavor: a.Flavor, OutputID: a.OutputID, Generator: a.Generator, Others: others}
	if r.Kernel != nil {
		r.Kernel.Cmdline = a.Kernel.Cmdline
	}
	if r.Initramfs == nil {
		return
	}
	if a.RAMNeededMiB > 0 {
		r.Initramfs.RAMMiB, r.Initramfs.RAMFrom = a.RAMNeededMiB, build.ManifestName
	}
	for i := range r.Initramfs.Segments {
		s := &r.Initramfs.Segments[i]
		for _, known := range a.Segments {
			if known.Offset == s.Offset {
				s.Name, s.Holds = known.Name, known.Holds
			}
		}
	}
}
