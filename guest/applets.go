package main

import (
	"hooksmith/guest/initd"
	"hooksmith/guest/power"
	"hooksmith/guest/service"
)

// applets is the whole binary, by name.
var applets = []applet{
	{name: "init", about: "PID 1: boots the machine and keeps it running", run: initd.Run, signals: signalsOwn},
	{name: "service", about: "list, restart and look at services", run: service.Run},
	{name: "reboot", about: "stop everything and restart the machine", run: power.Applet(power.Reboot)},
	{name: "poweroff", about: "stop everything and switch the machine off", run: power.Applet(power.Poweroff)},
	{name: "halt", about: "stop everything and stay", run: power.Applet(power.Halt)},
}
