package doctor

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"hooksmith/serve/ipxe"
)

// player is one kind of machine.
type player struct {
	name  string
	arch  ipxe.Arch
	class string // prefix of option 60: PXEClient, HTTPClient, "" for an ordinary client
	user  []byte // option 77
	http  bool   // an iPXE that says in option 175 that it has HTTP

	next string // the player that goes on when a binary of ours was loaded
	then string // and when the binary is a stock iPXE
}

// Words that are on the wire.
const (
	pxeClient  = "PXEClient"
	httpClient = "HTTPClient"
	stockClass = "iPXE"
)

// Names of players that others refer to.
const (
	tinkBIOS  = "Tinkerbell iPXE, BIOS"
	tinkIA32  = "Tinkerbell iPXE, IA32"
	tinkX64   = "Tinkerbell iPXE, x64"
	tinkARM64 = "Tinkerbell iPXE, arm64"
	stockBIOS = "stock iPXE, BIOS"
	stockX64  = "stock iPXE, x64"
	stockARM  = "stock iPXE, arm64"
	ordinary  = "ordinary client"
	usual     = "x64 UEFI PXE" // asks first: what most machines are
)

// Architectures are those of HookOS that machines are played of.
func Architectures() []string { return []string{"x86_64", "aarch64"} }

// playersOf are the players of some architectures, all if none is named.
func playersOf(architectures []string) []player {
	return slices.DeleteFunc(players(), func(p player) bool {
		return len(architectures) > 0 && p.class != "" && !slices.Contains(architectures, p.family())
	})
}

// players are all kinds of machine, in the order of the report.
func players() []player {
	raw := []byte(ipxe.UserClass)
	counted := append([]byte{byte(len(raw))}, raw...)
	return []player{
		{name: "BIOS PXE", arch: 0, class: pxeClient, next: tinkBIOS, then: stockBIOS},
		{name: usual, arch: 7, class: pxeClient, next: tinkX64, then: stockX64},
		{name: "IA32 UEFI PXE", arch: 6, class: pxeClient, next: tinkIA32},
		{name: "arm64 UEFI PXE", arch: 11, class: pxeClient, next: tinkARM64, then: stockARM},
		{name: "x64 UEFI HTTP", arch: 16, class: httpClient, next: tinkX64, then: stockX64},
		{name: "arm64 UEFI HTTP", arch: 19, class: httpClient, next: tinkARM64, then: stockARM},
		{name: tinkBIOS, arch: 0, class: pxeClient, user: raw, http: true},
		{name: tinkIA32, arch: 6, class: pxeClient, user: raw, http: true},
		{name: tinkX64, arch: 7, class: pxeClient, user: raw, http: true},
		{name: tinkARM64, arch: 11, class: pxeClient, user: raw, http: true},
		{name: tinkX64 + ", RFC 3004", arch: 7, class: pxeClient, user: counted, http: true},
		{name: stockBIOS, arch: 0, class: pxeClient, user: []byte(stockClass), http: true, next: tinkBIOS},
		{name: stockX64, arch: 7, class: pxeClient, user: []byte(stockClass), http: true, next: tinkX64},
		{name: stockARM, arch: 11, class: pxeClient, user: []byte(stockClass), http: true, next: tinkARM64},
		{name: "stock iPXE without HTTP, BIOS", arch: 0, class: pxeClient, user: []byte(stockClass), next: tinkBIOS},
		{name: ordinary},
	}
}

// first is who asks first: what most machines are, if it is there.
func first(questions []*question) *question {
	for _, q := range questions {
		if q.player.name == usual {
			return q
		}
	}
	return questions[0]
}

// ours tells whether it is an iPXE that wants its script.
func (p *player) ours() bool { return len(p.user) > 0 && string(p.user) != stockClass }

// stock tells whether it is an iPXE that says no more than that.
func (p *player) stock() bool { return string(p.user) == stockClass }

func (p *player) firmware() bool { return p.class != "" && len(p.user) == 0 }

// client is the player as the boot rule sees it.
func (p *player) client(mac string) ipxe.Client {
	return ipxe.Client{MAC: mac, Architectures: []uint16{uint16(p.arch)}, VendorClass: p.vendorClass(),
		UserClasses: ipxe.ParseUserClass(p.user), Features: ipxe.ParseFeatures(p.features())}
}

func (p *player) vendorClass() string {
	if p.class == "" {
		return ""
	}
	return fmt.Sprintf("%s:Arch:%05d:UNDI:003000", p.class, uint16(p.arch))
}

// features is option 175 as iPXE sends it: its device and version, then what it can do. (Servers that cannot look into
// encapsulated options match its octets.)
func (p *player) features() []byte {
	if len(p.user) == 0 {
		return nil
	}
	b := []byte{177, 5, 1, 0x1a, 0xf4, 0x10, 0, 235, 3, 1, 21, 1, ipxe.FeatureDNS, 1, 1, ipxe.FeatureTFTP, 1, 1}
	if p.http {
		b = append(b, ipxe.FeatureHTTP, 1, 1)
	}
	return b
}

// family is the player's architecture as HookOS names it, "" for an ordinary client.
func (p *player) family() string {
	switch {
	case p.class == "":
		return ""
	case p.arch.Platform() == ipxe.ARM64:
		return "aarch64"
	}
	return "x86_64"
}

// buildArch is what ${buildarch} is in the iPXE of that architecture.
func (p *player) buildArch() string {
	switch p.arch.Platform() {
	case ipxe.X64:
		return "x86_64"
	case ipxe.ARM64:
		return "arm64"
	}
	return "i386"
}

// discover is its DHCPDISCOVER. The broadcast flag is set: the address that is offered is nobody's here.
func (p *player) discover(mac net.HardwareAddr) (*dhcpv4.DHCPv4, error) {
	m, err := dhcpv4.New(dhcpv4.WithHwAddr(mac), dhcpv4.WithBroadcast(true), dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover))
	if err != nil {
		return nil, fmt.Errorf("making a DISCOVER: %w", err)
	}
	p.describe(m, mac)
	return m, nil
}

// describe adds the options by which servers know it.
func (p *player) describe(m *dhcpv4.DHCPv4, mac net.HardwareAddr) {
	set := func(code uint8, value []byte) { m.Options[code] = value }
	asked := []byte{1, 3, 6, 12, 15, 26, 28, 42, 51, 54, 58, 59}
	if p.class == "" {
		set(55, asked)
		return
	}
	// What PXE and HTTP firmware lists: 60 is not asked for by HTTP firmware, which wants it nevertheless.
	set(55, append(asked, 17, 43, 66, 67, 97, 128, 129, 130, 131, 132, 133, 134, 135))
	if len(p.user) > 0 { // iPXE asks for its own and the vendor class too
		set(55, append(asked, 17, 43, 60, 66, 67, 119, 175, 203))
		set(77, p.user)
		set(175, p.features())
	}
	set(57, []byte{5, 192}) // 1472
	set(60, []byte(p.vendorClass()))
	set(93, binary.BigEndian.AppendUint16(nil, uint16(p.arch)))
	set(94, []byte{1, 3, 0})
	set(97, append([]byte{0}, uuidOf(mac)...))
}

// uuidOf is a UUID for option 97: the same at every run.
func uuidOf(mac net.HardwareAddr) []byte {
	id := []byte("hooksmith.doctor")
	copy(id[10:], mac)
	return id
}
