package hardware

import (
	"fmt"
	"strings"
)

// parseTinkerbell reads Hardware objects: several documents, a list, or a
// kind List. Other kinds, as in the files that EKS Anywhere generates, are
// left alone. A Hardware object with several interfaces is several machines
// here, since what boots is a NIC.
func parseTinkerbell(r *report, docs []*node) (machines []placed) {
	for _, n := range flatten(docs) {
		if kind := n.str("kind"); kind != "" && kind != "Hardware" {
			continue
		}
		h := hardwareObject{report: r, name: objectName(n)}
		h.read(n)
		machines = append(machines, h.machines...)
	}
	return machines
}

// flatten unpacks lists and kind: List (also HardwareList), two levels deep.
func flatten(docs []*node) (objects []*node) {
	for _, n := range docs {
		items := []*node{n}
		if n.kind == list {
			items = n.items
		}
		for _, n := range items {
			if more := n.get("items"); strings.HasSuffix(n.str("kind"), "List") && more != nil {
				objects = append(objects, more.items...)
				continue
			}
			objects = append(objects, n)
		}
	}
	return objects
}

func objectName(n *node) string {
	if metadata := n.get("metadata"); metadata != nil && metadata.str("name") != "" {
		return metadata.str("name")
	}
	return "Hardware"
}

// hardwareObject is one object while it is read: what holds for all its
// interfaces, and these.
type hardwareObject struct {
	*report
	name       string
	shared     Machine
	interfaces []func()
	machines   []placed
}

// read goes through the object; interfaces come last, as they start with
// what the rest of the object says.
func (h *hardwareObject) read(n *node) {
	h.object(n, h.name, lenient, fields{
		"apiVersion": nil, "kind": nil, "status": nil,
		"metadata": func(at string, n *node) {
			if labels := n.get("labels"); labels != nil && labels.kind != null {
				h.labelsOf(&h.shared.Labels)(path(at, "labels"), labels)
			}
		},
		"spec": h.spec,
	})
	for _, read := range h.interfaces {
		read()
	}
	if len(h.interfaces) == 0 {
		h.note(n.at, h.name, "a Hardware without interfaces: nothing here to boot")
	}
}

func (h *hardwareObject) spec(at string, n *node) {
	m := &h.shared
	h.object(n, at, lenient, fields{
		"metadata":      h.instance,
		"disks":         h.disks,
		"agentID":       optional(h.report, &m.Netboot.WorkerID, parseLine),
		"interfaces":    h.v1alpha1,
		"bmcRef":        nil,
		"tinkVersion":   nil,
		"userData":      nil,
		"vendorData":    nil,
		"resources":     nil,
		"references":    nil,
		"auto":          nil,
		"agentMetadata": nil,

		// v1alpha2 has one boot configuration for all interfaces.
		"networkInterfaces": h.v1alpha2,
		"storageDevices":    h.disks,
		"kernelParams":      add(h.report, &m.Netboot.KernelArgs, parseArgument),
		"ipxe":              func(at string, n *node) { h.ipxe(&m.Netboot, at, n) },
		"osie":              func(at string, n *node) { h.osie(&m.Netboot, at, n) },
		"instance":          nil,
	})
}

func (h *hardwareObject) instance(at string, n *node) {
	if f := n.get("facility"); f != nil && f.kind == object {
		if code := f.get("facility_code"); code != nil {
			optional(h.report, &h.shared.Netboot.Facility, parseLine)(path(at, "facility.facility_code"), code)
		}
	}
}

// disks takes the first: where the operating system goes.
func (h *hardwareObject) disks(at string, n *node) {
	h.each(at, n, func(at string, n *node) {
		if device := n.get("device"); device != nil {
			n = device
		}
		if h.shared.Disk == "" {
			optional(h.report, &h.shared.Disk, parseLine)(at, n) // by-id paths are fine here
		}
	})
}

// v1alpha1 reads the list of interfaces.
func (h *hardwareObject) v1alpha1(at string, n *node) {
	h.each(at, n, func(at string, n *node) {
		h.interfaces = append(h.interfaces, func() {
			m := h.start(n)
			places := fieldPlaces{names: [4]string{at}, at: [4]place{n.at}}
			h.object(n, at, lenient, fields{
				"dhcp":        func(at string, n *node) { places = h.dhcp(&m, at, n) },
				"netboot":     func(at string, n *node) { h.netboot(&m.Netboot, at, n) },
				"disableDhcp": optional(h.report, &m.DHCP, parseDisable),
				"isoboot":     nil,
			})
			if dhcp := n.get("dhcp"); dhcp == nil || !dhcp.has("mac") {
				h.fail(n.at, path(at, "dhcp.mac"), "missing; it is how a machine is known")
			}
			h.machines = append(h.machines, placed{m, places, h.group(n)})
		})
	})
}

// v1alpha2 reads the object of interfaces by MAC address.
func (h *hardwareObject) v1alpha2(at string, n *node) {
	if n.kind != object {
		h.fail(n.at, at, "%s, but an object of interfaces by MAC address is wanted", n.kind)
		return
	}
	for _, e := range n.entries {
		h.interfaces = append(h.interfaces, func() {
			m := h.start(e.value)
			at := path(at, e.key)
			var err error
			if m.MAC, err = NormalizeMAC(e.key); err != nil {
				h.fail(e.at, at, "%v", err)
			}
			var places fieldPlaces
			h.object(e.value, at, lenient, fields{
				"dhcp":           func(at string, n *node) { places = h.dhcp(&m, at, n) },
				"disableDhcp":    optional(h.report, &m.DHCP, parseDisable),
				"disableNetboot": optional(h.report, &m.Netboot.Allow, parseDisable),
				"isoboot":        nil,
			})
			places.names[fieldMAC], places.at[fieldMAC] = at, e.at
			h.machines = append(h.machines, placed{m, places, h.group(e.value)})
		})
	}
}

// start is the machine that an interface begins with.
func (h *hardwareObject) start(n *node) Machine {
	m := h.shared
	m.Source = fmt.Sprintf("%s:%d", h.file, n.at.line)
	return m
}

// group is equal for the interfaces of one object, also if it has no name.
func (h *hardwareObject) group(*node) string { return fmt.Sprintf("%s %p", h.name, h) }

// dhcp reads the dhcp object of both versions.
func (h *hardwareObject) dhcp(m *Machine, at string, n *node) fieldPlaces {
	r := h.report
	var address, netmask string
	addressAt := n.at
	known := fields{
		"mac":                     set(r, &m.MAC, NormalizeMAC),
		"hostname":                optional(r, &m.Hostname, parseHostname),
		"domain_name":             optional(r, &m.Domain, parseHostname),
		"lease_time":              optional(r, &m.LeaseTime, leaseSeconds),
		"name_servers":            add(r, &m.NameServers, parseAddr),
		"time_servers":            add(r, &m.TimeServers, parseAddr),
		"arch":                    optional(r, &m.Arch, parseArch),
		"uefi":                    nil,
		"iface_name":              nil,
		"vlan_id":                 optional(r, &m.VLAN, parseVLANOrNone),
		"classless_static_routes": r.routes(&m.Routes, "destination_descriptor", "router", lenient),
		"tftp_server_name":        optional(r, &m.Netboot.TFTPServer, parseLine),
		"boot_file_name":          optional(r, &m.Netboot.BootFileName, parseLine),

		"netmask":          optional(r, &netmask, text), // v1alpha2 from here
		"gateway":          optional(r, &m.Gateway, parseAddr),
		"vlanId":           optional(r, &m.VLAN, parseVLANOrNone),
		"nameservers":      add(r, &m.NameServers, parseAddr),
		"timeservers":      add(r, &m.TimeServers, parseAddr),
		"leaseTimeSeconds": optional(r, &m.LeaseTime, leaseSeconds),
	}
	known["ip"] = func(at string, n *node) {
		if addressAt = n.at; n.kind == scalar {
			address = n.text
			return
		}
		r.object(n, at, lenient, fields{
			"address": optional(r, &address, text),
			"netmask": optional(r, &netmask, text),
			"gateway": optional(r, &m.Gateway, parseAddr),
			"family":  nil,
		})
	}
	r.object(n, at, lenient, known)
	if address != "" {
		m.IP = r.hostAddress(addressAt, path(at, "ip"), address, netmask)
	}
	p := placesOf(n, at, "mac", "ip", "hostname")
	return p
}

func (h *hardwareObject) netboot(b *Netboot, at string, n *node) {
	r := h.report
	r.object(n, at, lenient, fields{
		"allowPXE":      optional(r, &b.Allow, parseSwitch),
		"allowWorkflow": nil,
		"ipxe":          func(at string, n *node) { h.ipxe(b, at, n) },
		"osie":          func(at string, n *node) { h.osie(b, at, n) },
		"pxelinux": func(at string, n *node) {
			r.object(n, at, lenient, fields{"config": optional(r, &b.PXELinux, parseText)})
		},
		"rpi": nil,
	})
}

func (h *hardwareObject) ipxe(b *Netboot, at string, n *node) {
	h.object(n, at, lenient, fields{
		"url":      optional(h.report, &b.ScriptURL, parseURL),
		"contents": optional(h.report, &b.Script, parseText),
		"inline":   optional(h.report, &b.Script, parseText),
		"binary":   optional(h.report, &b.Binary, parseFile),
	})
}

func (h *hardwareObject) osie(b *Netboot, at string, n *node) {
	h.object(n, at, lenient, fields{
		"baseURL":      optional(h.report, &b.HookURL, parseURL),
		"kernel":       optional(h.report, &b.Kernel, parseFile),
		"initrd":       optional(h.report, &b.Initrd, parseFile),
		"kernelParams": add(h.report, &b.KernelArgs, parseArgument),
		"name":         nil, // v1alpha2 refers to an object that is not here
	})
}
