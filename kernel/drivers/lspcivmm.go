package drivers

import (
	"fmt"
	"strings"
)

// record is a device of lspci -vmm: lines "Key:\tvalue" up to an empty one.
type record struct {
	where string
	PCI
	slot, driver   string
	vendor, device string // names
	fields         map[string]bool
}

// field reads one line of a record.
func (p *lspci) field(where, key, value string) error {
	// "Device:" is the slot in -vm, the older form.
	if key == "Slot" {
		if err := p.endRecord(); err != nil {
			return err
		}
	}
	if p.record == nil {
		p.record = &record{where: where, fields: map[string]bool{}}
	}
	r := p.record
	if r.fields[key] && key != "Module" {
		return fmt.Errorf("%s: a second %s in the record that begins at %s: use lspci -vmm, with two m", where, key, r.where)
	}
	r.fields[key] = true
	switch key {
	case "Slot":
		r.slot = value
	case "Driver":
		r.driver = value
	case "Class", "Vendor", "Device", "SVendor", "SDevice":
		return r.number(where, key, value)
	case "ProgIf":
		if r.Interface = hexID(value); !r.Interface.Known {
			return fmt.Errorf("%s: ProgIf %.20q is no hexadecimal number", where, value)
		}
	}
	return nil
}

func (r *record) number(where, key, value string) error {
	id := lastID(value)
	if !id.Known {
		return fmt.Errorf("%s: no number in %s %.80q: run lspci -vmm with -n or -nn", where, key, value)
	}
	switch key {
	case "Class":
		r.Class, r.SubClass = known(id.Value>>8), known(id.Value&0xff)
	case "Vendor":
		r.Vendor, r.vendor = id, nameOf(value)
	case "Device":
		r.Device, r.device = id, nameOf(value)
	case "SVendor":
		r.SubVendor = id
	case "SDevice":
		r.SubDevice = id
	}
	return nil
}

// endRecord finishes the record that has begun.
func (p *lspci) endRecord() error {
	r := p.record
	if r == nil {
		return nil
	}
	p.record = nil
	if !r.Vendor.Known || !r.Device.Known {
		return fmt.Errorf("%s: the record that begins here has no Vendor and Device", r.where)
	}
	if r.Class.Known && !r.fields["ProgIf"] {
		r.Interface = known(0) // lspci leaves it out when it is zero
	}
	d := newPCI(r.where, r.PCI)
	d.Slot, d.Driver = r.slot, r.driver
	d.Name = strings.TrimSpace(r.vendor + " " + r.device)
	return p.add(d)
}
