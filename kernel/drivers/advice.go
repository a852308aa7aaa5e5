package drivers

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hooksmith/kernel"
)

// groups says for drivers of the table which group of the policy carries them,
// the first that does.
func (c *Checker) groups(names map[string]bool) (map[string]string, error) {
	byModule := map[string]string{}
	if c.Policy == nil {
		return byModule, nil
	}
	arch := c.Artifact.Arch
	x := &kernel.Index{Release: "table", Arch: arch}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		d := c.Table.Lookup(name)
		x.Modules = append(x.Modules, kernel.Module{Path: "kernel/" + d.Path + ".ko", Name: d.Name})
	}
	for _, g := range c.Policy.Groups {
		if len(g.Arch) > 0 && !slices.Contains(g.Arch, string(arch)) {
			continue
		}
		s, err := c.Policy.Select(x, kernel.Request{Groups: []string{g.Name}})
		if err != nil {
			return nil, err
		}
		for _, m := range s.Modules {
			if byModule[m.Name] == "" {
				byModule[m.Name] = g.Name
			}
		}
	}
	return byModule, nil
}

// maxAdvice bounds how many modules are named for one device.
const maxAdvice = 3

// adviseMissing says what would bring a driver.
func (v *verdict) adviseMissing(r *Result) {
	n := 0
	for _, f := range v.known {
		if f.sure == byClass || n == maxAdvice {
			continue
		}
		n++
		d := v.c.Table.Lookup(f.module)
		r.Todo = append(r.Todo, d.Name+": "+v.bring(d))
		if len(d.Firmware) > 0 && (essential[d.Name] || n == 1) {
			r.Todo = append(r.Todo, v.firmwareAdvice(d.Name, d.Firmware)...)
		}
	}
}

// bring says how to get one driver.
func (v *verdict) bring(d *Driver) string {
	a := v.c.Artifact
	if a.modules[d.Name] != nil {
		return fmt.Sprintf("it is in, but that of kernel %s does not know the device: take a newer kernel", a.Release)
	}
	var ways []string
	group := v.groups[d.Name]
	switch {
	case a.elsewhere[d.Name] && group != "":
		ways = append(ways, fmt.Sprintf("add %s to the flavor's modules", group))
	case group != "":
		if flavor := v.flavorWith(group); flavor != "" {
			ways = append(ways, fmt.Sprintf("flavor %s (module group %s)", flavor, group))
		}
	case a.elsewhere[d.Name]:
		ways = append(ways, "the kernel has it, configs/modules.yaml leaves it out on purpose")
	}
	if d.Symbol != "" && !a.elsewhere[d.Name] {
		ways = append(ways, fmt.Sprintf("%s=m (hooksmith kernel-config %s --driver %s)", d.Symbol, cmp.Or(v.c.Own, "FLAVOR"), d.Name))
	}
	if len(ways) == 0 {
		return "not carried by any flavor"
	}
	return strings.Join(ways, ", or ")
}

func (v *verdict) flavorWith(group string) string {
	for _, f := range v.c.Flavors {
		if f.Arch == v.c.Artifact.Arch && (slices.Contains(f.Groups, group) || slices.Contains(f.Groups, kernel.AllGroups)) {
			return f.ID
		}
	}
	return ""
}

// adviseFirmware names what brings the files that the modules in use miss, and
// the reasons why others do not load.
func (v *verdict) adviseFirmware(r *Result) {
	for _, u := range r.Modules {
		if u.Problem != "" {
			r.Todo = append(r.Todo, u.Name+": "+u.Problem)
		} else if len(u.FirmwareMissing) > 0 {
			r.Todo = append(r.Todo, v.firmwareAdvice(u.Name, u.FirmwareMissing)...)
		}
		// Of those that are no drivers ("crc32c") the kernel has its own.
		soft := slices.DeleteFunc(v.c.Artifact.softMissing(u.Name), func(n string) bool { return v.c.Table.Lookup(n) == nil })
		if len(soft) > 0 {
			r.Notes = append(r.Notes, fmt.Sprintf("%s would like to have %s too", u.Name, strings.Join(soft, ", ")))
		}
	}
}

// firmwareAdvice groups files by what brings them.
func (v *verdict) firmwareAdvice(module string, files []string) []string {
	if v.c.Policy == nil {
		return nil
	}
	var order []*kernel.FirmwareSet
	var none []string
	for _, file := range files {
		set := v.c.Policy.FirmwareFor(file, v.c.Artifact.Arch)
		if set == nil {
			none = append(none, file)
		} else if !slices.Contains(order, set) {
			order = append(order, set)
		}
	}
	var list []string
	for _, set := range order {
		list = append(list, fmt.Sprintf("%s: firmware by --firmware %s (Debian's %s); without: %s", module, set.Name, set.Package, set.Why))
	}
	if len(order) == 0 && len(none) > 0 {
		list = append(list, fmt.Sprintf("%s: Debian packages that hooksmith knows do not have %s", module, short(none)))
	}
	return list
}

// short lists the first names of many.
func short(list []string) string {
	const most = 3
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}
