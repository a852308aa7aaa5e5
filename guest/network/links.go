package network

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// link is what matters of a network interface.
type link struct {
	index    int
	name     string
	mac      net.HardwareAddr
	kind     string // of rtnetlink: "device" for a real one, "vlan", "bridge", "veth", "bond" ...
	ethernet bool
	enslaved bool // to a bond, a bridge, or the failover device of a virtual function
	running  bool // is up and has a carrier
	mtu      int
}

const kindVLAN = "vlan"

// physical reports whether the link is a NIC, or NICs made one, that is: what a machine can boot from.
func (l link) physical() bool {
	return l.kind == "device" || l.kind == "bond" || l.kind == "team"
}

// same reports whether other is still the interface that l was.
func (l link) same(other link) bool {
	return l.index == other.index && l.name == other.name && bytes.Equal(l.mac, other.mac) && l.enslaved == other.enslaved
}

// listLinks returns the links of the network namespace as they are now.
func listLinks() ([]link, error) {
	found, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("listing the network interfaces: %w", err)
	}
	links := make([]link, len(found))
	for i, each := range found {
		links[i] = newLink(each)
	}
	return links, nil
}

func newLink(l netlink.Link) link {
	a := l.Attrs()
	return link{
		index:    a.Index,
		name:     a.Name,
		mac:      a.HardwareAddr,
		kind:     l.Type(),
		ethernet: a.EncapType == "ether" && a.RawFlags&unix.IFF_LOOPBACK == 0 && len(a.HardwareAddr) == 6,
		enslaved: a.MasterIndex != 0,
		running:  a.RawFlags&(unix.IFF_UP|unix.IFF_LOWER_UP) == unix.IFF_UP|unix.IFF_LOWER_UP,
		mtu:      a.MTU,
	}
}

// carrierChanges is how often the carrier of l came or went; 0 where /sys does not tell.
func carrierChanges(l link) int {
	text, err := os.ReadFile(filepath.Join("/sys/class/net", l.name, "carrier_changes"))
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return n
}

// subscribe sends to changed, which has room for one, when any link appears, changes or goes, until done is closed.
// The channel that it returns is closed when the subscription broke, as it does when the kernel had more to tell
// than its buffer holds; the caller then lists anew.
func subscribe(changed chan<- struct{}, done <-chan struct{}) (broken <-chan struct{}, err error) {
	updates := make(chan netlink.LinkUpdate, 64)
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		return nil, fmt.Errorf("watching the network interfaces: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range updates {
			select {
			case changed <- struct{}{}:
			default: // one is on its way already
			}
		}
	}()
	return ended, nil
}

// bringUp sets the link administratively up.
func bringUp(l link) error {
	if err := netlink.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: l.index}}); err != nil {
		return fmt.Errorf("setting %s up: %w", l.name, err)
	}
	return nil
}

// makeVLAN returns the interface of VLAN id on parent, named <parent>.<id> as upstream names it, and makes it where
// it is not there yet.
func makeVLAN(parent link, id int) (link, error) {
	name := fmt.Sprintf("%s.%d", parent.name, id)
	if len(name) >= unix.IFNAMSIZ {
		name = fmt.Sprintf("vlan%d", id)
	}
	err := netlink.LinkAdd(&netlink.Vlan{
		LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: parent.index},
		VlanId:    id,
	})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		if errors.Is(err, unix.EOPNOTSUPP) {
			return link{}, fmt.Errorf("making VLAN interface %s: the kernel module 8021q is missing: %w", name, err)
		}
		return link{}, fmt.Errorf("making VLAN interface %s: %w", name, err)
	}
	made, err := netlink.LinkByName(name)
	if err != nil {
		return link{}, fmt.Errorf("finding VLAN interface %s: %w", name, err)
	}
	vlan, ok := made.(*netlink.Vlan)
	if !ok || vlan.VlanId != id || vlan.ParentIndex != parent.index {
		return link{}, fmt.Errorf("the interface %s is there, but is not VLAN %d of %s", name, id, parent.name)
	}
	return newLink(made), nil
}
