// Package service keeps the containers of HookOS running and answers for them.
//
// In go folders of LinuxKit's layout. Supervisor.Once runs one to its end, as for onboot and onshutdown; Supervisor.Add
// keeps one running: it is started again with growing delays when it fails. The output of each goes to a log in
// /var/log, lines that begin with "hooksmith: " to the consoles as well. Serve answers the `service` applet, which is
// Run, on a unix socket.
//
// How a service is restarted is its annotation hooksmith.restart: "on-failure" (the default: an exit status of 0 is the
// end, as some of LinuxKit's services do one thing and finish), "always" or "no".
//
// Open supervisor.go first, then unit.go.
package service
