// Package console is where HookOS meets people: every console of the kernel command line.
//
// Names finds the consoles, Writer prints on all of them without ever waiting for one, Getty waits on one for Enter and
// opens a shell there, and Banner is what it shows. Open getty.go first.
package console
