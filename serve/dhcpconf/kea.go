package dhcpconf

import (
	"encoding/hex"
	"fmt"
	"strings"

	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
)

// member is a member of a JSON object or an element of a list: text of one or
// more lines without the comma.
type member struct {
	why  string
	text string
}

// writeKea is for Kea's DHCPv4 server.
func writeKea(j *job) (string, error) {
	t := &text{mark: "//"}
	t.say("Written by %s: machines boot from %v.", j.Program, j.Server)
	t.say("For Kea 2.2 and later; tested with 2.2.0 and 2.6.3. Check it: kea-dhcp4 -t FILE")
	reserved, noBoot, ignored := j.machines()
	j.noLeaseTimes(reserved, "Kea")
	body := j.keaBody(reserved, noBoot, ignored)
	if j.Full == nil {
		t.say("A fragment: name it inside of \"Dhcp4\": { ... }, with a comma after it unless it is the last:")
		t.say("    <?include \"/etc/kea/hooksmith.json\"?>")
		t.say("If there are option-def, client-classes or reservations already, put these into those lists: a class that")
		t.say("comes earlier and sets a boot file wins.")
		t.members(body)
		return t.String(), nil
	}
	t.line("{ \"Dhcp4\": {")
	t.in(func() { t.members(append(j.keaNetwork(reserved), body...)) })
	t.line("} }")
	return t.String(), nil
}

// keaBody is what every configuration has.
func (j *job) keaBody(reserved, noBoot, ignored []hardware.Machine) []member {
	body := []member{
		{"iPXE's own options: 19 says that it speaks HTTP, 176 that no ProxyDHCP server is to be waited for.", "\"option-def\": " + jsonList(
			member{"", `{ "space": "dhcp4", "code": 175, "name": "hook-ipxe", "type": "empty", "encapsulate": "hook-ipxe" }`},
			member{"", fmt.Sprintf(`{ "space": "hook-ipxe", "code": %d, "name": "http", "type": "uint8" }`, ipxe.FeatureHTTP)},
			member{"", `{ "space": "hook-ipxe", "code": 176, "name": "no-pxedhcp", "type": "uint8" }`})},
		{"A class of which the test holds gives what it has; of two that give the same, the first. The boot server's\n" +
			"address (next-server) stands beside the file: that of a subnet would be less than a class's.", "\"client-classes\": " + jsonList(j.keaClasses(noBoot, ignored)...)},
	}
	if len(reserved) == 0 || j.Full != nil {
		return body
	}
	return append(body,
		member{"Machines of the hardware data, in whatever subnet they are.", `"reservations-global": true`},
		member{"", `"reservations-in-subnet": true`},
		member{"", `"reservations": ` + jsonList(j.keaHosts(reserved)...)})
}

func (j *job) keaNetwork(reserved []hardware.Machine) []member {
	n := j.Full
	subnet := []member{
		{"", `"id": 1`}, // needed since 2.6.0
		{"", `"subnet": ` + jsonQuote(j.Subnet.String())},
	}
	var pools []member
	for _, r := range j.pools() {
		pools = append(pools, member{"", fmt.Sprintf(`{ "pool": "%v - %v" }`, r[0], r[1])})
	}
	subnet = append(subnet, member{"", `"pools": ` + jsonList(pools...)})
	if o := keaOptions(networkOptions(n)); len(o) > 0 {
		subnet = append(subnet, member{"", `"option-data": ` + jsonList(o...)})
	}
	if len(reserved) > 0 {
		subnet = append(subnet, member{"", `"reservations": ` + jsonList(j.keaHosts(reserved)...)})
	}
	return []member{
		{"", `"interfaces-config": { "interfaces": [ ` + jsonQuote(n.Interface) + ` ] }`},
		{"", `"lease-database": { "type": "memfile", "lfc-interval": 3600 }`},
		{"", fmt.Sprintf(`"valid-lifetime": %d`, int(n.Lease.Seconds()))},
		{"", `"authoritative": true`},
		{"", `"host-reservation-identifiers": [ "hw-address" ]`},
		{"", `"subnet4": ` + jsonList(object(subnet...))},
	}
}

// keaClasses are helpers, which only others name, and those that give a file.
func (j *job) keaClasses(noBoot, ignored []hardware.Machine) []member {
	var all []member
	if len(ignored) > 0 {
		all = append(all, class("The hardware data say that these get no answer; the name DROP is Kea's.", "DROP", keaMACs(ignored)))
	}
	off := ""
	if len(noBoot) > 0 {
		all = append(all, class("The hardware data say that these do not boot.", "hook-off", keaMACs(noBoot)))
		off = "not member('hook-off') and "
	}
	all = append(all, class("An iPXE that acts as ours, by its user class: bare, or with its length byte before it as the first or the last of\n"+
		"a list (RFC 3004). Kea cannot look for one in the middle of three. It runs the script.", "hook-ours", off+"("+keaClassTest(j.table.ours)+")", j.keaScript()...))
	all = append(all, class("Stock iPXE.", "hook-stock", off+"not member('hook-ours') and ("+keaClassTest(j.table.stock)+")"))
	all = append(all, class("It runs the script as well, if it says that it speaks HTTP.", "hook-stock-http", "member('hook-stock') and option[175].option[19].exists", j.keaScript()...))
	all = append(all, class("Firmware that boots from the network. Ordinary clients are in no class that gives something.", "hook-firmware",
		off+"not member('hook-ours') and not member('hook-stock') and ("+keaVendor(pxeClient)+" or "+keaVendor(httpClient)+")"))
	all = append(all, j.keaArchitectures()...)
	for _, c := range j.table.choices {
		all = append(all, j.keaChoice(c)...)
	}
	return all
}

// keaArchitectures are helpers that say which binary a client could run.
func (j *job) keaArchitectures() (all []member) {
	http := keaVendor(httpClient)
	for _, a := range j.table.httpArchs() {
		http += " or " + keaOption93(a)
	}
	all = append(all, class("Who loads by HTTP.", "hook-http", http))
	all = append(all, class("The architecture is the first in option 93, else in option 60, as in\n"+
		"PXEClient:Arch:00007, else it is 0, an x86 BIOS: but a Raspberry Pi says that too.", "hook-pi", strings.Join(each(ipxe.RaspberryPis(), func(oui string) string {
		return "substring(pkt4.mac,0,3) == 0x" + strings.ReplaceAll(oui, ":", "")
	}), " or ")))
	all = append(all, class("", "hook-zero", keaOption93(bios)+" or (not option[93].exists and ("+keaNamed(bios)+
		" or not (substring(option[60].hex,9,6) == ':Arch:' or substring(option[60].hex,10,6) == ':Arch:')))"))
	for _, c := range j.table.choices {
		all = append(all, class(c.byArch(), "hook-"+c.tag, j.keaArchTest(c)))
	}
	return all
}

func (j *job) keaArchTest(c choice) string {
	var terms, named []string
	for _, a := range c.archs {
		if a == bios {
			terms = append(terms, "(member('hook-zero') and not (member('hook-pi') and member('hook-firmware')))")
			continue
		}
		terms, named = append(terms, keaOption93(a)), append(named, keaNamed(a))
	}
	if len(named) > 0 {
		terms = append(terms, "(not option[93].exists and ("+strings.Join(named, " or ")+"))")
	}
	if pi := j.table.pi; pi != nil && pi.tag == c.tag {
		terms = append(terms, "(member('hook-zero') and member('hook-pi') and member('hook-firmware'))")
	}
	return strings.Join(terms, " or ")
}

// keaChoice are the classes that give a binary.
func (j *job) keaChoice(c choice) []member {
	all := []member{
		class("", "hook-pxe-"+c.tag, "member('hook-firmware') and member('hook-"+c.tag+"') and not member('hook-http')", j.keaFile(c.binary)...),
		class("An offer for UEFI HTTP boot counts only with option 60, which the firmware does not ask for.", "hook-http-"+c.tag,
			"member('hook-firmware') and member('hook-"+c.tag+"') and member('hook-http')",
			append(j.keaFile(j.binaryURL(c.binary)), member{"", `"option-data": [ { "name": "vendor-class-identifier", "data": "HTTPClient", "always-send": true } ]`})...),
		class("A stock iPXE without HTTP loads ours, by a URL: it would not fetch a bare name from next-server.", "hook-stock-"+c.tag,
			"member('hook-stock') and not member('hook-stock-http') and member('hook-"+c.tag+"')", j.keaFile(j.tftpURL(c.binary))...),
	}
	if len(c.http) == len(c.archs) {
		return all[1:]
	}
	return all
}

func (j *job) keaFile(file string) []member {
	return []member{
		{"", `"next-server": ` + jsonQuote(j.Server.String())},
		{"", `"boot-file-name": ` + jsonQuote(file)},
	}
}

func (j *job) keaScript() []member {
	return append(j.keaFile(j.script()), member{"", `"option-data": [ { "name": "hook-ipxe", "always-send": true }, { "space": "hook-ipxe", "name": "no-pxedhcp", "data": "1", "always-send": true } ]`})
}

func class(why, name, test string, rest ...member) member {
	o := object(append([]member{{"", `"name": ` + jsonQuote(name)}, {"", `"test": ` + jsonQuote(test)}}, rest...)...)
	o.why = why
	return o
}

// keaClassTest finds user classes in option 77.
func keaClassTest(classes []string) string {
	return strings.Join(each(classes, func(c string) string {
		with := "0x" + hex.EncodeToString([]byte(counted(c)))
		return fmt.Sprintf("option[77].hex == 0x%s or substring(option[77].hex,0,%d) == %s or substring(option[77].hex,-%d,all) == %s",
			hex.EncodeToString([]byte(c)), len(c)+1, with, len(c)+1, with)
	}), " or ")
}

func keaVendor(class string) string {
	return fmt.Sprintf("substring(option[60].hex,0,%d) == '%s'", len(class), class)
}

func keaOption93(a uint16) string {
	return fmt.Sprintf("substring(option[93].hex,0,2) == 0x%04x", a)
}

func keaNamed(a uint16) string {
	return fmt.Sprintf("substring(option[60].hex,9,11) == ':Arch:%05d' or substring(option[60].hex,10,11) == ':Arch:%05d'", a, a)
}

func keaMACs(all []hardware.Machine) string {
	return strings.Join(each(all, func(m hardware.Machine) string { return "pkt4.mac == 0x" + strings.ReplaceAll(m.MAC, ":", "") }), " or ")
}

func keaOptions(all []option) []member {
	return each(all, func(o option) member {
		return member{"", fmt.Sprintf(`{ "name": %s, "data": %s }`, jsonQuote(o.kea), jsonQuote(o.value))}
	})
}

func (j *job) keaHosts(reserved []hardware.Machine) []member {
	return each(reserved, func(m hardware.Machine) member {
		host := fmt.Sprintf(`{ "hw-address": "%s", "ip-address": "%v"`, m.MAC, m.IP.Addr())
		if m.Hostname != "" {
			host += `, "hostname": ` + jsonQuote(m.Hostname)
		}
		if o := keaOptions(j.machineOptions(m)); len(o) > 0 {
			host += `, "option-data": [ ` + strings.Join(each(o, func(m member) string { return m.text }), ", ") + " ]"
		}
		return member{"", host + " }"}
	})
}

// members writes members with commas between, comments before.
func (t *text) members(all []member) {
	for i, m := range all {
		if m.why != "" {
			t.say("%s", m.why)
		}
		comma := ","
		if i == len(all)-1 {
			comma = ""
		}
		t.line("%s%s", t.wrapped(m.text), comma)
	}
}

func block(open, end string, all []member) string {
	inner := &text{mark: "//", indent: "  "}
	inner.members(all)
	return open + "\n" + inner.String() + end
}

func object(all ...member) member { return member{"", block("{", "}", all)} }

func jsonList(all ...member) string { return block("[", "]", all) }
