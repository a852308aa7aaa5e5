package drivers

import (
	"fmt"
	"strings"
)

// Device is one device, as a listing tells of it.
type Device struct {
	Where    string // file and line, flag or folder, for messages
	Slot     string // "0000:3b:00.0", name in /sys; "" if the listing has none
	Name     string // in words, if the listing has them
	Driver   string // that drives it where the listing was made
	Bus      string // what is before the colon of the modalias
	Modalias string // of a PCI device with "*" for what is not known
	PCI      *PCI   // of a PCI device
}

// ID is what people call the device: "8086:1593", else its modalias.
func (d *Device) ID() string {
	if d.PCI != nil {
		return d.PCI.String()
	}
	return d.Modalias
}

// Class is a PCI device's class, "0200"; "" if it is not known.
func (d *Device) Class() string {
	if d.PCI == nil {
		return ""
	}
	return d.PCI.ClassString()
}

// newPCI is a device by its parts.
func newPCI(where string, p PCI) Device {
	return Device{Where: where, Bus: "pci", Modalias: p.Modalias(), PCI: &p}
}

// maxModalias bounds a modalias; that of a processor has 2000 bytes.
const maxModalias = 16 << 10

// ParseModalias makes a device of a modalias as /sys has it.
func ParseModalias(where, modalias string) (Device, error) {
	bus, rest, ok := strings.Cut(modalias, ":")
	switch {
	case len(modalias) > maxModalias:
		return Device{}, fmt.Errorf("%s: a modalias of %d bytes; the longest known have 2000", where, len(modalias))
	case !ok || !isBus(bus) || strings.HasPrefix(rest, " "):
		return Device{}, fmt.Errorf("%s: %.80q is no modalias; one begins like pci:v00008086d00001593", where, modalias)
	case strings.ContainsFunc(rest, func(r rune) bool { return r <= ' ' && r != ' ' || r == 0x7f || r == '\uFFFD' }):
		return Device{}, fmt.Errorf("%s: the modalias %.80q holds a character that none has", where, modalias)
	}
	d := Device{Where: where, Bus: bus, Modalias: modalias}
	if bus != "pci" {
		return d, nil
	}
	p, ok := ParsePCI(modalias)
	if !ok || !p.Vendor.Known || !p.Device.Known {
		return Device{}, fmt.Errorf("%s: %.120q is no PCI modalias: it has the form pci:v00008086d00001593sv00008086sd00000002bc02sc00i00", where, modalias)
	}
	d.PCI, d.Modalias = &p, strings.TrimSuffix(modalias, "*")
	if !p.complete() {
		d.Modalias = p.Modalias()
	}
	return d, nil
}

func isBus(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
	})
}

const virtioVendor = 0x1af4

// transitional are the kinds of virtio devices by the PCI device ids that were
// given out before virtio 1.0 (virtio 1.2, section 4.1.2.1).
var transitional = map[uint32]uint32{0x1000: 1, 0x1001: 2, 0x1002: 5, 0x1003: 3, 0x1004: 8, 0x1005: 4, 0x1009: 9}

// virtioChild is the device that appears behind a virtio PCI device when its
// driver has bound; lspci shows the outer one only.
func (d *Device) virtioChild() (Device, bool) {
	if d.PCI == nil || d.PCI.Vendor.Value != virtioVendor {
		return Device{}, false
	}
	kind, ok := transitional[d.PCI.Device.Value]
	if !ok && d.PCI.Device.Value > 0x1040 && d.PCI.Device.Value <= 0x107f {
		kind, ok = d.PCI.Device.Value-0x1040, true
	}
	if !ok {
		return Device{}, false
	}
	child := *d
	child.Bus, child.PCI = "virtio", nil
	child.Modalias = fmt.Sprintf("virtio:d%08Xv%08X", kind, virtioVendor)
	return child, true
}
