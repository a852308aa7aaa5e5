package network

import (
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"hooksmith/guest/cmdline"
)

func TestParseIPAM(t *testing.T) {
	mac := net.HardwareAddr{0xde, 0xad, 0xbe, 0xef, 0xfe, 0xed}
	addrs := func(texts ...string) []netip.Addr {
		var out []netip.Addr
		for _, text := range texts {
			out = append(out, netip.MustParseAddr(text))
		}
		return out
	}
	for _, test := range []struct {
		value string
		want  *static
		err   string
	}{
		{
			// The example of Hook's static-network.sh.
			value: "de-ad-be-ef-fe-ed::192.168.2.193:255.255.255.0:192.168.2.1:myserver:1.1.1.1,8.8.8.8::132.163.97.1,132.163.96.1",
			want: &static{mac: mac, settings: settings{
				source: sourceStatic, address: netip.MustParsePrefix("192.168.2.193/24"), gateway: netip.MustParseAddr("192.168.2.1"),
				hostname: "myserver", dns: addrs("1.1.1.1", "8.8.8.8"), ntp: []string{"132.163.97.1", "132.163.96.1"},
			}},
		},
		{
			value: "de-ad-be-ef-fe-ed:7:10.0.0.9:22:::9.9.9.9::a.example:",
			err:   "10 fields instead of 9",
		},
		{
			value: "DE-AD-BE-EF-FE-ED:7:10.0.0.9:22:::9.9.9.9,:a.example,b.example:",
			want: &static{mac: mac, vlan: 7, settings: settings{
				source: sourceStatic, address: netip.MustParsePrefix("10.0.0.9/22"), dns: addrs("9.9.9.9"), search: []string{"a.example", "b.example"},
			}},
		},
		{
			value: "de-ad-be-ef-fe-ed::10.0.0.9:255.255.255.255:::1.1.1.1",
			want: &static{mac: mac, settings: settings{
				source: sourceStatic, address: netip.MustParsePrefix("10.0.0.9/32"), dns: addrs("1.1.1.1"),
			}},
		},
		{value: "", err: "no MAC address: ipam=<mac with hyphens>"},
		{value: ":::", err: "no MAC address"},
		{value: "de-ad-be-ef-fe-ed::10.0.0.9", err: "no netmask"},
		{value: "de-ad-be-ef-fe-ed:::255.0.0.0:::1.1.1.1", err: "no IP address"},
		{value: "de-ad-be-ef-fe-ed::10.0.0.9:24", err: "no DNS server"},
		{value: "de-ad-be-ef-fe::10.0.0.9:24:::1.1.1.1", err: `"de-ad-be-ef-fe" is not a MAC address`},
		{value: "de-ad-be-ef-fe-ed:4095:10.0.0.9:24:::1.1.1.1", err: `VLAN "4095"`},
		{value: "de-ad-be-ef-fe-ed::10.0.0.256:24:::1.1.1.1", err: `IP address "10.0.0.256"`},
		{value: "de-ad-be-ef-fe-ed::224.0.0.1:24:::1.1.1.1", err: "cannot be that of one machine"},
		{value: "de-ad-be-ef-fe-ed::10.0.0.9:33:::1.1.1.1", err: `netmask "33"`},
		{value: "de-ad-be-ef-fe-ed::10.0.0.9:255.0.255.0:::1.1.1.1", err: "has a gap"},
		{value: "de-ad-be-ef-fe-ed::10.0.0.9:24:gw::1.1.1.1", err: `gateway "gw"`},
		{value: "de-ad-be-ef-fe-ed::10.0.0.9:24::a/b:1.1.1.1", err: `"a/b" is not a hostname`},
		{value: "de-ad-be-ef-fe-ed::10.0.0.9:24:::one.one", err: `DNS server "one.one"`},
		{value: "de-ad-be-ef-fe-ed::10.0.0.9:24:::1.1.1.1:-x.org", err: `search domain "-x.org"`},
		{value: "de-ad-be-ef-fe-ed::10.0.0.9:24:::1.1.1.1::a_!", err: `NTP server "a_!"`},
	} {
		got, err := parseIPAM(test.value)
		switch {
		case test.err == "" && err != nil:
			t.Errorf("parseIPAM(%q): %v", test.value, err)
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
			t.Errorf("parseIPAM(%q): error %v, want %q", test.value, err, test.err)
		case err == nil && !reflect.DeepEqual(got, test.want):
			t.Errorf("parseIPAM(%q) = %+v, want %+v", test.value, got, test.want)
		}
	}
}

func FuzzParseIPAM(f *testing.F) {
	f.Add("de-ad-be-ef-fe-ed::192.168.2.193:255.255.255.0:192.168.2.1:myserver:1.1.1.1,8.8.8.8:a.b:132.163.97.1")
	f.Add("de-ad-be-ef-fe-ed:7:10.0.0.9:22:::9.9.9.9,")
	f.Fuzz(func(t *testing.T, value string) {
		s, err := parseIPAM(value)
		if err != nil {
			return
		}
		if !s.settings.address.IsValid() || len(s.mac) != 6 || s.vlan < 0 || s.vlan > 4094 {
			t.Errorf("parseIPAM(%q) = %+v", value, s)
		}
		for line := range strings.SplitSeq(string(resolvConf(s.settings)), "\n") {
			if strings.ContainsAny(line, "\r\x00") {
				t.Errorf("parseIPAM(%q) writes %q into resolv.conf", value, line)
			}
		}
	})
}

func TestWants(t *testing.T) {
	nic := func(name, mac string) link {
		m, err := net.ParseMAC(mac)
		if err != nil {
			t.Fatal(err)
		}
		return link{name: name, mac: m, kind: "device", ethernet: true}
	}
	eth0 := nic("eth0", "52:54:00:00:00:01")
	enp3s0 := nic("enp3s0", "52:54:00:00:00:02")
	slave := nic("eth2", "52:54:00:00:00:01")
	slave.enslaved = true
	vlan := nic("eth0.7", "52:54:00:00:00:01")
	vlan.kind = kindVLAN
	veth := nic("eveth", "52:54:00:00:00:09")
	veth.kind = "veth"
	docker := nic("docker0", "52:54:00:00:00:0a")
	docker.kind = "bridge"
	bond := nic("bond0", "52:54:00:00:00:0b")
	bond.kind = "bond"
	wwan := link{name: "wwan0", kind: "device"}
	all := []link{eth0, enp3s0, slave, vlan, veth, docker, bond, wwan}

	for _, test := range []struct {
		arguments string
		want      string
	}{
		{"", "eth0 enp3s0 bond0"},
		{"interface=", "eth0 enp3s0 bond0"},
		{"interface=e*", "eth0 enp3s0"},
		{"interface=eth0,eveth", "eth0 eveth"},
		{"interface=eth0.7", "eth0.7"},
		{"interface=eth[0-9],bond?", "eth0 bond0"},
		{"interface=[", "eth0 enp3s0 bond0"},
		{"hw_addr=52:54:00:00:00:02", "eth0 enp3s0 bond0"},
		{"vlan_id=7 hw_addr=52:54:00:00:00:01", "eth0"},
		{"vlan_id=7 hw_addr=52:54:00:00:00:01 interface=enp3s0", "eth0"},
		{"vlan_id=7 interface=enp3s0", "eth0 enp3s0 bond0"},
		{"vlan_id=0 hw_addr=52:54:00:00:00:01", "eth0 enp3s0 bond0"},
		{"ipam=52-54-00-00-00-02:7:10.0.0.9:24:::1.1.1.1 interface=eth0", "enp3s0"},
		{"ipam=nonsense interface=eth0", "eth0"},
	} {
		p, _ := newPlan(cmdline.Parse(test.arguments))
		var got []string
		for _, l := range all {
			if p.wants(l) {
				got = append(got, l.name)
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%q wants %v, want %s", test.arguments, got, test.want)
		}
	}
}

func TestPlanWords(t *testing.T) {
	eth0 := link{name: "eth0", mac: net.HardwareAddr{2, 0, 0, 0, 0, 1}, ethernet: true}
	for _, test := range []struct {
		arguments, plan, waiting string
	}{
		{"", "DHCP on every Ethernet interface", "waiting for an Ethernet interface: there is only eth0 (MAC 02:00:00:00:00:01)"},
		{"interface=enp*,eno1", "DHCP on enp*, eno1", "waiting for an interface named enp* or eno1 (interface=): there is only eth0"},
		{"vlan_id=7", "DHCP on VLAN 7 of every Ethernet interface", "waiting for an Ethernet interface"},
		{"vlan_id=7 hw_addr=02:00:00:00:00:02", "DHCP on VLAN 7 of the interface with MAC 02:00:00:00:00:02",
			"waiting for the interface with MAC 02:00:00:00:00:02 of hw_addr=: there is only eth0 (MAC 02:00:00:00:00:01)"},
		{"ipam=02-00-00-00-00-02::10.0.0.9:24:::1.1.1.1", "static 10.0.0.9/24 on the interface with MAC 02:00:00:00:00:02",
			"waiting for the interface with MAC 02:00:00:00:00:02 of ipam="},
		{"ipam=02-00-00-00-00-02:7:10.0.0.9:24:::1.1.1.1", "static 10.0.0.9/24 in VLAN 7 on the interface with MAC 02:00:00:00:00:02", "of ipam="},
	} {
		p, problems := newPlan(cmdline.Parse(test.arguments))
		if len(problems) != 0 {
			t.Errorf("%q: %v", test.arguments, problems)
		}
		if got := p.String(); got != test.plan {
			t.Errorf("%q is %q, want %q", test.arguments, got, test.plan)
		}
		if got := p.waiting([]link{eth0}); !strings.Contains(got, test.waiting) {
			t.Errorf("%q: %q, want %q", test.arguments, got, test.waiting)
		}
	}
	if got := (plan{}).waiting(nil); !strings.Contains(got, "there is none yet") {
		t.Errorf("no link at all: %q", got)
	}
}
