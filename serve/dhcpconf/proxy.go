package dhcpconf

import (
	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
)

// writeProxy is for a dnsmasq that gives no addresses.
func writeProxy(j *job) (string, error) {
	t := &text{mark: "#"}
	t.say("Written by %s: machines boot from %v.", j.Program, j.Server)
	t.say("For dnsmasq 2.86 or later as a ProxyDHCP server; tested with 2.90 and 2.91. Check it: dnsmasq --test --conf-file=FILE")
	t.say("Another DHCP server gives the addresses. Open 67/udp and 4011/udp to this host, 69/udp and %d/tcp to %v.", j.HTTPPort, j.Server)
	t.say("UEFI HTTP boot gets no answer from dnsmasq as a proxy, and an iPXE without HTTP the script all the same:")
	t.say("hooksmith serve --dhcp-mode proxy serves both.")
	t.gap()
	if j.Full != nil {
		t.line("port=0")
		t.line("interface=%s", j.Full.Interface)
		t.line("bind-dynamic")
		t.line("log-dhcp")
	}
	t.line("dhcp-range=%v,proxy,%s", j.Subnet.Addr(), netmask(j.Subnet))
	t.gap()
	t.say("iPXE, by its user class: dnsmasq looks for the text anywhere in option 77, bare or in a list (RFC 3004).")
	for _, class := range append(j.table.ours, j.table.stock...) {
		t.line("dhcp-userclass=set:hook-ipxe,%s", dnsmasqQuote(class))
	}
	t.say("A Raspberry Pi says that it is a BIOS, and runs no x86 program.")
	for _, oui := range ipxe.RaspberryPis() {
		t.line("dhcp-mac=set:hook-pi,%s:*:*:*", oui)
	}
	j.proxyServices(t, t.proxyOff(j.Machines))
	return t.String(), nil
}

// proxyOff marks the machines that get nothing, and returns the tag that the
// others must not have. As a proxy, dnsmasq does not heed dhcp-host=...,ignore.
func (t *text) proxyOff(all []hardware.Machine) (unless string) {
	for _, m := range all {
		if m.DHCP != hardware.Off && m.Netboot.Allow != hardware.Off {
			continue
		}
		if unless == "" {
			t.gap()
			t.say("The hardware data say that these do not boot.")
		}
		unless = "tag:!hook-off,"
		t.line("dhcp-mac=set:hook-off,%s", m.MAC)
	}
	return unless
}

// proxyServices is a menu of one entry for each architecture; a firmware takes
// it without asking.
func (j *job) proxyServices(t *text, unless string) {
	t.gap()
	t.say("Firmware loads a binary of the boot server: pxe-service=tags,option 93,text,file,address.")
	for _, c := range j.table.choices {
		t.say("%s", c.byArch())
		for _, a := range without(c.archs, c.http) {
			tag := unless + "tag:!hook-ipxe"
			if a == bios {
				tag += ",tag:!hook-pi"
			}
			t.line("pxe-service=%s,%d,%s,%s,%v", tag, a, dnsmasqQuote("HookOS"), dnsmasqQuote(c.binary), j.Server)
		}
	}
	if pi := j.table.pi; pi != nil {
		t.line("pxe-service=%stag:!hook-ipxe,tag:hook-pi,%d,%s,%s,%v", unless, bios, dnsmasqQuote("Raspberry Pi Boot"), dnsmasqQuote(pi.binary), j.Server)
	}
	t.gap()
	t.say("iPXE runs the script, whatever it was built for.")
	for _, a := range j.Rule.Architectures() {
		if a.Platform() != ipxe.None && !a.HTTP() && a != ipxe.Rpiboot {
			t.line("pxe-service=%stag:hook-ipxe,%d,%s,%s", unless, uint16(a), dnsmasqQuote("HookOS"), dnsmasqQuote(j.script()))
		}
	}
}
