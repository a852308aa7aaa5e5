package dhcpconf

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"hooksmith/serve/hardware"
)

// option is a DHCP option that every server has under a name of its own.
type option struct {
	code  int
	kea   string
	isc   string
	value string // addresses with ", " between, or a name
}

func addressOption(code int, kea, isc string, addresses ...netip.Addr) (o []option) {
	for _, a := range addresses {
		if !a.Is4() {
			return nil
		}
	}
	if len(addresses) == 0 {
		return nil
	}
	return []option{{code, kea, isc, list(addresses)}}
}

func options(router netip.Addr, dns, ntp []netip.Addr, domain string) (all []option) {
	all = append(all, addressOption(3, "routers", "routers", router)...)
	all = append(all, addressOption(6, "domain-name-servers", "domain-name-servers", dns...)...)
	all = append(all, addressOption(42, "ntp-servers", "ntp-servers", ntp...)...)
	if domain != "" {
		all = append(all, option{15, "domain-name", "domain-name", domain})
	}
	return all
}

// networkOptions is what every client of a subnet is told.
func networkOptions(n *Network) []option {
	return options(n.Router, n.NameServers, n.TimeServers, n.Domain)
}

// machineOptions is what a machine's record says otherwise than its network.
func (j *job) machineOptions(m hardware.Machine) (all []option) {
	usual := map[int]string{}
	if j.Full != nil {
		for _, o := range networkOptions(j.Full) {
			usual[o.code] = o.value
		}
	}
	for _, o := range options(m.Gateway, m.NameServers, m.TimeServers, m.Domain) {
		if usual[o.code] != o.value {
			all = append(all, o)
		}
	}
	return all
}

// pools are the addresses that anyone gets: what is configured, else the
// upper half of the subnet, as people give out low addresses by hand; without
// those that are known to be somebody's.
func (j *job) pools() [][2]netip.Addr {
	pools := j.Full.Pool
	if len(pools) == 0 {
		pools = [][2]netip.Addr{upperHalf(j.Subnet)}
	}
	taken := j.taken()
	var free [][2]netip.Addr
	for _, r := range pools {
		for _, a := range taken {
			if a.Less(r[0]) || r[1].Less(a) {
				continue
			}
			if r[0].Less(a) {
				free = append(free, [2]netip.Addr{r[0], a.Prev()})
			}
			r[0] = a.Next()
		}
		if !r[1].Less(r[0]) {
			free = append(free, r)
		}
	}
	slices.SortFunc(free, func(a, b [2]netip.Addr) int { return a[0].Compare(b[0]) })
	return free
}

// taken are the addresses that no pool may give out, in order: with the wait
// for a ping turned off no server would find out.
func (j *job) taken() []netip.Addr {
	all := slices.Concat([]netip.Addr{j.Server, j.Full.Router}, j.servers, j.Full.NameServers, j.Full.TimeServers)
	for _, m := range j.Machines {
		all = append(append(append(all, m.IP.Addr(), m.Gateway), m.NameServers...), m.TimeServers...)
	}
	all = slices.DeleteFunc(all, func(a netip.Addr) bool { return !a.Is4() })
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// size is how many addresses a range has.
func size(r [2]netip.Addr) int {
	first, last := r[0].As4(), r[1].As4()
	return int(binary.BigEndian.Uint32(last[:])-binary.BigEndian.Uint32(first[:])) + 1
}

// upperHalf is without the broadcast address.
func upperHalf(p netip.Prefix) [2]netip.Addr {
	first := p.Addr().As4()
	last := first
	first[p.Bits()/8] |= 1 << (7 - p.Bits()%8)
	for i := p.Bits(); i < 32; i++ {
		last[i/8] |= 1 << (7 - i%8)
	}
	return [2]netip.Addr{netip.AddrFrom4(first), netip.AddrFrom4(last).Prev()}
}

func (t *table) has(arch uint16) bool {
	for _, c := range t.choices {
		if c.has(arch) {
			return true
		}
	}
	return false
}

func (c *choice) has(arch uint16) bool {
	for _, a := range c.archs {
		if a == arch {
			return true
		}
	}
	return false
}
