//go:build !linux

package serve

// portOwner names the process that has a port, "" if that cannot be known.
func portOwner(string, int) string { return "" }
