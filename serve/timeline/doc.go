// Package timeline records what every machine does on its way from power-on to
// a running worker, and says in words what is wrong and what to do. In:
// event.Event from the protocol servers (Timeline.Event is an event.Sink) and
// syslog lines (Timeline.Log). Out: snapshots (Machines, Machine, Status), log
// search (Logs, Follow) and live updates (Subscribe).
//
// Events and lines only touch memory; Run writes them to the state file in
// batches, and Open reads them back. Everything is bounded: machines, boots of
// a machine, steps of a boot, bytes of log.
//
// Open model.go first, then boot.go (which boot does an event belong to),
// diagnose.go (a boot becomes words), store.go (the state file) and logs.go.
package timeline
