package hardware

import (
	"fmt"
	"net/netip"
)

// Index is a set of machines that does not change. The zero value is empty.
type Index struct {
	machines []Machine
	byMAC    map[string]*Machine
	byIP     map[netip.Addr]*Machine
}

// NewIndex makes an index. Two machines with one MAC address are an error, so
// is an address that two have; only the interfaces of one Hardware object
// (records with one host name) may share it, and the first is found by it.
func NewIndex(machines []Machine) (*Index, error) {
	x := &Index{
		machines: machines,
		byMAC:    make(map[string]*Machine, len(machines)),
		byIP:     make(map[netip.Addr]*Machine, len(machines)),
	}
	var problems Problems
	fail := func(m *Machine, value string, other *Machine) {
		if len(problems.List) == maxProblems {
			problems.More++
			return
		}
		problems.List = append(problems.List, &Problem{File: m.Source, Message: fmt.Sprintf("%s is also that of %s", value, other.Source)})
	}
	for i := range machines {
		m := &machines[i]
		if other, taken := x.byMAC[m.MAC]; taken {
			fail(m, m.MAC, other)
			continue
		}
		x.byMAC[m.MAC] = m
		if !m.IP.IsValid() {
			continue
		}
		other, taken := x.byIP[m.IP.Addr()]
		switch {
		case !taken:
			x.byIP[m.IP.Addr()] = m
		case m.Hostname == "" || m.Hostname != other.Hostname:
			fail(m, m.IP.Addr().String(), other)
		}
	}
	if len(problems.List) > 0 {
		return nil, &problems
	}
	return x, nil
}

// Lookup finds a machine by MAC address, written as Machine.MAC (see
// NormalizeMAC). The Machine must not be changed.
func (x *Index) Lookup(mac string) (*Machine, bool) {
	m, ok := x.byMAC[mac]
	return m, ok
}

// LookupIP finds a machine by its address.
func (x *Index) LookupIP(ip netip.Addr) (*Machine, bool) {
	m, ok := x.byIP[ip.Unmap()]
	return m, ok
}

// All returns the machines in the order of the files. It must not be changed.
func (x *Index) All() []Machine { return x.machines }

// Len is the number of machines.
func (x *Index) Len() int { return len(x.machines) }
