package dockertest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
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

// asApplet makes a test binary run an applet instead of its tests.
const asApplet = "HOOKGUEST_TEST_APPLET"

// Applet is the function of an applet.
type Applet func(ctx context.Context, args []string, stdout, stderr io.Writer) error

// Main is the TestMain of a package whose tests run applets as processes.
func Main(m *testing.M, applets map[string]Applet) {
	run, ok := applets[os.Getenv(asApplet)]
	if !ok {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// Process is a program whose output is watched.
type Process struct {
	t     *testing.T
	cmd   *exec.Cmd
	inner bool // the program is the child of cmd

	mu    sync.Mutex
	lines []string
	more  chan struct{}
	ended chan struct{}
}

// Start runs an applet of Main until the test ends, through the command wrap if there is one.
func Start(t *testing.T, applet string, wrap []string, args ...string) *Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := append(append(append([]string{}, wrap...), self), args...)
	p := &Process{t: t, inner: len(wrap) > 0, more: make(chan struct{}, 1), ended: make(chan struct{})}
	p.cmd = exec.Command(command[0], command[1:]...)
	p.cmd.Env = append(os.Environ(), asApplet+"="+applet)
	out, in := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = in, in
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.cmd.Wait(); in.Close() }()
	go p.watch(out)
	t.Cleanup(p.Stop)
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
	}
	if !p.inner {
		return p.cmd.Process.Pid
	}
	for _, child := range children(p.cmd.Process.Pid) {
		return child
	}
	return 0
}

// Child is the pid of the child of the program that has this name, or 0.
func (p *Process) Child(name string) int {
	for _, child := range children(p.PID()) {
		if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", child)); strings.TrimSpace(string(comm)) == name {
			return child
		}
	}
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
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// Await returns the first line from the one numbered from that contains text, and the number after it.
func (p *Process) Await(from int, text string) (line string, next int) {
	p.t.Helper()
	timeout := time.After(Patience)
	for i := from; ; {
		p.mu.Lock()
		lines := p.lines
		p.mu.Unlock()
		for ; i < len(lines); i++ {
			if strings.Contains(lines[i], text) {
				return lines[i], i + 1
			}
		}
		select {
		case <-p.more:
		case <-p.ended:
			p.t.Fatalf("ended without saying %q:\n%s", text, p.Output())
		case <-timeout:
			p.t.Fatalf("no %q in %v:\n%s", text, Patience, p.Output())
		}
	}
}
