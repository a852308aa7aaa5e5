package drivers

import (
	"fmt"
	"strconv"
	"strings"
)

// ID is one part of a PCI modalias. In a device's it is unknown when the
// listing does not tell it; in a pattern when the driver takes any.
type ID struct {
	Value uint32
	Known bool
}

func known(v uint32) ID { return ID{v, true} }

// PCI is the parts of a PCI modalias, or of a pattern of one.
type PCI struct {
	Vendor, Device, SubVendor, SubDevice ID
	Class, SubClass, Interface           ID // "01", "08", "02" of 0x010802
}

// pciParts are the letters before each part and how many digits it has, as
// the kernel's scripts/mod/file2alias.c writes them.
var pciParts = [...]struct {
	key    string
	digits int
}{{"v", 8}, {"d", 8}, {"sv", 8}, {"sd", 8}, {"bc", 2}, {"sc", 2}, {"i", 2}}

func (p *PCI) parts() [len(pciParts)]*ID {
	return [...]*ID{&p.Vendor, &p.Device, &p.SubVendor, &p.SubDevice, &p.Class, &p.SubClass, &p.Interface}
}

// ParsePCI takes a modalias, or a pattern with "*" for parts, apart. ok is
// false for anything that is not in the form that the kernel writes.
func ParsePCI(alias string) (p PCI, ok bool) {
	rest, ok := strings.CutPrefix(alias, "pci:")
	if !ok {
		return p, false
	}
	for i, id := range p.parts() {
		part := pciParts[i]
		if rest, ok = strings.CutPrefix(rest, part.key); !ok {
			return p, false
		}
		if after, any := strings.CutPrefix(rest, "*"); any {
			rest = after
			continue
		}
		if len(rest) < part.digits {
			return p, false
		}
		v, err := strconv.ParseUint(rest[:part.digits], 16, 32)
		if err != nil || strings.ToUpper(rest[:part.digits]) != rest[:part.digits] {
			return p, false
		}
		*id, rest = known(uint32(v)), rest[part.digits:]
	}
	return p, rest == "" || rest == "*"
}

// Modalias is the device's modalias, with "*" for what is not known.
func (p PCI) Modalias() string {
	var b strings.Builder
	b.WriteString("pci:")
	for i, id := range p.parts() {
		b.WriteString(pciParts[i].key)
		if id.Known {
			fmt.Fprintf(&b, "%0*X", pciParts[i].digits, id.Value)
		} else {
			b.WriteByte('*')
		}
	}
	return b.String()
}

// complete reports whether all parts are known.
func (p PCI) complete() bool {
	for _, id := range p.parts() {
		if !id.Known {
			return false
		}
	}
	return true
}

// String is the device as people write it: "8086:1593".
func (p PCI) String() string { return p.Vendor.hex(4) + ":" + p.Device.hex(4) }

func (i ID) hex(digits int) string {
	if !i.Known {
		return strings.Repeat("?", digits)
	}
	return fmt.Sprintf("%0*x", digits, i.Value)
}

// ClassString is the class as lspci -n writes it, "0200"; "" if it is not known.
func (p PCI) ClassString() string {
	if !p.Class.Known || !p.SubClass.Known {
		return ""
	}
	return p.Class.hex(2) + p.SubClass.hex(2)
}

// sureness is how a device fits a pattern.
type sureness int

const (
	no        sureness = iota
	byClass            // only if its class, of which nothing is known, is the pattern's
	maybe              // if what is not known of the device is as the pattern wants it
	certainly          // whatever is not known of the device
)

// matchPCI compares a pattern with a device of which parts may be unknown.
// A pattern that names no device, only a class, says little about a device
// whose class is not known.
func matchPCI(pattern, device PCI) sureness {
	want, have := pattern.parts(), device.parts()
	result := certainly
	for i := range want {
		switch {
		case !want[i].Known:
		case !have[i].Known:
			result = maybe
		case want[i].Value != have[i].Value:
			return no
		}
	}
	if result == maybe && !pattern.Device.Known && !device.Class.Known {
		return byClass
	}
	return result
}

// open names the parts that a pattern asks for and that are not known of the
// device, in the words of lspci.
func (p PCI) open(device PCI) []string {
	unknown := func(want, have ID) bool { return want.Known && !have.Known }
	var list []string
	if unknown(p.SubVendor, device.SubVendor) || unknown(p.SubDevice, device.SubDevice) {
		list = append(list, "subsystem")
	}
	if unknown(p.Class, device.Class) || unknown(p.SubClass, device.SubClass) {
		list = append(list, "class")
	} else if unknown(p.Interface, device.Interface) {
		list = append(list, "programming interface")
	}
	return list
}
