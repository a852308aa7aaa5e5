package drivers

import (
	"cmp"
	"slices"
	"strings"
)

// Inventory is all drivers of an artifact: modules that some device loads.
type Inventory struct {
	Schema   int       `json:"schema"`
	Artifact *Artifact `json:"artifact"`
	Modules  int       `json:"modules"` // in all, those without devices too
	Drivers  []Listed  `json:"drivers"` // by kind and name
}

// Listed is one driver.
type Listed struct {
	Name            string   `json:"name"`
	Kind            Kind     `json:"kind"`
	Path            string   `json:"path"`
	BuiltIn         bool     `json:"built_in,omitempty"`
	Devices         int      `json:"devices"` // patterns of modaliases
	Buses           []string `json:"buses"`
	Problem         string   `json:"problem,omitempty"`
	Firmware        []string `json:"firmware,omitempty"`
	FirmwareMissing []string `json:"firmware_missing,omitempty"`
}

// kindOrder is the order in which kinds matter to the one who provisions.
var kindOrder = []Kind{Network, Storage, USB, Wireless, Graphics, Sound, Other}

// List lists the drivers of an artifact. What built-in drivers drive is taken
// from the table, because the kernel does not tell it.
func List(a *Artifact, t *Table) *Inventory {
	inv := &Inventory{Schema: 1, Artifact: a, Modules: len(a.modules), Drivers: []Listed{}}
	texts := a.aliases.texts()
	for name, m := range a.modules {
		if l, ok := listed(name, m.Path, texts[name]); ok {
			l.Problem = a.problem(name)
			l.Firmware, l.FirmwareMissing = a.firmware[name], a.missing[name]
			inv.Drivers = append(inv.Drivers, l)
		}
	}
	for name, b := range a.builtin {
		patterns := texts[name]
		if d := t.Lookup(name); d != nil && len(patterns) == 0 {
			patterns = d.Aliases
		}
		if l, ok := listed(name, b.Path, patterns); ok && a.modules[name] == nil {
			l.BuiltIn = true
			l.Firmware, l.FirmwareMissing = a.firmware[name], a.missing[name]
			inv.Drivers = append(inv.Drivers, l)
		}
	}
	slices.SortFunc(inv.Drivers, func(x, y Listed) int {
		return cmp.Or(cmp.Compare(slices.Index(kindOrder, x.Kind), slices.Index(kindOrder, y.Kind)), cmp.Compare(x.Name, y.Name))
	})
	return inv
}

func listed(name, path string, patterns []string) (Listed, bool) {
	path, _, _ = strings.Cut(strings.TrimPrefix(path, "kernel/"), ".ko")
	l := Listed{Name: name, Path: path, Kind: pathKind(path), Devices: len(patterns), Buses: []string{}}
	for _, p := range patterns {
		bus, _, _ := strings.Cut(p, ":")
		if bus = strings.Trim(bus, "*"); !slices.Contains(l.Buses, bus) {
			l.Buses = append(l.Buses, bus)
		}
	}
	slices.Sort(l.Buses)
	return l, len(patterns) > 0
}

// texts lists the patterns of each module that are made for devices: those of
// char-major-10-* are not.
func (a *aliases) texts() map[string][]string {
	out := map[string][]string{}
	take := func(list []pattern) {
		for _, p := range list {
			if strings.Contains(p.text, ":") {
				out[p.module] = append(out[p.module], p.text)
			}
		}
	}
	for _, list := range a.byID {
		take(list)
	}
	for _, list := range a.byBus {
		take(list)
	}
	take(a.pci)
	take(a.other)
	return out
}
