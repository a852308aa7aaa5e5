package dhcpconf

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"

	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
)

// writeDnsmasq is for a dnsmasq that gives the addresses.
func writeDnsmasq(j *job) (string, error) {
	t := &text{mark: "#"}
	t.say("Written by %s: machines boot from %v.", j.Program, j.Server)
	t.say("For dnsmasq 2.86 or later; tested with 2.90 and 2.91. Check it: dnsmasq --test --conf-file=FILE")
	reserved, noBoot, ignored := j.machines()
	if j.Full != nil {
		t.gap()
		j.dnsmasqNetwork(t, len(reserved))
	} else {
		if len(reserved) > dnsmasqLeases {
			j.notes = append(j.notes, fmt.Sprintf("dnsmasq gives out %d leases at most, and there are %d machines: add dhcp-lease-max=NUMBER to its configuration", dnsmasqLeases, len(reserved)))
		}
		t.say("A fragment: put it into the folder of conf-dir (/etc/dnsmasq.d), or name it with conf-file=.")
		t.say("A dhcp-boot line without tags that is there already is for clients that no line here is for.")
	}
	j.dnsmasqClients(t)
	j.dnsmasqFirmware(t)
	j.dnsmasqBoot(t, len(noBoot) > 0)
	j.dnsmasqHosts(t, reserved, noBoot, ignored)
	return t.String(), nil
}

// dnsmasqLeases is how many dnsmasq gives out unless it is told otherwise.
const dnsmasqLeases = 1000

// dnsmasqNetwork is what a configuration has beside booting.
func (j *job) dnsmasqNetwork(t *text, reserved int) {
	n := j.Full
	t.say("No DNS, only DHCP, on one interface. The boot server does TFTP.")
	t.line("port=0")
	t.line("interface=%s", n.Interface)
	t.line("bind-dynamic")
	t.line("dhcp-authoritative")
	t.line("log-dhcp")
	t.say("It would wait three seconds for an answer to a ping before each new offer.")
	t.line("no-ping")
	t.gap()
	mask := netmask(j.Subnet)
	leases := reserved
	for _, r := range j.pools() {
		t.line("dhcp-range=%v,%v,%s,%d", r[0], r[1], mask, int(n.Lease.Seconds()))
		leases += size(r)
	}
	if leases > dnsmasqLeases {
		t.say("It would give out %d leases at most.", dnsmasqLeases)
		t.line("dhcp-lease-max=%d", min(leases, maxMachines))
	}
	for _, o := range networkOptions(n) {
		t.line("dhcp-option=%d,%s", o.code, strings.ReplaceAll(o.value, ", ", ","))
	}
	if !n.Router.IsValid() {
		t.say("No router: dnsmasq would name itself.")
		t.line("dhcp-option=3")
	}
	if len(n.NameServers) == 0 {
		t.line("dhcp-option=6")
	}
}

// dnsmasqClients sets tags by what a client says that it is.
func (j *job) dnsmasqClients(t *text) {
	t.gap()
	t.say("Firmware that boots from the network says so in option 60. Other clients get nothing of this.")
	t.line("dhcp-vendorclass=set:hook-firmware,%s", pxeClient)
	t.line("dhcp-vendorclass=set:hook-firmware,%s", httpClient)
	t.gap()
	t.say("iPXE is known by its user class (option 77). dnsmasq looks for the text anywhere in it: that finds the bare")
	t.say("form, the form of RFC 3004 with length bytes, and lists, but also any class that contains the text.")
	for _, class := range j.table.ours {
		t.line("dhcp-userclass=set:hook-ipxe,%s", dnsmasqQuote(class))
	}
	t.say("Stock iPXE, too: dnsmasq cannot see in option 175 whether it speaks HTTP. One that does not (a rare build)")
	t.say("needs another server, or hooksmith serve --dhcp-mode proxy.")
	for _, class := range j.table.stock {
		t.line("dhcp-userclass=set:hook-ipxe,%s", dnsmasqQuote(class))
	}
}

// dnsmasqFirmware sets tags by architecture.
func (j *job) dnsmasqFirmware(t *text) {
	t.gap()
	t.say("The architecture is in option 93; else in option 60, as in PXEClient:Arch:00007; else it is 0, an x86 BIOS.")
	t.say("Of several in option 93 the one whose dhcp-boot line dnsmasq finds first counts.")
	t.line("dhcp-match=set:hook-arch,option:client-arch")
	t.line("dhcp-vendorclass=set:hook-named,Client:Arch:")
	for _, c := range j.table.choices {
		for _, a := range c.archs {
			tag := c.tag
			if a == bios {
				tag = "zero"
			}
			t.line("dhcp-match=set:hook-%s,option:client-arch,%d", tag, a)
			t.line("dhcp-vendorclass=set:hook-named-%s,Client:Arch:%05d", tag, a)
		}
	}
	for _, c := range j.table.choices {
		if len(c.archs) > 1 || c.archs[0] != bios {
			t.line("tag-if=set:hook-%s,tag:hook-named-%s,tag:!hook-arch", c.tag, c.tag)
		}
	}
	j.dnsmasqZero(t)
	if http := j.table.httpArchs(); len(http) > 0 {
		t.gap()
		t.say("Who loads by HTTP.")
		t.line("dhcp-vendorclass=set:hook-http,%s", httpClient)
		for _, a := range http {
			t.line("dhcp-match=set:hook-http,option:client-arch,%d", a)
		}
	}
}

// dnsmasqZero is architecture 0, which three kinds of clients have.
func (j *job) dnsmasqZero(t *text) {
	if !j.table.has(bios) {
		t.line("dhcp-match=set:hook-zero,option:client-arch,%d", bios)
		t.line("dhcp-vendorclass=set:hook-named-zero,Client:Arch:%05d", bios)
	}
	t.line("tag-if=set:hook-zero,tag:hook-named-zero,tag:!hook-arch")
	t.line("tag-if=set:hook-zero,tag:!hook-named,tag:!hook-arch")
	t.say("A Raspberry Pi says 0 as well, and runs no x86 program.")
	for _, oui := range ipxe.RaspberryPis() {
		t.line("dhcp-mac=set:hook-pi,%s:*:*:*", oui)
	}
	for _, c := range j.table.choices {
		if c.has(bios) {
			t.line("tag-if=set:hook-%s,tag:hook-zero,tag:!hook-pi", c.tag)
		}
	}
	if j.table.pi != nil {
		t.line("tag-if=set:hook-%s,tag:hook-zero,tag:hook-pi", j.table.pi.tag)
	}
}

// dnsmasqBoot says what each gets. The empty second field is the server's
// name: left out, it would be taken from the address.
func (j *job) dnsmasqBoot(t *text, some bool) {
	unless := ""
	if some {
		unless = "tag:!hook-off,"
	}
	t.gap()
	t.say("What they load, and from where: name, nothing, address (next-server).")
	for _, c := range j.table.choices {
		t.say("%s", c.byArch())
		if len(c.http) < len(c.archs) {
			t.line("dhcp-boot=%stag:hook-firmware,tag:hook-%s,tag:!hook-http,tag:!hook-ipxe,%s,,%v", unless, c.tag, dnsmasqQuote(c.binary), j.Server)
		}
		t.line("dhcp-boot=%stag:hook-firmware,tag:hook-%s,tag:hook-http,tag:!hook-ipxe,%s,,%v", unless, c.tag, dnsmasqQuote(j.binaryURL(c.binary)), j.Server)
		t.line("dhcp-option-force=%stag:hook-firmware,tag:hook-%s,tag:hook-http,tag:!hook-ipxe,60,%s", unless, c.tag, httpClient)
	}
	t.say("An offer for UEFI HTTP boot counts only with option 60 = %s, which the firmware does not ask for.", httpClient)
	t.gap()
	t.say("iPXE runs the script; %s", noProxyWhy)
	t.line("dhcp-boot=%stag:hook-ipxe,%s,,%v", unless, dnsmasqQuote(j.script()), j.Server)
	t.line("dhcp-option-force=%stag:hook-ipxe,encap:175,176,1b", unless)
}

const noProxyWhy = "ipxe.no-pxedhcp (175.176) tells it not to wait for a ProxyDHCP server, seconds each time."

// dnsmasqHosts are reservations, and who gets no boot file or no answer.
func (j *job) dnsmasqHosts(t *text, reserved, noBoot, ignored []hardware.Machine) {
	off := map[string]bool{}
	for _, m := range noBoot {
		off[m.MAC] = true
	}
	if len(reserved)+len(noBoot)+len(ignored) > 0 {
		t.gap()
		t.say("Machines of the hardware data.")
	}
	done := map[string]bool{}
	for _, m := range reserved {
		done[m.MAC] = true
		j.dnsmasqHost(t, m, off[m.MAC])
	}
	for _, m := range noBoot {
		if !done[m.MAC] {
			t.line("dhcp-host=%s,set:hook-off", m.MAC)
		}
	}
	for _, m := range ignored {
		t.line("dhcp-host=%s,ignore", m.MAC)
	}
}

func (j *job) dnsmasqHost(t *text, m hardware.Machine, off bool) {
	options := j.machineOptions(m)
	name := m.Hostname
	if dnsmasqWord(name) {
		options = append(options, option{code: 12, value: `"` + name + `"`})
		name = ""
	}
	fields := []string{m.MAC}
	if off {
		fields = append(fields, "set:hook-off")
	}
	tag := "hook-" + strings.ReplaceAll(m.MAC, ":", "")
	if len(options) > 0 {
		fields = append(fields, "set:"+tag)
	}
	fields = append(fields, m.IP.Addr().String())
	if name != "" {
		fields = append(fields, name)
	}
	if m.LeaseTime > 0 {
		fields = append(fields, fmt.Sprint(int(m.LeaseTime.Seconds())))
	}
	t.line("dhcp-host=%s", strings.Join(fields, ","))
	for _, o := range options {
		t.line("dhcp-option=tag:%s,%d,%s", tag, o.code, strings.ReplaceAll(o.value, ", ", ","))
	}
}

// dnsmasqWords are the host names that dnsmasq would take for something else
// in dhcp-host: a machine that is called ignore would get no answer, one that
// is called 4711 or 12h a lease of that time, and no name.
var dnsmasqWords = regexp.MustCompile(`(?i)^(ignore|infinite|[0-9]+[smhdw]?|[0-9]+(\.[0-9]+){3})$`)

func dnsmasqWord(name string) bool { return dnsmasqWords.MatchString(name) }

// netmask is the mask of a subnet, dotted.
func netmask(p netip.Prefix) string { return net.IP(net.CIDRMask(p.Bits(), 32)).String() }
