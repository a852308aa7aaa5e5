// Package serve is the boot server: one Server that takes machines from power-on to HookOS.
//
// In: a Config (flags over environment over file over defaults, see Load), boot binaries as an fs.FS, a logger. Out:
// DHCP, TFTP, HTTP, syslog and the admin page, on sockets that are all bound before the first packet is answered.
//
// Open server.go first: Open makes every part, Run serves them. The parts are packages of their own below this one;
// config.go and settings.go say what can be set, network.go what is found out from the interfaces, bind.go what is
// said when a port is taken or a right is missing.
package serve
