package dhcp

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hooksmith/serve/event"
)

// Scripts that the clients call with an address, in place of their own, which write the host's resolv.conf.
const (
	dhclientScript = `#!/bin/sh
case "$reason" in
BOUND|RENEW|REBIND|REBOOT) ip addr replace "$new_ip_address/24" dev "$interface"; [ -z "$new_routers" ] || ip route replace default via "$new_routers";;
EXPIRE|RELEASE|STOP) ip addr flush dev "$interface";;
PREINIT) ip link set "$interface" up;;
esac
exit 0
`
	udhcpcScript = `#!/bin/sh
case "$1" in
bound|renew) ip addr replace "$ip/$mask" dev "$interface"; [ -z "$router" ] || ip route replace default via "$router";;
deconfig) ip addr flush dev "$interface";;
esac
exit 0
`
)

// realClient is a program that people have, by the commands that start it in the foreground and make it give the address back.
type realClient struct {
	name, binary string
	script       string
	run, release func(device, dir string) []string
}

var realClients = []realClient{
	{"dhclient", "dhclient", dhclientScript,
		func(device, dir string) []string {
			return []string{"dhclient", "-4", "-d", "-sf", dir + "/script", "-lf", dir + "/leases", "-pf", dir + "/pid", device}
		},
		func(device, dir string) []string {
			return []string{"dhclient", "-4", "-r", "-sf", dir + "/script", "-lf", dir + "/leases", "-pf", dir + "/pid", device}
		}},
	{"udhcpc", "udhcpc", udhcpcScript,
		func(device, dir string) []string {
			return []string{"udhcpc", "-f", "-R", "-i", device, "-s", dir + "/script"}
		}, nil},
	{"busybox udhcpc", "busybox", udhcpcScript,
		func(device, dir string) []string {
			return []string{"busybox", "udhcpc", "-f", "-R", "-i", device, "-s", dir + "/script"}
		}, nil},
	{"dhcpcd", "dhcpcd", "#!/bin/sh\nexit 0\n",
		func(device, dir string) []string {
			return []string{"dhcpcd", "-4", "-B", "-d", "-A", "-f", dir + "/conf", "-c", dir + "/script", device}
		},
		func(device, dir string) []string { return []string{"dhcpcd", "-4", "-f", dir + "/conf", "-k", device} }},
}

// TestRealClients has real clients get, renew and release an address: a reservation and one of the pool.
func TestRealClients(t *testing.T) {
	l := newLab(t, 1)
	s := labSetup()
	s.Interfaces = []string{"hks0"}
	s.Hardware = `machines: [{mac: "02:00:00:00:92:00", hostname: node0, ip: 10.92.0.20/24, gateway: 10.92.0.1, lease: 8s}]`
	s.Subnets[0].LeaseTime = time.Minute
	r := l.start(s)
	for _, c := range realClients {
		for _, mac := range []string{"02:00:00:00:92:00", "02:00:00:00:92:88"} {
			t.Run(c.name+" "+map[bool]string{true: "reservation", false: "pool"}[strings.HasSuffix(mac, "00")], func(t *testing.T) {
				if _, err := exec.LookPath(c.binary); err != nil {
					t.Skip(c.binary, "is not installed")
				}
				l.life(t, r, c, mac)
			})
		}
	}
}

// life is a client from its start to its end.
func (l *lab) life(t *testing.T, r *running, c realClient, mac string) {
	r.t = t
	device, dir := l.device(0), t.TempDir()
	os.Chmod(dir, 0o755)
	for name, text := range map[string]string{"script": c.script, "conf": "clientid\noption domain_name_servers, routers, host_name\nnohook resolv.conf\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range []string{"addr flush dev " + device, "link set " + device + " down address " + mac, "link set " + device + " up"} {
		l.ip(l.client[0], args)
	}
	began := r.count()
	var said strings.Builder
	cmd := exec.Command("ip", append([]string{"netns", "exec", l.client[0]}, c.run(device, dir)...)...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end := func() {
		if !ended {
			ended = true
			cmd.Process.Signal(syscall.SIGTERM)
			time.AfterFunc(patience, func() { cmd.Process.Kill() })
			cmd.Wait()
		}
		if t.Failed() {
			t.Log(said.String())
		}
	}
	defer end()
	first, n := r.until("ACK", began, is(event.Ack, mac))
	prefix := netip.MustParsePrefix("10.92.0.0/24")
	if a := netip.MustParseAddr(first.IP); !prefix.Contains(a) || mac == "02:00:00:00:92:00" && first.IP != "10.92.0.20" {
		t.Errorf("leased %s", first.IP)
	}
	until(t, "address on the interface", func() bool { return strings.Contains(l.ip(l.client[0], "-4 addr show dev "+device), first.IP+"/24") })
	if mac == "02:00:00:00:92:00" {
		// Eight seconds of lease: it renews at four, by unicast.
		renewal, _ := r.until("renewal", n, is(event.Ack, mac))
		if renewal.IP != first.IP {
			t.Errorf("renewed %s after %s", renewal.IP, first.IP)
		}
	}
	if c.release != nil {
		// dhcpcd -k waits 10 seconds for the other's end, which a renewal can delay: then it is asked again.
		args := append([]string{"netns", "exec", l.client[0]}, c.release(device, dir)...)
		until(t, "RELEASE by "+c.name, func() bool {
			out, err := exec.Command("ip", args...).CombinedOutput()
			if err != nil {
				t.Logf("%s: %v %s", strings.Join(args, " "), err, out)
			}
			_, seen := r.seen(n, is(event.Release, mac))
			return err == nil || seen > 0
		})
	} else {
		cmd.Process.Signal(syscall.SIGTERM) // with option -R it releases
	}
	r.until("RELEASE", n, is(event.Release, mac))
	end()
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("no %s", what)
		}
	}
}

// TestRealRelay serves a network behind a real relay.
func TestRealRelay(t *testing.T) {
	for _, relay := range []struct {
		binary string
		args   func(inner, outer string) []string
	}{
		{"dhcrelay", func(inner, outer string) []string {
			return []string{"-4", "-d", "-a", "-id", inner, "-iu", outer, "10.92.0.1"}
		}},
		{"dnsmasq", func(inner, outer string) []string {
			return []string{"-k", "-d", "--port=0", "-C", "/dev/null", "--dhcp-relay=10.93.0.1,10.92.0.1"}
		}},
	} {
		t.Run(relay.binary, func(t *testing.T) {
			if _, err := exec.LookPath(relay.binary); err != nil {
				t.Skip(relay.binary, "is not installed")
			}
			l := newLab(t, 1)
			// The client namespace is the relay; behind it is one more, with the machine.
			router, outer := l.client[0], l.device(0)
			behind, inner := router+"b", "hi"+fmt.Sprint(os.Getpid()%100000)
			t.Cleanup(func() { exec.Command("ip", "netns", "del", behind).Run() })
			l.must("ip", "netns", "add", behind)
			l.ip(router, "addr add 10.92.0.2/24 dev "+outer)
			l.ip(router, "link add "+inner+" type veth peer name "+l.device(1)+" netns "+behind)
			l.ip(router, "addr add 10.93.0.1/24 dev "+inner)
			l.ip(router, "link set "+inner+" up")
			l.ip(behind, "link set "+l.device(1)+" address 02:00:00:00:93:01 up")
			l.ip(l.server, "route add 10.93.0.0/24 via 10.92.0.2")
			s := labSetup()
			s.Interfaces = []string{"hks0"}
			s.Subnets = append(s.Subnets, Subnet{Prefix: netip.MustParsePrefix("10.93.0.0/24"), Router: ip("10.93.0.1"), Pools: []Range{{ip("10.93.0.50"), ip("10.93.0.59")}}})
			r := l.start(s)
			cmd := exec.Command("ip", append([]string{"netns", "exec", router, relay.binary}, relay.args(inner, outer)...)...)
			var said strings.Builder
			cmd.Stdout, cmd.Stderr = &said, &said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				cmd.Process.Kill()
				cmd.Wait()
				if t.Failed() {
					t.Log(said.String())
				}
			}()
			l.client = append(l.client, behind)
			machine := l.station(1)
			h := machine.ask(message(discover, "02:00:00:00:93:01", pxe(7)), func(h heard) bool { return h.MessageType() == offer })
			if !strings.HasPrefix(h.YourIPAddr.String(), "10.93.0.5") || h.Router()[0].String() != "10.93.0.1" || h.BootFileName != "ipxe.efi" {
				t.Errorf("OFFER by the relay: %s", h.Summary())
			}
			machine.send(message(request, "02:00:00:00:93:01", pxe(7), serverID(h.ServerIdentifier().String()), requests(h.YourIPAddr.String())))
			machine.hear(func(h heard) bool { return h.MessageType() == ack })
			if e, _ := r.until("ACK", 0, is(event.Ack, "02:00:00:00:93:01")); e.Peer != "10.93.0.1" {
				t.Errorf("%+v", e)
			}
		})
	}
}
