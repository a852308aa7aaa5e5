package dhcp

import (
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"hooksmith/serve/event"
	"hooksmith/serve/ipxe"
)

// maxFile is what the field file holds with its final NUL.
const maxFile = 127

// decide finds what the client loads, and breaks a loop.
func (x *exchange) decide() ipxe.Decision {
	switch {
	case x.Boot.Disabled:
		return ipxe.Decision{Reason: "boot answers are turned off"}
	case x.machine == nil && x.Unknown == PoolOnly:
		return ipxe.Decision{Reason: "an unknown machine gets an address and nothing to boot"}
	}
	d := x.Rule.Decide(x.client, x.machine)
	if d.NoBinary {
		x.event(event.Event{Kind: event.NoBinary, Detail: d.Reason})
		return d
	}
	return x.breakLoop(d)
}

// boot sets what to load. Nothing of it goes to a client that boots nothing.
func (x *exchange) boot(msg *dhcpv4.DHCPv4, d ipxe.Decision, s *Subnet) {
	if d.Kind == ipxe.Nothing {
		return
	}
	server := x.bootAddress(s)
	file, name := x.file(d, server), server.String()
	if d.Kind == ipxe.Fixed {
		name = x.machine.Netboot.TFTPServer
		server, _ = netip.ParseAddr(name)
	}
	if server.Is4() {
		msg.ServerIPAddr = netIP(server)
	}
	if len(name) < 64 {
		msg.ServerHostName = name
	}
	if len(file) <= maxFile {
		msg.BootFileName = file
	}
	if x.asks(optBootFile) || len(file) > maxFile || d.Kind == ipxe.Fixed {
		msg.Options[optBootFile] = []byte(file)
	}
	if x.asks(optTFTPServer) || d.Kind == ipxe.Fixed {
		msg.Options[optTFTPServer] = []byte(name)
	}
	if d.Kind != ipxe.Fixed {
		x.vendor(msg)
	}
}

// asks reports whether the client lists an option.
func (x *exchange) asks(code uint8) bool {
	return len(x.Options[dhcpv4.OptionParameterRequestList.Code()]) > 0 && x.wants(code)
}

// vendor sets the options by which firmware knows an answer for itself (PXE 2.1, UEFI HTTP boot, iPXE).
func (x *exchange) vendor(msg *dhcpv4.DHCPv4) {
	class := dhcpv4.OptionClassIdentifier.Code()
	switch {
	case strings.HasPrefix(x.client.VendorClass, "HTTPClient"):
		msg.Options[class] = []byte("HTTPClient")
	case strings.HasPrefix(x.client.VendorClass, "PXEClient"):
		msg.Options[class] = []byte("PXEClient")
		msg.Options[optVendor] = x.pxeOptions(msg)
	}
	if x.isIPXE() && !x.Mode.proxy() && !x.pxe {
		// Sub-option 176, no-pxedhcp: iPXE else waits for a ProxyDHCP offer, seconds at each DHCP.
		msg.Options[optIPXE] = []byte{176, 1, 1}
	}
}

// pxeOptions is option 43. Sub-option 6 = 8: load the file that is named here, ask no boot server for one.
func (x *exchange) pxeOptions(msg *dhcpv4.DHCPv4) []byte {
	v := []byte{6, 1, 8}
	add := func(code byte, value []byte) {
		v = append(append(v, code, byte(len(value))), value...)
	}
	if ipxe.IsRaspberryPi(x.mac) && !x.isIPXE() {
		// Its ROM boots from servers that offer this menu only.
		add(9, append([]byte{0, 0, 17}, "Raspberry Pi Boot"...))
		add(10, append([]byte{0}, "PXE"...))
	}
	if item, ok := bootItem(x.Options[optVendor]); ok && x.pxe {
		add(71, item)
	}
	if m := x.machine; m != nil && m.VLAN != 0 && !x.Mode.proxy() && !x.pxe && m.IP.IsValid() && m.IP.Addr() != addrOf(msg.YourIPAddr) {
		// The machine is not in its own network but in another, with an address of that one's pool: Tinkerbell's iPXE and
		// our autoexec.ipxe go to the VLAN that is named here.
		add(116, []byte(strconv.Itoa(m.VLAN)))
	}
	return append(v, 255)
}

// bootItem is the item of a menu that a client asks a boot server for (PXE 2.1, sub-option 71), to be repeated.
func bootItem(vendor []byte) ([]byte, bool) {
	sub := dhcpv4.Options{}
	if sub.FromBytes(vendor) != nil {
		return nil, false
	}
	item := sub[71]
	return item, len(item) == 4
}

// bootAddress is where the client loads from; s may be nil.
func (x *exchange) bootAddress(s *Subnet) netip.Addr {
	switch {
	case s != nil && s.NextServer.IsValid():
		return s.NextServer
	case x.Boot.Address.IsValid():
		return x.Boot.Address
	}
	return x.local()
}

// file is the boot file of a decision.
func (x *exchange) file(d ipxe.Decision, server netip.Addr) string {
	mac := strings.ReplaceAll(x.mac, ":", "-")
	switch d.Kind {
	case ipxe.BinaryTFTP:
		return d.Binary
	case ipxe.BinaryURL:
		return "tftp://" + hostPort(server, x.Boot.TFTPPort, 69) + "/" + path.Join(mac, d.Binary)
	case ipxe.BinaryHTTP:
		return x.baseURL(server) + "/ipxe/binary/" + path.Join(mac, d.Binary)
	case ipxe.Fixed:
		return x.machine.Netboot.BootFileName
	}
	if x.Boot.ScriptURL != "" {
		return x.Boot.ScriptURL
	}
	return x.baseURL(server) + "/" + path.Join(mac, "auto.ipxe")
}

func (x *exchange) baseURL(server netip.Addr) string {
	if x.Boot.BaseURL != "" {
		return strings.TrimSuffix(x.Boot.BaseURL, "/")
	}
	return "http://" + hostPort(server, x.Boot.HTTPPort, 80)
}

// hostPort leaves out the protocol's own port: URLs must be short.
func hostPort(a netip.Addr, port, usual uint16) string {
	if port == usual {
		return a.String()
	}
	return fmt.Sprintf("%v:%d", a, port)
}
