package network

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

const testMAC = "52:54:00:12:34:56"

// want fails the test for each text that is not in have.
func want(t *testing.T, have string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(have, text) {
			t.Errorf("no %q in:\n%s", text, have)
		}
	}
}

func TestDHCP(t *testing.T) {
	l := newLab(t)
	l.cable("s0", "eth0", testMAC, "10.0.2.2/24")
	server := l.dnsmasq("--interface=s0", "--dhcp-range=10.0.2.15,10.0.2.15,255.255.255.0,2m",
		"--dhcp-option=option:router,10.0.2.2", "--dhcp-option=option:dns-server,10.0.2.3,10.0.2.4",
		"--dhcp-option=option:domain-name,example.org", "--dhcp-option=option:domain-search,a.example.org,b.example.org",
		"--dhcp-option=option:ntp-server,10.0.2.5", "--dhcp-option=option:mtu,1400",
		"--dhcp-host="+testMAC+",machine-1")

	start := time.Now()
	applet := l.applet("console=ttyS0 interface=eth0")
	line, _ := applet.Await(0, "network: eth0 up 10.0.2.15/24 gateway 10.0.2.2 dns 10.0.2.3,10.0.2.4")
	t.Logf("%s (after %s)", line, time.Since(start))
	if took := time.Since(start); took > 3*time.Second+l.slack() {
		t.Errorf("the lease took %s: the first DISCOVER must not wait", took)
	}
	server.Await(0, "vendor class: HookOS")

	want(t, l.run(l.client, "ip", "-4", "address", "show", "eth0"), "inet 10.0.2.15/24 brd 10.0.2.255", "mtu 1400", "valid_lft 1")
	want(t, l.run(l.client, "ip", "-4", "route"), "default via 10.0.2.2 dev eth0 proto dhcp src 10.0.2.15 metric 1")
	want(t, l.written("resolvconf/resolv.conf"), "search a.example.org b.example.org\n", "nameserver 10.0.2.3\nnameserver 10.0.2.4\n")
	want(t, l.written("network/ntp"), "10.0.2.5\n")
	want(t, l.written("network/interfaces"), "iface eth0 inet dhcp\n    address 10.0.2.15\n    netmask 255.255.255.0\n    gateway 10.0.2.2\n")
	want(t, l.written("network/status.json"), `"state": "up"`, `"address": "10.0.2.15/24"`, `"hostname": "machine-1"`, `"dhcp_server": "10.0.2.2"`)
	l.reach("10.0.2.2")
	pid := fmt.Sprint(applet.PID()) // every program before the applet has executed the next
	want(t, l.run(l.client, "nsenter", "-t", pid, "-u", "hostname"), "machine-1")
}

// TestSeveralNICs has four interfaces: one with a server, the one that booted (hw_addr=) with another, one without a
// server, and one without a carrier.
func TestSeveralNICs(t *testing.T) {
	l := newLab(t)
	l.cable("s0", "eth0", "52:54:00:00:00:01", "10.1.0.1/24")
	l.cable("s1", "eth1", "52:54:00:00:00:02", "10.2.0.1/24")
	l.cable("s2", "eth2", "52:54:00:00:00:03", "")
	l.cable("s3", "eth3", "52:54:00:00:00:04", "")
	l.run(l.server, "ip", "link", "set", "s3", "down")
	l.dnsmasq("--interface=s0", "--interface=s1", "--dhcp-range=10.1.0.10,10.1.0.20,2m", "--dhcp-range=10.2.0.10,10.2.0.20,2m",
		"--dhcp-option=option:dns-server,0.0.0.0")
	start := time.Now()
	applet := l.applet("interface=eth0,eth1,eth2,eth3 hw_addr=52:54:00:00:00:02")
	applet.Await(0, "eth0 up 10.1.0.")
	applet.Await(0, "eth1 up 10.2.0.")
	if took := time.Since(start); took > 5*time.Second+l.slack() {
		t.Errorf("both took %s: they must not wait for the interfaces without a server", took)
	}
	routes := l.eventually("ip -4 route show default", "10.1.0.1", "10.2.0.1")
	if first, _, _ := strings.Cut(routes, "\n"); !strings.Contains(first, "via 10.2.0.1 dev eth1") || !strings.Contains(first, "metric 100") {
		t.Errorf("the interface that booted must have the best default route:\n%s", routes)
	}
	resolv := l.written("resolvconf/resolv.conf")
	want(t, resolv, "nameserver 10.2.0.1\nnameserver 10.1.0.1\n")
	applet.Await(0, "eth3: no carrier")
	applet.Await(0, "eth2: no DHCP server has answered")
	want(t, l.written("network/status.json"), `"state": "no carrier"`, `"state": "waiting for DHCP"`, "no DHCP server has answered")
}

func TestVLAN(t *testing.T) {
	for _, test := range []struct {
		name, arguments string
	}{
		{"hw_addr", "vlan_id=120 hw_addr=" + testMAC + " interface=none"},
		{"upper case and hyphens", "vlan_id=120 hw_addr=52-54-00-12-34-56"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t)
			l.cable("s0", "eth0", testMAC, "10.0.2.2/24")
			l.vlan("120", "10.120.0.1/24")
			// A server in the untagged network too, which must not be asked.
			l.dnsmasq("--interface=s0", "--interface=s0.120", "--dhcp-range=10.0.2.15,10.0.2.15,2m", "--dhcp-range=10.120.0.15,10.120.0.15,2m")
			applet := l.applet(test.arguments)
			applet.Await(0, "network: DHCP on VLAN 120 of the interface with MAC "+testMAC)
			applet.Await(0, "network: eth0.120 up 10.120.0.15/24 gateway 10.120.0.1")
			l.reach("10.120.0.1")
			if out := l.run(l.client, "ip", "-4", "address", "show", "dev", "eth0"); strings.Contains(out, "inet ") {
				t.Errorf("the untagged interface has an address:\n%s", out)
			}
		})
	}
}

func TestStatic(t *testing.T) {
	for _, test := range []struct {
		name, ipam, ntp string
		up              string
		vlan            bool
		routes, resolv  string
	}{
		{
			name:   "untagged",
			ipam:   "52-54-00-12-34-56::10.0.2.15:255.255.255.0:10.0.2.2:machine-2:10.0.2.3,10.0.2.4:a.org,b.org:10.0.2.5,time.example.org",
			ntp:    "10.0.2.5\ntime.example.org\n",
			up:     "eth0 up 10.0.2.15/24 gateway 10.0.2.2 dns 10.0.2.3,10.0.2.4",
			routes: "default via 10.0.2.2 dev eth0 proto static",
			resolv: "search a.org b.org\nnameserver 10.0.2.3\nnameserver 10.0.2.4\n",
		},
		{
			name:   "VLAN",
			ipam:   "52-54-00-12-34-56:120:10.0.2.15:24:10.0.2.2::10.0.2.3",
			up:     "eth0.120 up 10.0.2.15/24 gateway 10.0.2.2 dns 10.0.2.3",
			vlan:   true,
			routes: "default via 10.0.2.2 dev eth0.120 proto static",
			resolv: "nameserver 10.0.2.3\n",
		},
		{
			name:   "gateway outside the network",
			ipam:   "52-54-00-12-34-56::10.0.9.15:255.255.255.255:10.0.2.2::10.0.2.3",
			up:     "eth0 up 10.0.9.15/32 gateway 10.0.2.2 dns 10.0.2.3",
			routes: "default via 10.0.2.2 dev eth0 proto static src 10.0.9.15 metric 1002 onlink",
			resolv: "nameserver 10.0.2.3\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t)
			l.cable("s0", "eth0", testMAC, "10.0.2.2/24")
			l.run(l.server, "ip", "route", "add", "10.0.9.15/32", "dev", "s0")
			if test.vlan {
				l.run(l.server, "ip", "address", "del", "10.0.2.2/24", "dev", "s0")
				l.vlan("120", "10.0.2.2/24")
			}
			applet := l.applet("ipam=" + test.ipam)
			applet.Await(0, test.up)
			metric := strings.NewReplacer("1002", fmt.Sprint(1000+index(l, "eth0"))).Replace(test.routes)
			want(t, l.run(l.client, "ip", "-4", "route"), metric)
			want(t, l.written("resolvconf/resolv.conf"), test.resolv)
			want(t, l.written("network/interfaces"), "inet static", "address 10.0.")
			if test.ntp != "" {
				want(t, l.written("network/ntp"), test.ntp)
			}
			l.reach("10.0.2.2")
		})
	}
}

// index is the index of a client's link.
func index(l *lab, name string) int {
	l.t.Helper()
	i, err := strconv.Atoi(strings.TrimSpace(l.run(l.client, "cat", "/sys/class/net/"+name+"/ifindex")))
	if err != nil {
		l.t.Fatal(err)
	}
	return i
}

func TestHotplug(t *testing.T) {
	l := newLab(t)
	applet := l.applet("interface=eth0,eth1 ntp_servers=10.9.9.9,time.example.org")
	applet.Await(0, "waiting for an interface named eth0 or eth1 (interface=): there is none yet")
	l.cable("s0", "eth0", testMAC, "10.0.2.2/24")
	l.dnsmasq("--interface=s0", "--dhcp-range=10.0.2.15,10.0.2.15,2m", "--dhcp-option=option:ntp-server,10.0.2.5")
	_, next := applet.Await(0, "eth0 up 10.0.2.15/24")
	if got := l.written("network/ntp"); got != "10.9.9.9\ntime.example.org\n" {
		t.Errorf("network/ntp is %q, want the servers of ntp_servers=", got)
	}

	l.run(l.client, "ip", "link", "del", "eth0")
	_, next = applet.Await(next, "eth0 is gone")
	want(t, l.written("network/status.json"), `"state": "waiting"`)

	l.cable("s1", "eth1", "52:54:00:12:34:57", "10.0.3.2/24")
	l.dnsmasq("--interface=s1", "--dhcp-range=10.0.3.15,10.0.3.15,2m")
	applet.Await(next, "eth1 up 10.0.3.15/24")
}

// TestCarrier takes the carrier away and gives it back, first on the same network and then on another.
func TestCarrier(t *testing.T) {
	l := newLab(t)
	l.cable("s0", "eth0", testMAC, "10.0.2.2/24")
	server := l.dnsmasq("--interface=s0", "--dhcp-range=10.0.2.15,10.0.2.15,2m")
	applet := l.applet("interface=eth0")
	_, next := applet.Await(0, "eth0 up 10.0.2.15/24")
	_, seen := server.Await(0, "DHCPACK(s0)")

	l.run(l.server, "ip", "link", "set", "s0", "down")
	_, next = applet.Await(next, "eth0: the carrier is lost")
	l.run(l.server, "ip", "link", "set", "s0", "up")
	_, next = applet.Await(next, "eth0: the carrier is back")
	server.Await(seen, "DHCPACK(s0)")

	l.run(l.server, "ip", "link", "set", "s0", "down")
	server.Stop()
	l.run(l.server, "ip", "address", "replace", "10.0.7.2/24", "dev", "s0")
	l.run(l.server, "ip", "address", "del", "10.0.2.2/24", "dev", "s0")
	l.run(l.server, "ip", "link", "set", "s0", "up")
	l.dnsmasq("--interface=s0", "--dhcp-range=10.0.7.15,10.0.7.15,2m")
	_, next = applet.Await(next, "eth0: the DHCP server refuses the address (NAK)")
	applet.Await(next, "eth0 up 10.0.7.15/24")
	l.eventually("ip -4 address show dev eth0", "!10.0.2.15", "10.0.7.15")
}

// TestRestart ends the applet and runs it again, as a supervisor does: it takes the interface over, and an address of
// another life goes.
func TestRestart(t *testing.T) {
	l := newLab(t)
	l.cable("s0", "eth0", testMAC, "10.0.2.2/24")
	l.dnsmasq("--interface=s0", "--dhcp-range=10.0.2.15,10.0.2.15,2m")
	applet := l.applet("interface=eth0")
	applet.Await(0, "eth0 up")
	applet.Stop()
	want(t, l.run(l.client, "ip", "-4", "address", "show", "dev", "eth0"), "10.0.2.15/24")
	l.run(l.client, "ip", "address", "add", "192.168.77.1/24", "dev", "eth0")
	l.applet("interface=eth0").Await(0, "eth0 up 10.0.2.15/24")
	l.eventually("ip -4 address show dev eth0", "10.0.2.15/24", "!192.168.77.1")
}

func TestBadArguments(t *testing.T) {
	l := newLab(t)
	l.cable("s0", "eth0", testMAC, "10.0.2.2/24")
	l.dnsmasq("--interface=s0", "--dhcp-range=10.0.2.15,10.0.2.15,2m")
	applet := l.applet("interface=eth0 ipam=52:54:00:12:34:56::10.0.2.15:255.255.255.0:10.0.2.2::10.0.2.3 vlan_id=5000 hw_addr=x ntp_servers=%%")
	applet.Await(0, "kernel argument ipam=52:54:00:12:34:56::10.0.2.15:255.255.255.0:10.0.2.2::10.0.2.3 is left out: 12 fields instead of 9")
	applet.Await(0, `kernel argument vlan_id=5000 is left out: VLAN "5000" is not a number from 1 to 4094`)
	applet.Await(0, `kernel argument hw_addr=x is left out: "x" is not a MAC address`)
	applet.Await(0, `NTP server "%%" is neither a name nor an IP address`)
	applet.Await(0, "eth0 up 10.0.2.15/24")
}
