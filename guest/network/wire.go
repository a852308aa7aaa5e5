package network

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// broadcastServers is where a client without an address sends to.
var broadcastServers = &net.UDPAddr{IP: net.IPv4bcast, Port: nclient4.ServerPort}

// wanted is the parameter request list; 121 must come before 3 in it (RFC 3442).
var wanted = []dhcpv4.OptionCode{
	dhcpv4.OptionSubnetMask,
	dhcpv4.OptionClasslessStaticRoute,
	dhcpv4.OptionRouter,
	dhcpv4.OptionDomainNameServer,
	dhcpv4.OptionHostName,
	dhcpv4.OptionDomainName,
	dhcpv4.OptionInterfaceMTU,
	dhcpv4.OptionBroadcastAddress,
	dhcpv4.OptionNTPServers,
	dhcpv4.OptionDNSDomainSearchList,
	dhcpv4.OptionRenewTimeValue,
	dhcpv4.OptionRebindingTimeValue,
}

// vendorClass is option 60. It must not begin with PXEClient, which would make boot servers answer.
const vendorClass = "HookOS"

// message makes a DHCP message of this client. The client identifier is the MAC address, as iPXE's and dhcpcd's is, so
// that a server takes the machine for the one it has just booted and gives the same address.
func (c *client) message(kind dhcpv4.MessageType, more ...dhcpv4.Modifier) (*dhcpv4.DHCPv4, error) {
	id := append([]byte{byte(iana.HWTypeEthernet)}, c.link.mac...)
	m, err := dhcpv4.New(dhcpv4.PrependModifiers(more,
		dhcpv4.WithHwAddr(c.link.mac),
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptClientIdentifier(id)),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier(vendorClass)),
		dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(nclient4.MaxMessageSize)),
		dhcpv4.WithRequestedOptions(wanted...),
	)...)
	if err != nil {
		return nil, fmt.Errorf("%s: making a DHCP message: %w", c.link.name, err)
	}
	return m, nil
}

// answerTimeout is longer than any wait of ask, whose contexts are what ends the library's own wait.
const answerTimeout = time.Hour

// openPacket opens a packet socket, which sends and receives without an address. The caller closes it.
func (c *client) openPacket() (*nclient4.Client, error) {
	filter, err := bpf.Assemble(toClientPort)
	if err != nil {
		return nil, fmt.Errorf("%s: assembling the DHCP packet filter: %w", c.link.name, err)
	}
	ifi := &net.Interface{Index: c.link.index, Name: c.link.name, HardwareAddr: c.link.mac, MTU: c.link.mtu}
	raw, err := packet.Listen(ifi, packet.Datagram, unix.ETH_P_IP, &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("%s: opening a packet socket for DHCP: %w", c.link.name, err)
	}
	conn := nclient4.NewBroadcastUDPConn(raw, &net.UDPAddr{Port: nclient4.ClientPort})
	client, err := nclient4.NewWithConn(conn, c.link.mac, nclient4.WithRetry(1), nclient4.WithTimeout(answerTimeout))
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("%s: opening a DHCP client: %w", c.link.name, err)
	}
	return client, nil
}

// toClientPort accepts IPv4 datagrams to UDP port 68 and drops the rest in the kernel; offsets are those of the IP
// header, which the socket's packets begin with.
var toClientPort = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 9, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 6},
	bpf.LoadAbsolute{Off: 6, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 4}, // a fragment has no UDP header
	bpf.LoadMemShift{Off: 0},                                    // X = length of the IP header
	bpf.LoadIndirect{Off: 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: nclient4.ClientPort, SkipTrue: 1},
	bpf.RetConstant{Val: 0xffff},
	bpf.RetConstant{Val: 0},
}

// openUnicast opens a socket that sends from the leased address over the client's own interface. The caller closes it.
func (c *client) openUnicast(l lease) (*nclient4.Client, error) {
	listen := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var bind error
		err := conn.Control(func(fd uintptr) {
			bind = unix.BindToDevice(int(fd), c.link.name)
		})
		if err != nil {
			return err
		}
		return bind
	}}
	from := net.JoinHostPort(l.settings.address.Addr().String(), fmt.Sprint(nclient4.ClientPort))
	conn, err := listen.ListenPacket(context.Background(), "udp4", from)
	if err != nil {
		return nil, fmt.Errorf("%s: opening a socket to renew the lease: %w", c.link.name, err)
	}
	client, err := nclient4.NewWithConn(conn, c.link.mac, nclient4.WithRetry(1), nclient4.WithTimeout(answerTimeout))
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: opening a DHCP client: %w", c.link.name, err)
	}
	return client, nil
}
