package linuxkit

import (
	"errors"
	"slices"
	"strings"
)

// Source is one LinuxKit file: its name, for messages, and its bytes, with
// template variables already expanded (Expand).
type Source struct {
	Name string
	Data []byte
}

// Parse reads LinuxKit files and merges them from left to right: the kernel's
// keys of a later file replace those before unless they are empty, all lists
// are appended. The error joins everything that is wrong, as *Error values
// with file, line and column; with an error there is no Config.
func Parse(files ...Source) (*Config, error) {
	// 1. Each file by itself.
	d := &decoder{}
	merged := &Config{doc: &node{kind: object}}
	for _, file := range files {
		c := parseFile(d, file)
		if c != nil {
			merged.append(c)
		}
	}
	if len(files) == 0 {
		d.add(errors.New("no LinuxKit file"))
	}
	// 2. What only the whole can tell.
	if len(d.errs) == 0 {
		merged.renumber()
		merged.checkNames(d)
		merged.checkReferences(d)
	}
	if len(d.errs) > 0 {
		return nil, errors.Join(d.errs...)
	}
	return merged, nil
}

func parseFile(d *decoder, file Source) *Config {
	n, err := parseYAML(file.Name, file.Data)
	if err != nil {
		d.add(err)
		return nil
	}
	if n.kind == null {
		d.fail(n.pos, where{}, "the file is empty")
		return nil
	}
	c := d.config(n)
	c.last = file.Name
	return c
}

// append adds a later file.
func (c *Config) append(later *Config) {
	c.Kernel.append(later.Kernel)
	c.Init = append(c.Init, later.Init...)
	c.Onboot = append(c.Onboot, later.Onboot...)
	c.Onshutdown = append(c.Onshutdown, later.Onshutdown...)
	c.Services = append(c.Services, later.Services...)
	c.Files = append(c.Files, later.Files...)
	c.Volumes = append(c.Volumes, later.Volumes...)
	c.trust = append(c.trust, later.trust...)
	c.doc = appendDocument(c.doc, later.doc)
	c.last = later.last
}

func (k *Kernel) append(later Kernel) {
	for _, s := range []struct {
		to   *Setting[string]
		from Setting[string]
	}{
		{&k.Image, later.Image}, {&k.Cmdline, later.Cmdline}, {&k.Binary, later.Binary},
		{&k.Tar, later.Tar}, {&k.UCode, later.UCode},
	} {
		if s.from.Set && (s.from.Value != "" || !s.to.Set) {
			*s.to = s.from
		}
	}
}

// appendDocument merges the documents as append merges the settings.
// Messages need no places in the result, so nodes are shared.
func appendDocument(doc, later *node) *node {
	merged := &node{kind: object, entries: slices.Clone(doc.entries)}
	for _, e := range later.entries {
		i := slices.IndexFunc(merged.entries, func(have entry) bool { return have.key == e.key })
		switch {
		case e.key == "trust" && len(doc.entries) > 0: // of later files, dropped
		case i < 0:
			merged.entries = append(merged.entries, e)
		case e.key == "kernel":
			merged.entries[i].value = appendKernel(merged.entries[i].value, e.value)
		default:
			both := slices.Concat(merged.entries[i].value.items, e.value.items)
			merged.entries[i].value = &node{kind: list, items: both}
		}
	}
	return merged
}

func appendKernel(kernel, later *node) *node {
	merged := &node{kind: object, entries: slices.Clone(kernel.entries)}
	for _, e := range later.entries {
		i := slices.IndexFunc(merged.entries, func(have entry) bool { return have.key == e.key })
		switch {
		case i < 0:
			merged.entries = append(merged.entries, e)
		case e.value.text != "":
			merged.entries[i].value = e.value
		}
	}
	return merged
}

// renumber gives elements their index in the merged lists.
func (c *Config) renumber() {
	for _, section := range [][]*Container{c.Onboot, c.Onshutdown, c.Services} {
		for i, container := range section {
			container.Index = i
		}
	}
	for i, f := range c.Files {
		f.Index = i
	}
	for i, v := range c.Volumes {
		v.Index = i
	}
}

// checkNames finds services and volumes of the same name, in one file or in
// several. Containers that run once may repeat: their folders are numbered.
func (c *Config) checkNames(d *decoder) {
	services := map[string]Pos{}
	for _, s := range c.Services {
		if first, ok := services[s.Name.Value]; ok {
			d.fail(s.Name.Pos, where{item: s.String()}, "a service of this name is already at %s", first)
			continue
		}
		services[s.Name.Value] = s.Name.Pos
	}
	volumes := map[string]Pos{}
	for _, v := range c.Volumes {
		if first, ok := volumes[v.Name.Value]; ok {
			d.fail(v.Name.Pos, where{item: v.String()}, "a volume of this name is already at %s", first)
			continue
		}
		volumes[v.Name.Value] = v.Name.Pos
	}
}

// checkReferences resolves the names of volumes and containers that the files
// use. Those in labels are checked by Resolve.
func (c *Config) checkReferences(d *decoder) {
	names := c.names()
	for _, container := range c.Containers() {
		names.checkSettings(d, where{item: container.String()}, &container.Settings)
	}
	for _, f := range c.Files {
		at := where{item: f.String()}
		names.checkID(d, at.sub("uid"), f.UID.Pos, f.UID.Value)
		names.checkID(d, at.sub("gid"), f.GID.Pos, f.GID.Value)
	}
}

// names are what settings may refer to.
type names struct {
	ids     map[string]uint32
	volumes map[string]*Volume
}

func (c *Config) names() names { return names{c.ids(), c.volumes()} }

func (n names) checkSettings(d *decoder, at where, s *Settings) {
	n.checkID(d, at.sub("uid"), s.UID.Pos, s.UID.Value)
	n.checkID(d, at.sub("gid"), s.GID.Pos, s.GID.Value)
	for i, id := range s.AdditionalGids.Value {
		n.checkID(d, at.sub("additionalGids").index(i), s.AdditionalGids.at(i), id)
	}
	for _, list := range []struct {
		key   string
		binds Setting[[]string]
	}{{"binds", s.Binds}, {"binds.add", s.BindsAdd}} {
		for i, bind := range list.binds.Value {
			if _, err := n.bind(bind); err != nil {
				d.fail(list.binds.at(i), at.sub(list.key).index(i), "%v", err)
			}
		}
	}
	for i, m := range s.Mounts.Value {
		if _, err := n.mount(m); err != nil {
			d.fail(s.Mounts.at(i), at.sub("mounts").index(i), "%v", err)
		}
	}
}

func (n names) checkID(d *decoder, at where, pos Pos, id ID) {
	if _, err := n.id(id); err != nil {
		d.fail(pos, at, "%v", err)
	}
}

// known lists names for a message.
func known[T any](m map[string]T) []string {
	all := make([]string, 0, len(m))
	for name := range m {
		all = append(all, name)
	}
	slices.SortFunc(all, strings.Compare)
	return all
}
