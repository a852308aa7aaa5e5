package dhcpconf

import (
	"fmt"
	"slices"
	"strings"

	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
)

// writeISC is for ISC dhcpd.
func writeISC(j *job) (string, error) {
	t := &text{mark: "#"}
	t.say("Written by %s: machines boot from %v.", j.Program, j.Server)
	t.say("For ISC dhcpd 4.4; tested with 4.4.3-P1 of Debian 12 and 13. Check it: dhcpd -t -cf FILE")
	if j.Full == nil {
		t.say("A fragment: name it in dhcpd.conf, before other classes and outside of every block: include \"/etc/dhcp/hooksmith.conf\";")
		t.say("What it says wins over filename and next-server of subnets, pools and groups. Those of a host, or of a class that is")
		t.say("declared earlier, win over it: take them away.")
	}
	reserved, noBoot, ignored := j.machines()
	t.gap()
	t.say("iPXE's own options, in option 175 (a file that defines another name for 175 must not be included as well).")
	t.line("option space hook-ipxe;")
	t.line("option hook-ipxe.http code %d = unsigned integer 8;", ipxe.FeatureHTTP)
	t.line("option hook-ipxe.no-pxedhcp code 176 = unsigned integer 8;")
	t.line("option hook-ipxe-options code 175 = encapsulate hook-ipxe;")
	if j.Full != nil {
		t.gap()
		j.iscNetwork(t)
	}
	j.iscBoot(t, noBoot)
	j.iscHosts(t, reserved, ignored)
	return t.String(), nil
}

func (j *job) iscNetwork(t *text) {
	n := j.Full
	t.line("authoritative;")
	t.line("default-lease-time %d;", int(n.Lease.Seconds()))
	t.line("max-lease-time %d;", int(n.Lease.Seconds()))
	t.say("It would wait a second for an answer to a ping before each new offer.")
	t.line("ping-check false;")
	t.say("Name the interface on the command line: dhcpd -4 -cf FILE %s", n.Interface)
	t.line("subnet %v netmask %s {", j.Subnet.Addr(), netmask(j.Subnet))
	t.in(func() {
		for _, r := range j.pools() {
			t.line("range %v %v;", r[0], r[1])
		}
		for _, o := range networkOptions(n) {
			t.line("option %s %s;", o.isc, iscValue(o))
		}
	})
	t.line("}")
}

func iscValue(o option) string {
	if o.code == 15 {
		return iscQuote(o.value)
	}
	return o.value
}

// iscBoot is a class: what stands outside of blocks would lose against the
// next-server of a subnet, which most configurations have, so that machines
// asked a stranger for our file.
func (j *job) iscBoot(t *text, noBoot []hardware.Machine) {
	t.gap()
	t.line("class \"hooksmith\" {")
	t.in(func() {
		t.say("Everybody who could be meant.")
		t.line("match if exists vendor-class-identifier or exists user-class;")
		j.iscChain(t, noBoot)
	})
	t.line("}")
}

// iscChain is one chain of conditions: the first that holds counts. Conditions
// are in no parentheses: dhcpd's parser takes few of them.
func (j *job) iscChain(t *text, noBoot []hardware.Machine) {
	t.say("The first of these that fits counts. The boot server's address (next-server) stands beside each file, so that it")
	t.say("comes with it and with nothing else.")
	word := "if"
	if len(noBoot) > 0 {
		t.say("The hardware data say that these do not boot.")
		t.line("if %s {", t.wrapped(iscMACs(noBoot)))
		word = "} elsif"
	}
	t.line("%s %s {", word, t.wrapped(iscClasses(j.table.ours)))
	t.in(func() {
		t.say("An iPXE that acts as ours, by its user class: bare, or with its length byte before it at any place of a list")
		t.say("(RFC 3004). %s", noProxyWhy)
		j.iscScript(t)
	})
	t.line("} elsif %s {", t.wrapped(iscClasses(j.table.stock)))
	t.in(func() { j.iscStock(t) })
	t.line("} elsif %s {", iscVendor(httpClient))
	t.in(func() {
		t.say("UEFI HTTP boot. An offer counts only with option 60. The firmware does not ask for it, and dhcpd sends only what")
		t.say("is asked for: hence the longer list.")
		j.iscSwitch(t, len(httpClient), j.iscChoices(httpClient))
	})
	t.line("} elsif %s {", iscVendor(pxeClient))
	t.in(func() {
		t.say("PXE. Who says neither is an ordinary client and gets nothing of this.")
		j.iscSwitch(t, len(pxeClient), j.iscChoices(pxeClient))
	})
	t.line("}")
}

func (j *job) iscScript(t *text) {
	t.line("next-server %v;", j.Server)
	t.line("filename %s;", iscQuote(j.script()))
	t.line("option hook-ipxe.no-pxedhcp 1;")
}

func (j *job) iscStock(t *text) {
	t.line("if exists hook-ipxe.http {")
	t.in(func() {
		t.say("Stock iPXE that speaks HTTP (option 175) runs the script as well.")
		j.iscScript(t)
	})
	t.line("} else {")
	t.in(func() {
		t.say("Without HTTP it loads ours, by a URL: a bare name it would not fetch from next-server.")
		var all []iscCase
		for _, c := range j.table.choices {
			all = append(all, iscCase{c.what, c.archs, j.iscFile(j.tftpURL(c.binary))})
		}
		j.iscSwitch(t, len(pxeClient), all)
	})
	t.line("}")
}

// iscCase is what some architectures get, as statements.
type iscCase struct {
	what  string
	archs []uint16
	then  []string
}

// iscAlso60 makes dhcpd send option 60 to firmware that did not ask for it.
const iscAlso60 = "option dhcp-parameter-request-list = concat(option dhcp-parameter-request-list, 3c);"

func (j *job) iscFile(file string) []string {
	then := []string{fmt.Sprintf("next-server %v;", j.Server), fmt.Sprintf("filename %s;", iscQuote(file))}
	if strings.HasPrefix(file, "http:") {
		then = append(then, fmt.Sprintf("option vendor-class-identifier %s;", iscQuote(httpClient)), iscAlso60)
	}
	return then
}

// iscChoices is what firmware gets; a PXE client that says an architecture of
// HTTP boot is taken at that.
func (j *job) iscChoices(vendor string) (all []iscCase) {
	for _, c := range j.table.choices {
		byTFTP := without(c.archs, c.http)
		if vendor == httpClient {
			byTFTP = nil
		}
		if c.has(bios) {
			file := j.binaryURL
			if vendor == pxeClient {
				file = func(name string) string { return name }
			}
			all = append(all, iscCase{c.what, []uint16{bios}, j.iscPi(file, j.iscFile(file(c.binary)))})
			byTFTP = without(byTFTP, []uint16{bios})
		}
		if len(byTFTP) > 0 {
			all = append(all, iscCase{c.what, byTFTP, j.iscFile(c.binary)})
		}
		if byHTTP := without(without(c.archs, byTFTP), []uint16{bios}); len(byHTTP) > 0 {
			all = append(all, iscCase{c.what + " by HTTP", byHTTP, j.iscFile(j.binaryURL(c.binary))})
		}
	}
	return all
}

// iscPi tells a Raspberry Pi from a BIOS, which it says that it is.
func (j *job) iscPi(file func(string) string, others []string) []string {
	pis := each(ipxe.RaspberryPis(), func(oui string) string { return "substring(hardware, 1, 3) = " + oui })
	then := []string{"if " + strings.Join(pis, " or\n    ") + " {", "  # A Raspberry Pi runs no x86 program."}
	if j.table.pi != nil {
		then = append(then, "  "+strings.Join(j.iscFile(file(j.table.pi.binary)), " "))
	}
	return append(then, "} else {", "  "+strings.Join(others, " "), "}")
}

// iscSwitch branches by the first value of option 93; else by the number in
// option 60, which stands after a word of a length; else it is a BIOS. An empty
// option 93 has no number, but an empty substring, which would be a BIOS.
func (j *job) iscSwitch(t *text, word int, all []iscCase) {
	t.line("switch (pick-first-value(encode-int(extract-int(option pxe-system-type, 16), 16), substring(option vendor-class-identifier, %d, 11), \"none\")) {", word)
	for _, c := range all {
		t.say("%s (%s)", c.what, list(c.archs))
		labels := each(c.archs, func(a uint16) string { return fmt.Sprintf(`case "\%03o\%03o":`, a>>8, a&255) })
		labels = append(labels, each(c.archs, func(a uint16) string { return fmt.Sprintf(`case ":Arch:%05d":`, a) })...)
		if slices.Contains(c.archs, bios) {
			labels = append(labels, `case "":`, `case "none":`)
		}
		t.line("%s", strings.Join(labels, " "))
		t.in(func() {
			for _, l := range c.then {
				t.line("%s", t.wrapped(l))
			}
			t.line("break;")
		})
	}
	t.line("}")
}

func iscVendor(class string) string {
	return fmt.Sprintf("substring(option vendor-class-identifier, 0, %d) = %s", len(class), iscQuote(class))
}

// iscClasses finds user classes: bare and exact, or counted at the begin or
// after other classes and followed by nothing or another's length byte. The
// pattern comes last: after one, dhcpd's parser reads no further "or".
func iscClasses(classes []string) string {
	bare := each(classes, func(c string) string { return "option user-class = " + iscQuote(c) })
	patterns := each(classes, func(c string) string { return iscPattern(counted(c)) })
	return fmt.Sprintf("%s or\n    option user-class ~= \"(%s)($|[\\001-\\100])\"", strings.Join(bare, " or "), strings.Join(patterns, "|"))
}

// iscPattern is a text as part of a regular expression in a string: dhcpd
// takes a backslash away, and the expression needs one.
func iscPattern(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c < ' ':
			fmt.Fprintf(&b, `\%03o`, c)
		case c == '"':
			b.WriteString(`\"`)
		case c == '\\':
			b.WriteString(`\\\\`)
		case strings.IndexByte(`.[](){}*+?^$|`, c) >= 0:
			b.WriteString(`\\` + string(rune(c)))
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func iscMACs(all []hardware.Machine) string {
	return strings.Join(each(all, func(m hardware.Machine) string { return "hardware = 1:" + m.MAC }), " or\n    ")
}

// iscHosts are reservations. The name of a declaration is ours, as host names
// need not be unique.
func (j *job) iscHosts(t *text, reserved, ignored []hardware.Machine) {
	if len(reserved)+len(ignored) > 0 {
		t.gap()
		t.say("Machines of the hardware data.")
	}
	for _, m := range reserved {
		t.line("host hook-%s {", strings.ReplaceAll(m.MAC, ":", ""))
		t.in(func() {
			t.line("hardware ethernet %s;", m.MAC)
			t.line("fixed-address %v;", m.IP.Addr())
			if m.Hostname != "" {
				t.line("option host-name %s;", iscQuote(m.Hostname))
			}
			if m.LeaseTime > 0 {
				t.say("All three: a client that asks for another time, and the limits around, would count otherwise.")
				for _, which := range []string{"default", "min", "max"} {
					t.line("%s-lease-time %d;", which, int(m.LeaseTime.Seconds()))
				}
			}
			for _, o := range j.machineOptions(m) {
				t.line("option %s %s;", o.isc, iscValue(o))
			}
		})
		t.line("}")
	}
	for _, m := range ignored {
		t.line("host hook-%s { hardware ethernet %s; ignore booting; }", strings.ReplaceAll(m.MAC, ":", ""), m.MAC)
	}
}
