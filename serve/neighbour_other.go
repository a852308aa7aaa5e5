//go:build !linux

package serve

import "net/netip"

// neighbour is known on Linux only.
func neighbour(netip.Addr, func(string) bool) string { return "" }
