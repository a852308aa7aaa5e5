package boottest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hooksmith/cmd/hooksmith/internal/console"
	"hooksmith/cmd/hooksmith/internal/qemu"
)

// patience is how long a machine may take for one step, by architecture:
// emulated on two busy cores it is ten times what a quiet machine needs.
var patience = map[qemu.Arch]time.Duration{qemu.AMD64: 4 * time.Minute, qemu.ARM64: 8 * time.Minute}

// vm is a running machine. Its methods fail the test that started it.
type vm struct {
	*console.Console
	t     *testing.T
	arch  qemu.Arch
	cmd   *exec.Cmd
	keys  io.WriteCloser
	begin time.Time
	count int // commands typed
}

// artifacts is the machine that boots what HOOKSMITH_BOOT names; tests change
// it before they boot it.
func artifacts(t *testing.T) qemu.Machine {
	t.Helper()
	name, dir := os.Getenv("HOOKSMITH_BOOT"), os.Getenv("HOOKSMITH_BOOT_DIR")
	if name == "" {
		t.Skip("HOOKSMITH_BOOT is not set: run make boot-test")
	}
	arch, err := qemu.ParseArch(name)
	if err != nil {
		t.Fatalf("HOOKSMITH_BOOT: %v", err)
	}
	m := qemu.Machine{
		Arch: arch, Accel: "tcg", MemoryMiB: 2048, CPUs: 1, Netdev: "user",
		Kernel: filepath.Join(dir, "vmlinuz-"+arch.Uname()), Initrd: filepath.Join(dir, "initramfs-"+arch.Uname()),
		Append: []string{"panic=-1"}, // with -no-reboot a panic ends QEMU, and so the test
		Extra:  []string{"-no-reboot"},
	}
	for _, path := range []string{m.Kernel, m.Initrd} {
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("nothing to boot: %v", err)
		}
	}
	return m
}

// boot starts the machine. The test's end kills it, whatever happens.
func boot(t *testing.T, m qemu.Machine) *vm {
	t.Helper()
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := qemu.Look(m.Arch.Binary(), m.Arch.Package()); err != nil {
		t.Fatal(err)
	}
	argv := m.Argv()
	t.Logf("%s", qemu.Quote(argv))
	return follow(t, m.Arch, filepath.Dir(m.Kernel), exec.Command(argv[0], argv[1:]...))
}

// follow starts a command whose standard streams are a machine's console.
func follow(t *testing.T, arch qemu.Arch, logs string, cmd *exec.Cmd) *vm {
	t.Helper()
	name := "serial-" + strings.ReplaceAll(t.Name(), "/", "-") + ".log"
	log, err := os.Create(filepath.Join(logs, name))
	if err != nil {
		t.Fatal(err)
	}
	v := &vm{Console: console.New(), t: t, arch: arch, cmd: cmd, begin: time.Now()}
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

// wait fails the test unless pattern comes in time; it returns the match and
// its groups.
func (v *vm) wait(pattern string) []string {
	v.t.Helper()
	m, err := v.Expect(pattern, patience[v.arch])
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Logf("%6.1f s  %.200s", time.Since(v.begin).Seconds(), strings.TrimSpace(m[0]))
	return m
}

// waitEnd fails the test unless the machine ends by itself in time.
func (v *vm) waitEnd() {
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

// typeLine types on the console.
func (v *vm) typeLine(s string) {
	v.t.Helper()
	if _, err := io.WriteString(v.keys, s+"\n"); err != nil {
		v.t.Fatalf("typing %q: %v", s, err)
	}
}

// login gets a shell on the console, whose prompt may have passed already.
func (v *vm) login() {
	v.t.Helper()
	v.Rewind()
	v.wait(shellPrompt)
	v.typeLine("")
	v.run("true")
}

// run types a shell command and returns what it printed. It fails the test if
// the command does. The kernel may print in between.
func (v *vm) run(command string) string {
	v.t.Helper()
	v.count++
	// Quotes keep the markers apart from the echo of what is typed.
	begin, end := fmt.Sprintf("beg''in-%d", v.count), fmt.Sprintf("en''d-%d", v.count)
	v.typeLine(fmt.Sprintf("echo %s; %s; echo %s:$?", begin, command, end))
	m := v.wait(fmt.Sprintf(`begin-%d\n((?s:.*?))end-%d:(\d+)$`, v.count, v.count))
	if m[2] != "0" {
		v.t.Fatalf("%s: exit status %s: %s", command, m[2], m[1])
	}
	return m[1]
}

// onlyChild is the process id of the one child that a process has.
func onlyChild(t *testing.T, pid int) int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var children []string
	for _, path := range tasks {
		b, _ := os.ReadFile(path) // a thread may have ended
		children = append(children, strings.Fields(string(b))...)
	}
	if len(children) != 1 {
		t.Fatalf("children of %d: %q, want one", pid, children)
	}
	child, err := strconv.Atoi(children[0])
	if err != nil {
		t.Fatal(err)
	}
	return child
}

// lacks fails the test if pattern is anywhere in what was printed so far.
func (v *vm) lacks(pattern string) {
	v.t.Helper()
	if found := v.Find(pattern); found != "" {
		v.t.Errorf("the log has %q", found)
	}
}

// The harness against a shell instead of a machine.
func TestMachine(t *testing.T) {
	sh := exec.Command("sh", "-c", "echo 'Press Enter for a root shell.'; read -r _; exec sh 2>&1")
	v := follow(t, qemu.AMD64, t.TempDir(), sh)
	v.login()
	if got := v.run("echo hello; printf partial"); got != "hello\npartial" {
		t.Errorf("run: %q", got)
	}
	v.lacks("Oops")
	v.typeLine("exit 3")
	v.waitEnd()
	if got := v.cmd.ProcessState.ExitCode(); got != 3 {
		t.Errorf("exit code %d", got)
	}
}
