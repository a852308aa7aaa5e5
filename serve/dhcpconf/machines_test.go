package dhcpconf

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
)

// Host names that dnsmasq would read as a word or a number of its own reach
// machines as names.
func TestDnsmasqWords(t *testing.T) {
	c := config(t, ruleOver(t, ipxe.RuleOptions{}, usual...))
	for _, tt := range []struct {
		name string
		word bool
	}{
		{"ignore", true}, {"infinite", true}, {"4711", true}, {"7", true}, {"12h", true}, {"3W", true}, {"10.0.0.1", true},
		{"node1", false}, {"ignored", false}, {"12x", false}, {"h", false}, {"1h2", false}, {"10.0.0", false},
	} {
		c.Machines = []hardware.Machine{{MAC: "52:54:00:00:00:01", Hostname: tt.name, IP: netip.MustParsePrefix("192.168.2.9/24"), LeaseTime: time.Hour}}
		r, err := Generate("dnsmasq", c)
		if err != nil {
			t.Fatal(err)
		}
		want := "\ndhcp-host=52:54:00:00:00:01,192.168.2.9," + tt.name + ",3600\n"
		if tt.word {
			want = "\ndhcp-host=52:54:00:00:00:01,set:hook-525400000001,192.168.2.9,3600\ndhcp-option=tag:hook-525400000001,12,\"" + tt.name + "\"\n"
		}
		if !strings.Contains(r.Text, want) {
			t.Errorf("%s: no %q in\n%s", tt.name, want, r.Text[strings.Index(r.Text, "# Machines"):])
		}
	}
}

// A machine's lease time is in force, or it is said that it is not.
func TestLeaseTimes(t *testing.T) {
	c := full(config(t, ruleOver(t, ipxe.RuleOptions{}, usual...)))
	for i := range c.Machines {
		c.Machines[i].LeaseTime = 240 * time.Hour
	}
	for target, want := range map[string]string{
		"isc-dhcpd": "default-lease-time 864000;\n  min-lease-time 864000;\n  max-lease-time 864000;\n", "dnsmasq": ",node1,864000\n", "kea": "", "microsoft": "",
	} {
		r, err := Generate(target, c)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(r.Text, want) {
			t.Errorf("%s: no %q", target, want)
		}
		if notes := strings.Join(r.Notes, "\n"); strings.Contains(notes, "lease times that machines have of their own are left out (2, 52:54:00:12:34:56 first)") != (want == "") {
			t.Errorf("%s: %s", target, notes)
		}
	}
	c.Full.Lease = 240 * time.Hour // as the network's
	if r, err := Generate("kea", c); err != nil || strings.Contains(strings.Join(r.Notes, "\n"), "lease time") {
		t.Errorf("%v, %v", r.Notes, err)
	}
}

// dnsmasq has leases for all addresses that it is to give out.
func TestDnsmasqLeases(t *testing.T) {
	c := config(t, ruleOver(t, ipxe.RuleOptions{}, usual...))
	c.Machines, c.Full = nil, &Network{}
	for subnet, want := range map[string]string{"192.168.0.0/20": "\ndhcp-lease-max=2047\n", "192.0.0.0/8": "\ndhcp-lease-max=100000\n", "192.168.2.0/24": ""} {
		c.Subnet = netip.MustParsePrefix(subnet)
		r, err := Generate("dnsmasq", c)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(r.Text, want) || want == "" && strings.Contains(r.Text, "lease-max") {
			t.Errorf("%s: no %q in\n%.900s", subnet, want, r.Text)
		}
	}
	c.Full = nil
	for i := range 1001 {
		c.Machines = append(c.Machines, hardware.Machine{MAC: fmt.Sprintf("52:54:00:00:%02x:%02x", i>>8, i&255), IP: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 16)})
	}
	r, err := Generate("dnsmasq", c)
	if err != nil || !strings.Contains(strings.Join(r.Notes, "\n"), "dhcp-lease-max") {
		t.Errorf("%v, %v", r.Notes, err)
	}
}

// Neither configuration gives out an address that the boot server has before
// or after.
func TestComparePools(t *testing.T) {
	c := config(t, ruleOver(t, ipxe.RuleOptions{}, usual...))
	c.Full = &Network{}
	both, err := Compare("dnsmasq", c, netip.MustParseAddr("192.168.2.200"), netip.MustParseAddr("192.168.2.201"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Result{both.Before, both.After} {
		for _, want := range []string{"dhcp-range=192.168.2.128,192.168.2.199,", "dhcp-range=192.168.2.202,192.168.2.253,"} {
			if !strings.Contains(r.Text, want) {
				t.Errorf("no %s in\n%.900s", want, r.Text)
			}
		}
		if notes := strings.Join(r.Notes, "\n"); !strings.Contains(notes, "it says eth0 there; name it with --interface") {
			t.Errorf("notes: %s", notes)
		}
	}
}

// Two machines with one address: the boot server has that of a record.
func TestServersAddress(t *testing.T) {
	c := config(t, ruleOver(t, ipxe.RuleOptions{}, usual...))
	c.Machines[0].IP = netip.PrefixFrom(c.Server, 24)
	r, err := Generate("kea", c)
	if err != nil || !strings.Contains(strings.Join(r.Notes, "\n"), "the boot server's own address") {
		t.Errorf("%v, %v", r, err)
	}
}
