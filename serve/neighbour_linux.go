package serve

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strings"

	"hooksmith/serve/hardware"
)

// neighbour asks the kernel's ARP table for the MAC address of a machine that
// is talking to this host by one of our interfaces, whatever address that has by
// now; "" if it is not there.
func neighbour(ip netip.Addr, ours func(device string) bool) string {
	f, err := os.Open("/proc/net/arp")
	if err != nil {
		return ""
	}
	defer f.Close()
	return arpEntry(f, ip, ours)
}

func arpEntry(table io.Reader, ip netip.Addr, ours func(device string) bool) string {
	const address, mac, device = 0, 3, 5
	for lines := bufio.NewScanner(table); lines.Scan(); {
		columns := strings.Fields(lines.Text())
		if len(columns) <= device || columns[address] != ip.String() || !ours(columns[device]) {
			continue
		}
		if found, err := hardware.NormalizeMAC(columns[mac]); err == nil && found != "00:00:00:00:00:00" {
			return found
		}
	}
	return ""
}
