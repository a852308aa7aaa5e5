// Package initd is PID 1 of HookOS.
//
// It is two processes. PID 1 proper (pid1.go) mounts what everything needs, makes the root fit for containers, checks
// that the initramfs has arrived whole, and then only reaps, passes signals on and has the last word at a reboot. Its
// child, the worker (worker.go), does the rest: devices, onboot containers, services, consoles. A fault in the worker,
// which is most of the code, is a message and a second try, or a rescue shell, and not a kernel panic.
//
// Signals to PID 1: SIGTERM and SIGINT (Ctrl-Alt-Del) reboot, SIGUSR2 and SIGPWR power off, SIGUSR1 halts, as busybox and
// LinuxKit send them; SIGRTMIN+3, +4 and +5 halt, power off and reboot, as systemd's tools send them. A third signal
// while services are being stopped ends it at once.
//
// Lines on the consoles that begin with "hooksmith: " behind the time are stable, for boot tests and for people who
// search logs: "init started", "modules: N loaded", "onboot NAME done in", "onboot NAME FAILED:", "service NAME started
// (pid N)", "service NAME exited (WHY); restarting in", "service NAME finished", "boot complete:", "too little memory:",
// "reboot: stopping services", "services stopped", "reboot now", "ERROR:". A service gets a line of its own onto the
// consoles by printing it with that prefix.
//
// Files of the initramfs: /init and /usr/bin/hookguest, /etc/hooksmith/{complete,ram,release,xattrs} (sentinel.go,
// xattrs.go), /etc/modules-load.d, /etc/modprobe.d, /etc/sysctl.d, /etc/init.d, /etc/shutdown.d, /etc/hostname,
// /etc/embedded-images, and /containers in LinuxKit's layout. Annotations of a container: hooksmith.restart (package
// service), hooksmith.order (a number, 50 if there is none: services start in its order).
//
// Kernel arguments: console=, modules=, modprobe.blacklist=, MODULE.PARAM=; getty.off or hook_shell=0 for no shell on
// the consoles; syslog_host= for a server that gets the lines above too, whose names are "hookos" and the host's;
// linuxkit.runc_debug=1 and linuxkit.runc_console=1 as LinuxKit has them.
package initd
