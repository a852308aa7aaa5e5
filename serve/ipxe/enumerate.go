package ipxe

import (
	"maps"
	"slices"
)

// stockClasses are the user classes of iPXE and of its ancestor as they come.
var stockClasses = []string{"iPXE", "gPXE"}

// StockClasses lists the user classes that mark an iPXE which is not ours.
func StockClasses() []string { return slices.Clone(stockClasses) }

// RaspberryPis lists the first three bytes of MAC addresses of Raspberry Pis,
// as IsRaspberryPi knows them.
func RaspberryPis() []string { return slices.Clone(raspberryPi) }

// Architectures lists every architecture that the rule may have a binary for:
// IANA's and those with an override, ascending.
func (r *Rule) Architectures() []Arch {
	all := slices.Collect(maps.Keys(architectures))
	all = slices.AppendSeq(all, maps.Keys(r.overrides))
	slices.Sort(all)
	return slices.Compact(all)
}

// UserClasses lists the user classes that mark an iPXE of ours.
func (r *Rule) UserClasses() []string { return slices.Clone(r.classes) }

// Loader returns the iPXE for other boot loaders (ipxe.lkrn, in the format of
// a Linux kernel), if there is one.
func (r *Rule) Loader() (Binary, bool) { return r.binaries.For(LinuxBIO) }
