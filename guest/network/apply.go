package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// configure gives l the settings now in place of the settings before, which are nil the first time: other IPv4
// addresses, for example of a run before this one, then go. The address has the lease's lifetime in the kernel too.
//
// Only an interface without its address is an error. The problems are what else could not be done: an MTU that the NIC
// refuses or a bad route must not cost the machine its network.
func configure(l link, metric int, before *settings, now settings) (problems []error, err error) {
	nl := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: l.index, Name: l.name}}
	if now.mtu != 0 {
		if err := netlink.LinkSetMTU(nl, now.mtu); err != nil {
			problems = append(problems, fmt.Errorf("%s: setting the MTU to %d: %w", l.name, now.mtu, err))
		}
	}
	if err := netlink.AddrReplace(nl, kernelAddress(now)); err != nil {
		return problems, fmt.Errorf("%s: setting the address %s: %w", l.name, now.address, err)
	}
	for _, r := range now.allRoutes() {
		if err := netlink.RouteReplace(kernelRoute(l, metric, now, r)); err != nil {
			problems = append(problems, fmt.Errorf("%s: adding the route %s: %w", l.name, r, err))
		}
	}
	if before != nil {
		err = removeOld(l, metric, *before, now)
	} else {
		err = removeOtherAddresses(nl, now.address)
	}
	if err != nil {
		problems = append(problems, err)
	}
	return problems, nil
}

// removeOld removes what the settings before had and those of now do not have.
func removeOld(l link, metric int, before, now settings) error {
	var errs []error
	keep := now.allRoutes()
	for _, r := range before.allRoutes() {
		if !slices.Contains(keep, r) {
			errs = append(errs, gone(netlink.RouteDel(kernelRoute(l, metric, before, r))))
		}
	}
	if before.address != now.address {
		nl := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: l.index, Name: l.name}}
		errs = append(errs, gone(netlink.AddrDel(nl, kernelAddress(before))))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s: removing the former settings: %w", l.name, err)
	}
	return nil
}

// unconfigure takes the settings off l again. That they are gone already, with the interface perhaps, is no error.
func unconfigure(l link, metric int, s settings) error {
	var errs []error
	for _, r := range s.allRoutes() {
		errs = append(errs, gone(netlink.RouteDel(kernelRoute(l, metric, s, r))))
	}
	nl := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: l.index, Name: l.name}}
	errs = append(errs, gone(netlink.AddrDel(nl, kernelAddress(s))))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s: removing the address %s: %w", l.name, s.address, err)
	}
	return nil
}

// gone is err unless it says that there was nothing to remove.
func gone(err error) error {
	for _, each := range []error{unix.ESRCH, unix.EADDRNOTAVAIL, unix.ENODEV, unix.ENETUNREACH} {
		if errors.Is(err, each) {
			return nil
		}
	}
	return err
}

// removeOtherAddresses leaves the interface keep as its only IPv4 address.
func removeOtherAddresses(nl netlink.Link, keep netip.Prefix) error {
	have, err := netlink.AddrList(nl, netlink.FAMILY_V4)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("%s: listing the addresses: %w", nl.Attrs().Name, err)
	}
	for _, each := range have {
		if each.IPNet.String() == keep.String() {
			continue
		}
		if err := gone(netlink.AddrDel(nl, &each)); err != nil {
			return fmt.Errorf("%s: removing the former address %s: %w", nl.Attrs().Name, each.IPNet, err)
		}
	}
	return nil
}

func kernelAddress(s settings) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(s.address)}
	if s.lifetime > 0 {
		a.ValidLft = int(s.lifetime / time.Second)
		a.PreferedLft = a.ValidLft
	}
	if s.address.Bits() < 31 {
		a.Broadcast = broadcast(s.address)
	}
	return a
}

// kernelRoute is r as netlink has it. A gateway outside the interface's own network is taken to be on the link, as
// it is on clouds that give out /32 addresses.
func kernelRoute(l link, metric int, s settings, r route) *netlink.Route {
	k := &netlink.Route{
		LinkIndex: l.index,
		Dst:       ipNet(r.to),
		Src:       s.address.Addr().AsSlice(),
		Priority:  metric,
		Protocol:  unix.RTPROT_DHCP,
		Scope:     netlink.SCOPE_UNIVERSE,
	}
	if s.source == sourceStatic {
		k.Protocol = unix.RTPROT_STATIC
	}
	if !r.via.IsValid() {
		k.Scope = netlink.SCOPE_LINK
		return k
	}
	k.Gw = r.via.AsSlice()
	if !s.address.Contains(r.via) {
		k.Flags = int(netlink.FLAG_ONLINK)
	}
	return k
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

// broadcast is the last address of the network.
func broadcast(p netip.Prefix) net.IP {
	ip := p.Addr().As4()
	for i, m := range net.CIDRMask(p.Bits(), 32) {
		ip[i] |= ^m
	}
	return ip[:]
}
