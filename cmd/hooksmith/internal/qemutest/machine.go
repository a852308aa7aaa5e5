package qemutest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hooksmith/cmd/hooksmith/internal/console"
	"hooksmith/cmd/hooksmith/internal/qemu"
)

// patience is how long a machine may take for one step, by architecture:
// emulated on two busy cores it is ten times what a quiet machine needs.
var patience = map[qemu.Arch]time.Duration{qemu.AMD64: 5 * time.Minute, qemu.ARM64: 10 * time.Minute}

// ShellPrompt is what HookOS says on every console.
const ShellPrompt = `Press Enter for a root shell\.`

// VM is a running machine. Its methods fail the test that started it.
type VM struct {
	*console.Console
	t     *testing.T
	arch  qemu.Arch
	Cmd   *exec.Cmd
	keys  io.WriteCloser
	begin time.Time
	count int // commands typed
}

// Boot starts the machine. Its serial log is kept beside its kernel. The test's end kills it, whatever happens.
func Boot(t *testing.T, m qemu.Machine) *VM {
	t.Helper()
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := qemu.Look(m.Arch.Binary(), m.Arch.Package()); err != nil {
		t.Fatal(err)
	}
	argv := m.Argv()
	t.Logf("%s", qemu.Quote(argv))
	return Follow(t, m.Arch, filepath.Dir(m.Kernel), exec.Command(argv[0], argv[1:]...))
}

// Follow starts a command whose standard streams are a machine's console.
func Follow(t *testing.T, arch qemu.Arch, logs string, cmd *exec.Cmd) *VM {
	t.Helper()
	name := "serial-" + strings.ReplaceAll(t.Name(), "/", "-") + ".log"
	log, err := os.Create(filepath.Join(logs, name))
	if err != nil {
		t.Fatal(err)
	}
	v := &VM{Console: console.New(), t: t, arch: arch, Cmd: cmd, begin: time.Now()}
	cmd.Stdout = io.MultiWriter(log, v.Console)
	cmd.Stderr = cmd.Stdout
	cmd.WaitDelay = 5 * time.Second
	// A killed test process does not leave machines behind either.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if v.keys, err = cmd.StdinPipe(); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		err := cmd.Wait()
		v.End(errors.Join(errors.New("the machine has ended"), err))
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		log.Close()
		if t.Failed() {
			t.Logf("the last lines of %s:\n%s", log.Name(), v.Tail(60))
		}
	})
	return v
}

// Wait fails the test unless pattern comes in time; it returns the match and
// its groups.
func (v *VM) Wait(pattern string) []string {
	v.t.Helper()
	m, err := v.Expect(pattern, patience[v.arch])
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Logf("%6.1f s  %.200s", time.Since(v.begin).Seconds(), strings.TrimSpace(m[0]))
	return m
}

// WaitEnd fails the test unless the machine ends by itself in time.
func (v *VM) WaitEnd() {
	v.t.Helper()
	deadline := time.After(patience[v.arch])
	for {
		_, changed, ended := v.State()
		if ended != nil {
			v.t.Logf("%6.1f s  ended", time.Since(v.begin).Seconds())
			return
		}
		select {
		case <-changed:
		case <-deadline:
			v.t.Fatal("the machine has not ended")
		}
	}
}

// TypeLine types on the console.
func (v *VM) TypeLine(s string) {
	v.t.Helper()
	if _, err := io.WriteString(v.keys, s+"\n"); err != nil {
		v.t.Fatalf("typing %q: %v", s, err)
	}
}

// Login gets a shell on the console, whose prompt may have passed already.
func (v *VM) Login() {
	v.t.Helper()
	v.Rewind()
	v.Wait(ShellPrompt)
	v.TypeLine("")
	v.Run("true")
}

// Run types a shell command and returns what it printed. It fails the test if
// the command does. The kernel may print in between.
func (v *VM) Run(command string) string {
	v.t.Helper()
	v.count++
	// Quotes keep the markers apart from the echo of what is typed.
	begin, end := fmt.Sprintf("beg''in-%d", v.count), fmt.Sprintf("en''d-%d", v.count)
	v.TypeLine(fmt.Sprintf("echo %s; %s; echo %s:$?", begin, command, end))
	m := v.Wait(fmt.Sprintf(`begin-%d\n((?s:.*?))end-%d:(\d+)$`, v.count, v.count))
	if m[2] != "0" {
		v.t.Fatalf("%s: exit status %s: %s", command, m[2], m[1])
	}
	return m[1]
}

// Lacks fails the test if pattern is anywhere in what was printed so far.
func (v *VM) Lacks(pattern string) {
	v.t.Helper()
	if found := v.Find(pattern); found != "" {
		v.t.Errorf("the log has %q", found)
	}
}
