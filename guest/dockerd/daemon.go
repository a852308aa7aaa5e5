package dockerd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// nursery starts processes and collects all that end. It may be PID 1 of its container, where the shims of containerd
// become its children too; so there is one wait for any child, and os/exec must not wait for others beside it.
type nursery struct {
	mu       sync.Mutex
	children map[int]*child
	reaping  bool

	aside sync.WaitGroup // what goes on beside a child, and ends with it
}

// child is a process of the nursery. status may be read once ended is closed.
type child struct {
	process *os.Process
	ended   chan struct{}
	status  unix.WaitStatus
}

// start starts a process whose files are set. It gets SIGTERM should this thread end, so the caller must have locked
// itself to it.
func (n *nursery) start(cmd *exec.Cmd) (*child, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGTERM}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	c := &child{process: cmd.Process, ended: make(chan struct{})}
	if n.children == nil {
		n.children = map[int]*child{}
	}
	n.children[cmd.Process.Pid] = c
	if !n.reaping {
		n.reaping = true
		go n.reap()
	}
	return c, nil
}

// reap collects children until there are none.
func (n *nursery) reap() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		n.mu.Lock()
		if err != nil && len(n.children) == 0 {
			n.reaping = false
			n.mu.Unlock()
			return
		}
		if c := n.children[pid]; c != nil && (status.Exited() || status.Signaled()) {
			delete(n.children, pid)
			c.status = status
			close(c.ended)
		}
		n.mu.Unlock()
	}
}

// signal sends a signal; that the process has ended is no matter.
func (c *child) signal(signal unix.Signal) {
	_ = c.process.Signal(signal)
}

// stop ends the process by SIGTERM and, when it does not end in time, by SIGKILL.
func (c *child) stop(grace time.Duration) {
	c.signal(unix.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.ended:
	case <-timer.C:
		c.signal(unix.SIGKILL)
		<-c.ended
	}
}

// words says how the process ended.
func (c *child) words() string {
	switch {
	case c.status.Signaled():
		return "killed by " + unix.SignalName(c.status.Signal())
	default:
		return fmt.Sprintf("exit status %d", c.status.ExitStatus())
	}
}

// daemon is a program to keep running.
type daemon struct {
	name    string
	command func() *exec.Cmd
	grace   time.Duration         // between SIGTERM and SIGKILL
	started func(c *child, n int) // is told of every process, the n-th from 0
	output  io.Writer             // gets its lines
}

// The waits before a daemon that ended is started again; it begins anew after one that ran for steady.
const (
	firstRestart = time.Second
	lastRestart  = 30 * time.Second
	steady       = time.Minute
)

// keep runs the daemon until ctx is done, and ends it then. It starts it again whenever it ends, and says so.
func (n *nursery) keep(ctx context.Context, d daemon, log logger) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for count, wait := 0, firstRestart; ctx.Err() == nil; count++ {
		begun := time.Now()
		how, err := n.runOnce(ctx, d, count)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			how = err.Error()
		}
		if time.Since(begun) > steady {
			wait = firstRestart
		}
		log.boot.Printf("%s ended after %.1f s: %s; starting it again in %s", d.name, time.Since(begun).Seconds(), how, wait)
		pause(ctx, wait)
		wait = min(2*wait, lastRestart)
	}
}

// runOnce runs the daemon until it ends or ctx is done, and says how it ended.
func (n *nursery) runOnce(ctx context.Context, d daemon, count int) (how string, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	cmd := d.command()
	cmd.Stdout, cmd.Stderr = w, w
	c, err := n.start(cmd)
	w.Close()
	if err != nil {
		r.Close()
		return "", err
	}
	last := make(chan string, 1)
	go func() { last <- copyLines(d.output, r); r.Close() }()
	d.started(c, count)
	select {
	case <-c.ended:
	case <-ctx.Done():
		c.stop(d.grace)
	}
	// Its own children may hold the pipe open for longer.
	select {
	case line := <-last:
		if line != "" {
			return c.words() + ": " + line, nil
		}
	case <-time.After(time.Second):
		r.SetReadDeadline(time.Now())
	}
	return c.words(), nil
}

// copyLines writes what comes, in whole lines, and returns the last one that tells of an error.
func copyLines(to io.Writer, from io.Reader) string {
	last := ""
	lines := bufio.NewReaderSize(from, 64<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 {
			// A log that cannot be written has nobody to tell.
			_, _ = to.Write(line)
			if text := strings.TrimSpace(string(line)); tellsError(text) {
				last = text[:min(len(text), 500)]
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return last
		}
	}
}

// tellsError reports whether a line of dockerd's or containerd's log is an error.
func tellsError(line string) bool {
	return strings.Contains(line, "level=error") || strings.Contains(line, "level=fatal") ||
		strings.Contains(line, "panic: ") || strings.HasPrefix(line, "failed to ") || strings.HasPrefix(line, "unable to ")
}
