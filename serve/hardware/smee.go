package hardware

import "fmt"

// parseSmee reads the file backend of Smee before it moved into Tinkerbell's
// repository: an object of records by MAC address. Its subnetMask may be
// missing where ipAddress is.
func parseSmee(r *report, docs []*node) (machines []placed) {
	for _, doc := range docs {
		for _, e := range doc.entries {
			m := Machine{Source: fmt.Sprintf("%s:%d", r.file, e.at.line)}
			mac, err := NormalizeMAC(e.key)
			if err != nil {
				r.fail(e.at, e.key, "%v", err)
			}
			m.MAC = mac
			machines = append(machines, placed{m, r.smeeRecord(&m, e), ""})
			machines[len(machines)-1].Machine = m
		}
	}
	return machines
}

func (r *report) smeeRecord(m *Machine, e entry) fieldPlaces {
	var address, netmask string
	r.object(e.value, e.key, lenient, fields{
		"ipAddress":        optional(r, &address, text),
		"subnetMask":       optional(r, &netmask, text),
		"defaultGateway":   optional(r, &m.Gateway, parseAddr),
		"nameServers":      add(r, &m.NameServers, parseAddr),
		"hostname":         optional(r, &m.Hostname, parseHostname),
		"domainName":       optional(r, &m.Domain, parseHostname),
		"broadcastAddress": nil, // computed
		"ntpServers":       add(r, &m.TimeServers, parseAddr),
		"vlanID":           optional(r, &m.VLAN, parseVLANOrNone),
		"leaseTime":        optional(r, &m.LeaseTime, leaseSeconds),
		"arch":             optional(r, &m.Arch, parseArch),
		"domainSearch":     nil, // the domain itself is searched
		"disabled":         optional(r, &m.DHCP, parseDisable),
		"netboot": func(at string, n *node) {
			r.object(n, at, lenient, fields{
				"allowPxe":      optional(r, &m.Netboot.Allow, parseSwitch),
				"ipxeScriptUrl": optional(r, &m.Netboot.ScriptURL, parseURL),
				"ipxeScript":    optional(r, &m.Netboot.Script, parseText),
				"console":       optional(r, &m.Netboot.Console, parseLine),
				"facility":      optional(r, &m.Netboot.Facility, parseLine),
			})
		},
	})
	at := e.value.at
	if address != "" {
		m.IP = r.hostAddress(at, path(e.key, "ipAddress"), address, netmask)
	}
	p := placesOf(e.value, e.key, "mac", "ipAddress", "hostname")
	p.at[fieldMAC], p.names[fieldMAC] = e.at, e.key
	return p
}
