package hardware

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
)

// parseNative reads our own format. Everything but mac may be left out;
// defaults has the same keys as a machine and is what a machine starts with
// (labels are merged, the rest is replaced):
//
//	defaults:
//	  gateway: 10.0.0.1
//	  nameservers: [10.0.0.2]
//	machines:
//	- mac: 52:54:00:12:34:56
//	  hostname: node1
//	  ip: 10.0.0.11/24           # or ip: 10.0.0.11 and netmask: 255.255.255.0
//	  gateway: 10.0.0.1
//	  nameservers: [10.0.0.2]
//	  timeservers: [10.0.0.3]
//	  domain: example.com
//	  lease: 24h                 # or seconds
//	  vlan: 12                   # 0: untagged
//	  routes: [{to: 10.9.0.0/16, via: 10.0.0.9}]
//	  dhcp: true                 # false: no DHCP answer for this NIC
//	  arch: x86_64               # or aarch64, riscv64, loongarch64
//	  disk: /dev/sda
//	  labels: {type: worker}
//	  netboot:
//	    allow: true
//	    binary: snponly.efi      # instead of the architecture's own
//	    script_url: http://...   # chained instead of the server's script
//	    script: |                # or the text itself
//	    template: debug          # or a template of the server by name
//	    hook_url: http://...     # folder of kernel and initramfs
//	    kernel: vmlinuz-x86_64
//	    initrd: initramfs-x86_64
//	    args: [console=ttyS0]    # after the server's own
//	    facility: onprem
//	    worker_id: ...
//	    worker_image: ...
//	    console: ttyS0,115200
//	    pxelinux: |
//	    tftp_server: 10.0.0.4    # options 66 and 67, both or none
//	    boot_file: x.bin
//	  bmc: {ip: 10.0.1.11, username: admin, password: secret}
func parseNative(r *report, docs []*node) (machines []placed) {
	for _, doc := range docs {
		var defaults Machine
		for _, e := range doc.entries { // before the machines, wherever it stands
			if e.key == "defaults" {
				r.nativeMachine(&defaults, "defaults", e.value, false)
			}
		}
		r.object(doc, "", strict, fields{
			"defaults": nil,
			"machines": func(at string, n *node) {
				r.each(at, n, func(at string, n *node) {
					m := defaults
					m.Labels = maps.Clone(m.Labels)
					m.Source = fmt.Sprintf("%s:%d", r.file, n.at.line)
					places := r.nativeMachine(&m, at, n, true)
					machines = append(machines, placed{m, places, ""})
				})
			},
		})
	}
	return machines
}

// nativeMachine reads one machine over what m has.
func (r *report) nativeMachine(m *Machine, at string, n *node, whole bool) fieldPlaces {
	var netmask string
	known := fields{
		"gateway":     set(r, &m.Gateway, parseAddr),
		"nameservers": add(r, &m.NameServers, parseAddr),
		"timeservers": add(r, &m.TimeServers, parseAddr),
		"domain":      set(r, &m.Domain, parseHostname),
		"lease":       set(r, &m.LeaseTime, parseSeconds),
		"vlan":        set(r, &m.VLAN, parseVLANOrNone),
		"routes":      r.routes(&m.Routes, "to", "via", strict),
		"dhcp":        set(r, &m.DHCP, parseSwitch),
		"arch":        set(r, &m.Arch, parseArch),
		"disk":        set(r, &m.Disk, parseDisk),
		"labels":      r.labelsOf(&m.Labels),
		"netboot":     func(at string, n *node) { r.nativeNetboot(&m.Netboot, at, n) },
		"bmc": func(at string, n *node) {
			r.object(n, at, strict, fields{
				"ip":       set(r, &m.BMC.IP, parseAddr),
				"username": set(r, &m.BMC.Username, parseLine),
				"password": set(r, &m.BMC.Password, parseLine),
			})
		},
	}
	if whole {
		known["mac"] = set(r, &m.MAC, NormalizeMAC)
		known["hostname"] = set(r, &m.Hostname, parseHostname)
		known["ip"] = nil // with netmask, below
		known["netmask"] = set(r, &netmask, text)
	}
	r.object(n, at, strict, known)
	if !whole || n.kind != object && n.kind != null {
		return fieldPlaces{}
	}
	if !n.has("mac") {
		r.fail(n.at, path(at, "mac"), "missing; it is how a machine is known")
	}
	if n.has("ip") {
		m.IP = r.nativeAddress(path(at, "ip"), n.get("ip"), netmask)
	}
	return placesOf(n, at, "mac", "ip", "hostname", "bmc")
}

func (r *report) nativeAddress(at string, n *node, netmask string) (p netip.Prefix) {
	if n.kind != scalar || netmask != "" || !strings.Contains(n.text, "/") {
		return r.hostAddress(n.at, at, n.text, netmask)
	}
	address, bits, _ := strings.Cut(n.text, "/")
	return r.hostAddress(n.at, at, address, bits)
}

func (r *report) nativeNetboot(b *Netboot, at string, n *node) {
	r.object(n, at, strict, fields{
		"allow":        set(r, &b.Allow, parseSwitch),
		"binary":       set(r, &b.Binary, parseFile),
		"script_url":   set(r, &b.ScriptURL, parseURL),
		"script":       set(r, &b.Script, parseText),
		"template":     set(r, &b.Template, parseFile),
		"hook_url":     set(r, &b.HookURL, parseURL),
		"kernel":       set(r, &b.Kernel, parseFile),
		"initrd":       set(r, &b.Initrd, parseFile),
		"args":         add(r, &b.KernelArgs, parseArgument),
		"facility":     set(r, &b.Facility, parseLine),
		"worker_id":    set(r, &b.WorkerID, parseLine),
		"worker_image": set(r, &b.WorkerImage, parseLine),
		"console":      set(r, &b.Console, parseLine),
		"pxelinux":     set(r, &b.PXELinux, parseText),
		"tftp_server":  set(r, &b.TFTPServer, parseLine),
		"boot_file":    set(r, &b.BootFileName, parseLine),
	})
	r.netbootConflicts(b, at, n)
}

// netbootConflicts refuses two answers to "which script".
func (r *report) netbootConflicts(b *Netboot, at string, n *node) {
	scripts := 0
	for _, s := range []string{b.ScriptURL, b.Script, b.Template} {
		if s != "" {
			scripts++
		}
	}
	if scripts > 1 {
		r.fail(n.at, at, "more than one of script_url, script and template")
	}
	if (b.TFTPServer == "") != (b.BootFileName == "") {
		r.fail(n.at, at, "tftp_server and boot_file go together")
	}
}

// parseArgument reads one kernel argument. The kernel's own quotes protect spaces.
func parseArgument(s string) (string, error) {
	if s == "" || strings.Count(s, `"`)%2 != 0 {
		return "", errors.New("an empty argument or an open quote")
	}
	return parseLine(s)
}

// placesOf finds where the unique fields of a machine stand.
func placesOf(n *node, at string, names ...string) (p fieldPlaces) {
	for i, name := range names {
		p.names[i], p.at[i] = path(at, name), n.at
		if v := n.get(name); v != nil {
			p.at[i] = v.at
		}
	}
	return p
}
