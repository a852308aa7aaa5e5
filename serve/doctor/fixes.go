package doctor

import (
	"fmt"
	"strings"

	"hooksmith/serve/ipxe"
)

// The servers that lines are given for.
const (
	dnsmasq = "dnsmasq"
	kea     = "kea"
	dhcpd   = "isc-dhcpd"
)

// lines says what to change in the configuration of the usual servers. Which of them it is cannot be seen on the wire.
func lines(code Code, a *Answer, p *player) []Line { return linesFor(code, a, p, a.loadsFrom()) }

// linesFor is lines with the address that machines should load from.
func linesFor(code Code, a *Answer, p *player, server string) []Line {
	switch code {
	case Option66None:
		return []Line{
			{dnsmasq, fmt.Sprintf("dhcp-boot=tag:..., %s,,%s   # the second field is empty, not none", a.File, server)},
			{kea, `remove "server-hostname" and the option-data "tftp-server-name"`},
			{dhcpd, "remove: server-name and option tftp-server-name"},
		}
	case NextServerMissing, NextServerWrong:
		return []Line{
			{dnsmasq, fmt.Sprintf("dhcp-boot=tag:..., %s,,%s", a.File, server)},
			{kea, fmt.Sprintf(`"next-server": %q in the client class that sets boot-file-name`, server)},
			{dhcpd, fmt.Sprintf("next-server %s;   # beside filename, without quotes; one of a subnet or pool wins over one outside of blocks", server)},
		}
	case Option60Missing:
		return []Line{
			{dnsmasq, fmt.Sprintf("dhcp-match=set:http,option:client-arch,%d and dhcp-option-force=tag:http,60,HTTPClient", p.arch)},
			{kea, `"option-data": [{"name": "vendor-class-identifier", "data": "HTTPClient", "always-send": true}]`},
			// Firmware does not list 60, and dhcpd sends what is listed.
			{dhcpd, `option vendor-class-identifier "HTTPClient"; option dhcp-parameter-request-list = concat(option dhcp-parameter-request-list, 3c);`},
		}
	case BootForEveryone:
		return []Line{
			{dnsmasq, "dhcp-match=set:efi64,option:client-arch,7 and dhcp-boot=tag:efi64,... instead of dhcp-boot=..."},
			{kea, `"test": "substring(option[60].hex,0,9) == 'PXEClient' and option[93].hex == 0x0007" in the class; take boot-file-name out of subnet and global scope`},
			{dhcpd, `if substring(option vendor-class-identifier, 0, 9) = "PXEClient" { filename ...; }`},
		}
	case Loop:
		return loopLines(p)
	case WrongArchitecture, NotAURL, NoBootFile:
		return archLines(code, p, server)
	case SlowAnswer:
		return []Line{{dnsmasq, "no-ping"}, {dhcpd, "ping-check false;"}}
	}
	return nil
}

// archLines give one architecture a file of its own.
func archLines(code Code, p *player, server string) []Line {
	file := "PROGRAM"
	if code == NotAURL || p.class == httpClient {
		file = "http://" + server + "/PROGRAM.efi"
	}
	return []Line{
		{dnsmasq, fmt.Sprintf("dhcp-match=set:a%d,option:client-arch,%d and dhcp-boot=tag:a%d,tag:!hook,%s,,%s", p.arch, p.arch, p.arch, file, server)},
		{kea, fmt.Sprintf(`"test": "substring(option[60].hex,0,%d) == '%s' and option[93].hex == 0x%04x", "next-server": %q, "boot-file-name": %q`, len(p.class), p.class, uint16(p.arch), server, file)},
		{dhcpd, fmt.Sprintf(`if option arch = %02x:%02x { next-server %s; filename %q; }   # option arch code 93 = unsigned integer 16;`, uint16(p.arch)>>8, uint16(p.arch)&255, server, file)},
	}
}

// loopLines match our user class in both of its forms.
func loopLines(p *player) []Line {
	class := ipxe.UserClass
	counted := append([]byte{byte(len(class))}, class...)
	return []Line{
		{dnsmasq, fmt.Sprintf("dhcp-userclass=set:hook,%s and dhcp-boot=tag:hook,http://ADDRESS/auto.ipxe; tag:!hook on all other dhcp-boot and pxe-service lines", class)},
		{kea, fmt.Sprintf(`"test": "option[77].hex == '%s' or option[77].hex == 0x%x" in the first class, and not member(...) in the others`, class, counted)},
		{dhcpd, fmt.Sprintf(`if option user-class = "%s" or option user-class = %s { filename "http://ADDRESS/auto.ipxe"; }`, class, strings.ReplaceAll(fmt.Sprintf("% x", counted), " ", ":"))},
	}
}
