// Package tftp is a read-only TFTP server for machines that boot from the network.
//
// A Server takes a socket and a FileSystem and answers read requests: RFC 1350 with the options of RFC 2347,
// blksize (2348), tsize and timeout (2349) and windowsize (7440), over IPv4 and IPv6, from the address the
// request came to, in blocks that fit the path without fragments.
//
// The flow: Serve (server.go) reads datagrams; request.go decides what a request may do (limits in admit.go, wire
// form in packet.go, options in options.go); a transfer (transfer.go) is one goroutine that sends windows and waits
// for acknowledgements through a link. A link is a UDP socket per transfer (socket_linux.go) or, where the system or
// the socket does not allow that, a mailbox on the listening socket (mailbox.go).
//
// Single-port mode costs nothing on Linux: each transfer's socket shares the listening port and is connected to its
// client, so the kernel finds the transfer of every packet.
package tftp
