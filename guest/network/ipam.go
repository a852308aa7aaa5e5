package network

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// static is a parsed ipam= argument: the static configuration of the one interface that has its MAC address.
type static struct {
	mac      net.HardwareAddr
	vlan     int // 0 for none
	settings settings
}

// ipamForm is shown with every error about ipam=, since nobody knows it by heart.
const ipamForm = "ipam=<mac with hyphens>:<vlan>:<ip>:<netmask>:<gateway>:<hostname>:<dns,..>:<search,..>:<ntp,..>"

// ipamFields is the number of fields of ipam=; those at the end may be left out together with their colons.
const ipamFields = 9

// parseIPAM reads the value of ipam=, the format of Hook's static-network.sh and of Smee's ISO boot. MAC address, IP
// address, netmask and DNS are required.
func parseIPAM(value string) (*static, error) {
	fields := strings.Split(value, ":")
	if len(fields) > ipamFields {
		return nil, fmt.Errorf("%d fields instead of %d (hyphens, not colons, inside the MAC address): %s",
			len(fields), ipamFields, ipamForm)
	}
	fields = append(fields, make([]string, ipamFields-len(fields))...)
	for i, name := range []string{0: "MAC address", 2: "IP address", 3: "netmask", 6: "DNS server"} {
		if name != "" && fields[i] == "" {
			return nil, fmt.Errorf("no %s: %s", name, ipamForm)
		}
	}

	s := &static{}
	var err error
	if s.mac, err = parseMAC(fields[0]); err != nil {
		return nil, err
	}
	if s.vlan, err = parseVLAN(fields[1]); err != nil {
		return nil, err
	}
	if s.settings, err = staticSettings(fields[2:]); err != nil {
		return nil, err
	}
	return s, nil
}

// staticSettings reads the fields of ipam= from the IP address on.
func staticSettings(fields []string) (settings, error) {
	s := settings{source: sourceStatic}
	var err error
	if s.address, err = parsePrefix(fields[0], fields[1]); err != nil {
		return s, err
	}
	if fields[2] != "" {
		if s.gateway, err = parseIPv4(fields[2], "gateway"); err != nil {
			return s, err
		}
	}
	if fields[3] != "" {
		if !validName(fields[3]) {
			return s, fmt.Errorf("%q is not a hostname", fields[3])
		}
		s.hostname = fields[3]
	}
	for _, each := range list(fields[4]) {
		server, err := netip.ParseAddr(each)
		if err != nil {
			return s, fmt.Errorf("DNS server %q is not an IP address", each)
		}
		s.dns = append(s.dns, server)
	}
	for _, each := range list(fields[5]) {
		if !validName(each) {
			return s, fmt.Errorf("search domain %q is not a domain name", each)
		}
		s.search = append(s.search, each)
	}
	s.ntp, err = parseServers(fields[6])
	return s, err
}

// parsePrefix joins an IPv4 address and a netmask, which is dotted (255.255.255.0) or a number of bits (24).
func parsePrefix(address, netmask string) (netip.Prefix, error) {
	ip, err := parseIPv4(address, "IP address")
	if err != nil {
		return netip.Prefix{}, err
	}
	if bits, err := strconv.ParseUint(netmask, 10, 8); err == nil && bits <= 32 {
		return netip.PrefixFrom(ip, int(bits)), nil
	}
	mask, err := netip.ParseAddr(netmask)
	if err != nil || !mask.Is4() {
		return netip.Prefix{}, fmt.Errorf("netmask %q is neither like 255.255.255.0 nor like 24", netmask)
	}
	ones, bits := net.IPMask(mask.AsSlice()).Size()
	if bits == 0 {
		return netip.Prefix{}, fmt.Errorf("netmask %q has a gap: it must be ones, then zeros", netmask)
	}
	return netip.PrefixFrom(ip, ones), nil
}

// parseIPv4 reads an address that one machine can have; what names it in the error.
func parseIPv4(text, what string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(text)
	if err != nil || !ip.Is4() {
		return netip.Addr{}, fmt.Errorf("%s %q is not an IPv4 address", what, text)
	}
	if !usable(ip) {
		return netip.Addr{}, fmt.Errorf("%s %s cannot be that of one machine", what, ip)
	}
	return ip, nil
}

// usable reports whether one machine can have ip.
func usable(ip netip.Addr) bool {
	return !ip.IsUnspecified() && !ip.IsMulticast() && !ip.IsLoopback() && ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// parseMAC reads a MAC address with hyphens or colons, in either case.
func parseMAC(text string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 {
		return nil, fmt.Errorf("%q is not a MAC address", text)
	}
	return mac, nil
}

// parseVLAN reads a VLAN number; empty and 0 (which is a priority tag without a VLAN) are none.
func parseVLAN(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	id, err := strconv.Atoi(text)
	if err != nil || id < 0 || id > 4094 {
		return 0, fmt.Errorf("VLAN %q is not a number from 1 to 4094", text)
	}
	return id, nil
}

// parseServers reads a comma list of NTP servers, each a name or an IP address.
func parseServers(value string) ([]string, error) {
	var servers []string
	for _, each := range list(value) {
		if _, err := netip.ParseAddr(each); err != nil && !validName(each) {
			return nil, fmt.Errorf("NTP server %q is neither a name nor an IP address", each)
		}
		servers = append(servers, each)
	}
	return servers, nil
}

// list splits a comma list and drops its empty items.
func list(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' })
}

// validName reports whether name can be a host or domain name. It is what keeps a DHCP server from writing lines of
// its own into resolv.conf.
func validName(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, hostChars) != "" || label[0] == '-' {
			return false
		}
	}
	return true
}

// hostChars are the characters of host names, and the underscore that some sites have in theirs.
const hostChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
