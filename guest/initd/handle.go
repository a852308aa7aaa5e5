package initd

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"hooksmith/guest/power"
	"hooksmith/guest/reaper"
)

// crashLog gets what the Go runtime prints when the worker has a fault.
const crashLog = "/var/log/init-crash.log"

// The worker's files beside the standard ones.
const (
	exitsFD  = 3 // it reads here which processes PID 1 has reaped
	resultFD = 4 // it writes here what PID 1 is to do when it has ended
)

// path is PATH for everything that init starts.
const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// worker is PID 1's end of its child.
type worker struct {
	pid     int
	exits   *os.File
	results *os.File
}

// startWorker starts the worker; a second one resumes the work of the first.
func (p *pid1) startWorker() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("starting init's worker: %w", err)
	}
	args := []string{"init", workerArg}
	if p.crashed > 0 {
		args = append(args, resumeArg)
	}
	exitsIn, exitsOut, err := os.Pipe()
	if err != nil {
		return err
	}
	defer exitsIn.Close()
	resultsIn, resultsOut, err := os.Pipe()
	if err != nil {
		return err
	}
	defer resultsOut.Close()
	faults, err := os.OpenFile(p.faults, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		faults = os.Stderr
	} else {
		defer faults.Close()
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	process, err := os.StartProcess(self, args, &os.ProcAttr{
		Dir: "/", Env: []string{path, "HOME=/"},
		Files: []*os.File{null, faults, faults, exitsIn, resultsOut},
		Sys:   &unix.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("starting init's worker: %w", err)
	}
	p.worker = &worker{pid: process.Pid, exits: exitsOut, results: resultsIn}
	// A worker that hangs must not make PID 1 wait. It has room for 8000 exits.
	if raw, err := exitsOut.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetNonblock(int(fd), true) })
	}
	return process.Release()
}

// tell passes on that a process has ended.
func (w *worker) tell(e reaper.Exit) {
	raw, err := w.exits.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _, _ = unix.Write(int(fd), e.Encode()) })
}

func (w *worker) signal(s os.Signal) {
	if s, ok := s.(unix.Signal); ok {
		_ = unix.Kill(w.pid, s)
	}
}

// result is what the worker that has ended wants to be done; it wants nothing if it has crashed.
func (w *worker) result() (power.Action, bool) {
	text, _ := io.ReadAll(io.LimitReader(w.results, 64))
	action := power.Action(strings.TrimSpace(string(text)))
	return action, action != ""
}

func (w *worker) close() {
	w.exits.Close()
	w.results.Close()
}
