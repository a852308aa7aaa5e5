package linuxkit

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Finding is something that Lint has to say. It is never an error: what
// cannot work is one of Parse or Resolve.
type Finding struct {
	Pos     Pos    `json:"pos"`
	Rule    string `json:"rule"` // one of Rules
	Message string `json:"message"`
	Fix     string `json:"fix"` // what to do about it
}

func (f Finding) String() string {
	return fmt.Sprintf("%s: %s (%s); %s", f.Pos, f.Message, f.Rule, f.Fix)
}

// Rules are the names of Lint's rules and what each finds. The first group is
// where LinuxKit 1.8.2 does something else than this package.
var Rules = map[string]string{
	"binds-hide-add":   "binds.add (or capabilities.add) beside binds (or capabilities): LinuxKit ignores it",
	"all-with-add":     "capability all together with others: an error in LinuxKit",
	"mount-volume":     "a volume in mounts: LinuxKit mounts the bare name",
	"readonly-volume":  "a read-only volume: LinuxKit mounts a writable overlay, only the :ro of binds protects it",
	"volume-files":     "a volume of another file: LinuxKit knows only those of the last file",
	"dropped-resource": "a key that LinuxKit accepts and drops",
	"file-parent":      "a file's parent whose mode or owner LinuxKit would change",
	"trust":            "trust has no effect",
	"duplicate-bind":   "two binds or mounts with one destination: the last wins",
	"duplicate-name":   "two containers of one name: a uid or gid of this name means the last",
	"duplicate-file":   "two files of one path, or one below the other: the last wins",
	"privilege":        "more privilege than most containers need",
	"image-unknown":    "an image reference that cannot be found as it is",
	"image-unpinned":   "an image reference that may be another image tomorrow",
	"hostname-uts":     "a hostname without a UTS namespace of its own: runc refuses it",
	"no-command":       "a container without a command: runc refuses it",
	"no-kernel-image":  "kernel settings without a kernel image",
	"cmdline-long":     "a kernel command line longer than the kernel's buffer",
	"namespace-path":   "a namespace by path that does not begin with /",
}

// Info is what Lint may know beside the files. Rules that need what is
// missing are silent.
type Info struct {
	// Resolved has the images and merged settings of the containers.
	Resolved *Resolved

	// Stat looks up a path (without a leading slash) in the tree that all
	// parts but "parents" and "files" make, symbolic links not followed.
	Stat func(path string) (Stat, bool)
}

// Stat is what Lint wants to know of a folder.
type Stat struct {
	Mode     fs.FileMode
	UID, GID int
}

// Lint finds what LinuxKit would do differently, what is ambiguous and what
// is unsafe, sorted by place.
func Lint(cfg *Config, info Info) []Finding {
	l := &linter{cfg: cfg, names: cfg.names()}
	l.config()
	for _, c := range cfg.Containers() {
		l.container(c, &c.Settings)
		l.hidden(c)
	}
	if info.Resolved != nil {
		for _, rc := range info.Resolved.Containers {
			l.merged(rc)
		}
	}
	if info.Stat != nil {
		l.parents(info.Stat)
	}
	slices.SortStableFunc(l.findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line),
			cmp.Compare(a.Pos.Column, b.Pos.Column), strings.Compare(a.Rule, b.Rule), strings.Compare(a.Message, b.Message))
	})
	return slices.Compact(l.findings)
}

type linter struct {
	cfg      *Config
	names    names
	findings []Finding
}

func (l *linter) add(pos Pos, rule, fix, format string, args ...any) {
	l.findings = append(l.findings, Finding{pos, rule, fmt.Sprintf(format, args...), fix})
}

// config checks what is not about a container.
func (l *linter) config() {
	c := l.cfg
	for _, pos := range c.trust {
		l.add(pos, "trust", "remove it", "trust is accepted and has no effect")
	}
	k := c.Kernel
	if k.Image.Value == "" && (k.Cmdline.Set || k.Binary.Set || k.Tar.Set || k.UCode.Set) {
		pos := first(k.Cmdline, k.Binary, k.Tar, k.UCode).Pos
		l.add(pos, "no-kernel-image", "set kernel.image", "kernel settings without kernel.image: LinuxKit builds no kernel")
	}
	const buffer = 2048 // COMMAND_LINE_SIZE of x86 and arm64
	if n := len(k.Cmdline.Value); n >= buffer {
		l.add(k.Cmdline.Pos, "cmdline-long", "shorten it", "the kernel command line has %d bytes; kernels keep %d", n, buffer-1)
	}
	for _, image := range c.Images() {
		l.image(image)
	}
	for _, v := range c.Volumes {
		if v.Readonly.Value {
			l.add(v.Readonly.Pos, "readonly-volume", "keep :ro in every bind of it",
				"%s: LinuxKit mounts a writable overlay over a read-only volume", v)
		}
	}
	l.duplicates()
}

func (l *linter) duplicates() {
	seen := map[string]Pos{}
	for _, c := range l.cfg.Containers() {
		if before, ok := seen[c.Name.Value]; ok {
			l.add(c.Name.Pos, "duplicate-name", "give it a name of its own", "%s: the name is also at %s", c, before)
		}
		seen[c.Name.Value] = c.Name.Pos
	}
	paths := map[string]Pos{}
	for _, f := range l.cfg.Files {
		if before, ok := paths[f.clean()]; ok {
			l.add(f.Path.Pos, "duplicate-file", "remove one of them", "%s: replaces the file of the same path at %s", f, before)
		}
		paths[f.clean()] = f.Path.Pos
	}
	l.throughFiles()
}

// throughFiles finds files whose path leads through that of another file, which
// is then lost, whichever of them comes first.
func (l *linter) throughFiles() {
	plain, below := map[string]*File{}, map[string]*File{}
	for _, f := range l.cfg.Files {
		p := f.clean()
		if lost := below[p]; lost != nil && !f.Directory.Value {
			l.add(f.Path.Pos, "duplicate-file", "remove one of them", "%s: takes the place of a folder, and with it %s at %s is lost", f, lost, lost.Path.Pos)
		}
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			if lost := plain[dir]; lost != nil {
				l.add(f.Path.Pos, "duplicate-file", "remove one of them", "%s: needs a folder in the place of %s at %s, which is lost", f, lost, lost.Path.Pos)
			}
			below[dir] = f
		}
		delete(plain, p)
		if !f.Directory.Value && f.Symlink.Value == "" { // links are followed
			plain[p] = f
		}
	}
}

// image checks the form of a reference.
func (l *linter) image(image Image) {
	if name := variable.FindString(image.Ref); name != "" {
		l.add(image.Pos, "image-unknown", "set "+name+" with --set", "image %s: the variable %s has no value", image.Ref, name)
		return
	}
	tag, digest := refSuffix(image.Ref)
	if digest == "" && !strings.ContainsAny(tag, "0123456789") {
		l.add(image.Pos, "image-unpinned", "name a version or a digest", "image %s: the tag %q moves", image.Ref, tag)
	}
}

// container checks the settings of a file or, after the merge, of all.
func (l *linter) container(c *Container, s *Settings) {
	l.privileges(c, s)
	l.mounts(c, s)
	for _, ns := range []Setting[string]{s.Net, s.Pid, s.Ipc, s.Uts, s.Userns} {
		if !slices.Contains([]string{"", "new", "none", "host", "root"}, ns.Value) && !strings.HasPrefix(ns.Value, "/") {
			l.add(ns.Pos, "namespace-path", "write new, host, none (net) or an absolute path", "%s: namespace %q is taken for a path", c, ns.Value)
		}
	}
	if s.Hostname.Value != "" && slices.Contains([]string{"", "host", "root"}, s.Uts.Value) {
		l.add(s.Hostname.Pos, "hostname-uts", "set uts: new", "%s: hostname %q needs a UTS namespace of its own", c, s.Hostname.Value)
	}
}

// hidden checks the two sources of a setting against each other.
func (l *linter) hidden(c *Container) {
	for _, key := range []struct {
		name      string
		list, add Setting[[]string]
	}{{"binds", c.Binds, c.BindsAdd}, {"capabilities", c.Capabilities, c.CapabilitiesAdd}} {
		if key.list.Set && key.add.Set {
			l.add(key.add.Pos, "binds-hide-add", "move the elements into "+key.name,
				"%s: LinuxKit ignores %s.add beside %s; here it is appended", c, key.name, key.name)
		}
	}
	for i, m := range c.Mounts.Value {
		if isVolumeMount(m) {
			l.add(c.Mounts.at(i), "mount-volume", "use binds",
				"%s: LinuxKit does not resolve the volume %q in mounts; here it is", c, m.Source)
		}
	}
	l.volumeFiles(c)
	l.dropped(c)
}

// volumeFiles finds volumes that LinuxKit would not know, because it keeps
// only those of the last file.
func (l *linter) volumeFiles(c *Container) {
	for _, list := range []Setting[[]string]{c.Binds, c.BindsAdd} {
		for i, bind := range list.Value {
			m, err := parseBind(bind)
			if v := l.names.volumes[m.Source]; err == nil && v != nil && v.Pos.File != l.cfg.last {
				l.add(list.at(i), "volume-files", "define volumes in the last file",
					"%s: volume %q is defined in %s; LinuxKit knows those of the last file only", c, m.Source, v.Pos.File)
			}
		}
	}
}

// dropped finds keys under resources and id mappings that LinuxKit loses.
func (l *linter) dropped(c *Container) {
	n := l.node(c)
	say := func(e entry, name string) {
		l.add(e.pos, "dropped-resource", "nothing to do here: it reaches config.json", "%s: LinuxKit drops %s", c, name)
	}
	for _, e := range n.entries {
		switch e.key {
		case "uidMappings", "gidMappings":
			say(e, "the ids of "+e.key)
		case "mounts":
			l.droppedMappings(e.value, say)
		case "resources":
			l.droppedResources(e.value, say)
		}
	}
}

func (l *linter) droppedMappings(mounts *node, say func(entry, string)) {
	for _, m := range mounts.items {
		for _, e := range m.entries {
			if k := strings.ToLower(e.key); k == "uidmappings" || k == "gidmappings" {
				say(e, e.key+" of mounts")
			}
		}
	}
}

func (l *linter) droppedResources(resources *node, say func(entry, string)) {
	for _, group := range resources.entries {
		if group.key == "hugepageLimits" {
			say(group, group.key)
		}
		for _, e := range group.value.entries {
			if slices.Contains(droppedByLinuxKit[group.key], e.key) {
				say(e, "resources."+group.key+"."+e.key)
			}
		}
	}
}

// node returns the container's part of the document.
func (l *linter) node(c *Container) *node {
	section := l.cfg.doc.get(string(c.Section))
	if section == nil || c.Index >= len(section.items) {
		return &node{}
	}
	return section.items[c.Index]
}

// mounts finds destinations that are used twice.
func (l *linter) mounts(c *Container, s *Settings) {
	seen := map[string]Pos{}
	add := func(pos Pos, what, destination string) {
		clean := path.Clean(destination)
		if before, ok := seen[clean]; ok {
			l.add(pos, "duplicate-bind", "remove one of them", "%s: %s %q replaces the mount at %s", c, what, destination, before)
		}
		seen[clean] = pos
	}
	for i, bind := range slices.Concat(s.Binds.Value, s.BindsAdd.Value) {
		if m, err := parseBind(bind); err == nil {
			add(join(s.Binds, s.BindsAdd).at(i), "bind", m.Destination)
		}
	}
	for i, m := range s.Mounts.Value {
		add(s.Mounts.at(i), "mount", m.Destination)
	}
}

// parents finds folders that LinuxKit would change for the sake of a file.
func (l *linter) parents(stat func(string) (Stat, bool)) {
	for _, p := range l.cfg.Parents() {
		have, ok := stat(p.Path)
		if !ok {
			continue
		}
		pos := p.File.Path.Pos
		if !have.Mode.IsDir() {
			l.add(pos, "file-parent", "name the path that it leads to", "%s: /%s is no folder in the images but %s", p.File, p.Path, have.Mode)
			continue
		}
		mode := int64(have.Mode.Perm())
		if mode != p.Mode&0o777 || have.UID != p.UID || have.GID != p.GID {
			l.add(pos, "file-parent", "list the folder in files with directory: true, if that is what you want",
				"%s: LinuxKit would change /%s from %04o %d:%d to %04o %d:%d; here it stays", p.File, p.Path,
				mode, have.UID, have.GID, p.Mode, p.UID, p.GID)
		}
	}
}
