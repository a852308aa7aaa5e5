package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Answer is what a DHCP or proxy server sent. Texts have no characters that a terminal acts on.
type Answer struct {
	Type        string `json:"type"`        // offer, ack, nak
	From        string `json:"from"`        // the packet's sender
	MAC         string `json:"mac"`         // of the sender, "" where that is not seen
	ServerID    string `json:"server_id"`   // option 54
	Address     string `json:"address"`     // offered, "" by a proxy
	NextServer  string `json:"next_server"` // siaddr
	ServerName  string `json:"server_name"` // sname, or option 66
	File        string `json:"file"`        // option 67, or file
	VendorClass string `json:"vendor_class"`
	Port        int    `json:"port"` // 67, or 4011
	Millis      int64  `json:"ms"`   // after the first question

	option66  string
	tooLong   int  // octets of a file name that no field holds; 0: it fits
	vendor    bool // has option 43
	useFile   bool // 43.6 = 8: no boot server is to be asked for the file
	menuItem  []byte
	servers   []netip.Addr // boot servers of 43.8
	noPXEDHCP bool         // 175.176
	options   dhcpv4.Options
	hw        [6]byte
}

// Limits of what is read.
const (
	maxMessage  = 4096 // octets of a DHCP message: more than Ethernet carries
	maxFileName = 127  // octets of the field file, without its NUL
	maxAnswers  = 32   // to one question
)

var errNotForUs = errors.New("not an answer to us")

// parseAnswer reads a DHCP message. It never fails for what a client would bear.
func parseAnswer(data []byte) (*Answer, *dhcpv4.DHCPv4, error) {
	if len(data) > maxMessage {
		return nil, nil, fmt.Errorf("a DHCP message of %d octets", len(data))
	}
	m, err := dhcpv4.FromBytes(data)
	if err != nil {
		return nil, nil, fmt.Errorf("no DHCP message: %w", err)
	}
	if m.OpCode != dhcpv4.OpcodeBootReply {
		return nil, nil, errNotForUs
	}
	overloaded, err := mergeOverload(m, data)
	if err != nil {
		return nil, nil, err
	}
	a := &Answer{Type: strings.ToLower(m.MessageType().String()), Port: 67, options: m.Options}
	a.ServerID, a.NextServer, a.Address = text4(m.Options[54]), text4(m.ServerIPAddr), text4(m.YourIPAddr)
	a.readFile(m, data, overloaded)
	a.VendorClass = printable(m.Options[60])
	a.readVendor(m.Options[43])
	sub := dhcpv4.Options{}
	if sub.FromBytes(m.Options[175]) == nil {
		a.noPXEDHCP = len(sub[176]) == 1 && sub[176][0] == 1
	}
	return a, m, nil
}

// mergeOverload adds the options that stand in file and sname (RFC 2132 9.3); bits of the result say in which.
func mergeOverload(m *dhcpv4.DHCPv4, data []byte) (byte, error) {
	overload := m.Options[52]
	if len(overload) != 1 || len(data) < 236 {
		return 0, nil
	}
	for _, field := range []struct {
		bit      byte
		from, to int
	}{{1, 108, 236}, {2, 44, 108}} {
		if overload[0]&field.bit == 0 {
			continue
		}
		if err := m.Options.FromBytes(data[field.from:field.to]); err != nil {
			return 0, fmt.Errorf("overloaded options: %w", err)
		}
	}
	return overload[0], nil
}

// readFile takes options 66 and 67 before the fields, as firmware does.
func (a *Answer) readFile(m *dhcpv4.DHCPv4, data []byte, overloaded byte) {
	a.option66 = printable(m.Options[66])
	a.ServerName = a.option66
	if overloaded&2 == 0 && a.ServerName == "" {
		a.ServerName = printable([]byte(m.ServerHostName))
	}
	field := data[108:236]
	if overloaded&1 == 0 {
		a.File = printable(field)
		if !bytes.Contains(field, []byte{0}) {
			a.tooLong = len(field)
		}
	}
	if name := bytes.TrimRight(m.Options[67], "\x00"); len(name) > 0 {
		a.File, a.tooLong = printable(name), 0
		if len(name) > maxFileName {
			a.tooLong = len(name)
		}
	}
}

// readVendor reads option 43 as PXE 2.1 has it. What is malformed in it is not used.
func (a *Answer) readVendor(raw []byte) {
	a.vendor = len(raw) > 0
	sub := dhcpv4.Options{}
	if !a.vendor || sub.FromBytes(raw) != nil {
		return
	}
	a.useFile = len(sub[6]) == 1 && sub[6][0]&8 != 0
	if menu := sub[9]; len(menu) >= 3 {
		a.menuItem = append(menu[:2:2], 0, 0) // the first type, layer 0
	}
	for list := sub[8]; len(list) >= 7 && len(a.servers) < maxAnswers; { // type, count, addresses
		n := int(list[2]) * 4
		if 3+n > len(list) {
			return
		}
		for addrs := list[3 : 3+n]; len(addrs) >= 4; addrs = addrs[4:] {
			a.servers = append(a.servers, netip.AddrFrom4([4]byte(addrs)))
		}
		list = list[3+n:]
	}
}

// text4 is an IPv4 address, "" if there is none or it is 0.0.0.0.
func text4(b []byte) string {
	if len(b) == 16 {
		b = b[12:]
	}
	if a, ok := netip.AddrFromSlice(b); ok && a.Is4() && !a.IsUnspecified() {
		return a.String()
	}
	return ""
}

// printable keeps what may stand on a terminal, up to the first NUL.
func printable(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return clean(string(b), 512)
}

// clean replaces what a terminal would act on, and cuts off after limit octets.
func clean(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// who is the server's name in words: by what it calls itself.
func (a *Answer) who() string {
	if a.ServerID != "" {
		return a.ServerID
	}
	return a.From
}

// loadsFrom is the host that a bare file name is asked of: siaddr, else option 54 as EDK2 does.
func (a *Answer) loadsFrom() string {
	if a.NextServer != "" {
		return a.NextServer
	}
	return a.who()
}

// proxy tells whether it gives no address.
func (a *Answer) proxy() bool { return a.Address == "" }

// boots tells whether there is anything of network boot in it.
func (a *Answer) boots() bool {
	return a.File != "" || strings.HasPrefix(a.VendorClass, pxeClient) || strings.HasPrefix(a.VendorClass, httpClient)
}
