package servetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// networkd is the shell script that runs systemd-networkd alone, without
// systemd: a /run of its own whose leases the test sees; a read-only /sys,
// from which it knows that no udev will tell it of the interface.
const networkd = `set -e
lab=$1 program=$2
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/network /run/systemd/netif/leases /run/systemd/netif/links /run/systemd/netif/lldp "$lab/leases"
mount --bind "$lab/leases" /run/systemd/netif/leases
chown -R systemd-network /run/systemd/netif
cp "$lab/eth0.network" /run/systemd/network
mount -o remount,bind,ro /sys
SYSTEMD_LOG_TARGET=console exec "$program"
`

// eth0Network asks for all that the record says.
const eth0Network = `[Match]
Name=eth0
[Network]
DHCP=ipv4
IPv6AcceptRA=no
LinkLocalAddressing=no
[DHCPv4]
UseHostname=no
`

// systemd-networkd, which Debian's and other distributions' systems use, gets
// its address and all that the record says.
func TestNetworkd(t *testing.T) {
	const program = "/usr/lib/systemd/systemd-networkd"
	if _, err := exec.LookPath(program); err != nil {
		t.Skip(err)
	}
	l := newLab(t)
	l.serve("--hardware", l.hardware(theClient), "--domain", "example.com")
	l.write("eth0.network", eth0Network)
	log := l.background(l.in(l.client, "unshare", "--mount", "--uts", "sh", "-c", networkd, "networkd", l.dir, program))
	var got string
	until(t, "a lease of systemd-networkd", func() bool {
		if ended := log.Find(rivalEnded + `.*$`); ended != "" {
			t.Fatal(ended)
		}
		files, err := filepath.Glob(filepath.Join(l.dir, "leases", "*"))
		if err != nil || len(files) != 1 {
			return false
		}
		text, err := os.ReadFile(files[0])
		got = "\n" + string(text)
		return err == nil && strings.Contains(got, "\nADDRESS=")
	})
	for _, want := range []string{"ADDRESS=10.78.0.12", "NETMASK=255.255.255.0", "ROUTER=10.78.0.254", "SERVER_ADDRESS=10.78.0.1",
		"LIFETIME=3600", "DNS=10.78.0.53", "DOMAINNAME=example.com", "HOSTNAME=client"} {
		if !strings.Contains(got, "\n"+want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	until(t, "the address on the interface", func() bool {
		return strings.Contains(l.run("ip", "-4", "addr", "show", "eth0"), "10.78.0.12/24")
	})
}
