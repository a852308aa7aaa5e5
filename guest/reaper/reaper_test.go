package reaper

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestStatus(t *testing.T) {
	var x Exits
	x.Add(Exit{PID: 7, Status: 1 << 8})
	mark := x.Mark()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	done := make(chan unix.WaitStatus)
	go func() {
		status, err := x.Status(ctx, 7, mark)
		if err != nil {
			t.Error(err)
		}
		done <- status
	}()
	x.Add(Exit{PID: 8, Status: 2 << 8})
	x.Add(Exit{PID: 7, Status: 3 << 8})
	if got := (<-done).ExitStatus(); got != 3 {
		t.Errorf("exit status %d, want 3: the exit before the mark must not count", got)
	}
	if got, err := x.Status(ctx, 7, 0); err != nil || got.ExitStatus() != 3 {
		t.Errorf("Status again = %v, %v", got, err)
	}

	for range remembered {
		x.Add(Exit{PID: 9})
	}
	cancel()
	if _, err := x.Status(ctx, 7, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("a forgotten exit: %v", err)
	}
}

func TestFollow(t *testing.T) {
	var pipe bytes.Buffer
	want := []Exit{{PID: 1 << 22, Status: 0x7f00}, {PID: 2, Status: 9}}
	for _, e := range want {
		pipe.Write(e.Encode())
	}
	var x Exits
	if err := x.Follow(&pipe); !errors.Is(err, io.EOF) {
		t.Errorf("Follow: %v", err)
	}
	for _, e := range want {
		if got, err := x.Status(t.Context(), e.PID, 0); err != nil || got != e.Status {
			t.Errorf("Status(%d) = %v, %v, want %v", e.PID, got, err, e.Status)
		}
	}
}

func TestDescribe(t *testing.T) {
	tests := []struct {
		status unix.WaitStatus
		want   string
	}{
		{0, "exit status 0"}, {3 << 8, "exit status 3"}, {9, "killed by SIGKILL"}, {11 | 0x80, "killed by SIGSEGV"},
		{64, "killed by signal 64"}, {0xffff, "wait status 0xffff"},
	}
	for _, test := range tests {
		if got := Describe(test.status); got != test.want {
			t.Errorf("Describe(%#x) = %q, want %q", uint32(test.status), got, test.want)
		}
	}
}

// TestWait runs this test binary again as a subreaper, where a wait for any child cannot steal from other tests.
func TestWait(t *testing.T) {
	if os.Getenv("HOOKGUEST_TEST_REAPER") != "" {
		reapOrphan()
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestWait$")
	cmd.Env = append(os.Environ(), "HOOKGUEST_TEST_REAPER=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "orphan: exit status 5") {
		t.Errorf("%v: %s", err, out)
	}
}

// reapOrphan leaves an orphan behind that exits with 5 and ends when it has been reaped.
func reapOrphan() {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	exits := make(chan Exit)
	go Wait(exits)
	sh, err := os.StartProcess("/bin/sh", []string{"sh", "-c", "(sleep 0.1; exit 5) & exit 0"}, &os.ProcAttr{})
	if err != nil {
		panic(err)
	}
	for e := range exits {
		if e.PID != sh.Pid {
			os.Stdout.WriteString("orphan: " + Describe(e.Status) + "\n")
			os.Exit(0)
		}
	}
}
