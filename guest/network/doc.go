// Package network is the applet that gives HookOS its network: it takes the place of upstream's vlan.sh,
// static-network.sh, dhcp.sh and dhcpcd.
//
// In goes the kernel command line (ipam=, vlan_id= with hw_addr=, interface=, ntp_servers=) and what the kernel tells
// over netlink about its links; out come configured interfaces, /run/resolvconf/resolv.conf and the files of
// /run/network. It runs as a supervised service for as long as the machine runs: NICs are configured side by side
// when they appear, leases are renewed, and nothing is ever given up: it says what it waits for, and waits.
//
// Read network.go first, then port.go (one interface's life) and dhcp.go (the states of RFC 2131).
package network
