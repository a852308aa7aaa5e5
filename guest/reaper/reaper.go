// Package reaper collects the processes that end, for a PID 1 that is two processes.
//
// PID 1 itself only waits: orphans and the containers that runc has left to it are its children, and a wait for any
// child never takes one from os/exec, for PID 1 starts nothing that way. All work is done by its child, the worker,
// which waits for its own children only. What PID 1 learns of others it passes on through a pipe: Encode on its side,
// Exits on the worker's, so that the supervisor knows how a container ended. Open exits.go next.
package reaper

import (
	"encoding/binary"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// Exit is a process that ended.
type Exit struct {
	PID    int
	Status unix.WaitStatus
}

// recordSize is the length of an encoded Exit.
const recordSize = 8

// Encode is the form in which exits travel through the pipe. Eight bytes are written atomically.
func (e Exit) Encode() []byte {
	b := make([]byte, recordSize)
	binary.LittleEndian.PutUint32(b, uint32(e.PID))
	binary.LittleEndian.PutUint32(b[4:], uint32(e.Status))
	return b
}

func decode(b []byte) Exit {
	return Exit{
		PID:    int(int32(binary.LittleEndian.Uint32(b))),
		Status: unix.WaitStatus(binary.LittleEndian.Uint32(b[4:])),
	}
}

// Wait reaps every child of this process, for ever, and sends each to exits. It must run in a process that never waits
// for a child in another way: PID 1.
func Wait(exits chan<- Exit) {
	child := make(chan os.Signal, 1)
	signal.Notify(child, unix.SIGCHLD)
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil: // ECHILD: the next one announces itself
			<-child
		case pid > 0:
			exits <- Exit{PID: pid, Status: status}
		}
	}
}
