// Package proctest runs programs for tests, and waits for what they say: in goes a command, out comes a Process. Only
// tests import it.
package proctest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience is how long tests wait for what is certain to come, on however slow a machine.
const Patience = 2 * time.Minute

// Process is a program whose output is watched.
type Process struct {
	t   *testing.T
	cmd *exec.Cmd
	pid func() int // of the program, 0 when it has ended

	mu    sync.Mutex
	lines []string
	more  chan struct{} // gets a value when lines grew
	ended chan struct{}
}

// Start runs a command, with more in its environment than the test has, until the test ends.
func Start(t *testing.T, env []string, command ...string) *Process {
	t.Helper()
	p := &Process{t: t, more: make(chan struct{}, 1), ended: make(chan struct{})}
	p.cmd = exec.Command(command[0], command[1:]...)
	p.cmd.Env = append(os.Environ(), env...)
	p.pid = func() int { return p.cmd.Process.Pid }
	out, in := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = in, in
	p.cmd.WaitDelay = 10 * time.Second // for what its own children still say
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.cmd.Wait(); in.Close() }()
	go p.watch(out)
	t.Cleanup(p.Stop)
	return p
}

// StartInner is Start for a command that does not execute the program in its place but as its only child. Signals go to
// that one.
func StartInner(t *testing.T, env []string, command ...string) *Process {
	t.Helper()
	p := Start(t, env, command...)
	p.pid = func() int {
		for _, child := range children(p.cmd.Process.Pid) {
			return child
		}
		return 0
	}
	return p
}

func (p *Process) watch(r io.Reader) {
	defer close(p.ended)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, lines.Text())
		p.mu.Unlock()
		select {
		case p.more <- struct{}{}:
		default:
		}
	}
}

// Stop ends the program by SIGTERM, and waits for it.
func (p *Process) Stop() {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(Patience):
		p.t.Errorf("%s does not end on SIGTERM in %v", p.cmd, Patience)
		p.cmd.Process.Kill()
		<-p.ended
	}
}

// Signal sends a signal to the program, if it still runs.
func (p *Process) Signal(signal syscall.Signal) {
	if pid := p.PID(); pid != 0 {
		syscall.Kill(pid, signal)
	}
}

// PID is the program's, or 0 if it has ended.
func (p *Process) PID() int {
	select {
	case <-p.ended:
		return 0
	default:
		return p.pid()
	}
}

// Child is the pid of the child of the program that has this name, as soon as there is one.
func (p *Process) Child(name string) int {
	p.t.Helper()
	for end := time.Now().Add(Patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, child := range children(p.PID()) {
			if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", child)); strings.TrimSpace(string(comm)) == name {
				return child
			}
		}
	}
	p.t.Fatalf("no child %s in %v:\n%s", name, Patience, p.Output())
	return 0
}

// children are listed by the thread that made them.
func children(pid int) []int {
	var found []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		for child := range strings.FieldsSeq(string(text)) {
			if n, err := strconv.Atoi(child); err == nil {
				found = append(found, n)
			}
		}
	}
	return found
}

// Output is everything that the program has written.
func (p *Process) Output() string { return strings.Join(p.from(0), "\n") }

// from returns the lines from the one with that number on.
func (p *Process) from(first int) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines[min(first, len(p.lines)):]
}

// Await returns the first line from the one numbered from that contains text, and the number after it.
func (p *Process) Await(from int, text string) (line string, next int) {
	p.t.Helper()
	timeout := time.After(Patience)
	for over := ""; ; {
		for _, line := range p.from(from) {
			from++
			if strings.Contains(line, text) {
				return line, from
			}
		}
		if over != "" {
			p.t.Fatalf("%s %q:\n%s", over, text, p.Output())
		}
		select {
		case <-p.more:
		case <-p.ended: // its last lines may have come since
			over = "ended without saying"
		case <-timeout:
			over = fmt.Sprintf("in %v it has not said", Patience)
		}
	}
}
