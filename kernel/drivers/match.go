package drivers

import (
	"cmp"
	"slices"
	"strings"

	"hooksmith/guest/modalias"
)

// aliases finds the modules whose patterns a modalias fits. It is made once
// and may then be used from several goroutines.
type aliases struct {
	byID  map[[2]uint32][]pattern // PCI patterns that name vendor and device
	pci   []pattern               // other PCI patterns in the kernel's form
	byBus map[string][]pattern    // all others by what is before the colon
	other []pattern               // with a wildcard before the colon, or without one: "acpi*:PNP0C0A:*"
	n     int
}

type pattern struct {
	text   string
	module string
	pci    PCI
	order  int
}

func newAliases() *aliases {
	return &aliases{byID: map[[2]uint32][]pattern{}, byBus: map[string][]pattern{}}
}

// add adds a pattern; when several modules fit, they are listed in the order
// in which they were added, as modprobe loads them. One whose brackets do not
// pair is left out, as depmod leaves it out.
func (a *aliases) add(text, module string) {
	text, ok := modalias.Normal(text)
	if !ok {
		return
	}
	p := pattern{text: text, module: module, order: a.n}
	a.n++
	bus, _, ok := strings.Cut(text, ":")
	if !ok && !strings.ContainsAny(text, modalias.Wildcards) {
		return // a name, not a device
	}
	if pci, ok := ParsePCI(text); ok {
		p.pci = pci
		if pci.Vendor.Known && pci.Device.Known {
			key := [2]uint32{pci.Vendor.Value, pci.Device.Value}
			a.byID[key] = append(a.byID[key], p)
		} else {
			a.pci = append(a.pci, p)
		}
		return
	}
	if strings.ContainsAny(bus, modalias.Wildcards) {
		a.other = append(a.other, p)
		return
	}
	a.byBus[bus] = append(a.byBus[bus], p)
}

// found is a module that a device fits.
type found struct {
	module string
	sure   sureness
	open   []string // what a "maybe" depends on
	order  int
}

// match lists the modules for a device, each once, the surest match of it, in
// the order of modules.alias.
func (a *aliases) match(d *Device) []found {
	best := map[string]found{}
	note := func(p pattern, s sureness) {
		old, ok := best[p.module]
		if s == no || ok && old.sure >= s {
			return
		}
		if ok {
			p.order = min(p.order, old.order)
		}
		f := found{module: p.module, sure: s, order: p.order}
		if s == maybe {
			f.open = p.pci.open(*d.PCI)
		}
		best[p.module] = f
	}
	if d.PCI != nil {
		for _, p := range a.byID[[2]uint32{d.PCI.Vendor.Value, d.PCI.Device.Value}] {
			note(p, matchPCI(p.pci, *d.PCI))
		}
		for _, p := range a.pci {
			note(p, matchPCI(p.pci, *d.PCI))
		}
	}
	if name, ok := modalias.Normal(d.Modalias); ok && (d.PCI == nil || d.PCI.complete()) {
		bus, _, _ := strings.Cut(name, ":")
		for _, list := range [][]pattern{a.byBus[bus], a.other} {
			for _, p := range list {
				if modalias.Match(p.text, name) {
					note(p, certainly)
				}
			}
		}
	}
	return ranked(best)
}

// ranked leaves out what fits only by a class of which nothing is known, when
// something fits by its ids.
func ranked(best map[string]found) []found {
	var list []found
	top := no
	for _, f := range best {
		list = append(list, f)
		top = max(top, f.sure)
	}
	list = slices.DeleteFunc(list, func(f found) bool { return f.sure == byClass && top > byClass })
	slices.SortFunc(list, func(x, y found) int {
		return cmp.Or(cmp.Compare(y.sure, x.sure), cmp.Compare(x.order, y.order), cmp.Compare(x.module, y.module))
	})
	return list
}
