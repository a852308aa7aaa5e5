package dhcpconf

import (
	"fmt"
	"strings"
	"time"

	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
)

// writeMicrosoft is for the DHCP server of Windows Server. Cmdlets and
// parameters are those of the module DhcpServer.
func writeMicrosoft(j *job) (string, error) {
	t := &text{mark: "#"}
	t.say("Written by %s: machines boot from %v.", j.Program, j.Server)
	t.say("For the DHCP server of Windows Server 2012 and later (policies). Written by the documentation of the module")
	t.say("DhcpServer, and not tested on Windows. Run it once, as administrator; try it before with $WhatIfPreference = $true.")
	t.gap()
	t.line("$ErrorActionPreference = 'Stop'")
	t.line("$scope  = %s", psQuote(j.Subnet.Addr().String()))
	t.line("$server = %s", psQuote(j.Server.String()))
	reserved, noBoot, ignored := j.machines()
	j.noLeaseTimes(reserved, "this script")
	if j.Full != nil {
		j.psNetwork(t)
	}
	j.psClasses(t)
	j.psPolicies(t, noBoot)
	j.psHosts(t, reserved, ignored)
	return t.String(), nil
}

func (j *job) psNetwork(t *text) {
	n := j.Full
	t.gap()
	t.say("The role, and a scope that gives out addresses.")
	t.line("Install-WindowsFeature -Name DHCP -IncludeManagementTools")
	pools := j.pools()
	t.line("Add-DhcpServerv4Scope -Name 'HookOS' -StartRange %v -EndRange %v -SubnetMask %s -LeaseDuration %s",
		pools[0][0], pools[len(pools)-1][1], netmask(j.Subnet), psTime(n.Lease))
	for i := range pools[1:] { // a scope has one range
		if first, last := pools[i][1].Next(), pools[i+1][0].Prev(); !last.Less(first) {
			t.line("Add-DhcpServerv4ExclusionRange -ScopeId $scope -StartRange %v -EndRange %v", first, last)
		}
	}
	t.psOptions("-ScopeId $scope", networkOptions(n))
}

// psTime is a TimeSpan: days, hours, minutes, seconds.
func psTime(d time.Duration) string {
	sec := int(d.Seconds())
	return fmt.Sprintf("%d.%02d:%02d:%02d", sec/86400, sec/3600%24, sec/60%60, sec%60)
}

func (t *text) psOptions(where string, all []option) {
	for _, o := range all {
		values := strings.Join(each(strings.Split(o.value, ", "), psQuote), ",")
		t.line("Set-DhcpServerv4OptionValue %s -OptionId %d -Value %s", where, o.code, values)
	}
}

// psClasses are the values that policies compare with.
func (j *job) psClasses(t *text) {
	t.gap()
	t.say("Options that the server does not know by itself: 60, the answer to UEFI HTTP boot; 175, iPXE's.")
	t.line("if (-not (Get-DhcpServerv4OptionDefinition -OptionId 60 -ErrorAction SilentlyContinue)) {")
	t.line("  Add-DhcpServerv4OptionDefinition -OptionId 60 -Name 'Vendor class identifier' -Type String")
	t.line("}")
	t.line("if (-not (Get-DhcpServerv4OptionDefinition -OptionId 175 -ErrorAction SilentlyContinue)) {")
	t.line("  Add-DhcpServerv4OptionDefinition -OptionId 175 -Name 'iPXE' -Type BinaryData")
	t.line("}")
	t.gap()
	t.say("iPXE, by its user class: bare, and with its length byte before it (RFC 3004), which is what the names with")
	t.say("'counted' are. Whether a stock iPXE speaks HTTP (option 175) is nothing that a policy can ask: it is taken for granted.")
	for _, class := range j.psUserClasses() {
		t.line("Add-DhcpServerv4Class -Type User -Name %s -Data %s", psQuote("HookOS "+class), psQuote(class))
		t.line("Add-DhcpServerv4Class -Type User -Name %s -Data ([string][char]%d + %s)", psQuote("HookOS counted "+class), len(class), psQuote(class))
	}
	t.gap()
	t.say("Firmware, by option 60: policies cannot ask for option 93.")
	for _, c := range j.table.choices {
		for _, a := range c.archs {
			for _, vendor := range []string{pxeClient, httpClient} {
				t.line("Add-DhcpServerv4Class -Type Vendor -Name %s -Data %s", psQuote(psVendor(vendor, a)), psQuote(fmt.Sprintf("%s:Arch:%05d", vendor, a)))
			}
		}
	}
}

func (j *job) psUserClasses() []string { return append(j.table.ours, j.table.stock...) }

func psVendor(vendor string, arch uint16) string { return fmt.Sprintf("HookOS %s %05d", vendor, arch) }

// policy is one of the scope; the first that fits and sets an option wins.
type policy struct {
	name, why, condition string
	file                 string // "": none
	options              []string
}

func (j *job) psPolicies(t *text, noBoot []hardware.Machine) {
	t.gap()
	t.say("Policies, in the order in which they count. Options 66 and 67 name server and file: the server sets next-server")
	t.say("by itself, so look at what it really sends, for example with: hooksmith doctor")
	t.say("Option 60 = PXEClient is not set: that is only right where a ProxyDHCP service runs on the same host.")
	all := []policy{}
	if len(noBoot) > 0 {
		all = append(all, policy{name: "hook-off", why: "The hardware data say that these do not boot: the policy has no options, and the others leave them out."})
		all[0].condition = "OR -MacAddress 'EQ'," + psMACs(noBoot)
	}
	users := each(j.psUserClasses(), func(c string) string { return psQuote("HookOS "+c) + "," + psQuote("HookOS counted "+c+"*") })
	not := ""
	if len(noBoot) > 0 {
		not = " -MacAddress 'NE'," + psMACs(noBoot)
	}
	all = append(all, policy{name: "hook-script", why: "iPXE runs the script; " + noProxyWhy,
		condition: "AND -UserClass 'EQ'," + strings.Join(users, ",") + not, file: j.script(),
		options: []string{"-OptionId 175 -Value '0xB0','0x01','0x01'"}})
	for _, c := range j.table.choices {
		all = append(all, j.psChoice(c, " -UserClass 'NE',"+strings.Join(users, ","), noBoot)...)
	}
	for i, p := range all {
		t.say("%s", p.why)
		t.line("Add-DhcpServerv4Policy -ScopeId $scope -Name %s -ProcessingOrder %d -Condition %s", psQuote(p.name), i+1, p.condition)
		if p.file != "" {
			t.line("Set-DhcpServerv4OptionValue -ScopeId $scope -PolicyName %s -OptionId 66 -Value $server", psQuote(p.name))
			t.line("Set-DhcpServerv4OptionValue -ScopeId $scope -PolicyName %s -OptionId 67 -Value %s", psQuote(p.name), psQuote(p.file))
		}
		for _, o := range p.options {
			t.line("Set-DhcpServerv4OptionValue -ScopeId $scope -PolicyName %s %s", psQuote(p.name), o)
		}
	}
}

// psChoice are the policies for a binary: by TFTP and by HTTP. Not leaves out
// iPXE, which calls itself a PXE client as well.
func (j *job) psChoice(c choice, not string, noBoot []hardware.Machine) (all []policy) {
	macs := ""
	if len(noBoot) > 0 {
		macs = " -MacAddress 'NE'," + psMACs(noBoot)
	}
	if c.has(bios) {
		pis := strings.Join(each(ipxe.RaspberryPis(), func(oui string) string {
			return psQuote(strings.ToUpper(strings.ReplaceAll(oui, ":", "")) + "*")
		}), ",")
		if macs == "" {
			macs = " -MacAddress 'NE'," + pis
		} else {
			macs += "," + pis
		}
	}
	vendor := func(class string, archs []uint16) string {
		return strings.Join(each(archs, func(a uint16) string { return psQuote(psVendor(class, a) + "*") }), ",")
	}
	if pxe := without(c.archs, c.http); len(pxe) > 0 {
		all = append(all, policy{name: "hook-pxe-" + c.tag, why: c.what + " by PXE. The asterisk: option 60 goes on with :UNDI:...",
			condition: "AND -VendorClass 'EQ'," + vendor(pxeClient, pxe) + not + macs, file: c.binary})
	}
	http := vendor(httpClient, c.archs)
	if len(c.http) > 0 {
		http += "," + vendor(pxeClient, c.http)
	}
	return append(all, policy{name: "hook-http-" + c.tag, why: c.what + " by HTTP. An offer counts only with option 60.",
		condition: "AND -VendorClass 'EQ'," + http + not + macs, file: j.binaryURL(c.binary), options: []string{"-OptionId 60 -Value 'HTTPClient'"}})
}

func psMACs(all []hardware.Machine) string {
	return strings.Join(each(all, func(m hardware.Machine) string { return psQuote(psMAC(m)) }), ",")
}

func psMAC(m hardware.Machine) string {
	return strings.ToUpper(strings.ReplaceAll(m.MAC, ":", "-"))
}

// psHosts are reservations, and the list of those that get no answer.
func (j *job) psHosts(t *text, reserved, ignored []hardware.Machine) {
	if len(reserved)+len(ignored) > 0 {
		t.gap()
		t.say("Machines of the hardware data.")
	}
	for _, m := range reserved {
		if !j.Subnet.Contains(m.IP.Addr()) {
			j.note(m, fmt.Sprintf("no reservation: %v is not in the scope %v", m.IP.Addr(), j.Subnet))
			continue
		}
		name := m.Hostname
		if name == "" {
			name = psMAC(m)
		}
		t.line("Add-DhcpServerv4Reservation -ScopeId $scope -IPAddress %v -ClientId %s -Name %s", m.IP.Addr(), psQuote(psMAC(m)), psQuote(name))
		t.psOptions(fmt.Sprintf("-ReservedIP %v", m.IP.Addr()), j.machineOptions(m))
	}
	for _, m := range ignored {
		t.line("Add-DhcpServerv4Filter -List Deny -MacAddress %s", psQuote(psMAC(m)))
	}
	if len(ignored) > 0 {
		t.line("Set-DhcpServerv4FilterList -Deny $true")
	}
}
