package serve

import (
	"bufio"
	"net/netip"
	"os"
	"strings"

	"hooksmith/serve/hardware"
)

// neighbour asks the kernel's ARP table for the MAC address of a machine that
// is talking to this host; "" if it is not there.
func neighbour(ip netip.Addr) string {
	f, err := os.Open("/proc/net/arp")
	if err != nil {
		return ""
	}
	defer f.Close()
	const address, mac = 0, 3
	for lines := bufio.NewScanner(f); lines.Scan(); {
		columns := strings.Fields(lines.Text())
		if len(columns) <= mac || columns[address] != ip.String() {
			continue
		}
		if found, err := hardware.NormalizeMAC(columns[mac]); err == nil && found != "00:00:00:00:00:00" {
			return found
		}
	}
	return ""
}
