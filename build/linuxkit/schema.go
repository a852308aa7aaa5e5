package linuxkit

import (
	"errors"
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// config reads the top level of a file (linuxkit.md 1.2). At every level an
// unknown key is an error.
func (d *decoder) config(n *node) *Config {
	c := &Config{doc: n}
	d.object(where{}, n, fields{
		"kernel":     put(&c.Kernel, objectOf(kernelFields)),
		"init":       put(&c.Init, listOf(readImage)),
		"onboot":     put(&c.Onboot, containers(Onboot)),
		"onshutdown": put(&c.Onshutdown, containers(Onshutdown)),
		"services":   put(&c.Services, containers(Services)),
		"files":      put(&c.Files, readFiles),
		"volumes":    put(&c.Volumes, readVolumes),
		"trust": func(d *decoder, at where, e entry) {
			c.trust = append(c.trust, e.pos)
			d.object(at, e.value, fields{
				"image": ignore(listOf(stringOf())),
				"org":   ignore(listOf(stringOf())),
			})
		},
	})
	return c
}

func kernelFields(k *Kernel) fields {
	return fields{
		"image":   set(&k.Image, stringOf(checkImage)),
		"cmdline": set(&k.Cmdline, stringOf()),
		"binary":  set(&k.Binary, stringOf()),
		"tar":     set(&k.Tar, stringOf()),
		"ucode":   set(&k.UCode, stringOf()),
	}
}

func readImage(d *decoder, at where, n *node) Image {
	return Image{stringOf(checkImage)(d, at, n), n.pos}
}

// containers reads a section. Messages inside an element name the section,
// the index and, as soon as it is known, the name.
func containers(section Section) reader[[]*Container] {
	return func(d *decoder, at where, n *node) []*Container {
		var all []*Container
		if !d.is(at, n, list) {
			return nil
		}
		for i, item := range n.items {
			c := &Container{Section: section, Index: i, Pos: item.pos}
			known := settingsFields(&c.Settings)
			known["name"] = set(&c.Name, stringOf(checkName))
			known["image"] = set(&c.Image, stringOf(checkImage))
			d.object(itemAt(string(section), i, item, "name"), item, known, "name", "image")
			all = append(all, c)
		}
		return all
	}
}

// itemAt names an element of a section by its index and its name.
func itemAt(section string, i int, n *node, key string) where {
	item := fmt.Sprintf("%s[%d]", section, i)
	if name := n.get(key); name != nil && name.kind == text {
		item = fmt.Sprintf("%s %.80q", item, name.text)
	}
	return where{item: item}
}

// settingsFields are the keys of an image object but for name and image.
func settingsFields(s *Settings) fields {
	text, texts := stringOf(), listOf(stringOf())
	return fields{
		"capabilities":      set(&s.Capabilities, readCapabilities),
		"capabilities.add":  set(&s.CapabilitiesAdd, readCapabilities),
		"ambient":           set(&s.Ambient, readCapabilities),
		"mounts":            set(&s.Mounts, listOf(readMount)),
		"binds":             set(&s.Binds, listOf(stringOf(checkBind))),
		"binds.add":         set(&s.BindsAdd, listOf(stringOf(checkBind))),
		"devices":           set(&s.Devices, listOf(readDevice)),
		"tmpfs":             set(&s.Tmpfs, listOf(stringOf(checkTmpfs))),
		"command":           set(&s.Command, texts),
		"env":               set(&s.Env, texts),
		"cwd":               set(&s.Cwd, text),
		"net":               set(&s.Net, text),
		"pid":               set(&s.Pid, text),
		"ipc":               set(&s.Ipc, text),
		"uts":               set(&s.Uts, text),
		"userns":            set(&s.Userns, text),
		"hostname":          set(&s.Hostname, text),
		"readonly":          set(&s.Readonly, readBool),
		"maskedPaths":       set(&s.MaskedPaths, texts),
		"readonlyPaths":     set(&s.ReadonlyPaths, texts),
		"uid":               set(&s.UID, readID),
		"gid":               set(&s.GID, readID),
		"additionalGids":    set(&s.AdditionalGids, listOf(readID)),
		"noNewPrivileges":   set(&s.NoNewPrivileges, readBool),
		"oomScoreAdj":       set(&s.OOMScoreAdj, intOf[int](-1000, 1000)),
		"rootfsPropagation": set(&s.RootfsPropagation, text),
		"cgroupsPath":       set(&s.CgroupsPath, text),
		"resources":         set(&s.Resources, objectOf(resourcesFields)),
		"sysctl":            set(&s.Sysctl, readMap),
		"rlimits":           set(&s.Rlimits, listOf(stringOf(checkRlimit))),
		"uidMappings":       set(&s.UIDMappings, listOf(objectOf(mappingFields))),
		"gidMappings":       set(&s.GIDMappings, listOf(objectOf(mappingFields))),
		"annotations":       set(&s.Annotations, readMap),
		"runtime": func(d *decoder, at where, e entry) {
			d.object(at, e.value, runtimeFields(&s.Runtime))
		},
	}
}

func runtimeFields(r *Runtime) fields {
	texts := listOf(stringOf())
	return fields{
		"cgroups":    set(&r.Cgroups, texts),
		"mounts":     set(&r.Mounts, listOf(objectOf(mountFields))),
		"mkdir":      set(&r.Mkdir, texts),
		"interfaces": set(&r.Interfaces, listOf(objectOf(interfaceFields))),
		"namespace":  set(&r.Namespace, stringOf()),
		"bindNS": func(d *decoder, at where, e entry) {
			d.object(at, e.value, bindNSFields(&r.BindNS))
		},
	}
}

func bindNSFields(b *BindNS) fields {
	path := stringOf()
	return fields{
		"cgroup": set(&b.Cgroup, path), "ipc": set(&b.Ipc, path), "mnt": set(&b.Mnt, path),
		"net": set(&b.Net, path), "pid": set(&b.Pid, path), "user": set(&b.User, path), "uts": set(&b.Uts, path),
	}
}

func interfaceFields(i *Interface) fields {
	return fields{
		"name": put(&i.Name, stringOf()), "add": put(&i.Add, stringOf()), "peer": put(&i.Peer, stringOf()),
		"createInRoot": put(&i.CreateInRoot, readBool),
	}
}

// mountFields has the id mappings in both spellings that are in use.
func mountFields(m *specs.Mount) fields {
	uid := put(&m.UIDMappings, listOf(objectOf(mappingFields)))
	gid := put(&m.GIDMappings, listOf(objectOf(mappingFields)))
	return fields{
		"destination": put(&m.Destination, stringOf()),
		"type":        put(&m.Type, stringOf()),
		"source":      put(&m.Source, stringOf()),
		"options":     put(&m.Options, listOf(stringOf())),
		"uidMappings": uid, "uidmappings": uid,
		"gidMappings": gid, "gidmappings": gid,
	}
}

func mappingFields(m *specs.LinuxIDMapping) fields {
	return fields{
		"containerID": put(&m.ContainerID, readUint32),
		"hostID":      put(&m.HostID, readUint32),
		"size":        put(&m.Size, readUint32),
	}
}

// readMount reads a mount of a container and completes it.
func readMount(d *decoder, at where, n *node) specs.Mount {
	before := len(d.errs)
	m := objectOf(mountFields)(d, at, n)
	if len(d.errs) > before {
		return m
	}
	complete, err := completeMount(m)
	if err != nil {
		d.fail(n.pos, at, "%v", err)
	}
	return complete
}

func readDevice(d *decoder, at where, n *node) Device {
	dev := objectOf(func(dev *Device) fields {
		return fields{
			"path":  put(&dev.Path, stringOf()),
			"type":  put(&dev.Type, stringOf(oneOf("a", "b", "c", "u", "p"))),
			"major": put(&dev.Major, intOf[int64](-1, math.MaxUint32)),
			"minor": put(&dev.Minor, intOf[int64](-1, math.MaxUint32)),
			"mode":  put(&dev.Mode, stringOf(checkOctal)),
		}
	}, "path", "type")(d, at, n)
	if n.kind != object || dev.Path == "" || dev.Path == allDevices {
		return dev
	}
	if n.get("mode") == nil {
		d.fail(n.pos, at, "missing key \"mode\": the device node %.80q needs one, such as \"0600\"", dev.Path)
	}
	if dev.Type == "a" {
		d.fail(n.pos, at, "type \"a\" is for path \"all\" only; a node is b, c, u or p")
	}
	return dev
}

func readCapabilities(d *decoder, at where, n *node) []string {
	names := listOf(stringOf())(d, at, n)
	for i, name := range names {
		if i >= len(n.items) || n.items[i].kind != text {
			continue
		}
		if err := checkCapability(name, len(names)); err != nil {
			d.fail(n.items[i].pos, at.index(i), "%v", err)
		}
	}
	return names
}

func readFiles(d *decoder, at where, n *node) []*File {
	var all []*File
	if !d.is(at, n, list) {
		return nil
	}
	for i, item := range n.items {
		f := &File{Index: i, Pos: item.pos}
		at := itemAt("files", i, item, "path")
		before := len(d.errs)
		d.object(at, item, fileFields(f), "path")
		if len(d.errs) == before {
			if err := f.check(); err != nil {
				d.fail(item.pos, at, "%v", err)
			}
		}
		all = append(all, f)
	}
	return all
}

func fileFields(f *File) fields {
	return fields{
		"path":      set(&f.Path, stringOf(checkFilePath)),
		"directory": set(&f.Directory, readBool),
		"symlink":   set(&f.Symlink, stringOf()),
		"contents":  set(&f.Contents, stringOf()),
		"source":    set(&f.Source, stringOf()),
		"metadata":  set(&f.Metadata, stringOf(oneOf("json", "yaml"))),
		"optional":  set(&f.Optional, readBool),
		"mode":      set(&f.Mode, stringOf(checkOctal)),
		"uid":       set(&f.UID, readID),
		"gid":       set(&f.GID, readID),
	}
}

// check finds keys of a file that do not go together.
func (f *File) check() error {
	var kinds []string
	for kind, present := range map[string]bool{
		"directory": f.Directory.Value, "symlink": f.Symlink.Value != "",
		"contents": f.Contents.Set, "source": f.Source.Value != "", "metadata": f.Metadata.Value != "",
	} {
		if present {
			kinds = append(kinds, kind)
		}
	}
	switch len(kinds) {
	case 0:
		return errors.New("has no contents: one of contents, source, metadata, symlink and directory is needed")
	case 1:
		return nil
	}
	slices.Sort(kinds)
	return fmt.Errorf("%s exclude each other", strings.Join(kinds, " and "))
}

func readVolumes(d *decoder, at where, n *node) []*Volume {
	var all []*Volume
	if !d.is(at, n, list) {
		return nil
	}
	for i, item := range n.items {
		v := &Volume{Index: i, Pos: item.pos}
		d.object(itemAt("volumes", i, item, "name"), item, fields{
			"name":      set(&v.Name, stringOf(checkVolumeName)),
			"image":     set(&v.Image, stringOf(checkImage)),
			"readonly":  set(&v.Readonly, readBool),
			"format":    set(&v.Format, stringOf(oneOf("filesystem", "oci"))),
			"platforms": set(&v.Platforms, listOf(stringOf(checkPlatform))),
		}, "name")
		all = append(all, v)
	}
	return all
}

// checkName makes sure that a container's name is one component of a path.
func checkName(s string) error {
	if s == "" || s == "." || s == ".." || strings.ContainsAny(s, "/\x00\n") || strings.HasPrefix(s, ".wh.") || len(s) > 200 {
		return fmt.Errorf("%.80q cannot be the name of a folder", s)
	}
	return nil
}

var volumeName = regexp.MustCompile(`^[a-z0-9_-]+$`)

func checkVolumeName(s string) error {
	if !volumeName.MatchString(s) || len(s) > 200 {
		return fmt.Errorf("%.80q: a volume's name has lower-case letters, digits, - and _ only", s)
	}
	return nil
}

// checkImage finds references that can never work. An unset variable of a
// template is not one: Lint and Resolve speak of it.
func checkImage(s string) error {
	if strings.HasPrefix(s, "@") {
		return fmt.Errorf("%.80q: package paths are a LinuxKit template; build the package and write the image's reference", s)
	}
	if strings.ContainsAny(s, " \t\n") {
		return fmt.Errorf("%.80q: an image reference has no spaces", s)
	}
	return nil
}

// checkOctal wants a mode as octal digits.
func checkOctal(s string) error {
	mode, err := strconv.ParseUint(s, 8, 32)
	if err != nil || mode > 0o7777 {
		return fmt.Errorf("%.40q is not an octal mode such as \"0644\"", s)
	}
	return nil
}

// checkFilePath refuses paths that leave the tree or that mean something
// else in a layer.
func checkFilePath(s string) error {
	p := strings.Trim(s, "/")
	for _, part := range strings.Split(p, "/") {
		switch {
		case part == "..":
			return fmt.Errorf("%.80q: .. is not allowed", s)
		case strings.HasPrefix(part, ".wh."):
			return fmt.Errorf("%.80q: names that begin with .wh. are deletions in an image layer", s)
		case strings.ContainsAny(part, "\x00\n"):
			return fmt.Errorf("%.80q is not a file name", s)
		case len(part) > 255:
			return fmt.Errorf("%.40q...: a file name has at most 255 bytes, this has %d", part, len(part))
		}
	}
	switch p = path.Clean("/" + p)[1:]; {
	case p == "":
		return fmt.Errorf("%.80q is not the path of a file", s)
	case p == "TRAILER!!!":
		return fmt.Errorf("%.80q: this name ends a cpio archive; rename the file", s)
	case len(p) > 4095:
		return fmt.Errorf("%.40q...: a path has at most 4095 bytes", s)
	}
	return nil
}

func checkPlatform(s string) error {
	if parts := strings.Split(s, "/"); len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		return fmt.Errorf("%.80q is not a platform such as linux/amd64", s)
	}
	return nil
}
