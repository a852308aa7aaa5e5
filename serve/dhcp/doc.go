// Package dhcp is an RFC 2131 server for machines that boot from the network: addresses from hardware records or
// pools, or no addresses at all beside another server (a proxy), and with them what to load next.
//
// Listen binds every socket, Serve answers. The flow of a packet: work.go takes many from a socket at once and has those
// that wait for the disk written together, queue.go limits what is answered at once; query.go reads it and refuses what is no DHCP; reply.go is the protocol, a function from one query
// to one answer with its destination and events; boot.go adds what to load, options.go what a network needs, encode.go
// makes bytes of it; sockets_linux.go brings it to a machine that may have no address yet.
//
// An ACK is made only after lease.Store has the lease on disk. A pool's address that nobody has had lately is asked
// for by ARP while its OFFER is on the way (probe.go): no OFFER waits for that, and an address that turns out to be
// in use is put away, its REQUEST refused.
package dhcp
