package network

import (
	"bytes"
	"fmt"
	"net"
	"path"
	"strings"

	"hooksmith/guest/cmdline"
)

// plan is what the kernel arguments ask for. The zero value asks for DHCP on every Ethernet interface.
type plan struct {
	static   *static          // ipam=: this interface only, no DHCP
	vlan     int              // vlan_id=: DHCP in that VLAN only; 0 for none
	mac      net.HardwareAddr // hw_addr=: the interface that the machine booted from
	patterns []string         // interface=: names and patterns
	ntp      []string         // ntp_servers=: in place of those that DHCP or ipam= name
}

// newPlan reads the kernel arguments. An argument that makes no sense is left out, and told among the problems.
func newPlan(params cmdline.Params) (plan, []error) {
	var p plan
	var problems []error
	read := func(key string, parse func(value string) error) {
		value, ok := params.Get(key)
		if !ok || value == "" {
			return
		}
		if err := parse(value); err != nil {
			problems = append(problems, fmt.Errorf("kernel argument %s=%s is left out: %w", key, value, err))
		}
	}
	read("ipam", func(value string) (err error) { p.static, err = parseIPAM(value); return err })
	read("vlan_id", func(value string) (err error) { p.vlan, err = parseVLAN(value); return err })
	read("hw_addr", func(value string) (err error) { p.mac, err = parseMAC(value); return err })
	read("ntp_servers", func(value string) (err error) { p.ntp, err = parseServers(value); return err })
	read("interface", func(value string) (err error) { p.patterns, err = parsePatterns(value); return err })
	return p, problems
}

// parsePatterns reads the comma list of interface=.
func parsePatterns(value string) ([]string, error) {
	patterns := list(value)
	for _, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("%q is not a pattern: *, ? and [a-z] are special", pattern)
		}
	}
	return patterns, nil
}

// String says what the plan is, for the log.
func (p plan) String() string {
	switch {
	case p.static != nil && p.static.vlan != 0:
		return fmt.Sprintf("static %s in VLAN %d on the interface with MAC %s", p.static.settings.address, p.static.vlan, p.static.mac)
	case p.static != nil:
		return fmt.Sprintf("static %s on the interface with MAC %s", p.static.settings.address, p.static.mac)
	}
	where := "every Ethernet interface"
	switch {
	case p.vlan != 0 && p.mac != nil:
		where = fmt.Sprintf("VLAN %d of the interface with MAC %s", p.vlan, p.mac)
	case p.vlan != 0:
		where = fmt.Sprintf("VLAN %d of %s", p.vlan, where)
	case len(p.patterns) > 0:
		where = strings.Join(p.patterns, ", ")
	}
	return "DHCP on " + where
}

// wants reports whether l is an interface that the plan configures. With vlan_id= it is the parent of the VLAN that
// counts, and interface= does not, as upstream has it.
func (p plan) wants(l link) bool {
	if !l.ethernet || l.enslaved {
		return false
	}
	switch {
	case p.static != nil:
		return l.kind != kindVLAN && bytes.Equal(l.mac, p.static.mac)
	case p.vlan != 0 && p.mac != nil:
		return l.kind != kindVLAN && bytes.Equal(l.mac, p.mac)
	case p.vlan == 0 && len(p.patterns) > 0:
		return matches(p.patterns, l)
	}
	return l.physical()
}

// matches reports whether one of patterns names l. A name may name any interface, a pattern only takes real NICs:
// "e*" must not reach a container's interfaces.
func matches(patterns []string, l link) bool {
	for _, pattern := range patterns {
		if pattern == l.name {
			return true
		}
		if ok, err := path.Match(pattern, l.name); err == nil && ok && l.physical() {
			return true
		}
	}
	return false
}

// vlanID is the VLAN to make on each wanted interface, 0 for none.
func (p plan) vlanID() int {
	if p.static != nil {
		return p.static.vlan
	}
	return p.vlan
}

// metric is the priority of l's default route, and of its DNS servers: the interface that the machine booted from
// first, the others by age.
func (p plan) metric(l link) int {
	const preferred, others = 100, 1000
	if p.mac != nil && bytes.Equal(l.mac, p.mac) {
		return preferred
	}
	return others + l.index
}

// waiting says what must appear before anything can be configured. seen are the links that are there.
func (p plan) waiting(seen []link) string {
	var have []string
	for _, l := range seen {
		if l.ethernet {
			have = append(have, fmt.Sprintf("%s (MAC %s)", l.name, l.mac))
		}
	}
	what := "an Ethernet interface"
	switch {
	case p.static != nil:
		what = fmt.Sprintf("the interface with MAC %s of ipam=", p.static.mac)
	case p.vlan != 0 && p.mac != nil:
		what = fmt.Sprintf("the interface with MAC %s of hw_addr=", p.mac)
	case p.vlan == 0 && len(p.patterns) > 0:
		what = fmt.Sprintf("an interface named %s (interface=)", strings.Join(p.patterns, " or "))
	}
	if len(have) == 0 {
		return fmt.Sprintf("waiting for %s: there is none yet; if none comes, its driver or firmware is not in this HookOS", what)
	}
	return fmt.Sprintf("waiting for %s: there is only %s", what, strings.Join(have, ", "))
}
