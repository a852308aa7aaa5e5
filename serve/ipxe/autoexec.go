package ipxe

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// ScriptPath is where a machine's script is below the server's base URL. MAC
// is an address with colons.
func ScriptPath(mac string) string { return scriptPath(strings.ReplaceAll(mac, ":", "-")) }

func scriptPath(mac string) string { return "/ipxe/script/" + mac + "/auto.ipxe" }

// Entry is what the scripts need that are the same for every machine.
type Entry struct {
	Base  string // of this server as the client reaches it: http://10.0.0.1:8080
	VLANs []int  // that machines of the hardware data are in, tried on every interface
}

// maxVLANs bounds a script and the time that a machine spends on it.
const maxVLANs = 32

func (e Entry) validate() error {
	if err := checkWord(e.Base); err != nil {
		return fmt.Errorf("base URL: %w", err)
	}
	if u, err := url.Parse(e.Base); err != nil || u.Host == "" {
		return fmt.Errorf("base URL %q: not a URL such as http://10.0.0.1", e.Base)
	}
	return nil
}

func (e Entry) base() string { return strings.TrimRight(e.Base, "/") }

// machineURL is a machine's script, with what iPXE knows of the machine as
// parameters; mac is an expression.
func (e Entry) machineURL(mac string) string {
	return e.base() + scriptPath(mac) +
		"?uuid=${uuid}&arch=${buildarch}&platform=${platform}&serial=${serial:uristring}"
}

// BootScript is /boot.ipxe: one static URL for any DHCP server, by which each
// machine comes to its own script.
func (e Entry) BootScript() (string, error) {
	if err := e.validate(); err != nil {
		return "", err
	}
	s := newScript()
	s.comment("hooksmith: one URL for every machine, which goes on to the machine's own script")
	s.line("isset ${mac} || dhcp ||")
	s.line("chain --autofree %s && exit ||", e.machineURL("${mac:hexhyp}"))
	s.line("echo")
	s.line("echo hooksmith: STOPPED: the script of ${mac} could not be run from %s", e.base())
	s.line("echo hooksmith: the line above says why; my address is ${ip}, gateway ${gateway}")
	s.pause()
	s.line("exit 1")
	return s.String(), nil
}

// AutoexecScript is autoexec.ipxe, which an iPXE started from EFI fetches from
// the folder that it was loaded from and runs before anything else. It makes a
// stock binary behave as Tinkerbell's: user class Tinkerbell, every interface
// and VLAN is tried, what is wrong is said in words.
func (e Entry) AutoexecScript() (string, error) {
	if err := e.validate(); err != nil {
		return "", err
	}
	s := newScript()
	s.comment("hooksmith: what iPXE runs first. Each network interface, without and with VLAN,")
	s.comment("until one gets an address and its script runs.")
	s.line("isset ${hooksmith-started} && goto again ||")
	s.line("set hooksmith-started yes")
	s.line("set user-class %s", UserClass)
	s.line("set round:int32 1")
	s.line("set linkwait:int32 4000") // a cable without a link costs this much at first
	s.line(":round")
	s.line("set i:int32 0")
	e.interfaces(s)
	e.endOfRound(s)
	return s.String(), nil
}

// interfaces is the loop over net0, net1, ...
func (e Entry) interfaces(s *script) {
	s.line(":interface")
	s.line("isset ${net${i}/mac} || goto round_done")
	s.line("ifopen net${i} && iflinkwait --timeout ${linkwait} net${i} || goto no_link")
	s.line("set device net${i}")
	s.line("goto configure")
	s.line(":no_link")
	s.line("echo hooksmith: net${i} ${net${i}/mac}: no link. Is the cable plugged in, the switch port up?")
	s.line("goto next_interface")

	s.line(":configure")
	s.line("echo hooksmith: ${device} ${net${i}/mac}: asking for an address, round ${round}")
	// Only DHCPv4: plain `dhcp` would wait for an IPv6 router as well.
	s.line("ifconf --configurator dhcp ${device} && goto configured ||")
	s.line("echo hooksmith: ${device} ${net${i}/mac}: no DHCP answer. Does a DHCP server or relay serve this network, and know this MAC address?")
	s.line("goto vlans")
	s.line(":configured")
	s.line("echo hooksmith: ${device} ${net${i}/mac}: address ${${device}/ip}")
	s.line("isset ${%s} && goto told_vlan ||", option43VLAN)
	s.line(":run")
	s.line("chain --autofree %s && exit ||", e.machineURL("${net${i}/mac:hexhyp}"))
	s.line("isset ${hooksmith-ran} && exit 1 ||") // it ran and has said why it failed
	s.line("echo hooksmith: ${device} ${net${i}/mac}: the script could not be run from %s. The line above says why.", e.base())
	s.line("ifclose ${device} ||")
	s.line("goto vlans")
	e.toldVLAN(s)
	e.vlans(s)
	s.line(":next_interface")
	s.line("inc i")
	s.line("goto interface")
}

// option43VLAN is the VLAN that Tinkerbell's DHCP names for a machine.
const option43VLAN = "43.116:string"

// toldVLAN follows the DHCP server's word, once.
func (e Entry) toldVLAN(s *script) {
	s.line(":told_vlan")
	s.line("set vlan ${%s}", option43VLAN)
	s.line("iseq ${device} net${i}-${vlan} && goto run ||")
	s.line("echo hooksmith: net${i}: the DHCP server says VLAN ${vlan}")
	s.line("ifclose ${device} ||")
	s.line("vcreate --tag ${vlan} net${i} ||")
	s.line("set device net${i}-${vlan}")
	s.line("ifconf --configurator dhcp ${device} && goto run ||")
	s.line("echo hooksmith: ${device}: no DHCP answer in VLAN ${vlan}")
}

// vlans tries the VLANs one after the other, after the untagged network.
// ${device} tells how far it is.
func (e Entry) vlans(s *script) {
	s.line(":vlans")
	ids := slices.Clone(e.VLANs)
	slices.Sort(ids)
	ids = slices.Compact(slices.DeleteFunc(ids, func(id int) bool { return id < 1 || id > 4094 }))
	ids = ids[:min(len(ids), maxVLANs)]
	for i, id := range ids {
		before := "net${i}"
		if i > 0 {
			before = fmt.Sprintf("net${i}-%d", ids[i-1])
		}
		s.line("iseq ${device} %s && goto vlan_%d ||", before, id)
	}
	s.line("goto next_interface")
	for _, id := range ids {
		s.line(":vlan_%d", id)
		s.line("vcreate --tag %d net${i} ||", id)
		s.line("set device net${i}-%d", id)
		s.line("goto configure")
	}
}

// endOfRound waits longer for links each time: spanning tree takes 30 s.
func (e Entry) endOfRound(s *script) {
	s.line(":round_done")
	s.line("iseq ${i} 0 && goto no_interface ||")
	s.line("iseq ${round} 3 && goto gave_up ||")
	s.line("inc round")
	s.line("set linkwait:int32 15000")
	s.line("sleep 2")
	s.line("goto round")

	s.line(":no_interface")
	s.line("echo")
	s.line("echo hooksmith: STOPPED: iPXE has no driver for a network interface of this machine")
	s.line("echo hooksmith: another binary may have it (snponly.efi, snp-arm64.efi use the firmware's): set it as the machine's binary")
	s.line("goto stopped")
	s.line(":gave_up")
	s.line("echo")
	s.line("echo hooksmith: STOPPED: no interface of this machine could boot; what was wrong is above")
	s.line("goto stopped")
	s.line(":again")
	s.line("echo")
	s.line("echo hooksmith: STOPPED: this script was started by itself: the DHCP server names autoexec.ipxe as the boot file")
	s.line("echo hooksmith: it should name the machine's script, or %s/boot.ipxe", e.base())
	s.line(":stopped")
	s.pause()
	s.line("exit 1")
}
