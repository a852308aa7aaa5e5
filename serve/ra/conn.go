package ra

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/net/ipv6"
)

// Conn is a raw ICMPv6 socket that hears the router solicitations of some
// interfaces.
type Conn struct {
	pc    *ipv6.PacketConn
	links []*link
}

// Close closes the socket.
func (c *Conn) Close() error { return c.pc.Close() }

// Listen opens the socket; it needs CAP_NET_RAW. The interfaces must exist;
// they may go down, come up, go away and come back later.
func Listen(interfaces ...string) (*Conn, error) {
	if len(interfaces) == 0 {
		return nil, errors.New("router advertisements: no interface is given")
	}
	raw, err := net.ListenPacket("ip6:ipv6-icmp", "::")
	switch {
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("router advertisements: opening a raw socket: %w: give the process CAP_NET_RAW, or switch them off", err)
	case errors.Is(err, syscall.EAFNOSUPPORT):
		return nil, fmt.Errorf("router advertisements: this kernel has IPv6 switched off: %w", err)
	case err != nil:
		return nil, fmt.Errorf("router advertisements: opening a raw socket: %w", err)
	}
	c := &Conn{pc: ipv6.NewPacketConn(raw)}
	if err := c.prepare(interfaces); err != nil {
		return nil, errors.Join(fmt.Errorf("router advertisements: %w", err), raw.Close())
	}
	return c, nil
}

func (c *Conn) prepare(interfaces []string) error {
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeRouterSolicitation)
	if err := errors.Join(
		c.pc.SetICMPFilter(&filter),
		c.pc.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true),
		c.pc.SetHopLimit(hopLimit), c.pc.SetMulticastHopLimit(hopLimit),
		c.pc.SetMulticastLoopback(false),
	); err != nil {
		return fmt.Errorf("setting the socket up: %w", err)
	}
	slices.Sort(interfaces)
	for _, name := range slices.Compact(interfaces) {
		l := &link{name: name}
		if err := l.join(c); err != nil {
			return err
		}
		c.links = append(c.links, l)
	}
	return nil
}

// link is one interface.
type link struct {
	name  string
	index int // that it was joined under; another one after it came back
	up    bool
	timing
}

// join makes the socket hear the solicitations of the interface, whatever its
// index is now.
func (l *link) join(c *Conn) error {
	ifi, err := net.InterfaceByName(l.name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", l.name, err)
	}
	l.up = ifi.Flags&net.FlagUp != 0
	if ifi.Index == l.index {
		return nil
	}
	err = c.pc.JoinGroup(ifi, &net.IPAddr{IP: allRouters.AsSlice()})
	if err != nil && !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("interface %s: hearing router solicitations: %w", l.name, err)
	}
	l.index = ifi.Index
	return nil
}

// advertise sends one advertisement to all nodes of the link.
func (l *link) advertise(c *Conn) error {
	ifi, err := net.InterfaceByName(l.name)
	if err != nil {
		return err
	}
	src, err := linkLocal(ifi)
	if err != nil {
		return err
	}
	control := &ipv6.ControlMessage{HopLimit: hopLimit, IfIndex: ifi.Index, Src: src}
	// The zone is a number, as package net remembers for a minute which index a
	// name had: too long for an interface that came back with another.
	dst := &net.IPAddr{IP: allNodes.AsSlice(), Zone: strconv.Itoa(ifi.Index)}
	_, err = c.pc.WriteTo(advertisement(ifi.HardwareAddr), control, dst)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fmt.Errorf("%w: %v is being checked, or another machine has it (%w)", errNoAddress, src, err)
	}
	return err
}

// errNoAddress is usual for a second or two after an interface came up.
var errNoAddress = errors.New("it has no IPv6 link-local address that can be used")

// linkLocal is the address that advertisements must come from (RFC 4861, 6.1.2).
func linkLocal(ifi *net.Interface) (net.IP, error) {
	addrs, err := ifi.Addrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() == nil && n.IP.IsLinkLocalUnicast() {
			return n.IP, nil
		}
	}
	return nil, fmt.Errorf("%w: is it up, and is IPv6 on?", errNoAddress)
}
