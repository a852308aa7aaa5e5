package reaper

import (
	"context"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sys/unix"
)

// remembered is how many exits are kept for someone who asks later. A container can end before the supervisor has read
// its pid; nobody asks about the shells and helpers that make up most of the list.
const remembered = 1024

// Exits knows how processes ended. The zero value is ready. It is safe for concurrent use.
type Exits struct {
	mu      sync.Mutex
	seq     uint64
	ring    [remembered]Exit
	changed chan struct{}
}

// Follow reads exits from PID 1's pipe until it ends.
func (x *Exits) Follow(r io.Reader) error {
	var record [recordSize]byte
	for {
		if _, err := io.ReadFull(r, record[:]); err != nil {
			return fmt.Errorf("reading exits from PID 1: %w", err)
		}
		x.Add(decode(record[:]))
	}
}

// Add records an exit.
func (x *Exits) Add(e Exit) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ring[x.seq%remembered] = e
	x.seq++
	if x.changed != nil {
		close(x.changed)
		x.changed = nil
	}
}

// Mark is a point in time for Status: taken before a process is started, it keeps an earlier process of the same pid
// from being mistaken for it.
func (x *Exits) Mark() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.seq
}

// Status waits until the process pid has ended and says how. Only exits after mark count.
func (x *Exits) Status(ctx context.Context, pid int, mark uint64) (unix.WaitStatus, error) {
	for {
		status, found, changed := x.find(pid, mark)
		if found {
			return status, nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("waiting for the exit of pid %d: %w", pid, ctx.Err())
		case <-changed:
		}
	}
}

func (x *Exits) find(pid int, mark uint64) (unix.WaitStatus, bool, <-chan struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for seq := x.seq; seq > mark && x.seq-seq < remembered; seq-- {
		if e := x.ring[(seq-1)%remembered]; e.PID == pid {
			return e.Status, true, nil
		}
	}
	if x.changed == nil {
		x.changed = make(chan struct{})
	}
	return 0, false, x.changed
}

// Describe says in words how a process ended: "exit status 3", "killed by SIGKILL".
func Describe(status unix.WaitStatus) string {
	switch {
	case status.Exited():
		return fmt.Sprintf("exit status %d", status.ExitStatus())
	case status.Signaled():
		name := unix.SignalName(status.Signal())
		if name == "" {
			name = fmt.Sprintf("signal %d", status.Signal())
		}
		return "killed by " + name
	}
	return fmt.Sprintf("wait status %#x", uint32(status))
}
