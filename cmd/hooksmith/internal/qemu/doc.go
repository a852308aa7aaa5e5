// Package qemu describes a virtual machine that boots HookOS and turns it into a QEMU command line.
//
// A Machine goes in, its argument list comes out (Machine.Argv, a pure function); Worker makes the kernel arguments
// that Tinkerbell's boot server would add. Run starts such a list as a child on the caller's terminal. Open machine.go
// first.
package qemu
