package main

import (
	"hooksmith/guest/bootkit"
	"hooksmith/guest/dockerd"
	"hooksmith/guest/initd"
	"hooksmith/guest/network"
	"hooksmith/guest/ntpd"
	"hooksmith/guest/power"
	"hooksmith/guest/service"
	"hooksmith/guest/sshd"
)

// applets is the whole binary, by name.
var applets = []applet{
	{name: "init", about: "PID 1: boots the machine and keeps it running", run: initd.Run, signals: signalsOwn},
	{name: "service", about: "list, restart and look at services", run: service.Run},
	{name: "reboot", about: "stop everything and restart the machine", run: power.Applet(power.Reboot)},
	{name: "poweroff", about: "stop everything and switch the machine off", run: power.Applet(power.Poweroff)},
	{name: "halt", about: "stop everything and stay", run: power.Applet(power.Halt)},
	{name: "network", about: "service: addresses, routes and names, by kernel arguments or DHCP", run: network.Run},
	{name: "ntpd", about: "service: the clock, by time servers", run: ntpd.Run},
	{name: "docker", about: "service: dockerd and containerd, as the kernel arguments say", run: dockerd.Run},
	{name: "bootkit", about: "service: the Tinkerbell worker", run: bootkit.Run},
	{name: "sshd", about: "service: dropbear, for the keys of this HookOS", run: sshd.Run},
	{name: "hostshell", about: "a shell on the host, for sessions of sshd", run: sshd.Shell},
}
