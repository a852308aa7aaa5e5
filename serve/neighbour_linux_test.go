package serve

import (
	"net/netip"
	"strings"
	"testing"
)

// A machine is known by the ARP table of the interfaces that are served only.
func TestARPEntry(t *testing.T) {
	table := `IP address       HW type     Flags       HW address            Mask     Device
10.0.0.5         0x1         0x2         52:54:00:00:00:05     *        eth9
10.0.0.5         0x1         0x2         52:54:00:00:00:06     *        eth0
10.0.0.7         0x1         0x0         00:00:00:00:00:00     *        eth0
`
	for ip, want := range map[string]string{"10.0.0.5": "52:54:00:00:00:06", "10.0.0.7": "", "10.0.0.8": ""} {
		got := arpEntry(strings.NewReader(table), netip.MustParseAddr(ip), func(device string) bool { return device == "eth0" })
		if got != want {
			t.Errorf("%s: %q, want %q", ip, got, want)
		}
	}
}
