// Package storm is a room full of machines that are switched on at once: it
// simulates their DHCP, TFTP and HTTP against a boot server.
//
// In: a Config that says where the server is and how many machines there are;
// out: a Report of what failed and how long each stage took. Open storm.go
// first; machine.go is one machine's boot, step by step.
//
// The machines' DHCP goes through a relay, which this package is as well: so it
// needs no raw sockets and works against any server that can be reached.
package storm
