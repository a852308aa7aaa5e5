// Package dhcpconf writes configuration for DHCP servers of others, so that they send machines to our boot server. In: an
// ipxe.Rule, the boot server's address, hardware records (Config); out: the text for dnsmasq, Kea, ISC dhcpd or Microsoft
// DHCP, a fragment or a whole configuration, and lines for boot loaders that chain to us (Generate, Compare).
//
// What a client gets is never written down here: table.go asks the Rule for every architecture, and each server's file
// says the answer in that server's language as exactly as it can; a comment says where it cannot. The texts are held
// against the real servers in cmd/hooksmith/internal/servetest.
//
// Open config.go first, then table.go and one server, for example isc.go.
package dhcpconf
