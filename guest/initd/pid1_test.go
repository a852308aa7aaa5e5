package initd

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hooksmith/guest/bootlog"
	"hooksmith/guest/power"
	"hooksmith/guest/reaper"
)

// TestMain makes this binary a worker when PID 1's code starts it as one, and a PID 1 with such workers when a test
// asks for that: reaping every child cannot be done beside other tests.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == workerArg:
		os.Exit(fakeWorker())
	case os.Getenv("HOOKGUEST_TEST_PID1") != "":
		fakePID1(os.Getenv("HOOKGUEST_TEST_PID1"), os.Getenv("HOOKGUEST_TEST_FAULTS"))
	default:
		os.Exit(m.Run())
	}
}

// fakeWorker says in its crash log what it hears, does what a real one does when it is asked to end, and crashes on
// SIGHUP.
func fakeWorker() int {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, append(power.Signals(), unix.SIGHUP)...)
	fmt.Println("worker", os.Args[1:])
	go func() {
		var record [8]byte
		exits := os.NewFile(exitsFD, "exits")
		for {
			if _, err := io.ReadFull(exits, record[:]); err != nil {
				return
			}
			fmt.Println("heard of", binary.LittleEndian.Uint32(record[4:])>>8)
		}
	}()
	action, ok := power.Requested(<-asked)
	if !ok {
		return 7
	}
	fmt.Fprintln(os.NewFile(resultFD, "result"), action)
	return 0
}

// fakePID1 takes the steps of PID 1 and prints how they end. Its script is a list of what to send to the worker or to
// itself.
func fakePID1(script, faults string) {
	p := &pid1{
		log: &bootlog.Log{Console: os.Stdout, Now: func() time.Duration { return 0 }}, faults: faults, exits: make(chan reaper.Exit, 64),
		signals: make(chan os.Signal, 16), shells: map[int]rescueShell{},
	}
	signal.Notify(p.signals, power.Signals()...)
	if err := p.startWorker(); err != nil {
		fmt.Println(err)
		return
	}
	go reaper.Wait(p.exits)
	waitFor(faults, "worker ")
	words := strings.Fields(script)
	for _, word := range words {
		switch word {
		case "crash":
			_ = unix.Kill(p.worker.pid, unix.SIGHUP)
		case "kill":
			_ = unix.Kill(p.worker.pid, unix.SIGKILL)
		case "orphan":
			if _, err := os.StartProcess("/bin/sh", []string{"sh", "-c", "exit 42"}, &os.ProcAttr{}); err != nil {
				fmt.Println(err)
			}
		case "reboot":
			_ = unix.Kill(os.Getpid(), unix.SIGTERM)
		case "poweroff":
			_ = unix.Kill(os.Getpid(), unix.SIGUSR2)
		}
		workers := strings.Count(readFile(faults), "worker ")
		down, err := p.step()
		if err != nil || down {
			fmt.Println("down:", down, p.action, err)
			return
		}
		if word == "crash" || word == "kill" {
			for strings.Count(readFile(faults), "worker ") == workers {
				time.Sleep(time.Millisecond)
			}
		}
		if word == "orphan" {
			waitFor(faults, "heard of 42")
		}
	}
	down, err := p.step()
	fmt.Println("down:", down, p.action, err)
}

func waitFor(file, text string) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if strings.Contains(readFile(file), text) {
			return
		}
	}
}

func TestPID1(t *testing.T) {
	tests := []struct {
		script string
		want   string // of the output's end
		faults string // in the worker's log
	}{
		{"reboot", "down: true reboot <nil>", "worker [--worker]\n"},
		{"poweroff", "down: true poweroff <nil>", ""},
		{"orphan poweroff", "down: true poweroff <nil>", "heard of 42\n"},
		{"crash reboot", "hooksmith: init's worker has crashed (exit status 7), starting it again; see FAULTS\ndown: true reboot <nil>", "worker [--worker --resume]\n"},
		{"kill crash kill kill", "down: false  init's worker has crashed 4 times (killed by SIGKILL); see FAULTS", ""},
	}
	for _, test := range tests {
		t.Run(test.script, func(t *testing.T) {
			faults := filepath.Join(t.TempDir(), "faults")
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "HOOKGUEST_TEST_PID1="+test.script, "HOOKGUEST_TEST_FAULTS="+faults)
			out, err := cmd.CombinedOutput()
			want := strings.ReplaceAll(test.want, "FAULTS", faults)
			if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), want) {
				t.Errorf("%v: printed\n%s\nwant\n%s", err, out, want)
			}
			if text := readFile(faults); !strings.Contains(text, test.faults) {
				t.Errorf("the worker's log:\n%s\nwant %q", text, test.faults)
			}
		})
	}
}

func TestRequest(t *testing.T) {
	p := &pid1{log: &bootlog.Log{}, worker: &worker{pid: 1 << 30}}
	for i, want := range []bool{false, false, true} {
		action := []power.Action{power.Poweroff, power.Reboot, power.Reboot}[i]
		if got := p.request(action, unix.SIGUSR2); got != want || p.action != power.Poweroff {
			t.Errorf("request %d: down %v, %s", i+1, got, p.action)
		}
	}
	p = &pid1{log: &bootlog.Log{}}
	if !p.request(power.Halt, unix.SIGUSR1) || p.action != power.Halt {
		t.Error("without a worker there is nobody to wait for")
	}
	if down, err := (&pid1{log: &bootlog.Log{}, timeout: time.After(0)}).step(); !down || err != nil {
		t.Errorf("after the time-out: %v, %v", down, err)
	}
}

func TestShellsThatDoNotWork(t *testing.T) {
	p := &pid1{log: &bootlog.Log{}, shells: map[int]rescueShell{5: {device: "/nonexistent/tty", started: time.Now()}}}
	down, err := p.ended(reaper.Exit{PID: 5, Status: 9})
	if down || err != nil || len(p.shells) != 0 || p.timeout == nil || p.action != power.Poweroff {
		t.Errorf("down %v, %v, shells %v, timeout %v, %s", down, err, p.shells, p.timeout != nil, p.action)
	}
}
