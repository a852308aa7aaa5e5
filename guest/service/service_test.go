package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"hooksmith/guest/logfile"
)

func TestBackoff(t *testing.T) {
	var b Backoff
	steps := []struct{ ran, want time.Duration }{
		{0, 1 * time.Second}, {time.Second, 2 * time.Second}, {0, 4 * time.Second}, {59 * time.Second, 8 * time.Second}, {0, 16 * time.Second},
		{0, 30 * time.Second}, {0, 30 * time.Second}, {time.Minute, time.Second}, {0, 2 * time.Second},
	}
	for i, s := range steps {
		if got := b.Next(s.ran); got != s.want {
			t.Errorf("step %d: %v, want %v", i, got, s.want)
		}
	}
}

func TestDeaf(t *testing.T) {
	tests := []struct {
		name, status string
		want         bool
	}{
		{"shell in a container", "Name:\tsh\nNSpid:\t250\t1\nSigBlk:\t0\nSigCgt:\t0000000000010002\n", true},
		{"handler in a container", "Name:\tdockerd\nNSpid:\t250\t1\nSigCgt:\tfffffffd7fc1feff\n", false},
		{"pid namespace of the host", "Name:\tsh\nNSpid:\t250\nSigCgt:\t0000000000000000\n", false},
		{"not the first", "Name:\tsh\nNSpid:\t250\t7\nSigCgt:\t0000000000000000\n", false},
		{"odd", "Name:\tsh\nNSpid:\t250\t1\nSigCgt:\t\n", false},
		{"empty", "", false},
	}
	for _, test := range tests {
		if got := deaf(test.status); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestRestartPolicy(t *testing.T) {
	tests := []struct {
		name, script, annotations string
		state                     State
		restarts                  int // at least
		said                      string
	}{
		{"fails", "exit 3", "", Waiting, 3, "service fails exited (exit status 3); restarting in 80ms"},
		{"finishes", "exit 0", "", Finished, 0, "service finishes finished (exit status 0)"},
		{"always", "exit 0", `"hooksmith.restart":"always"`, Waiting, 2, "service always exited (exit status 0); restarting in 40ms"},
		{"never", "exit 1", `"hooksmith.restart":"no"`, Failed, 0, "service never exited (exit status 1); it is not restarted"},
		{"killed", "kill -9 $$", "", Waiting, 1, "service killed exited (killed by SIGKILL); restarting in 20ms"},
		{"unstartable", "", "", Waiting, 1, "service unstartable failed: runc run unstartable: no script; restarting in 20ms"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, nil)
			ctx, cancel := context.WithCancel(t.Context())
			l.Add(ctx, l.bundle(test.name, test.script, test.annotations))
			l.expectSaid(test.said)
			l.expect("state", func() bool {
				i := l.info(test.name)
				return i.State == test.state && i.Restarts >= test.restarts && i.Last != "" && i.PID == 0
			})
			cancel()
			l.Wait()
			if i := l.info(test.name); i.State != Stopped {
				t.Errorf("state %s after the end", i.State)
			}
		})
	}
}

func TestKilledServiceComesBack(t *testing.T) {
	l := newLab(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	l.Add(ctx, l.bundle("web", "echo begin; exec sleep 1000", ""))
	l.expect("output", func() bool { return l.log("web") == "begin\n" })
	first := l.info("web")
	if err := unix.Kill(first.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	l.expect("a new process", func() bool {
		i := l.info("web")
		return i.State == Running && i.PID != first.PID && i.Restarts == 1 && strings.Count(l.log("web"), "begin\n") == 2
	})
	second := l.info("web").PID
	cancel()
	l.Wait()
	if alive(second) {
		t.Error("the service outlives its supervisor")
	}
	if got := l.log("web"); strings.Count(got, "begin\n") != 2 || !strings.Contains(got, "hooksmith: exited (killed by SIGKILL) after ") {
		t.Errorf("log:\n%s", got)
	}
	if !strings.HasSuffix(l.said(), "hooksmith: service web stopped\n") {
		t.Errorf("consoles:\n%s", l.said())
	}
}

func TestDo(t *testing.T) {
	l := newLab(t, func(o *Options) { o.Backoff = Backoff{Min: time.Hour}; o.Grace = 300 * time.Millisecond })
	ctx, cancel := context.WithCancel(t.Context())
	defer func() { cancel(); l.Wait() }()
	l.Add(ctx, l.bundle("web", "trap '' TERM; while :; do sleep 0.05; done", ""))
	l.Add(ctx, l.bundle("bad", "exit 1", ""))
	l.Tried(ctx)
	if l.info("web").State != Running {
		t.Errorf("after Tried: %+v", l.info("web"))
	}
	l.expect("running", func() bool { return l.info("web").State == Running && l.info("bad").State == Waiting })
	pid := l.info("web").PID

	do := func(verb Verb, name string, state State) {
		t.Helper()
		if err := l.Do(ctx, verb, name); err != nil {
			t.Fatalf("%s %s: %v", verb, name, err)
		}
		if i := l.info(name); i.State != state {
			t.Errorf("after %s: %+v", verb, i)
		}
	}
	do(Start, "web", Running)
	if l.info("web").PID != pid {
		t.Error("start of what runs started it again")
	}
	do(Restart, "web", Running) // it ignores SIGTERM
	if alive(pid) || l.info("web").PID == pid {
		t.Error("restart left the old process")
	}
	do(Stop, "web", Stopped)
	do(Stop, "web", Stopped)
	do(Start, "web", Running)
	do(Stop, "bad", Stopped)
	if err := l.Do(ctx, Start, "nosuch"); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
	short, end := context.WithCancel(ctx)
	end()
	if err := l.Do(short, Restart, "web"); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestStartsInOrder(t *testing.T) {
	l := newLab(t, nil)
	l.slots = make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer func() { cancel(); l.Wait() }()
	names := []string{"c", "a", "b"}
	for _, name := range names {
		l.Add(ctx, l.bundle(name, "exec sleep 1000", ""))
	}
	l.Tried(ctx)
	said, at := l.said(), 0
	for _, name := range names {
		next := strings.Index(said, "service "+name+" started")
		if next < at {
			t.Errorf("%s did not start in its turn:\n%s", name, said)
		}
		at = next
	}
	if len(l.slots) != 0 {
		t.Error("a slot is not given back")
	}
}

func TestOnce(t *testing.T) {
	l := newLab(t, nil)
	if err := l.Once(t.Context(), "onboot", l.bundle("000-good", "echo hello; echo 'hooksmith: told'", "")); err != nil {
		t.Error(err)
	}
	err := l.Once(t.Context(), "onboot", l.bundle("001-bad", "echo first; echo reason; echo; exit 4", ""))
	if err == nil || !strings.Contains(err.Error(), "001-bad: exit status 4") {
		t.Errorf("error %v", err)
	}
	if err := l.Once(t.Context(), "onboot", filepath.Join(l.dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := l.Once(ctx, "onshutdown", l.bundle("000-hangs", "exec sleep 1000", "")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	for _, want := range []string{"hooksmith: told\n", "onboot 000-good done in ", "onboot 001-bad FAILED: exit status 4 after ", "last line: reason\n"} {
		if !strings.Contains(l.said(), want) {
			t.Errorf("%q is missing on the consoles:\n%s", want, l.said())
		}
	}
	if got := l.log("onboot.000-good"); got != "hello\nhooksmith: told\n" {
		t.Errorf("log %q", got)
	}
	if i := l.info("001-bad"); i.State != Failed || i.Last != "exit status 4" || i.Kind != "onboot" {
		t.Errorf("info %+v", i)
	}
}

func TestOutput(t *testing.T) {
	var log bytes.Buffer
	var told []string
	o := &output{name: "web", log: &log, mirror: func(line string) { told = append(told, line) }}
	long := strings.Repeat("x", 3*lineBuffer)
	text := "hooksmith: one\nplain\n" + long + "hooksmith: not at the beginning\nhooksmith: " + long + "\n\nhooksmith: cut off"
	o.copy(strings.NewReader(text))
	if log.String() != text {
		t.Error("the log is not what was printed")
	}
	if len(told) != 3 || told[0] != "one" || !strings.HasPrefix(told[1], "xxx") || told[2] != "cut off" {
		t.Errorf("told %d lines, %.60q", len(told), told)
	}
	if o.lastLine() != "hooksmith: cut off" {
		t.Errorf("last line %q", o.lastLine())
	}
	o.all = mirrorAll
	o.copy(strings.NewReader("everything\n"))
	if told[len(told)-1] != "web: everything" {
		t.Errorf("told %.60q", told)
	}
}

func TestApplet(t *testing.T) {
	l := newLab(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer func() { cancel(); l.Wait() }()
	socket := filepath.Join(l.dir, "run", "service.sock")
	a := applet{socket: socket, logs: filepath.Join(l.dir, "log")}
	if err := a.run(ctx, nil, io.Discard); err == nil || !strings.Contains(err.Error(), "init does not answer") {
		t.Errorf("without init: %v", err)
	}
	for range 2 { // the second time over the socket that the first has left
		listener, err := Listen(socket)
		if err != nil {
			t.Fatal(err)
		}
		listener.(*net.UnixListener).SetUnlinkOnClose(false)
		go func() { _ = l.Serve(ctx, listener) }()
		defer listener.Close()
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", info.Mode(), err)
	}
	l.Add(ctx, l.bundle("web", "echo hello; exec sleep 1000", ""))
	l.expectSaid("service web started")
	l.expect("hello", func() bool { return l.log("web") == "hello\n" })

	tests := []struct {
		args      string
		want, err string
	}{
		{"", "NAME  KIND     STATE", ""},
		{"list", "web   service  running", ""},
		{"status web", "state     running for 0s\n", ""},
		{"status nosuch", "", "no such service"},
		{"logs web", "hello\n", ""},
		{"logs nosuch", "", "no such service"},
		{"logs ../../etc/passwd", "", "no such service"},
		{"stop web", "state     stopped for 0s\n", ""},
		{"start web", "state     running for 0s\n", ""},
		{"restart nosuch", "", "nosuch: no such service"},
		{"list too much", "", "usage:"},
		{"frobnicate", "", "usage:"},
		{"help", "usage:", ""},
	}
	for _, test := range tests {
		var out bytes.Buffer
		err := a.run(ctx, strings.Fields(test.args), &out)
		if fmt.Sprint(err) == "<nil>" != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("service %s: error %v, want %q", test.args, err, test.err)
		}
		if !strings.Contains(out.String(), test.want) {
			t.Errorf("service %s printed\n%s\nwant %q", test.args, &out, test.want)
		}
	}
}

func TestHostileRequests(t *testing.T) {
	l := newLab(t, nil)
	socket := filepath.Join(l.dir, "service.sock")
	listener, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() { _ = l.Serve(t.Context(), listener) }()
	for _, text := range []string{"", "{", `{"verb":"format"}`, `{"verb":3}`, strings.Repeat("[", maxRequest+1), `{"verb":"stop","name":"\u0000"}`} {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(text)); err != nil {
			t.Error(err)
		}
		if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
			t.Error(err)
		}
		answer, err := io.ReadAll(conn)
		// The rest of what was sent and not read resets the connection behind the answer.
		if err != nil && !errors.Is(err, unix.ECONNRESET) || !bytes.Contains(answer, []byte(`"error":`)) {
			t.Errorf("%.30q was answered with %q, %v", text, answer, err)
		}
		conn.Close()
	}
}

func TestFollowLogs(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		log, err := logfile.Open(filepath.Join(dir, "web.log"), 20)
		if err != nil {
			t.Fatal(err)
		}
		write := func(s string) {
			if _, err := log.Write([]byte(s)); err != nil {
				t.Error(err)
			}
		}
		write("line 1 ........\n")
		write("line 2 ........\n")
		ctx, cancel := context.WithCancel(t.Context())
		var out bytes.Buffer
		done := make(chan error)
		go func() { done <- applet{logs: dir}.run(ctx, []string{"logs", "-f", "web"}, &out) }()
		time.Sleep(followEvery)
		synctest.Wait()
		write("3\n")
		write("line 4 ........\n")
		time.Sleep(2 * followEvery)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if want := "line 1 ........\nline 2 ........\n3\nline 4 ........\n"; out.String() != want {
			t.Errorf("printed %q, want %q", out.String(), want)
		}
		log.Close()
	})
}

// TestOnTerminal: what is piped does not go through a terminal.
func TestOnTerminal(t *testing.T) {
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer tty.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	terminal, pipe := int(tty.Fd()), int(w.Fd())
	if !onTerminal(terminal, terminal) || onTerminal(terminal, pipe) || onTerminal(pipe, terminal) {
		t.Error("a terminal is where both ends are one")
	}
}
