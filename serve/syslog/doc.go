// Package syslog receives what machines log while they boot. In: a UDP or TCP
// socket. Out: a Record per message, to a callback. It stores nothing and
// opens nothing.
//
// It reads RFC 3164 and RFC 5424, and what devices make of them: no priority,
// no host name, other times, NUL bytes at the end, a JSON object as the text
// (Tinkerbell's worker), which is taken apart. Nothing that arrives is an error:
// what cannot be understood is the text of a message.
//
// Read parse.go for the message, frame.go for RFC 6587's two framings on TCP,
// server.go for the sockets and their limits, queue.go for what happens when the
// callback is slow: lines are dropped and counted, a socket never waits.
package syslog
