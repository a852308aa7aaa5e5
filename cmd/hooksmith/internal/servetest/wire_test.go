package servetest

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netns"
)

// inside runs f on a thread that is in a namespace: sockets made there stay
// there. The thread goes back and lives on: the processes that it has started
// would end with it (Pdeathsig).
func inside(t *testing.T, name string, f func() error) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	there, err := netns.GetFromName(name)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	if err := netns.Set(there); err != nil {
		t.Fatal(err)
	}
	err = f()
	if back := netns.Set(here); back != nil {
		panic(back) // this thread must not run anything else
	}
	if err != nil {
		t.Fatal(err)
	}
}

// client is a DHCP client that asks for machines with any MAC address.
type client struct {
	t    *testing.T
	conn *net.UDPConn
}

// dhcpClient makes a socket on port 68 of the client namespace.
func (l *lab) dhcpClient() *client {
	l.t.Helper()
	c := &client{t: l.t}
	inside(l.t, l.client, func() error {
		lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
			ctlErr := raw.Control(func(fd uintptr) {
				err = errors.Join(
					syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_BROADCAST, 1),
					syscall.BindToDevice(int(fd), "eth0"))
			})
			return errors.Join(err, ctlErr)
		}}
		conn, err := lc.ListenPacket(l.t.Context(), "udp4", ":68")
		if err == nil {
			c.conn = conn.(*net.UDPConn)
		}
		return err
	})
	l.t.Cleanup(func() { c.conn.Close() })
	return c
}

// udp makes a socket in the client namespace that talks to a port of the server.
func (l *lab) udp(port int) *net.UDPConn {
	l.t.Helper()
	var conn net.Conn
	inside(l.t, l.client, func() (err error) {
		conn, err = net.Dial("udp4", net.JoinHostPort(serverIP, strconv.Itoa(port)))
		return err
	})
	l.t.Cleanup(func() { conn.Close() })
	return conn.(*net.UDPConn)
}

// ask sends a message and returns the answer to it, nil if none comes in time.
// Fit says which of several servers' answers is meant; none: the first.
func (c *client) ask(m *dhcpv4.DHCPv4, within time.Duration, fit ...func(*dhcpv4.DHCPv4) bool) *dhcpv4.DHCPv4 {
	c.t.Helper()
	if _, err := c.conn.WriteToUDP(m.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: 67}); err != nil && !errors.Is(err, syscall.ENETDOWN) && !errors.Is(err, syscall.ENETUNREACH) {
		c.t.Fatal(err)
	}
	deadline := time.Now().Add(within)
	buf := make([]byte, 4096)
	for {
		if err := c.conn.SetReadDeadline(deadline); err != nil {
			c.t.Fatal(err)
		}
		n, err := c.conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			c.t.Fatal(err)
		}
		got, err := dhcpv4.FromBytes(buf[:n])
		if err != nil || got.TransactionID != m.TransactionID || got.OpCode != dhcpv4.OpcodeBootReply {
			continue
		}
		if len(fit) == 0 || fit[0](got) {
			return got
		}
	}
}

func macOf(n int) net.HardwareAddr {
	return net.HardwareAddr{0x52, 0x54, 0x00, 0x99, byte(n >> 8), byte(n)}
}

// discover asks for an offer.
func (c *client) discover(mac net.HardwareAddr, within time.Duration) *dhcpv4.DHCPv4 {
	m, err := dhcpv4.NewDiscovery(mac, dhcpv4.WithBroadcast(true))
	if err != nil {
		c.t.Fatal(err)
	}
	return c.ask(m, within)
}

// lease goes through the four messages once; it returns no address if one of
// them was not answered, as when the server was killed in between.
func (c *client) lease(mac net.HardwareAddr, within time.Duration) (ip netip.Addr) {
	offer := c.discover(mac, within)
	if offer == nil {
		return ip
	}
	request, err := dhcpv4.NewRequestFromOffer(offer, dhcpv4.WithBroadcast(true))
	if err != nil {
		c.t.Fatal(err)
	}
	if ack := c.ask(request, within); ack != nil && ack.MessageType() == dhcpv4.MessageTypeAck {
		ip, _ = netip.AddrFromSlice(ack.YourIPAddr.To4())
	}
	return ip
}

// reboot asks for an address that the client remembers (INIT-REBOOT).
func (c *client) reboot(mac net.HardwareAddr, ip netip.Addr, within time.Duration) dhcpv4.MessageType {
	m, err := dhcpv4.New(dhcpv4.WithHwAddr(mac), dhcpv4.WithBroadcast(true), dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ip.AsSlice())))
	if err != nil {
		c.t.Fatal(err)
	}
	if answer := c.ask(m, within); answer != nil {
		return answer.MessageType()
	}
	return dhcpv4.MessageTypeNone
}
