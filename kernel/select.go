package kernel

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Request is what a flavor asks of a policy.
type Request struct {
	Groups  []string // names of groups of the policy, or AllGroups
	Modules []string // names of further modules; each must exist, or be built in
}

// Selected is one module to keep, and why.
type Selected struct {
	*Module
	Why string // "group nic", "needed by ice", "asked for by name", "from updates/"
}

// Selection is the modules that an initramfs carries, complete: whatever one
// of them needs is there too, or built into the kernel.
type Selection struct {
	Index    *Index
	Modules  []Selected // by path
	Warnings []string   // patterns that match nothing in this kernel, by name
}

// Select applies the policy to a kernel.
//
// Modules outside of kernel/ (updates/, extra/) are always kept: somebody
// added them on purpose. The modules are then closed over depends, where one
// that is missing is an error, and over soft dependencies, which are optional
// by design, so that those which the kernel does not have are passed over.
func (p *Policy) Select(x *Index, req Request) (*Selection, error) {
	groups, err := p.groups(req.Groups, x.Arch)
	if err != nil {
		return nil, err
	}
	s := &selector{index: x, names: newNames(x), why: map[string]string{}}
	for i := range x.Modules {
		if m := &x.Modules[i]; !strings.HasPrefix(m.Path, "kernel/") {
			dir, _, _ := strings.Cut(m.Path, "/")
			s.add(m, "from "+dir+"/")
		}
	}
	warnings := s.addGroups(p, groups)
	if err := s.addNamed(req.Modules); err != nil {
		return nil, err
	}
	if err := s.close(); err != nil {
		return nil, err
	}
	return s.selection(warnings), nil
}

// All selects every module, as an initramfs has them whose modules nobody chose.
func (x *Index) All() *Selection {
	s := &Selection{Index: x}
	for i := range x.Modules {
		s.Modules = append(s.Modules, Selected{&x.Modules[i], "all modules"})
	}
	return s
}

// Bytes is the size of all modules as stored.
func (s *Selection) Bytes() int64 {
	var n int64
	for _, m := range s.Modules {
		n += m.Size
	}
	return n
}

// Lookup returns a selected module by its name.
func (s *Selection) Lookup(name string) (Selected, bool) {
	name = normalName(name)
	i := slices.IndexFunc(s.Modules, func(m Selected) bool { return m.Name == name })
	if i < 0 {
		return Selected{}, false
	}
	return s.Modules[i], true
}

// selector is a Selection in the making.
type selector struct {
	index *Index
	names names
	why   map[string]string // name of each module taken
	queue []*Module         // taken, their needs not yet looked at
}

func (s *selector) add(m *Module, why string) {
	if _, ok := s.why[m.Name]; !ok {
		s.why[m.Name] = why
		s.queue = append(s.queue, m)
	}
}

// addGroups takes the modules of the groups and returns what matched nothing.
func (s *selector) addGroups(p *Policy, groups []*Group) (warnings []string) {
	modules := make([]target, len(s.index.Modules))
	for i, m := range s.index.Modules {
		modules[i] = newTarget(m.Path, m.Name)
	}
	builtin := make([]target, len(s.index.Builtin))
	for i, b := range s.index.Builtin {
		builtin[i] = newTarget(b.Path, b.Name)
	}
	for _, g := range groups {
		for _, pat := range g.Modules {
			hit := slices.ContainsFunc(builtin, pat.match)
			for i, t := range modules {
				if !pat.match(t) {
					continue
				}
				hit = true
				if !matchAny(g.Except, t) && !p.never(t) {
					s.add(&s.index.Modules[i], "group "+g.Name)
				}
			}
			if !hit {
				warnings = append(warnings, fmt.Sprintf("module group %s: %q matches nothing in kernel %s", g.Name, pat, s.index.Release))
			}
		}
	}
	return warnings
}

func (p *Policy) never(t target) bool {
	return slices.ContainsFunc(p.Never, func(r Rule) bool { return matchAny(r.Modules, t) })
}

func (s *selector) addNamed(list []string) error {
	for _, name := range list {
		m, ok := s.names.modules[normalName(name)]
		switch {
		case ok:
			s.add(m, "asked for by name")
		case !s.names.builtin[normalName(name)]:
			return fmt.Errorf("module %q: kernel %s has no module of this name, nor is it built in", name, s.index.Release)
		}
	}
	return nil
}

// close takes what the modules taken so far need, and so on.
func (s *selector) close() error {
	for len(s.queue) > 0 {
		m := s.queue[0]
		s.queue = s.queue[1:]
		for _, name := range m.Depends {
			dep, ok := s.names.modules[name]
			if ok {
				s.add(dep, "needed by "+m.Name)
			} else if !s.names.builtin[name] {
				return fmt.Errorf("module %s (%s) depends on %s, which kernel %s has neither as a module nor built in: the modules are incomplete",
					m.Name, m.Path, name, s.index.Release)
			}
		}
		for _, wanted := range m.softdeps() {
			for _, dep := range s.names.resolve(wanted) {
				s.add(dep, "softdep of "+m.Name)
			}
		}
	}
	return nil
}

func (s *selector) selection(warnings []string) *Selection {
	sel := &Selection{Index: s.index, Warnings: warnings}
	for i := range s.index.Modules {
		m := &s.index.Modules[i]
		if why, ok := s.why[m.Name]; ok {
			sel.Modules = append(sel.Modules, Selected{m, why})
		}
	}
	slices.SortFunc(sel.Modules, func(a, b Selected) int { return cmp.Compare(a.Path, b.Path) })
	return sel
}

// softdeps lists what the module wants to have loaded before or after it.
// Names without "pre:" count too: cifs says "nls" and means it, although
// modprobe ignores such ones.
func (m *Module) softdeps() []string {
	var list []string
	for _, line := range m.Softdeps {
		for word := range strings.FieldsSeq(line) {
			if word != "pre:" && word != "post:" {
				list = append(list, word)
			}
		}
	}
	return list
}

// names finds modules by what others call them.
type names struct {
	modules map[string]*Module
	aliases map[string][]*Module // without wildcards
	builtin map[string]bool
}

func newNames(x *Index) names {
	n := names{map[string]*Module{}, map[string][]*Module{}, map[string]bool{}}
	for i := range x.Modules {
		m := &x.Modules[i]
		n.modules[m.Name] = m
		for _, alias := range m.Aliases {
			if !strings.ContainsAny(alias, "*?[") {
				n.aliases[normalName(alias)] = append(n.aliases[normalName(alias)], m)
			}
		}
	}
	for _, b := range x.Builtin {
		n.builtin[b.Name] = true
	}
	return n
}

// resolve finds the modules that modprobe would load for a name: the module
// of this name, else all that have it as an alias ("crc32c" is crc32c_generic
// and crc32c_intel). None means that it is built in, or not there.
func (n names) resolve(name string) []*Module {
	name = normalName(name)
	if m, ok := n.modules[name]; ok {
		return []*Module{m}
	}
	if n.builtin[name] {
		return nil
	}
	return n.aliases[name]
}
