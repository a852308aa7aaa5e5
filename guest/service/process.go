package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hooksmith/guest/reaper"
)

// statusPatience is how long PID 1 may take to tell how a process ended that has ended.
const statusPatience = 2 * time.Second

// process is the first process of a container. It is a child of PID 1, not ours.
type process struct {
	pid   int
	mark  uint64
	pidfd *os.File // nil if the process was gone before it could be opened
	exits *reaper.Exits
}

// follow gets hold of a process that was started after mark was taken.
func follow(pid int, exits *reaper.Exits, mark uint64) *process {
	p := &process{pid: pid, mark: mark, exits: exits}
	// Non-blocking, so that the Go runtime waits for it without a thread.
	if fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK); err == nil {
		p.pidfd = os.NewFile(uintptr(fd), "pidfd")
	}
	return p
}

// wait returns how the process ended. The pidfd says that it did even if PID 1 has no word of it.
func (p *process) wait(ctx context.Context) (unix.WaitStatus, error) {
	if p.pidfd != nil {
		if err := p.waitEnd(ctx); err != nil {
			return 0, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	return p.exits.Status(ctx, p.pid, p.mark)
}

func (p *process) waitEnd(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = p.pidfd.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	err = raw.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		return n > 0 || err != nil && err != unix.EINTR
	})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("waiting for pid %d: %w", p.pid, ctx.Err())
	}
	return err
}

// signal sends a signal; to a process that has ended it is a success.
func (p *process) signal(sig unix.Signal) error {
	if p.pidfd == nil {
		return nil
	}
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := raw.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, 0) }); err != nil {
		return err
	}
	if errors.Is(sent, unix.ESRCH) {
		return nil
	}
	return sent
}

// stop asks the process to end, waits, and kills it when it has not ended after the grace.
func (p *process) stop(ctx context.Context, grace time.Duration) {
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid)); err == nil && deaf(string(status)) {
		_ = p.signal(unix.SIGKILL)
		return
	}
	_ = p.signal(unix.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if p.pidfd != nil && p.waitEnd(ctx) != nil {
		_ = p.signal(unix.SIGKILL)
	}
}

// deaf says of a process, by its /proc/PID/status, that SIGTERM does nothing to it: the first process of a pid namespace
// gets only signals that it has a handler for. A shell or `sleep` as a container has none, and waiting for it is vain.
func deaf(status string) bool {
	field := func(name string) string {
		_, rest, _ := strings.Cut(status, "\n"+name+":")
		value, _, _ := strings.Cut(rest, "\n")
		return value
	}
	pids := strings.Fields(field("NSpid"))
	caught, err := strconv.ParseUint(strings.TrimSpace(field("SigCgt")), 16, 64)
	return len(pids) > 1 && pids[len(pids)-1] == "1" && err == nil && caught&(1<<(unix.SIGTERM-1)) == 0
}

func (p *process) close() {
	if p.pidfd != nil {
		p.pidfd.Close()
	}
}
