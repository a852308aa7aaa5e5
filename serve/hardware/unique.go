package hardware

import (
	"fmt"
	"net/netip"
)

// placed is a machine together with where its unique values stand.
type placed struct {
	Machine
	at    fieldPlaces
	group string // interfaces of one Hardware object may share name, address and BMC
}

// fieldPlaces is the place and name of the fields that must be unique: MAC,
// IP, host name, BMC.
type fieldPlaces struct {
	names [4]string
	at    [4]place
}

// Fields in the order of fieldPlaces.
const (
	fieldMAC = iota
	fieldIP
	fieldHostname
	fieldBMC
)

// checkUnique reports values that two machines of a file share: two machines
// with one address, one machine with two records. The fields up to strict are
// errors, others are worth a note.
func checkUnique(r *report, machines []placed, strict int) {
	seen := uniqueness{}
	for i := range machines {
		m := &machines[i]
		for _, c := range seen.add(&m.Machine, m.group) {
			say := r.note
			if c.field <= strict {
				say = r.fail
			}
			say(m.at.at[c.field], m.at.names[c.field], "%s is also that of %s", c.value, c.first)
		}
	}
}

// uniqueness remembers who has a value. A key has its field in front.
type uniqueness map[string]owner

type owner struct{ source, group string }

// clash is a value that another machine has.
type clash struct {
	field        int // as in fieldPlaces
	value, first string
}

// add remembers the values of m and returns those that were there before.
// Machines of one non-empty group may share all but the MAC address.
func (u uniqueness) add(m *Machine, group string) (clashes []clash) {
	for field, value := range [...]string{m.MAC, addrText(m.IP.Addr()), m.Hostname, addrText(m.BMC.IP)} {
		if value == "" {
			continue
		}
		key := fmt.Sprintf("%d%s", field, value)
		first, taken := u[key]
		if !taken {
			u[key] = owner{m.Source, group}
			continue
		}
		if field == fieldMAC || group == "" || group != first.group {
			clashes = append(clashes, clash{field, value, first.source})
		}
	}
	return clashes
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func stripPlaces(all []placed) []Machine {
	machines := make([]Machine, len(all))
	for i := range all {
		machines[i] = all[i].Machine
	}
	return machines
}
