// Package ra sends IPv6 router advertisements that offer nothing: no prefix, no
// default router, no DHCPv6. A network boot client that configures IPv6 (iPXE,
// EDK2) otherwise waits 4 to 13 seconds for a router before it gives up; told
// that there is none, it goes on at once with IPv4.
//
// It answers router solicitations and repeats itself now and then. A real
// router on the link is not disturbed: hosts keep what it says apart (RFC 4861,
// 6.3.4), and this server's router lifetime is 0.
//
// Read message.go for what is sent and what is accepted, conn.go for the
// socket and its interfaces, server.go for when.
package ra
