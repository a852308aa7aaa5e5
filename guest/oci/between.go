package oci

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// between does what LinuxKit does to a container that exists but does not run yet: its namespaces get names in the file
// system, its network interfaces are made or moved.
func (r Runtime) between(pid int) error {
	for _, ns := range r.BindNS.paths() {
		if err := bindNamespace(fmt.Sprintf("/proc/%d/ns/%s", pid, ns.name), rooted(ns.path)); err != nil {
			return fmt.Errorf("keeping the %s namespace at %s: %w", ns.name, ns.path, err)
		}
	}
	for _, i := range r.Interfaces {
		if err := i.give(pid); err != nil {
			return fmt.Errorf("interface %q: %w", i.Name, err)
		}
	}
	return nil
}

func bindNamespace(source, target string) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	// One of an earlier run of the container.
	_ = unix.Unmount(target, unix.MNT_DETACH)
	f, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	f.Close()
	return unix.Mount(source, target, "", unix.MS_BIND, "")
}

// give makes the interface in the container's network namespace, or in ours and moves it, or moves one there is.
func (i Interface) give(pid int) error {
	if i.Name == "" {
		return fmt.Errorf("runtime.interfaces: an entry without a name")
	}
	if i.Peer != "" && i.Add == "" {
		i.Add = "veth"
	}
	if i.Add != "" && !i.CreateInRoot {
		return i.addInside(pid)
	}
	if i.Add != "" {
		if err := netlink.LinkAdd(i.link()); err != nil {
			return fmt.Errorf("adding a link of kind %s: %w", i.Add, err)
		}
	}
	link, err := netlink.LinkByName(i.Name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetNsPid(link, pid); err != nil {
		return fmt.Errorf("moving it into the container: %w", err)
	}
	return nil
}

// addInside makes the interface in the container's namespace. The other end of a veth stays with us.
func (i Interface) addInside(pid int) error {
	own, err := netns.Get()
	if err != nil {
		return err
	}
	defer own.Close()
	theirs, err := netns.GetFromPid(pid)
	if err != nil {
		return err
	}
	defer theirs.Close()
	handle, err := netlink.NewHandleAt(theirs, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer handle.Close()
	link := i.link()
	if veth, ok := link.(*netlink.Veth); ok {
		veth.PeerNamespace = netlink.NsFd(own)
	}
	if err := handle.LinkAdd(link); err != nil {
		return fmt.Errorf("adding a link of kind %s: %w", i.Add, err)
	}
	return nil
}

func (i Interface) link() netlink.Link {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = i.Name
	if i.Add == "veth" {
		return &netlink.Veth{LinkAttrs: attrs, PeerName: i.Peer}
	}
	return &netlink.GenericLink{LinkAttrs: attrs, LinkType: i.Add}
}
